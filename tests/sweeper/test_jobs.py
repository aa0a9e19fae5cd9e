"""Sweeps sent to a real Ray head's job server, from clients in processes of their own."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from sweeper import jobs
from sweeper.cli.job import problems_of_versions
from sweeper.errors import ResourceError
from sweeper.journal import read_events, read_trials
from tests.sweeper.conftest import Said
from tests.sweeper.drivers import COMMAND, wait_for
from tests.sweeper.fault_machines import Cluster, free_port

PATIENCE_S = 240
PROOF_NET = """
import json
import os
import platform
from pathlib import Path

import sweeper
import trainables
from trainables.cnn_autoencoder import CnnAutoencoder

import beside

if "SWEEP_HOME" in os.environ:
    proof = {"system": platform.system(), "own": __file__, "beside": beside.__file__}
    proof |= {each.__name__: each.__file__ for each in (sweeper, trainables)}
    Path(os.environ["SWEEP_HOME"], f"proof-{os.getpid()}.json").write_text(json.dumps(proof))


class ProofNet(CnnAutoencoder):
    pass
"""


@dataclass
class Place:
    """A cluster, and a client's folder that the cluster knows nothing of."""

    cluster: Cluster
    home: Path
    folder: Path
    environment: dict[str, str]

    def sweep(self, *arguments: str, **variables: str) -> Said:
        """`sweep ARGUMENTS --address ...` in a process that is gone when this returns."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--address", self.cluster.job_server],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, " ".join(done.stderr.split()))

    def write(self, fields: dict[str, Any]) -> str:
        fields["data"].pop("data_dir")  # the client's own
        (self.folder / f"{fields['name']}.yaml").write_text(yaml.safe_dump(fields))
        return f"{fields['name']}.yaml"

    def over(self, name: str) -> list[str]:
        """How the drivers of a sweep have ended so far."""
        journal = self.home / "sweeps" / name / "journal.jsonl"
        return [event["state"] for event in read_events(journal) if event["event"] == "over"] if journal.exists() else []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, driver_environment: dict[str, str]) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("jobs")
    home, folder = root / "home", root / "client"
    home.mkdir()
    folder.mkdir()
    clean = {name: value for name, value in driver_environment.items() if name not in ("PYTHONPATH", "SWEEP_DATA_DIR")}
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    there = {"SWEEP_HOME": str(home), "SWEEP_DATA_DIR": driver_environment["SWEEP_DATA_DIR"]}
    cluster = Cluster(root, clean | path | there)
    client = clean | cluster.environment | {"PYTHONPATH": driver_environment["PYTHONPATH"]}
    try:
        cluster.start_head_with_job_server(2)
        yield Place(cluster, home, folder, client)
    finally:
        cluster.close()


@pytest.mark.timeout(600)
@pytest.mark.conformance
def test_a_sweep_goes_on_without_the_client_that_sent_it_and_is_found_again(place: Place, tiny: Callable[..., dict[str, Any]]) -> None:
    (place.folder / "proof_net.py").write_text(PROOF_NET)
    (place.folder / "beside.py").touch()
    fields = tiny("sent", model="proof_net:ProofNet", budget={"trials": 1, "epochs": 2})
    said = place.sweep("submit", place.write(fields), "--set", "budget.epochs=3")
    assert said.code == 0, said
    assert f"sweep status sent --address {place.cluster.job_server}" in said.out
    assert wait_for(lambda: bool(place.over("sent")))
    assert place.over("sent") == ["finished"]

    status = json.loads(place.sweep("status", "sent", "--json").out)
    assert (status["state"], status["trials"], status["best"]["trial"]) == ("finished", {"complete": 1}, "search-0000")
    assert status["best"]["step"] <= 3 == max(read_trials(place.home / "sweeps" / "sent")["search-0000"].results)
    told = place.sweep("logs", "sent")
    assert told.code == 0
    assert "complete  search-0000" in told.out
    assert "@sweep" not in told.out
    assert "succeeded" in told.err

    proofs = [json.loads(file.read_text()) for file in place.home.glob("proof-*.json")]
    assert len(proofs) >= 2  # the driver, and a worker
    for proof in proofs:
        assert proof["system"] == os.uname().sysname
        for name in ("own", "beside", "sweeper", "trainables"):
            assert "runtime_resources" in proof[name], proof
    assert {path.name for path in (place.home / "sweeps" / "sent" / "modules").iterdir()} >= {"proof_net.py", "beside.py"}


def test_a_cluster_with_another_version_of_torch_is_refused_by_both_names(
    place: Place, tiny: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    record = tmp_path / "torch-9.8.7.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.8.7\n")
    path = os.pathsep.join([str(tmp_path), place.environment["PYTHONPATH"]])
    said = place.sweep("submit", place.write(tiny("other")), PYTHONPATH=path)
    assert said.code == 2
    assert f"torch must be of one version here and on the cluster, but is 9.8.7 here and {version('torch')} there" in said.err
    assert "Traceback" not in said.err
    assert not (place.home / "sweeps" / "other").exists()


@pytest.mark.parametrize(("token", "told"), [("0123abcd" * 8, "another one was sent"), (None, "none was sent")])
def test_a_wrong_token_is_told_in_one_line(place: Place, token: str | None, told: str, tmp_path: Path) -> None:
    given = {"RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    said = place.sweep("status", "sent", HOME=str(tmp_path), **given)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error the job server at {place.cluster.job_server} asks for its cluster's token, but {told}")
    assert "Traceback" not in said.err


VERSIONS = {"version.python": "3.11.4", "version.torch": "2.15.0", "version.inpaint-sweeps": "0.1.0"}


@pytest.mark.parametrize(
    ("other", "shipped", "words"),
    [
        ({"version.torch": "2.15.0+cu130", "version.python": "3.11.9"}, True, []),
        ({"version.inpaint-sweeps": "not installed"}, True, []),
        ({"version.torch": "2.14.0"}, True, ["torch", "2.15.0 here", "2.14.0 there"]),
        ({"version.torch": "not installed"}, True, ["torch", "2.15.0 here", "not installed there"]),
        ({"version.python": "3.12.1"}, True, ["Python", "3.11.4 here", "3.12.1 there"]),
        ({"version.torch": "2.14.0", "version.python": "3.12.1"}, False, []),
        ({"version.inpaint-sweeps": "0.2.0"}, False, ["inpaint-sweeps", "0.1.0 here", "0.2.0 there"]),
    ],
)
def test_what_must_be_of_one_version(other: dict[str, str], shipped: bool, words: list[str]) -> None:
    problems = problems_of_versions(VERSIONS | other, VERSIONS, shipped=shipped)
    assert len(problems) == bool(words)
    assert all(word in problems[0] for word in words)


class OldServer(BaseHTTPRequestHandler):
    """What a job server of another Ray says of itself."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "4", "ray_version": "2.41.0"}')

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def old_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), OldServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_cluster_with_another_ray_is_refused_by_both_names(
    old_server: str, sweep: Callable[..., Said], tiny: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    import ray

    fields = tiny("old")
    fields["data"].pop("data_dir")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(fields))
    said = sweep("submit", str(tmp_path / "old.yaml"), "--address", old_server)
    assert said.code == 2
    assert f"is {ray.__version__} here and 2.41.0 there; install the cluster's here: pip install" in " ".join(said.err.split())


