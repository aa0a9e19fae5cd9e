"""What can go wrong in this room, told so that a user can mend it: rule, value given, remedy."""


class InpaintingError(Exception):
    """Root of every error that `trainables` raises on purpose."""


class ConfigError(InpaintingError, ValueError):
    """A model, mask or data setting that cannot work; nothing was built."""


class DataError(InpaintingError, ValueError):
    """Images that are missing, unreadable or too few."""


class CheckpointError(InpaintingError, ValueError):
    """A checkpoint that does not load, or belongs to another model."""


class ProcessError(RuntimeError):
    """One of several processes that train together was lost or failed. No `InpaintingError`: there is no setting to mend."""
