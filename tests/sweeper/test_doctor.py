"""`sweep doctor` on this machine: every fault is planted for real, and named with its remedy. See test_doctor_cluster.py for clusters."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sweeper.doctor import Finding, Needed, Question, data, disk, nodes
from sweeper.doctor.finding import Check, bounded
from sweeper.home import Home
from sweeper.tracking import Store
from tests.sweeper.conftest import SEARCH_PATH, Said
from tests.sweeper.drivers import COMMAND
from tests.sweeper.fault_machines import NotPossibleHereError, fill_up, free_port, small_disk

Doctor = Callable[..., list[dict[str, str]]]


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token, no folder of the user's."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def doctor(sweep: Callable[..., Said]) -> Doctor:
    """Runs the doctor, checks its exit code against its findings, and gives these."""

    def examined(*arguments: str) -> list[dict[str, str]]:
        said = sweep("doctor", *arguments, "--json")
        assert "Traceback" not in said.err + said.out
        document = json.loads(said.out)
        found: list[dict[str, str]] = document["findings"]
        assert document["faults"] == sum(each["verdict"] == "fault" for each in found)
        assert said.code == int(document["faults"] > 0)
        assert all(each["remedy"] for each in found if each["verdict"] != "ok")
        return found

    return examined


@pytest.fixture
def spec_file(tiny: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., str]:
    """Writes a tiny sweep's spec, changed."""

    def written(**changes: Any) -> str:
        file = tmp_path / "spec.yaml"
        file.write_text(yaml.safe_dump(tiny(**changes)))
        return str(file)

    return written


def fault(findings: list[dict[str, str]], check: str, text: str, remedy: str, verdict: str = "fault") -> None:
    """There is a finding of a check whose text and remedy say something."""
    found = [each for each in findings if each["check"] == check]
    assert any(text in each["found"] and remedy in each["remedy"] and each["verdict"] == verdict for each in found), found or findings


def verdicts(findings: list[dict[str, str]]) -> dict[str, str]:
    return {each["check"]: each["verdict"] for each in findings}


@contextmanager
def serving(handler: type) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def a_disk(folder: Path) -> Iterator[None]:
    """A small disk, or a skipped test where only root may have one."""
    try:
        with small_disk(folder):
            yield
    except NotPossibleHereError as error:
        pytest.skip(str(error))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
        """Nothing."""


def test_nothing_is_wrong_with_a_machine_that_can_run_a_sweep(doctor: Doctor, spec_file: Callable[..., str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = verdicts(doctor(spec_file()))
    assert {check: verdict for check, verdict in found.items() if verdict == "fault"} == {}
    expected = {"spec", "Python", "module platform", "packages", "torch and CUDA", "home", "shared memory", "data folder", "images"}
    assert expected | {"MLflow store", "token", "Ray's temporary folder"} == set(found)
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "spec.yaml") == before  # it changes nothing


def test_for_people_it_is_a_table_and_what_to_do(sweep: Callable[..., Said], tmp_path: Path) -> None:
    said = sweep("doctor", "--home", str(tmp_path / "away"))
    assert said.code == 1
    assert "sweep doctor" in said.out
    assert f"fault home: make it (mkdir -p {tmp_path / 'away'})" in said.out


@pytest.mark.parametrize("arguments", [["no_such_spec"], ["--address", "a head"], ["--address", "ftp://head"], ["--what"]])
def test_a_bad_call_is_no_diagnosis(arguments: list[str], sweep: Callable[..., Said]) -> None:
    said = sweep("doctor", *arguments)
    assert said.code == 2
    assert said.out == ""


def test_a_spec_that_is_not_valid(doctor: Doctor, spec_file: Callable[..., str]) -> None:
    found = doctor(spec_file(model="no_such_model", resources={"cpus": -1}))
    fault(found, "spec", "resources.cpus", "mend what is named")
    fault(found, "spec", "no_such_model", "mend what is named")
    assert "images" not in verdicts(found)


def test_a_folder_named_platform_where_ray_starts_its_workers(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform" / "__init__.py").touch()
    fault(doctor(), "module platform", "Ray's workers die", f"remove {tmp_path / 'platform' / '__init__.py'}")


def test_a_folder_named_platform_before_pythons_own(tmp_path: Path, driver_environment: dict[str, str]) -> None:
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform" / "__init__.py").touch()
    environment = driver_environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *SEARCH_PATH])}
    done = subprocess.run([*COMMAND, "doctor"], env=environment, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'platform' / '__init__.py'} hides it; remove its __init__.py" in done.stderr


