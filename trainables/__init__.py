"""Inpainting models in plain torch: networks, losses, training, metrics. Nothing here knows of Ray, MLflow or Optuna."""

from trainables.data import ImageSource, Mask
from trainables.errors import CheckpointError, ConfigError, DataError, InpaintingError, ProcessError
from trainables.metrics import METRICS
from trainables.model import InpaintingModel
from trainables.registry import MODELS, load_model
from trainables.session import Session
from trainables.team import TeamSession

__all__ = [
    "METRICS",
    "MODELS",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ImageSource",
    "InpaintingError",
    "InpaintingModel",
    "Mask",
    "ProcessError",
    "Session",
    "TeamSession",
    "load_model",
]
