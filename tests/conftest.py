"""Fixtures of the whole suite: a data folder that is thrown away, and the real image sets where they are there.

The suite may run in several processes (`-n 2 --dist loadfile`): a file's tests stay together, so that what they share is made once, and
each process that needs the local Ray has one of its own.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    """In one of several processes PyTorch computes with one thread: more than there are cores make all of them slow."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `ImageSource.data_dir` gets, so that no test writes to the user's home and sets are prepared once a run."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def real_data_dir() -> Callable[[str], Path]:
    """Gives the folder of real images for a set's name ("cifar10.npz", "faces", "animals", "scenes"), or skips the test."""
    folder = Path(os.environ.get("SWEEP_DATA_DIR") or "~/.cache/inpaint-sweeps").expanduser()

    def holding(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"real images {name} are not in {folder} (see SWEEP_DATA_DIR)")
        return folder

    return holding
