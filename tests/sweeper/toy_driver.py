"""A sweep of the toy in a process of its own, on a Ray with GPUs that are not there or on nodes that come and go: for test_spare_nodes.py.

Takes one JSON text: "home", "spec", and "address" of a cluster or "ray", what `ray.init` takes for a local one. Prints a line of JSON for
each event.
"""

import json
import sys
from pathlib import Path
from typing import Any

from toy_gated import rooms

import sweeper.ray_session  # noqa: F401 - its environment variables must be set before Ray is imported
from sweeper.home import Home
from sweeper.runner import run
from sweeper.validation import validate


class PrintedProgress:
    """Implements `sweeper.recorder.Progress`."""

    def stage(self, title: str, total: int, done: int) -> None:
        say("stage", title=title, total=total, done=done)

    def started(self, trial: str) -> None:
        say("started", trial=trial)

    def advanced(self, trial: str, step: int, value: float) -> None:
        say("advanced", trial=trial, step=step)

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        say("ended", trial=trial, state=state, reason=reason)

    def note(self, text: str) -> None:
        say("note", text=text)


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def main(asked: dict[str, Any]) -> None:
    toy = rooms()
    if "ray" in asked:
        import ray

        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **asked["ray"])
    outcome = run(
        validate(asked["spec"], toy), toy, Home(Path(asked["home"])), PrintedProgress(), spec_name="toy", address=asked.get("address")
    )
    for record in outcome.records:
        say("record", trial=record.trial, state=record.state, reason=record.reason, results=record.results)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
