"""The table of checks, and going through it."""

from collections.abc import Iterator

from sweeper.doctor import data, disk, interpreter, nodes, ray_access, store
from sweeper.doctor.finding import Check, Finding, Question, bounded

CHECKS = (
    Check("Python", interpreter.python),
    Check("module platform", interpreter.standard_platform),
    Check("packages", interpreter.packages),
    Check("torch and CUDA", interpreter.torch, 120, "a driver that hangs is often cured by a restart of the machine; nvidia-smi shows it"),
    Check("home", disk.home, late="the folder's disk does not answer: look at its mount (mount, df), or name another with --home"),
    Check("Ray's temporary folder", disk.ray_temporary),
    Check("shared memory", disk.shared_memory),
    Check("data folder", data.folder, late="the folder's disk does not answer: look at its mount, or name another with --data-dir"),
    Check("images", data.images, 600, "prepare them once beforehand: sweep run SPEC --dry-run"),
    Check("files of the model", data.needed, 60),
    Check("MLflow store", store.tracking, 60, "start the store, or name another with --store"),
    Check("study", store.study, 60, "start the database, check the address and what lies between, or leave study out"),
    Check("checkpoints", store.checkpoints, 60, "check the address, the network and the credentials, or leave checkpoints.storage out"),
    Check("token", ray_access.token),
    Check("job server", ray_access.job_server, 60, "check the address; Ray's job server listens at http://HEAD:8265"),
    Check("cluster", nodes.cluster, nodes.LIMIT_S + 15, "look at the head: ray status"),
)


def examine(question: Question) -> Iterator[Finding]:
    """Everything that the checks find, in the table's order."""
    for check in CHECKS:
        yield from bounded(check, question)
