"""What each search algorithm and each scheduler goes with, in plain tables: `sweep algorithms` prints them, `sweeper.pairs` reads them.

Nothing heavy is imported here. `sweeper.search` builds what these tables name.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

ONE = "one objective"
SEVERAL = "several objectives"
MODELS = "several models"
CONSTRAINTS = "constraints"
LISTS = "lists"
WARM_START = "warm start"
RESUME = "resume"
REBUILD = "rebuilt study"


@dataclass(frozen=True)
class Algorithm:
    """A search algorithm.

    Attributes:
        title: its name in words.
        source: who makes it, and where it is described.
        refuses: what it does not go with -> why not.
        schedulers: the only schedulers it goes with; empty = all.
        package: what must be installed for it beyond the engine's own needs, as pip is told; empty = nothing.
        modules: what is imported of it.
        note: what else a user should know.
    """

    title: str
    source: str
    refuses: Mapping[str, str] = field(default_factory=dict)
    schedulers: tuple[str, ...] = ()
    package: str = ""
    modules: tuple[str, ...] = ()
    note: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of its modules that are not installed here."""
        return tuple(module for module in self.modules if importlib.util.find_spec(module) is None)


@dataclass(frozen=True)
class SchedulerKind:
    """A scheduler.

    Attributes:
        title: its name in words.
        source: who makes it, and where it is described.
        refuses: what it does not go with -> why not.
        algorithms: the only algorithms it goes with; empty = all.
        knobs: which searched knobs it goes with: "any", "numbers" (ranges and lists of numbers) or "ranges".
        least_trials: below so many it decides nothing.
        uses: the fields of the spec's scheduler section that it reads.
        pauses: whether trials wait for each other, so that all of them must be let in, however few run at once.
        changes_knobs: whether a trial goes on from another one's checkpoint with other knobs.
        resumes: what it makes of an interrupted sweep.
        note: what else a user should know.
    """

    title: str
    source: str
    refuses: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ()
    knobs: str = "any"
    least_trials: int = 1
    uses: tuple[str, ...] = ()
    pauses: bool = False
    changes_knobs: bool = False
    resumes: str = ""
    note: str = ""


ALGORITHM_TRAITS = (ONE, SEVERAL, MODELS, CONSTRAINTS, LISTS, WARM_START, RESUME, REBUILD)
SCHEDULER_TRAITS = (ONE, SEVERAL, MODELS, CONSTRAINTS)

_SHARED_KNOBS = "it learns about the parameters that all trials have, and of several models each has its own"
_COMPLETE_ALONE = "learns from trials that ran to their end, not from those that a scheduler stopped"
_DOMINANCE = "it ranks by dominance, which one objective does not have; use tpe, gp or cmaes"

ALGORITHMS: Mapping[str, Algorithm] = {
    "grid": Algorithm(
        "every cell of the grid",
        "this engine; cells enqueued in an Optuna study",
        {WARM_START: "its cells are all there is to try; use warm_start with random, sobol or tpe"},
        note="the paper's cell first; a budget below the grid takes its first cells",
    ),
    "random": Algorithm("random search", "Optuna RandomSampler; Bergstra and Bengio 2012"),
    "sobol": Algorithm(
        "quasi-random Sobol sequence, scrambled",
        "Optuna QMCSampler; Sobol 1967, Owen 1998",
        {MODELS: "a Sobol sequence fills one space, and several models have one each"},
        note="most even where the number of trials is a power of two",
    ),
    "tpe": Algorithm(
        "tree-structured Parzen estimators",
        "Optuna TPESampler; Bergstra et al. 2011, Ozaki et al. 2022",
        note="the first ten trials are random; several models: one estimator for the knobs of each",
    ),
    "gp": Algorithm(
        "Gaussian process",
        "Optuna GPSampler; Jones et al. 1998, log EI of Ament et al. 2023",
        {MODELS: _SHARED_KNOBS},
        note=f"the first ten trials are random; {_COMPLETE_ALONE}",
    ),
    "cmaes": Algorithm(
        "covariance matrix adaptation",
        "Optuna CmaEsSampler; Hansen 2016",
        {
            SEVERAL: "it follows one value; use tpe, gp, nsga2 or nsga3",
            MODELS: _SHARED_KNOBS,
            CONSTRAINTS: "it does not look at them; use tpe, gp, nsga2 or nsga3",
            LISTS: "it moves along numbers and draws what is listed at random",
            REBUILD: "its distribution lies in the study alone and begins anew in the middle of the space",
        },
        package="cmaes",
        modules=("cmaes",),
        note=_COMPLETE_ALONE,
    ),
    "nsga2": Algorithm(
        "genetic algorithm with crowding distance",
        "Optuna NSGAIISampler; Deb et al. 2002",
        {ONE: _DOMINANCE, MODELS: _SHARED_KNOBS},
        note=f"populations of a fifth of budget.trials, 4 to 50; {_COMPLETE_ALONE}",
    ),
    "nsga3": Algorithm(
        "genetic algorithm with reference points, for three objectives or more",
        "Optuna NSGAIIISampler; Deb and Jain 2014",
        {ONE: _DOMINANCE, MODELS: _SHARED_KNOBS},
        note=f"populations as nsga2's; {_COMPLETE_ALONE}",
    ),
    "bohb": Algorithm(
        "kernel density estimators of the good and the bad, for the greatest budget that tells enough",
        "hpbandster's BOHB; Falkner et al. 2018",
        {
            SEVERAL: "it follows one value; use tpe, gp, nsga2 or nsga3",
            MODELS: _SHARED_KNOBS,
            CONSTRAINTS: "it does not look at them; use tpe, gp, nsga2 or nsga3",
        },
        schedulers=("hyperband", "asha"),
        package="inpaint-sweeps[bohb]",
        modules=("ConfigSpace", "hpbandster"),
        note="learns from every trial at every step, waiting and stopped ones too; random until a step has two results for each "
        "searched knob and two more, then one in three; the paper's scheduler is hyperband: with asha it may go astray, since what it "
        "proposes is stopped before the rung that would put it right",
    ),
}

