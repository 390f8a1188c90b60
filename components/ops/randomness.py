"""Random numbers per item: an item's draws depend on its own seed, not on its batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ItemRandom:
    """Draw numbers for every item of a batch from that item's own generator.

    Args:
        seeds: (B,) integer seeds, from the data loader.
        stream: gives different users of the same seeds independent draws.
        device: device of the returned numbers.
    """

    def __init__(self, seeds: Tensor, stream: int, device: torch.device) -> None:
        self.generators = [np.random.default_rng((int(seed), stream)) for seed in seeds]
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers (B, *shape)."""
        return self._stack([g.standard_normal(shape) for g in self.generators])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return numbers in [low, high), (B, *shape)."""
        return self._stack([g.uniform(low, high, shape) for g in self.generators])

    def _stack(self, draws: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(draws).astype(np.float32)).to(self.device)
