"""Samplers (Optuna) and schedulers (Ray Tune)."""

from sweeper.search.assignment import Assignment
from sweeper.search.population import Population
from sweeper.search.proposals import Proposals
from sweeper.search.schedulers import checkpoints_needed, lets_all_in, scheduler
from sweeper.search.storage import check_storage

__all__ = ["Assignment", "Population", "Proposals", "check_storage", "checkpoints_needed", "lets_all_in", "scheduler"]
