"""What can go wrong in the engine, told so that a user can mend it: rule, value given, remedy."""


class SweepError(Exception):
    """Root of every error that the engine raises on purpose."""


class SpecError(SweepError, ValueError):
    """A sweep spec that cannot be run; nothing was started."""


class ResourceError(SweepError, RuntimeError):
    """Resources that no node can give, or a cluster that cannot be reached."""


class TrackingError(SweepError, OSError):
    """An MLflow store that cannot be opened, read or written."""


class StorageError(SweepError, OSError):
    """A sweep's folder that is full or gone."""


class StudyError(SweepError, OSError):
    """A storage of the search's study that cannot be opened, or that holds another sweep's."""


class SweepStateError(SweepError, RuntimeError):
    """A sweep that is not there, is there already, is finished, or is being run by another process."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
