"""The figures of one trial that a plan starts from: of a finished sweep, or measured here on one step of a spec's first configuration."""

import math
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from sweeper.checkpoints import place_of, size_of
from sweeper.cli.options import set_data_dir
from sweeper.cli.rooms import data_bytes, measured_epoch, open_session
from sweeper.driver import session_request
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import ENDED, read_trials
from sweeper.planning import Work
from sweeper.rooms import Rooms, SessionRequest
from sweeper.space import first_configuration, resolve
from sweeper.spec import COSTS, SEED, Spec
from sweeper.spec_file import read_spec
from sweeper.validation import validate

ENGINES_VALUES = {"wall_s", *COSTS}  # what `SweepTrial` adds to a session's metrics


def spec_to_plan(where: str, rooms: Rooms, data_dir: str | None) -> Spec:
    """A spec, validated, with the data folder that the user has named. Raises SpecError."""
    fields = read_spec(where)
    set_data_dir(fields, data_dir)
    return validate(fields, rooms)


def work_of_a_sweep(spec: Spec, home: Home) -> tuple[Work, str]:
    """A trial as a finished sweep's journal and checkpoints tell of it, and where that is from.

    Raises:
        SweepStateError: no trial of it has ended with a result.
    """
    folder = home.folder(spec.name)
    ended = [each for each in read_trials(folder).values() if each.state in ENDED and each.results and each.source is None]
    trained = [each for each in ended if each.results[max(each.results)].get("wall_s")]
    if not trained:
        raise SweepStateError(
            f"a plan needs a sweep with a trial that was trained to its end, but {spec.name!r} has none; name another, or give its SPEC"
        )
    step_s = statistics.median(each.results[max(each.results)]["wall_s"] / len(each.results) for each in trained)
    steps = statistics.mean(len(each.results) for each in trained)
    values = max(len(result) for each in trained for result in each.results.values())
    place = place_of(home, spec.name)
    sizes = [place.size(name) for each in trained for name in place.names(each.trial)]
    size = int(statistics.mean(sizes)) if sizes else 0
    work = Work(step_s, steps, values, size, spec.checkpoints.keep, data_bytes(spec.data.model_dump()), spec.budget.trials)
    return work, f"the median of {len(trained)} trials of {spec.name}"


def work_of_a_spec(spec: Spec, rooms: Rooms, step_s: float | None) -> tuple[Work, str]:
    """A trial as one measured epoch of the first model's first configuration tells of it, and where that is from.

    Args:
        spec: validated.
        rooms: the neighbours.
        step_s: seconds a step where the user knows better; None = measured here.
    """
    model = spec.models[0]
    knobs = {name: value for name, value in first_configuration(resolve(spec, rooms)[model]).items() if name != SEED}
    request = session_request(spec, model, knobs, spec.search.seed)
    train = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump()).counts["train"]
    images = min(spec.budget.step_images or train, train)
    source = f"{model}, given with --step-s"
    if step_s is None:
        epoch = measured_epoch(request)
        step_s = epoch.train_s * images / train + epoch.measure_s
        source = f"{model}, an epoch measured on this machine"
    values, size = _one_step(request)
    steps = math.ceil(spec.budget.epochs * train / images)
    return Work(step_s, steps, values, size, spec.checkpoints.keep, data_bytes(spec.data.model_dump()), spec.budget.trials), source


def trials_on_a_node(spec: Spec) -> int:
    """How many trials a node like this machine holds; with GPUs, a node with one of them, or with as many as a trial asks for."""
    gpus = spec.resources.gpus
    if gpus:
        return max(1, int(1 / gpus + 1e-9))
    return max(1, int((os.cpu_count() or 1) / spec.resources.cpus + 1e-9))


def _one_step(request: SessionRequest) -> tuple[int, int]:
    """Numbers of a result, and bytes of a checkpoint, after one batch: the best step's weights lie in it too."""
    session = open_session(replace(request, step_images=1))
    values = set(session.step()) | ENGINES_VALUES
    with tempfile.TemporaryDirectory() as folder:
        session.save(Path(folder))
        return len(values), size_of(Path(folder))
