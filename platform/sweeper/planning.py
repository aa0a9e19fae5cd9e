"""What a sweep would ask of each part of a cluster, computed from measured figures: which part breaks first, and at how many nodes.

Pure arithmetic. A figure of one trial (`Work`) and what each part can do (`Capacity`) are measured elsewhere; a load is a rate that
follows from them, and its share is the load over what the part can do. Where a share is above 1 the part cannot keep up.

The driver is one process whose loop hears of every result: Ray Tune's own handling, the journal and the study follow one another there, so
that their seconds add up. MLflow is written by another thread: it sends a run everything that waits for it in one call, at most
`VALUES_A_CALL` values. Where the store is slow, calls become fewer and larger; what stays is a begin and an end a trial, and the values.

Source: of `PINGS_A_NODE_S`, Ray's health_check_period_ms of 3,000; of `TESTED_NODES`, Ray's release/benchmarks/README.md.
"""

import math
from dataclasses import dataclass

VALUES_A_CALL = 1000
PINGS_A_NODE_S = 1 / 3
TESTED_NODES = 250
MOST_NODES = 2**20
START_S = 600.0  # what the first reading of the data may take


@dataclass(frozen=True)
class Work:
    """What one trial does.

    Attributes:
        step_s: seconds from one result to the next, on the node that trains.
        steps: results a trial.
        values: numbers a result.
        checkpoint_bytes: size of one checkpoint; each step writes one.
        keep: checkpoints of a trial that stay.
        data_bytes: size of the prepared arrays, which every node reads once.
        trials: of the whole sweep.
    """

    step_s: float
    steps: float
    values: int
    checkpoint_bytes: int
    keep: int
    data_bytes: int
    trials: int


@dataclass(frozen=True)
class Capacity:
    """What each part takes, in seconds where nothing else is said.

    Attributes:
        tune_result_s: the driver's CPU for one result in Ray Tune's loop.
        journal_result_s: writing one result down.
        journal_trial_s: writing a trial's start and end down.
        study_trial_s: asking for a configuration and telling its end, in an empty study.
        study_growth_s: by how much that grows with each trial that the study holds.
        study_result_s: reporting one intermediate value.
        store_trial_s: beginning and closing a run in MLflow's store.
        store_call_s: a call that sends metrics, whatever it holds.
        store_value_s: what each of its values adds.
        head_calls_s: small requests a second that Ray's head (GCS) answers.
        storage_bytes_s: bandwidth of the shared storage, in bytes a second.
        free_bytes: room for checkpoints.
    """

    tune_result_s: float
    journal_result_s: float
    journal_trial_s: float
    study_trial_s: float
    study_growth_s: float
    study_result_s: float
    store_trial_s: float
    store_call_s: float
    store_value_s: float
    head_calls_s: float
    storage_bytes_s: float
    free_bytes: int


@dataclass(frozen=True)
class Load:
    """What one part bears.

    Attributes:
        part: its name.
        amount: the load, in `unit`.
        unit: of the load.
        share: of what the part can do; above 1 it cannot keep up.
        remedy: what helps.
        breaks: False for a part of another one, and for what only comes late or is untested: it ends no sweep.
    """

    part: str
    amount: float
    unit: str
    share: float
    remedy: str
    breaks: bool = True


@dataclass(frozen=True)
class Column:
    """All loads at one number of nodes."""

    nodes: int
    at_once: int
    results_s: float
    trials_s: float
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Break:
    """Where a part cannot keep up any more: its load at the least number of nodes at which that is so."""

    load: Load
    nodes: int


def plan(work: Work, can: Capacity, nodes: int, per_node: int) -> Column:
    """What the parts bear with so many nodes, every place taken by a trial.

    Args:
        work: one trial.
        can: the parts.
        nodes: how many.
        per_node: trials on a node at the same time.
    """
    at_once = nodes * per_node
    results_s = at_once / work.step_s
    trials_s = results_s / work.steps
    loads = (*_driver(work, can, results_s, trials_s, at_once), *_store(work, can, results_s, trials_s))
    loads = (*loads, *_storage(work, can, results_s, nodes, at_once), *_head(can, nodes))
    return Column(nodes, at_once, results_s, trials_s, loads)


