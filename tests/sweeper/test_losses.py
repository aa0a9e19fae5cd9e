"""Telling a node that was lost from a crash, by what Ray 2.60 wrote where nodes and workers were killed."""

import pytest

from sweeper.losses import Losses, losses

HERE, AWAY = "192.0.2.2", "192.0.2.3"
DIED = f"""The actor died unexpectedly before finishing this task.
\tclass_name: SweepTrial
\tactor_id: 8538bc030b3a52a20901330d01000000
\tpid: 18320
\tnamespace: a638d658-6d82-4868-93e4-6f48000b8bee
\tip: {HERE}
"""
NODE = "The actor died because its node has died. Node Id: 355d383a3eab2d1354642efd75226166d1f498610a56f05399cb677b\n"
NODE_KILLED = (
    "The actor 0ea24b2ae87ad1a0ebed152d01000000 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed "
    "rpc_code: 14. The task may or may not have been executed on the actor."
)
NODE_SHUT_DOWN = DIED + NODE + "\tthe actor's node was terminated expectedly: received SIGTERM"
NODE_PREEMPTED = DIED + NODE + "\tthe actor's node was preempted: Node received SIGTERM; draining before shutdown."
WORKER_KILLED = DIED + (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits "
    "with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer due to high "
    "memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
BUG = "ray::SweepTrial.train() (pid=18320, ip=192.0.2.3)\n  ...\nRuntimeError: a bug in the model"


@pytest.mark.parametrize("text", [NODE_KILLED, NODE_SHUT_DOWN, NODE_PREEMPTED])
def test_a_node_that_is_gone_is_no_crash(text: str) -> None:
    assert losses([text], {HERE}) == Losses(1, 0, latest_is_node=True)


@pytest.mark.parametrize("text", [WORKER_KILLED, BUG])
def test_a_worker_that_dies_on_a_node_that_stays_is_a_crash(text: str) -> None:
    assert losses([text], {HERE}) == Losses(0, 1, latest_is_node=False)


def test_a_worker_that_died_just_before_its_node_was_lost_with_it() -> None:
    assert losses([WORKER_KILLED.replace(HERE, AWAY), WORKER_KILLED], {HERE}) == Losses(1, 1, latest_is_node=False)


def test_three_crashes_are_mended_and_fifty_nodes_however_they_are_mixed() -> None:
    assert not losses([WORKER_KILLED] * 3 + [NODE_KILLED] * 50, {HERE}).too_many
    assert losses([WORKER_KILLED] * 4, {HERE}).too_many
    assert losses([NODE_KILLED] * 51, {HERE}).too_many


def test_only_a_node_that_was_lost_is_worth_a_line() -> None:
    assert "its node is gone, and it goes on from its last checkpoint on another one (loss 2 of at most 50)" in (
        losses([NODE_KILLED, WORKER_KILLED, NODE_SHUT_DOWN], {HERE}).note
    )
    assert losses([NODE_KILLED, WORKER_KILLED], {HERE}).note == ""
