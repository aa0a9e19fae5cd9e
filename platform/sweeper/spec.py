"""What the user asked for: the fields of a sweep spec. `sweeper.spec_file` reads them, `sweeper.validation` judges them."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field

SEARCH_ALL = "search"
SEED = "seed"
MODEL = "model"
MASKED = "masked"
BUCKETS = ("s3", "gs")
PUBLIC_QUERY = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "retry_limit_seconds", "project_id")
COSTS = {
    "parameters": "trained values of all networks",
    "train_image_s": "seconds an image of training, measurements included, on the node that ran the trial",
    "memory_gib": "greatest memory of the trial's process in GiB",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Which images.

    Attributes:
        name: a named set, or "folder:PATH".
        image_px: side of the square images.
        train: how many training images; None = all.
        validation: likewise.
        test: likewise.
        data_dir: folder of the named sets; None = SWEEP_DATA_DIR, or ~/.cache/inpaint-sweeps.
    """

    name: str
    image_px: int = Field(32, ge=8, le=1024)
    train: int | None = Field(None, ge=1)
    validation: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    data_dir: str | None = None


class Mask(_Section):
    """Where the holes are; see `trainables.data.masks`."""

    kind: str = "centre"
    hole_px: int = Field(8, ge=1)
    ratio_low: float = Field(0.1, gt=0, lt=1)
    ratio_high: float = Field(0.3, gt=0, lt=1)

    @property
    def is_irregular(self) -> bool:
        """Whether the hole has a share of the image instead of a side."""
        return self.kind in ("strokes", "irregular")

    @property
    def described(self) -> str:
        """Kind and size, for people."""
        return f"{self.kind} {self.ratio_low:g} to {self.ratio_high:g}" if self.is_irregular else f"{self.kind} {self.hole_px} px"


class Range(_Section):
    """A numeric knob's interval, narrower than the documented one.

    Attributes:
        low: least value.
        high: greatest value.
        log: logarithmic scale; None = as documented.
        points: how many values a grid takes of it.
    """

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool | None = None
    points: int = Field(3, ge=2)


Setting = Range | list[bool | int | float | str] | bool | int | float | str


class Search(_Section):
    """How configurations are drawn. `seed` fixes the drawing, and the weights and data order of every trial.

    `sweeper.capabilities` says what each is and goes with; with several objectives "tpe" is multi-objective TPE.
    """

    algorithm: Literal["grid", "random", "sobol", "tpe", "gp", "cmaes", "nsga2", "nsga3", "bohb"] = "tpe"
    seed: int = Field(0, ge=0)


class Scheduler(_Section):
    """When a trial is stopped early, or goes on from another one's checkpoint with other knobs.

    Attributes:
        kind: `sweeper.capabilities` says what each is and goes with.
        grace_steps: steps that every trial gets; asha, median.
        reduction: one in so many trials goes on at each rung; asha, hyperband.
        perturb_steps: steps between two changes of the population; pbt, pb2.
        stop_collapsed: end a trial whose adversarial game has collapsed, with any kind.
    """

    kind: Literal["none", "asha", "hyperband", "median", "pbt", "pb2"] = "none"
    grace_steps: int = Field(1, ge=1)
    reduction: int = Field(3, ge=2)
    perturb_steps: int = Field(1, ge=1)
    stop_collapsed: bool = True


class Constraint(_Section):
    """A limit that a configuration must keep.

    Attributes:
        metric: a validation metric at the trial's best step, or a cost of `COSTS`.
        at_most: greatest value allowed; None = no such limit.
        at_least: least value allowed; None = no such limit.
    """

    metric: str
    at_most: float | None = Field(None, allow_inf_nan=False)
    at_least: float | None = Field(None, allow_inf_nan=False)


class Choice(_Section):
    """Which point of a Pareto front is taken: the best in one objective among those near the best in another.

    Attributes:
        best: the objective that decides.
        within_percent: how much worse than the best value of `of` a trial may be, in percent of that value.
        of: the objective that must stay near its best.
    """

    best: str
    within_percent: float = Field(ge=0, allow_inf_nan=False)
    of: str


