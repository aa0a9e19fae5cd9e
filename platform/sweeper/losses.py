"""Why a worker was lost: the trial's own crash, of which each trial has a few, or a node that is gone, which is no fault of the trial's."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

WORKER_RESTARTS = 3
NODE_LOSSES = 50  # of one trial; a cluster that loses more is not worth waiting for
# as Ray says it: the node is known to be dead, or its worker can't be reached any more and nobody has said yet that it has crashed
_NODE = re.compile(r"its node has died|the actor's node was|is unavailable: The actor is temporarily unavailable")
_ADDRESS = re.compile(r"^\s*ip: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Losses:
    """How often a trial has lost its worker.

    Attributes:
        nodes: with the node.
        crashes: alone.
        latest_is_node: whether the last one was lost with its node.
    """

    nodes: int
    crashes: int
    latest_is_node: bool

    @property
    def too_many(self) -> bool:
        """Whether the trial is not worth another worker."""
        return self.nodes > NODE_LOSSES or self.crashes > WORKER_RESTARTS

    @property
    def note(self) -> str:
        """What to say of the last one; "" = nothing."""
        if not self.latest_is_node or self.too_many:
            return ""
        return f"its node is gone, and it goes on from its last checkpoint on another one (loss {self.nodes} of at most {NODE_LOSSES})"


def losses(failures: Sequence[str], nodes_there: Collection[str]) -> Losses:
    """Tells nodes that were lost from crashes.

    A node that is shut down may end its workers before it is known to be gone: a crash counts as a lost node too once its node is away.

    Args:
        failures: what Ray wrote of each, in order; one at least.
        nodes_there: addresses of the nodes that are there now.
    """
    with_node = [_NODE.search(text) is not None or _is_away(text, nodes_there) for text in failures]
    return Losses(sum(with_node), len(failures) - sum(with_node), with_node[-1])


def _is_away(text: str, nodes_there: Collection[str]) -> bool:
    """Whether a failure names the address of a node that is not there any more."""
    address = _ADDRESS.search(text)
    return address is not None and address[1] not in nodes_there
