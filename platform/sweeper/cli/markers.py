"""What a job on a cluster tells the client that has sent it: single lines of its log, each a JSON document behind a mark."""

import json
import os
from collections.abc import Iterator
from typing import Any

from sweeper.provenance import JOB_VARIABLE

MARK = "@sweep "


def say(kind: str, **fields: Any) -> None:
    """Tells the client something; nothing where there is none."""
    if JOB_VARIABLE in os.environ:
        print(f"{MARK}{json.dumps({'said': kind} | fields)}", flush=True)


def said(log: str, kind: str) -> dict[str, Any] | None:
    """The first thing of a kind that a log tells; None where it does not."""
    return next((document for document in _documents(log) if document["said"] == kind), None)


def plain(log: str, after: str = "") -> str:
    """What a log holds beside the marks; only what follows the first thing of a kind, where one is named and told."""
    lines = log.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith(MARK) and f'"said": "{after}"' in line), -1)
    kept = [line for number, line in enumerate(lines) if number > start and not line.startswith(MARK)]
    return "\n".join(kept).strip()


def _documents(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if line.startswith(MARK):
            yield json.loads(line.removeprefix(MARK))
