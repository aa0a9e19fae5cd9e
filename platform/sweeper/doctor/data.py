"""The images that a spec names, the folder they lie in, and the files that its models need besides."""

import hashlib
import socket
from urllib.parse import urlsplit

from sweeper.doctor.disk import GIB, cannot_write, space_of
from sweeper.doctor.finding import Finding, Needed, Question, told

REACH_S = 5.0
BROKEN = (ValueError, OSError, EOFError, KeyError)  # what NumPy and JSON raise for a file that was cut off


def folder(question: Question) -> list[Finding]:
    """Whether the data folder is there and can be written: prepared arrays lie in it too."""
    place = question.data_folder
    if not place.exists() and not question.data_named:
        return [Finding("data folder", f"{place}, made when it is needed")]
    if not place.is_dir():
        kind = "is no folder" if place.exists() else "is not there"
        remedy = f"make it (mkdir -p {place}), mount its disk, or name another with --data-dir or SWEEP_DATA_DIR"
        return [Finding("data folder", f"{place} {kind}", "fault", remedy)]
    refused = cannot_write(place)
    if refused:
        remedy = "images are prepared there once: give yourself the right, or name another with --data-dir"
        return [Finding("data folder", f"{place} cannot be written ({refused})", "fault", remedy)]
    return [Finding("data folder", f"{place}, {space_of(place).free / GIB:.1f} GiB free")]


def images(question: Question) -> list[Finding]:
    """Whether the spec's images can be opened; they are prepared where that was not done before."""
    spec, rooms = question.spec, question.rooms
    if spec is None or rooms is None:
        return []
    try:
        facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    except rooms.user_errors as error:
        return [told("images", error)]
    except BROKEN as error:
        remedy = f"the prepared copy is damaged: remove {question.data_folder / 'prepared'}, it is made anew"
        return [Finding("images", f"{spec.data.name} cannot be read ({type(error).__name__}: {error})", "fault", remedy)]
    found = f"{spec.data.name}: " + ", ".join(f"{count} {split}" for split, count in facts.counts.items())
    if facts.skipped:
        names = ", ".join(facts.skipped[:3]) + (", ..." if len(facts.skipped) > 3 else "")
        text = f"{found}; {len(facts.skipped)} files do not decode and are left out: {names}"
        return [Finding("images", text, "warning", "mend or remove them")]
    return [Finding("images", found)]


def needed(question: Question) -> list[Finding]:
    """Whether the large files of the spec's models are there and whole, or can be downloaded."""
    return [_needed(each) for each in question.needed]


def _needed(each: Needed) -> Finding:
    remedy = f"download {each.url} to {each.path}, or {each.otherwise}"
    if not each.path.is_file():
        reason = _unreachable(each.url)
        if reason:
            return Finding("files of the model", f"{each.what} is not there, nor its source ({reason})", "fault", remedy)
        return Finding("files of the model", f"{each.what} is not there", "warning", f"the first trial downloads it; or {remedy}")
    with open(each.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(each.sha256):
        return Finding("files of the model", f"{each.what} is damaged: {each.path}", "fault", f"remove it and {remedy}")
    return Finding("files of the model", f"{each.what}: {each.path}")


def _unreachable(url: str) -> str:
    """Why the server of an address cannot be reached; empty where it answers."""
    parts = urlsplit(url)
    return refused(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def refused(host: str, port: int) -> str:
    """Why nothing answers at a port; empty where something does."""
    try:
        with socket.create_connection((host, port), timeout=REACH_S):
            return ""
    except (OSError, UnicodeError) as error:
        return str(error)
