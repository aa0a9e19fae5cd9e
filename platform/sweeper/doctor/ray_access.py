"""What Ray needs to let someone in: its token, and a job server that takes it."""

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import requests

from sweeper.doctor.data import refused
from sweeper.doctor.finding import Finding, Question, Verdict
from sweeper.provenance import installed

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
ANSWER_S = 20.0
EXPORT = f"export {MODE}=token before ray start, on the head, on every node and here: what Ray does without it differs between them"
SAME_TOKEN = "copy the head's ~/.ray/auth_token to this machine's and set its mode: chmod 600 ~/.ray/auth_token"


def token(question: Question) -> list[Finding]:
    """Whether the token is there, is used, and is nobody else's to read. On this machine alone it is no more than a warning."""
    mode, file = os.environ.get(MODE), token_file()
    wanted = question.address is not None or mode == "token"
    severity: Verdict = "fault" if wanted else "warning"
    there = TOKEN in os.environ or file.is_file()
    findings = []
    if mode is None and there:
        findings.append(Finding("token", f"{MODE} is not set, though a token is there", severity, EXPORT))
    if mode == "token" and not there:
        remedy = f"copy the head's to {file}, or make one for a new cluster: ray get-auth-token --generate, then chmod 600 {file}"
        findings.append(Finding("token", f"{MODE} is token, but there is none in {file} nor in {TOKEN}", "fault", remedy))
    if question.address is not None and (mode == "disabled" or (mode is None and not there)):
        findings.append(Finding("token", "none: whoever reaches the cluster runs programs on it", "warning", EXPORT))
    if TOKEN not in os.environ and file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        text = f"{file} can be read by others (mode {stat.S_IMODE(file.stat().st_mode):o}), who could run programs as you"
        findings.append(Finding("token", text, severity, f"chmod 600 {file}"))
    if not findings and there:
        findings.append(Finding("token", f"in {TOKEN}" if TOKEN in os.environ else f"{file}, readable by you alone"))
    return findings or [Finding("token", "none, as a sweep on this machine needs none")]


def token_file() -> Path:
    """Where the token is looked for."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token").expanduser()


def job_server(question: Question) -> list[Finding]:
    """Whether a job server answers, takes the token, and runs the Ray that is installed here."""
    address = question.job_server
    if address is None:
        return []
    parts = urlsplit(address)
    reason = refused(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    if reason:
        remedy = "start the cluster, check the address (http://HEAD:8265) and what lies between, or open a tunnel to the head"
        return [Finding("job server", f"nothing answers at {address} ({reason})", "fault", remedy)]
    secret = os.environ.get(TOKEN) or (token_file().read_text().strip() if token_file().is_file() else "")
    try:
        answer = requests.get(f"{address}/api/version", headers={"Authorization": f"Bearer {secret}"} if secret else {}, timeout=ANSWER_S)
    except requests.RequestException as error:
        return [
            Finding("job server", f"{address} does not answer as a web server does ({type(error).__name__})", "fault", "check the address")
        ]
    if answer.status_code in (401, 403):
        return [Finding("job server", f"{address} refuses the token ({answer.status_code})", "fault", SAME_TOKEN)]
    try:
        there = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        return [
            Finding(
                "job server",
                f"{address} is no job server of Ray's (status {answer.status_code})",
                "fault",
                "check the address and its port",
            )
        ]
    here = installed("ray")
    if there != here:
        return [
            Finding("job server", f"{address} runs Ray {there}, here is {here}", "fault", f"install ray=={there} here, or {here} there")
        ]
    return [Finding("job server", f"{address}, Ray {there}")]