class Objective(_Section):
    """What is optimised on the validation split; whether the least or the greatest wins follows from the metric.

    Attributes:
        metric: the first objective; its best step is the one that counts of a trial.
        also: further objectives, measured at that step; with any, the result is a Pareto front.
        constraints: limits; a trial that breaks one is told to the search and never wins.
        choose: which point of the front is trained again; None = the best in `metric`.
    """

    metric: str = "l2_hole"
    also: list[str] = []
    constraints: list[Constraint] = []
    choose: Choice | None = None


class Budget(_Section):
    """When the sweep ends: at the first limit reached.

    Attributes:
        trials: greatest number of configurations.
        epochs: greatest number of epochs a trial.
        step_images: training images a step; None = an epoch. A trial's steps follow from `epochs`.
        wall_s: greatest wall time in seconds; None = no limit.
        accelerator_h: greatest sum over the trials of the GPUs they held times the hours they held them; None = no limit.
        cost: greatest price of the cluster's nodes while the sweep runs, in the unit of `prices`; None = no limit.
        prices: of a node, an hour, by node type; "default" for all others.
    """

    trials: int = Field(ge=1)
    epochs: float = Field(gt=0, allow_inf_nan=False)
    step_images: int | None = Field(None, ge=1)
    wall_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    accelerator_h: float | None = Field(None, gt=0, allow_inf_nan=False)
    cost: float | None = Field(None, gt=0, allow_inf_nan=False)
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}


class Resources(_Section):
    """What one trial holds while it runs, on one node; it waits until a node has that much left.

    Attributes:
        cpus: CPU cores, of all its processes together.
        gpus: a fraction of a GPU, shared with other trials, or several: then the trial trains on all of them at once.
        processes: that train a trial together, each on its part of every batch; None = one a GPU, or one.
        memory_gib: host memory in GiB; None = not counted.
        accelerator_type: of the GPUs, as Ray names it ("A100"); None = any.
        gpu_memory_gib: GPU memory in GiB: as many trials share a GPU as its memory is enough for, where `gpus` asks for no more; None = not
            counted.
    """

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
    processes: int | None = Field(None, ge=1)
    memory_gib: float | None = Field(None, gt=0, allow_inf_nan=False)
    accelerator_type: str | None = None
    gpu_memory_gib: float | None = Field(None, gt=0, allow_inf_nan=False)

    @property
    def on_gpu(self) -> bool:
        """Whether a trial runs on a GPU."""
        return self.gpus > 0 or self.gpu_memory_gib is not None

    @property
    def processes_a_trial(self) -> int:
        """How many processes train a trial."""
        return self.processes or max(1, int(self.gpus))


class WarmStart(_Section):
    """Configurations that are tried first.

    Attributes:
        sweeps: names of earlier sweeps in the same home folder; their best configurations come first, as far as they fit.
        best: how many of each.
        configurations: a hand-written list; each sets some knobs, the others keep their usual value.
    """

    sweeps: list[str] = []
    best: int = Field(3, ge=1)
    configurations: list[dict[str, bool | int | float | str]] = []


class Checkpoints(_Section):
    """What is kept on disk.

    Attributes:
        keep: newest checkpoints of each trial.
        quota_gib: greatest size of all checkpoints of the sweep; the worst ended trials' go first. None = no limit.
        best: for how many of the best trials they are kept once a sweep is over; None = for all.
        storage: where checkpoints lie: a folder that all nodes see, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, in NAME/checkpoints there;
            None = the sweep's folder.
    """

    keep: int = Field(2, ge=1)
    quota_gib: float | None = Field(None, gt=0, allow_inf_nan=False)
    best: int | None = Field(None, ge=1)
    storage: str | None = None


class Notify(_Section):
    """Who is told of what happens.

    Attributes:
        command: run by the shell's words, never through a shell, with the message in the environment; None = none.
        webhook: an address that gets a POST with a JSON body; None = none.
        on: what is told.
    """

    command: str | None = None
    webhook: str | None = Field(None, pattern=r"^https?://")
    on: list[Literal["end", "failure", "best"]] = ["end", "failure"]


