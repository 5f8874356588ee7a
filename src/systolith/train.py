"""Training: the names a user needs, see ``docs/training.md``."""

from systolith.sw.train.gradients import plan_training
from systolith.sw.train.model import TrainableModel
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

__all__ = ["Settings", "TrainableModel", "Trainer", "plan_training"]
