"""What can go wrong in a report, told so that a user can mend it: rule, value given, remedy."""

from sweeper.errors import SweepError


class ReportError(SweepError, ValueError):
    """A table file that cannot be used, or a folder that cannot take the report; an earlier report is left as it was."""