class Spec(_Section):
    """A whole sweep.

    Attributes:
        name: names the sweep in the store, on disk and on the command line.
        description: one sentence for `sweep list`.
        model: a registered model or "module:Class"; a list of them searches over models too.
        data: which images.
        mask: where the holes are.
        knobs: a value fixes a knob; a list or a range is searched; "search" searches all of the documented range.
            A knob that is not named keeps the paper's value. "seed" may stand among them: a list of seeds repeats each configuration.
            With several models each has a section of its own, under its name; "seed" stands beside them.
        configurations: a hand-written list, for a grid search: each entry sets some knobs together; the grid of `knobs` is run for each.
        search: how configurations are drawn.
        scheduler: when a trial is stopped early.
        objective: what is optimised.
        budget: when the sweep ends.
        resources: what one trial holds.
        warm_start: configurations that are tried first.
        study: address of the Optuna storage; None = study.db in the sweep's folder.
        checkpoints: what is kept on disk.
        notify: who is told of what happens.
        seeds: with how many seeds the best configuration is trained again, to be measured once on the test split.
        finalists: how many of the best configurations are trained again.
        until: "planned" = `seeds` for each; "separated" = then further seeds for those whose confidence intervals on the validation split
            overlap the leader's, until none does or the budget ends.
        finals: "best" trains the best configuration again; "every" each one that was trained to its end, for a grid whose points are all
            wanted on the test split.
        retrain: false measures them as the search has trained them, once each, and trains nothing again.
        pictures: for how many of the best trials a picture grid is kept; with 0 no plots of the sweep are drawn either.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    model: str | list[str]
    data: Data
    mask: Mask = Mask()
    knobs: dict[str, Setting | dict[str, Setting]] = {}
    configurations: list[dict[str, bool | int | float | str]] = []
    search: Search = Search()
    scheduler: Scheduler = Scheduler()
    objective: Objective = Objective()
    budget: Budget
    resources: Resources = Resources()
    warm_start: WarmStart = WarmStart()
    study: str | None = None
    checkpoints: Checkpoints = Checkpoints()
    notify: Notify = Notify()
    seeds: int = Field(1, ge=0)
    finalists: int = Field(1, ge=1)
    until: Literal["planned", "separated"] = "planned"
    finals: Literal["best", "every"] = "best"
    retrain: bool = True
    pictures: int = Field(3, ge=0)

    @property
    def models(self) -> tuple[str, ...]:
        """The models, one or several."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)

    def settings(self, model: str) -> dict[str, Setting]:
        """The knobs' settings of one of the models, the seed's among them."""
        if isinstance(self.model, str):
            return dict(self.knobs)  # type: ignore[arg-type]
        own = self.knobs.get(model, {})
        seed = {SEED: self.knobs[SEED]} if SEED in self.knobs else {}
        return {**(own if isinstance(own, dict) else {}), **seed}  # type: ignore[dict-item]

    def to_yaml(self) -> str:
        """The resolved spec, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def to_public_yaml(self) -> str:
        """The same with what may hold a secret masked: the command, the webhook beyond its host, passwords and keys in addresses."""
        fields = self.model_dump(mode="json")
        fields["notify"] |= {"command": self.notify.command and MASKED, "webhook": self.notify.webhook and _host_alone(self.notify.webhook)}
        fields["study"] = self.study and _without_login(self.study)
        fields["checkpoints"]["storage"] = self.checkpoints.storage and public_storage(self.checkpoints.storage)
        return yaml.safe_dump(fields, sort_keys=False)

    def write(self, path: Path) -> None:
        """Keeps the resolved spec in a file; where it may hold a secret only the owner may read it."""
        secret = self.to_public_yaml() != self.to_yaml()
        path.touch(mode=0o600 if secret else 0o666)
        if secret:
            path.chmod(0o600)
        path.write_text(self.to_yaml(), encoding="utf-8")


def _host_alone(address: str) -> str:
    """A web address without login, path and query."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}/{MASKED}"


def _without_login(address: str) -> str:
    """A database's address without user and password, and without options."""
    return re.sub(r"\?.*", f"?{MASKED}", re.sub(r"//[^/]*@", f"//{MASKED}@", address))


def is_bucket(storage: str) -> bool:
    """Whether checkpoints lie in object storage rather than in a folder."""
    return storage.partition("://")[0] in BUCKETS and "://" in storage


def public_storage(storage: str) -> str:
    """Where checkpoints lie, without keys: neither a login, nor what the query holds beyond `PUBLIC_QUERY`."""
    if "://" not in storage:
        return storage
    path, mark, query = re.sub(r"//.*@", f"//{MASKED}@", storage).partition("?")
    parts = [part if part.partition("=")[0] in PUBLIC_QUERY else f"{part.partition('=')[0]}={MASKED}" for part in query.split("&")]
    return path + mark + ("&".join(parts) if mark else "")