def test_an_address_outranks_the_environment(old_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")
    assert jobs.JobServer(old_server).ray_version == "2.41.0"


def test_no_answer_is_told_in_one_line(sweep: Callable[..., Said]) -> None:
    said = sweep("status", "any", "--address", f"http://127.0.0.1:{free_port()}")
    assert (said.code, said.out) == (2, "")
    assert "Ray's job server must answer at http://127.0.0.1:" in " ".join(said.err.split())


def test_an_address_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GREETING_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ResourceError, match=r"must answer at .* but none does"):
            jobs.JobServer(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "quickstart", "--address", "http://head:8265"), "type: sweep submit quickstart --address http://head:8265"),
        (("status", "any", "--address", "head:6379"), "must begin with http:// or https://, but got 'head:6379'"),
        (("status", "any", "--watch", "--address", "http://head:8265"), "leave --watch out"),
        (("submit", "quickstart", "--address", "http://head:8265", "--code", "mine"), "--code must be shipped or installed"),
        (("submit", "quickstart", "--address", "http://head:8265", "--set", "seeds=-1", "--set", "mask.kind=dots"), "2 problems"),
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_is(arguments: tuple[str, ...], words: str, sweep: Callable[..., Said]) -> None:
    said = sweep(*arguments)
    assert said.code == 2
    assert words in " ".join(said.err.split())


def test_folders_of_the_client_are_refused_all_at_once(sweep: Callable[..., Said]) -> None:
    own = ("data.name=folder:~/pictures", "data.data_dir=here", "study=sqlite:///studies.db")
    overrides = [word for each in own for word in ("--set", each)]
    said = sweep("submit", "quickstart", "--address", "http://head:8265", *overrides)
    told = " ".join(said.err.split())
    assert said.code == 2
    assert "3 problems on a cluster; nothing was sent" in told
    for field in ("data.name:", "data.data_dir:", "study:"):
        assert field in told


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_stopped_by_a_wish_and_by_ray_and_gone_on_with(place: Place, tiny: Callable[..., dict[str, Any]]) -> None:
    """Each time the driver leaves no run RUNNING; a taken name is counted up; the end is the same as without all that."""
    (place.folder / "proof_net.py").write_text(PROOF_NET)
    (place.folder / "beside.py").touch()
    long = place.write(tiny("long", model="proof_net:ProofNet", budget={"trials": 1, "epochs": 400}))
    assert place.sweep("submit", long).code == 0

    said = place.sweep("stop", "long")
    assert (said.code, place.over("long")) == (0, ["interrupted"]), said
    assert not running_runs(place)
    said = place.sweep("stop", "long")
    assert said.code == 2
    assert "has ended" in said.err

    (place.folder / "proof_net.py").unlink()  # it lies beside the sweep now
    resumed = place.sweep("resume", "long")
    assert resumed.code == 0, resumed
    said = place.sweep("resume", "long")
    assert said.code == 2
    assert "drives 'long'" in said.err
    job = resumed.out.split()[2]  # "the job long-0f3a is sent to ..."
    ray = str(Path(sys.executable).with_name("ray"))
    done = subprocess.run(
        [ray, "job", "stop", job, "--address", place.cluster.job_server], env=place.environment, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0
    assert place.over("long") == ["interrupted", "interrupted"]
    assert not running_runs(place)

    (place.folder / "proof_net.py").write_text(PROOF_NET)
    said = place.sweep("submit", long, "--set", "budget.epochs=1")
    assert said.code == 0, said
    assert "this one is called 'long-2'" in " ".join(said.out.split())
    assert wait_for(lambda: bool(place.over("long-2")))
    assert place.over("long-2") == ["finished"]
    listed = {each["name"]: each["state"] for each in json.loads(place.sweep("list", "--json").out)}
    assert (listed["long"], listed["long-2"]) == ("interrupted", "finished")
    assert place.sweep("show", "nowhere").code == 2
    said = place.sweep("logs", "nowhere")
    assert said.code == 2
    assert "long-2" in said.err


def running_runs(place: Place) -> list[str]:
    client = MlflowClient(f"sqlite:///{place.home / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return [run.info.run_id for run in runs if run.info.status == "RUNNING"]
