"""What may not happen: an open port, code in a checkpoint, a file outside the folders, a password on the screen.

That no file and no store holds a secret is in `test_look`, beside the sweep that it takes.
"""

import os
import pickle
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sweeper.home import Home
from sweeper.spec import Spec
from sweeper.tracking import Store
from sweeper.validation import validate
from tests.sweeper.conftest import Said
from tests.sweeper.drivers import COMMAND, wait_for
from trainables.errors import CheckpointError

LISTENS, LOOPBACK = "0A", "0100007F"


def listeners(port: int) -> list[str]:
    """The addresses, as the kernel writes them, that anything listens on at a port."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, number = local.split(":")
            if state == LISTENS and int(number, 16) == port:
                found.append(address)
    return found


def test_the_ui_listens_on_this_machine_alone(store: Store, home: Home, driver_environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "said.txt", "wb") as said:
        process = subprocess.Popen(
            [*COMMAND, "ui", "--home", str(home.root), "--port", str(port)],
            env=driver_environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        assert wait_for(lambda: bool(listeners(port)) or process.poll() is not None)
        assert listeners(port) == [LOOPBACK], (tmp_path / "said.txt").read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


def test_a_checkpoint_that_holds_code_is_refused_and_runs_nothing(rooms: Any, tiny_spec: Callable[..., Spec], tmp_path: Path) -> None:
    from sweeper.driver import session_request

    spec = tiny_spec()
    knobs = dict(spec.settings("cnn_autoencoder"))
    session = rooms.open_session(session_request(spec, "cnn_autoencoder", knobs, 0))
    session.save(tmp_path)
    (checkpoint,) = tmp_path.glob("*.pt")
    exploded = tmp_path / "exploded"
    for write in (torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))):
        write({"state": Bomb(exploded)}, checkpoint)
        with pytest.raises(CheckpointError):
            session.load(tmp_path)
        assert not exploded.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", ".x", "a\n", "a'b", ""])
def test_a_specs_name_cannot_leave_the_folder(name: str, tiny: Callable[..., dict[str, Any]], rooms: Any) -> None:
    with pytest.raises(ValueError, match="name: "):
        validate(tiny(name), rooms)


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", ".x", "a\n", "a'b", ""])
def test_no_name_makes_a_folder_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a sweep's name must be letters"):
        Home(tmp_path).folder(name)


@pytest.mark.parametrize("command", [("pictures", "looked"), ("samples", "looked"), ("export", "looked")])
@pytest.mark.parametrize("to", ["../out", "/tmp/../out"])
def test_no_output_goes_up_by_dots(command: tuple[str, ...], to: str, sweep: Callable[..., Said]) -> None:
    said = sweep(*command, "--to", f"{to}{'.csv' if command[0] == 'export' else '.png'}")
    assert said.code == 2
    assert "without '..'" in " ".join(said.err.split())


def test_tags_of_a_store_name_no_files(store: Store, home: Home, sweep: Callable[..., Said], tmp_path: Path) -> None:
    """A store may come from a stranger: a trial's name in it is shown and exported, and leads nowhere."""
    parent = store.begin("strange", "sweep", None, None, {"sweep.objective": "l2_hole", "sweep.mode": "min"}, {})
    store.begin("strange", "search", "../../../evil", parent, {"sweep.model": "../../evil"}, {})
    before = sorted(home.root.rglob("*evil*")), sorted(tmp_path.iterdir())
    options = ("--home", str(home.root))
    assert sweep("show", "strange", *options).code == 0
    assert sweep("show", "strange", "--trial", "../../../evil", *options).code == 0
    assert sweep("status", "strange", *options).code == 0
    assert (sorted(home.root.rglob("*evil*")), sorted(tmp_path.iterdir())) == before
    store.delete("strange", print)  # the store is shared, and a sweep that seems to run would be listed by others


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("postgresql://me:pass@db:5432/studies?sslpassword=pass", "postgresql://masked@db:5432/studies?masked"),
        ("sqlite:////data/studies.db", "sqlite:////data/studies.db"),
    ],
)
def test_a_studys_password_is_masked(address: str, kept: str, tiny_spec: Callable[..., Spec], tmp_path: Path) -> None:
    spec = tiny_spec(study=address)
    assert yaml.safe_load(spec.to_public_yaml())["study"] == kept
    spec.write(tmp_path / "spec.yaml")
    assert yaml.safe_load((tmp_path / "spec.yaml").read_text())["study"] == address
    assert stat.S_IMODE((tmp_path / "spec.yaml").stat().st_mode) & 0o077 == (0 if "pass" in address else 0o044)