def _driver(work: Work, can: Capacity, results_s: float, trials_s: float, at_once: int) -> tuple[Load, ...]:
    """The driver's one loop, and what it consists of."""
    held = max(work.trials, at_once)
    tune = results_s * can.tune_result_s
    journal = results_s * can.journal_result_s + trials_s * can.journal_trial_s
    study = results_s * can.study_result_s + trials_s * (can.study_trial_s + can.study_growth_s * held)
    fewer = "let results be fewer (a larger budget.step_images)"
    several = "split the sweep into several, each with a driver of its own, joined by warm_start"
    parts = (
        Load("  Ray Tune's loop", results_s, "results/s", tune, f"{fewer}, or {several}", breaks=False),
        Load("  journal", results_s + trials_s, "records/s", journal, f"put the home on a faster disk, or {fewer}", breaks=False),
        Load(
            "  study",
            results_s + trials_s,
            "operations/s",
            study,
            "search.algorithm: random or sobol, or study: on a database nearby",
            breaks=False,
        ),
    )
    worst = max(parts, key=lambda part: part.share)
    return (Load("driver's loop", tune + journal + study, "s/s", tune + journal + study, worst.remedy), *parts)


def _store(work: Work, can: Capacity, results_s: float, trials_s: float) -> tuple[Load, ...]:
    """MLflow with a call a result, and with the calls that it can be brought down to."""
    value_s = can.store_value_s + can.store_call_s / VALUES_A_CALL
    least = trials_s * can.store_trial_s + results_s * work.values * value_s
    each = trials_s * can.store_trial_s + results_s * (can.store_call_s + work.values * can.store_value_s)
    remedy = "an MLflow server on PostgreSQL near the head, with more workers; fewer results (a larger budget.step_images)"
    late = "nothing breaks: metrics are sent together and are seen later"
    return (
        Load("MLflow", results_s * work.values, "values/s", least, remedy),
        Load("  a call a result", results_s, "calls/s", each, late, breaks=False),
    )


def _storage(work: Work, can: Capacity, results_s: float, nodes: int, at_once: int) -> tuple[Load, ...]:
    """Checkpoints as they are written and as they stay, and the first reading of the data."""
    written = results_s * work.checkpoint_bytes
    kept = max(work.trials, at_once) * work.keep * work.checkpoint_bytes
    read_s = nodes * work.data_bytes / can.storage_bytes_s
    mib, gib = 2**20, 2**30
    bandwidth = "shared storage with more bandwidth, or checkpoints on object storage; a larger budget.step_images writes fewer"
    room = "checkpoints: {keep: 1}, quota_gib, best; or a larger disk"
    near = "copies on the nodes' own disks (SWEEP_NODE_CACHE), or storage with more bandwidth"
    return (
        Load("checkpoints written", written / mib, "MiB/s", written / can.storage_bytes_s, bandwidth),
        Load("checkpoints kept", kept / gib, "GiB", kept / can.free_bytes if can.free_bytes else math.inf, room),
        Load("data to every node", read_s, f"s of {START_S:g} s", read_s / START_S, near),
    )


def _head(can: Capacity, nodes: int) -> tuple[Load, ...]:
    """Ray's head: it asks every node whether it lives."""
    pings = nodes * PINGS_A_NODE_S
    own = "a head that runs no trials (ray start --head --num-cpus=0), RAY_health_check_period_ms larger"
    untested = f"Ray itself is tested with {TESTED_NODES} nodes: try it before you need it"
    return (
        Load("Ray's head", pings, "pings/s", pings / can.head_calls_s, own),
        Load("  nodes tested by Ray", nodes, "nodes", nodes / TESTED_NODES, untested, breaks=False),
    )


def breaks(work: Work, can: Capacity, per_node: int) -> list[Break]:
    """Every part with the least number of nodes at which it breaks, the first one first; a part that never does is left out."""

    def load(part: str, nodes: int) -> Load:
        return next(each for each in plan(work, can, nodes, per_node).loads if each.part == part)

    found = []
    for part in (each.part for each in plan(work, can, 1, per_node).loads if each.breaks):
        low, high = 0, 1  # shares grow with the nodes; the study's grows faster than they do
        while load(part, high).share <= 1 and high < MOST_NODES:
            low, high = high, high * 2
        if load(part, high).share <= 1:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if load(part, middle).share <= 1 else (low, middle)
        found.append(Break(load(part, high), high))
    return sorted(found, key=lambda each: each.nodes)


def verdict(nodes: int, found: list[Break]) -> str:
    """One sentence on a number of nodes: what breaks first, at how many, and the remedy.

    Args:
        nodes: how many.
        found: as `breaks` gives it.
    """
    told = f"{nodes:,} node{'s' if nodes > 1 else ''}"
    if not found:
        return f"{told}: holds; nothing breaks below {MOST_NODES:,} nodes"
    first, *others = found
    if first.nodes > nodes:
        return f"{told}: holds; {first.load.part} is the first to break, at {first.nodes:,} nodes; then: {first.load.remedy}"
    more = ", ".join(f"{each.load.part} at {each.nodes:,}" for each in others if each.nodes <= nodes)
    also = f", then {more}" if more else ""
    return f"{told}: {first.load.part} breaks first, at {first.nodes:,} nodes{also}; remedy: {first.load.remedy}"
