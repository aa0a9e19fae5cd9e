"""What `sweep doctor` looks at: one file a subject, a literal table of checks, every check bounded in time."""

from sweeper.doctor.checks import CHECKS, examine
from sweeper.doctor.finding import Finding, Needed, Question

__all__ = ["CHECKS", "Finding", "Needed", "Question", "examine"]
