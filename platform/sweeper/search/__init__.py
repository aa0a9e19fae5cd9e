"""Samplers (Optuna) and schedulers (Ray Tune)."""

from sweeper.search.assignment import Assignment
from sweeper.search.proposals import Proposals
from sweeper.search.schedulers import scheduler

__all__ = ["Assignment", "Proposals", "scheduler"]