_ONE_ORDER = "it compares trials at equal steps, which needs one order"
_CLONES = "a trial goes on with another one's weights"
_POPULATION: Mapping[str, str] = {
    SEVERAL: _ONE_ORDER,
    MODELS: f"{_CLONES}, and the weights of one model do not fit another",
    CONSTRAINTS: f"{_CLONES}, so that what breaks a limit may live on in trials that keep it",
}
_POPULATION_RESUMES = "the population goes on from its checkpoints with its present knobs; the change that was due may fall out"

SCHEDULERS: Mapping[str, SchedulerKind] = {
    "none": SchedulerKind("every trial runs to its end", "Ray Tune FIFOScheduler", resumes="as if it had not been interrupted"),
    "asha": SchedulerKind(
        "asynchronous successive halving",
        "Ray Tune AsyncHyperBandScheduler; Li et al. 2020",
        {SEVERAL: _ONE_ORDER},
        uses=("grace_steps", "reduction"),
        resumes="the rungs stand as they stood: results are replayed",
    ),
    "hyperband": SchedulerKind(
        "brackets of successive halving, each with other first steps",
        "Ray Tune HyperBandScheduler; Li et al. 2018",
        {SEVERAL: _ONE_ORDER},
        least_trials=2,
        uses=("reduction",),
        pauses=True,
        resumes="brackets are formed anew from the trials that are not finished",
        note="with bohb this is BOHB, with tpe its idea; trials are paused at each rung until their bracket has reached it",
    ),
    "median": SchedulerKind(
        "stops what is worse than the median of the others' means",
        "Ray Tune MedianStoppingRule; Golovin et al. 2017",
        {SEVERAL: _ONE_ORDER},
        least_trials=4,
        uses=("grace_steps",),
        resumes="results are replayed",
        note="a trial is judged once three others have come as far",
    ),
    "pbt": SchedulerKind(
        "population based training",
        "Ray Tune PopulationBasedTraining; Jaderberg et al. 2017",
        _POPULATION,
        algorithms=("random", "sobol"),
        knobs="numbers",
        least_trials=4,
        uses=("perturb_steps",),
        pauses=True,
        changes_knobs=True,
        resumes=_POPULATION_RESUMES,
        note="the worst quarter goes on from the best quarter's checkpoints; the result is a schedule of knobs, measured as it was trained",
    ),
    "pb2": SchedulerKind(
        "population based bandits",
        "Ray Tune PB2; Parker-Holder et al. 2020",
        _POPULATION,
        algorithms=("random", "sobol"),
        knobs="ranges",
        least_trials=4,
        uses=("perturb_steps",),
        pauses=True,
        changes_knobs=True,
        resumes=f"{_POPULATION_RESUMES}; what its model had learnt is learnt anew",
        note="as pbt, with a Gaussian process that chooses the new knobs, on a linear scale",
    ),
}
