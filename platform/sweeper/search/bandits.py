"""Ray's PB2, a population whose knobs a Gaussian process changes. Apart from PBT, since it loads scikit-learn, which takes 1.4 s.

Source: Ray Tune 2.60; Parker-Holder et al. 2020.
"""

from collections.abc import Mapping

from ray.tune.schedulers.pb2 import PB2

from sweeper.journal import TrialRecord
from sweeper.search.population import Population
from sweeper.space import KnobSearch


class NamedPb2(Population, PB2):  # type: ignore[misc]
    """Ray's PB2."""

    def __init__(
        self, knobs: Mapping[str, KnobSearch], seed: int, perturb_steps: int, records: list[TrialRecord], common: Mapping[str, str]
    ) -> None:
        """Makes the population's scheduler; see `NamedPbt`."""
        bounds = {"knobs": {name: [knob.low, knob.high] for name, knob in knobs.items()}}
        PB2.__init__(self, perturbation_interval=perturb_steps, hyperparam_bounds=bounds, synch=True, log_config=False, **common)
        self.begin(knobs, seed, perturb_steps, records)