def test_a_package_of_another_version(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path / "site", optuna="4.5.0")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    fault(doctor(), "packages", "optuna 4.5.0 is not >=5.0", "install the project again")


def planted(site: Path, **versions: str) -> None:
    """A folder whose metadata say that it holds packages of some versions."""
    for name, version in versions.items():
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_no_gpu_where_the_spec_asks_for_one(doctor: Doctor, spec_file: Callable[..., str]) -> None:
    found = doctor(spec_file(resources={"gpus": 1}))
    fault(found, "torch and CUDA", "no GPU; the spec asks for 1 GPUs a trial", "set resources.gpus: 0")


@pytest.mark.parametrize(("home", "says"), [("away", "is not there"), ("file", "is no folder"), ("/proc", "cannot be written")])
def test_a_home_that_takes_nothing(home: str, says: str, doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fault(doctor("--home", str(tmp_path / home), "--store", f"sqlite:///{tmp_path}/mlflow.db"), "home", says, "name another with --home")


def test_a_full_disk(doctor: Doctor, tmp_path: Path) -> None:
    with a_disk(tmp_path / "small"):
        fault(doctor("--home", str(tmp_path / "small")), "home", "GiB free", "set checkpoints.quota_gib", "warning")
        fill_up(tmp_path / "small" / "filler")
        fault(doctor("--home", str(tmp_path / "small")), "home", "0.0 of 0.2 GiB free", "free space")


def test_too_little_shared_memory(tmp_path: Path) -> None:
    question = Question(Home(tmp_path), tmp_path)
    with a_disk(tmp_path / "shm"):
        (found,) = disk.shared_memory(question, tmp_path / "shm")
        assert found.verdict == "warning"
        fill_up(tmp_path / "shm" / "filler")
        (found,) = disk.shared_memory(question, tmp_path / "shm")
        assert found.verdict == "fault"
        assert "--shm-size" in found.remedy


def test_a_disk_that_is_too_full_for_rays_object_store(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "away"))
    fault(doctor(), "Ray's temporary folder", "cannot be written", "RAY_TMPDIR")
    with a_disk(tmp_path / "small"):
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "small"))
        assert verdicts(doctor())["Ray's temporary folder"] == "ok"
        fill_up(tmp_path / "small" / "filler")
        fault(doctor(), "Ray's temporary folder", "100% used", "free space there")


def test_no_data(doctor: Doctor, spec_file: Callable[..., str], tmp_path: Path) -> None:
    source = {"name": "faces", "image_px": 32, "data_dir": str(tmp_path / "away"), "train": None, "validation": None, "test": None}
    found = doctor(spec_file(data=source))
    fault(found, "data folder", "is not there", f"mkdir -p {tmp_path / 'away'}")
    fault(found, "images", "a folder of images must exist", "put images there")


