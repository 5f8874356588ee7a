"""What a training run is asked to do, checked before it begins."""

import math
from dataclasses import dataclass, field

from systolith.sw.errors import TrainingError
from systolith.sw.train.schedule import Constant, Schedule

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a training run.

    Raises
    ------
    TrainingError
        If a number makes no sense.
    """

    #: Passes over the training samples, at most.
    epochs: int = 10
    #: Samples of an update.
    batch: int = 32
    #: Samples the device runs at once; None: all of a batch.
    micro_batch: int | None = None
    rate: float = 0.01
    schedule: Schedule = field(default_factory=Constant)
    momentum: float = 0.9
    #: Weight decay, of weights only.
    decay: float = 0.0
    #: Of the samples' order and of stochastic rounding.
    seed: int = 1
    #: Stop when an epoch's mean loss is at most this.
    loss_threshold: float | None = None
    #: Stop when the validation accuracy (without validation: the loss) has not improved for so
    #: many epochs.
    patience: int | None = None
    #: Stop when the validation accuracy reaches this, 0 to 1.
    accuracy: float | None = None
    #: Steps between checkpoints; None: one after every epoch.
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_batch", "patience", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name} must be at least 1, not {value!r}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise TrainingError(f"the learning rate must be a positive number, not {self.rate!r}")
        if not 0 <= self.momentum < 1:
            raise TrainingError(f"momentum must be 0 or more and below 1, not {self.momentum!r}")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise TrainingError(f"weight decay must be 0 or more, not {self.decay!r}")
        if not 0 < self.seed < 1 << 32:
            raise TrainingError(f"the seed must be 1 to 2**32 - 1, not {self.seed!r}")

    @property
    def micro(self) -> int:
        """Samples the device runs at once."""
        return min(self.batch, self.micro_batch or self.batch)

    def identity(self) -> dict[str, int]:
        """Return what a resumed run must not change, or it would not be the same run."""
        return {"batch": self.batch, "micro_batch": self.micro, "seed": self.seed}
