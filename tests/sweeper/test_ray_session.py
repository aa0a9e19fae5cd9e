"""Ray that starts beside the driver's own preparations: its workers are prepared and taken; what fails is told where it is waited for."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import ray

from sweeper import ray_session
from sweeper.errors import ResourceError

DRIVER = """
import json, os, sys, tempfile
from sweeper.ray_session import connected, ray_ahead, started_here

def looked_at(config):
    import ray.tune
    ray.tune.report({"prepared": "imaplib" in sys.modules, "own_environment": "PL_DISABLE_FORK" in os.environ})

with ray_ahead(None, ("imaplib",)):
    import ray.tune
    from sweeper.prepared_workers import prepared_workers_taken
    with connected(None), prepared_workers_taken():
        local = started_here()
        run = ray.tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0)
        found = ray.tune.Tuner(looked_at, run_config=run).fit()[0].metrics

import psutil  # Ray brings it

left = len(psutil.Process().children(recursive=True))
told = {"local": local, "prepared": found["prepared"], "own": found["own_environment"], "left": left, "up": ray.is_initialized()}
print(json.dumps(told))
"""


def test_a_trial_runs_in_a_worker_that_was_prepared_and_ray_ends_with_the_with(driver_environment: Mapping[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, env=dict(driver_environment), check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"local": True, "prepared": True, "own": False, "left": 0, "up": False}


def test_ray_that_does_not_come_up_is_told_to_whoever_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, **options: Any) -> None:
        raise ConnectionError(f"no GCS at {address}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with ray_session.ray_ahead("head:6379"):
        for _ in range(2):
            with pytest.raises(ResourceError, match="must answer at head:6379, but none does"), ray_session.connected("head:6379"):
                pass
        assert not ray_session.started_here()


@pytest.mark.usefixtures("local_ray")
def test_a_ray_that_is_there_is_used_and_left() -> None:
    with ray_session.ray_ahead(None), ray_session.connected(None):
        assert not ray_session.started_here()
    assert ray.is_initialized()