def test_broken_image_data(doctor: Doctor, spec_file: Callable[..., str], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(42):
        (pictures / f"{number}.png").write_bytes(b"not a picture")
    source = {
        "name": f"folder:{pictures}",
        "image_px": 32,
        "data_dir": str(tmp_path / "data"),
        "train": None,
        "validation": None,
        "test": None,
    }
    spec = spec_file(data=source)
    (tmp_path / "data").mkdir()
    fault(doctor(spec), "images", "all 42 in", "mend them")
    for number in range(40):
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(pictures / f"{number}.png")
    fault(doctor(spec), "images", "2 files do not decode and are left out: 40.png, 41.png", "mend or remove them", "warning")
    (array,) = (tmp_path / "data").glob("prepared/*/train.npy")
    array.write_bytes(array.read_bytes()[:1000])
    fault(doctor(spec), "images", "cannot be read", f"remove {tmp_path / 'data' / 'prepared'}")


def test_a_data_folder_that_takes_nothing(doctor: Doctor) -> None:
    fault(doctor("--data-dir", "/proc"), "data folder", "cannot be written", "name another with --data-dir")


def test_missing_weights_and_nowhere_to_get_them(tmp_path: Path) -> None:
    needed = Needed("the weights", tmp_path / "w.pth", f"http://127.0.0.1:{free_port()}/w.pth", "2cf24dba", "do without")
    (found,) = data.needed(Question(Home(tmp_path), tmp_path, needed=(needed,)))
    assert (found.verdict, found.remedy.split(" ")[0]) == ("fault", "download")
    assert "or do without" in found.remedy
    (tmp_path / "w.pth").write_bytes(b"hello")  # SHA-256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
    (found,) = data.needed(Question(Home(tmp_path), tmp_path, needed=(needed,)))
    assert found.verdict == "ok"


def test_damaged_weights(doctor: Doctor, spec_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half of it")
    usual = {"model": "pconv_unet", "mask": {"kind": "irregular"}}
    found = doctor(spec_file(**usual, knobs=None))
    fault(found, "files of the model", f"is damaged: {file}", "perceptual_features: random")
    spec = tmp_path / "spec.yaml"
    fields = yaml.safe_load(spec.read_text())
    for knobs in ({"perceptual_features": "random"}, {"perceptual_weight": 0.0, "style_weight": 0.0}):
        spec.write_text(yaml.safe_dump(fields | {"knobs": knobs}))
        assert "files of the model" not in verdicts(doctor(str(spec)))


def test_an_mlflow_server_that_is_away(doctor: Doctor) -> None:
    fault(doctor("--store", f"http://127.0.0.1:{free_port()}"), "MLflow store", "does not answer", "start it (mlflow server)")


def test_another_web_server_than_mlflows(doctor: Doctor) -> None:
    with serving(Quiet) as address:
        fault(doctor("--store", address), "MLflow store", "an MLflow store must answer", "check the address")


def test_a_store_that_is_none(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"some text that is no database" * 100)
    fault(doctor(), "MLflow store", "is no SQLite database", "name another with --store")
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE cakes (name TEXT)")
    before = file.read_bytes()
    fault(doctor(), "MLflow store", "a database of something else: it holds cakes", "name another with --store")
    assert file.read_bytes() == before
    fault(doctor("--store", f"sqlite:///{tmp_path}/away/mlflow.db"), "MLflow store", "is not there", "mkdir -p")


def test_a_store_of_another_version_of_mlflow(doctor: Doctor, home: Home, store: Store, tmp_path: Path) -> None:
    assert home.store_file is not None
    with closing(sqlite3.connect(home.store_file)) as connection, closing(sqlite3.connect(tmp_path / "mlflow.db")) as copy:
        connection.backup(copy)
    assert verdicts(doctor())["MLflow store"] == "ok"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0's
    fault(doctor(), "MLflow store", "out-of-date database schema", "check the address or the file")


def test_a_folder_of_checkpoints_that_is_away(doctor: Doctor, spec_file: Callable[..., str], tmp_path: Path) -> None:
    found = doctor(spec_file(checkpoints={"storage": str(tmp_path / "nowhere")}))
    fault(found, "checkpoints", f"{tmp_path / 'nowhere'} is not (", "look at the address, the network and the credentials")
    found = doctor(spec_file(checkpoints={"storage": str(tmp_path)}))
    assert verdicts(found)["checkpoints"] == "ok"
    assert not list(tmp_path.glob(".probe-*"))


def test_a_study_whose_database_is_away(doctor: Doctor, spec_file: Callable[..., str]) -> None:
    address = f"postgresql://sweeper:secret@127.0.0.1:{free_port()}/optuna"
    found = doctor(spec_file(study=address))
    fault(found, "study", "a database that Optuna can use must answer", "check the address and that its driver is installed")
    assert "secret" not in json.dumps(found)


def test_a_token_that_others_can_read_or_that_is_not_used(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "user" / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("a" * 64)
    file.chmod(0o644)
    assert verdicts(doctor())["token"] == "warning"  # as long as nobody else's machine is concerned
    address = ["--address", f"http://127.0.0.1:{free_port()}"]
    found = doctor(*address)
    fault(found, "token", "can be read by others (mode 644)", f"chmod 600 {file}")
    fault(found, "token", "RAY_AUTH_MODE is not set, though a token is there", "export RAY_AUTH_MODE=token")
    file.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert verdicts(doctor(*address))["token"] == "ok"
    file.unlink()
    fault(doctor(*address), "token", "there is none in", "ray get-auth-token --generate")


@pytest.mark.parametrize("kind", ["http://127.0.0.1:{}", "127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_no_cluster_at_the_address(kind: str, doctor: Doctor) -> None:
    check = "job server" if kind.startswith("http") else "cluster"
    fault(doctor("--address", kind.format(free_port())), check, "nothing answers at", "check the address")


def test_a_web_server_that_is_no_job_server(doctor: Doctor) -> None:
    with serving(Quiet) as address:
        fault(doctor("--address", address), "job server", "is no job server of Ray's (status 404)", "check the address and its port")


def test_an_address_that_takes_calls_and_never_answers(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.doctor.ray_access.ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fault(
            doctor("--address", f"http://127.0.0.1:{listener.getsockname()[1]}"),
            "job server",
            "does not answer as a web server does",
            "check the address",
        )


def test_a_check_that_breaks_or_hangs_is_a_fault_that_says_so(tmp_path: Path) -> None:
    question, forever = Question(Home(tmp_path), tmp_path), threading.Event()

    def breaks(asked: Question) -> list[Finding]:
        raise ZeroDivisionError("division by zero")

    def hangs(asked: Question) -> list[Finding]:
        forever.wait()
        return []

    (found,) = bounded(Check("a", breaks), question)
    assert (found.verdict, found.found) == ("fault", "the check itself broke: ZeroDivisionError (division by zero)")
    (found,) = bounded(Check("b", hangs, 0.05, "unplug it"), question)
    assert (found.verdict, found.found, found.remedy) == ("fault", "no answer within 0.05 s", "unplug it")
    forever.set()


def test_what_the_nodes_answers_mean(tmp_path: Path) -> None:
    question = Question(Home(tmp_path), tmp_path)
    room = {"folder": str(tmp_path), "free": 50 * 2**30, "total": 100 * 2**30, "free_files": None}

    def node(name: str, **changes: Any) -> dict[str, Any]:
        here = {"python": ".".join(map(str, sys.version_info[:3]))} | {name: nodes.installed(name) for name in nodes.PACKAGES}
        usual = {
            "node": name, "id": name, "resources": {"CPU": 8.0, "GPU": 1.0}, "versions": here, "home_variable": None, "marked": True,
            "folders": dict.fromkeys(("home", "data", "temporary", "shared"), room), "torch": {"gpus": ["A100"], "cuda": "13.2"},
            "clock_s": 0.01, "clock_error_s": 0.005,
        }  # fmt: skip
        return usual | changes

    def judged(*answers: dict[str, Any]) -> list[tuple[str, str, str]]:
        found = nodes.judged(question, list(answers), marked=True)
        return [(each.check, each.node, each.verdict) for each in found if each.verdict != "ok"]

    assert judged(node("a"), node("b")) == []
    assert judged(node("a"), node("b", clock_s=-30.0)) == [("clock", "b", "warning")]
    assert judged(node("a"), node("b", clock_s=301.0)) == [("clock", "b", "fault")]
    assert judged(node("a"), node("b", clock_s=3.0, clock_error_s=2.5)) == []  # that is not known so exactly
    assert judged(node("a"), node("b", torch={"gpus": [], "cuda": None})) == [("torch and CUDA", "b", "fault")]
    assert judged(node("a"), node("b", marked=False)) == [("home", "b", "fault")]
    assert judged(node("a"), {"node": "b", "id": "b", "resources": {}, "error": "GetTimeoutError"}) == [("nodes", "b", "fault")]
    twins = nodes.judged(question, [node("a"), node("b")], marked=True)
    assert ("versions", "a, b") in [(each.check, each.node) for each in twins]
