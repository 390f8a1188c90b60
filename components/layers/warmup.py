"""A factor that rises at the start of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Warmup(nn.Module):
    """Count the training steps: 1 / steps in the first, 1 from step ``steps`` on.

    The count is saved, so that a resumed run continues like an uninterrupted one.

    Args:
        steps: 0 for a factor of 1 from the start.

    Shapes:
        -> scalar in (0, 1]
    """

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("done", torch.tensor(0))

    def forward(self) -> Tensor:
        if self.training:
            self.done += 1
        return (self.done / self.steps).clamp(max=1) if self.steps else torch.ones(())
