"""Random numbers per item: what a sample draws depends on its own seed, not on its batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ItemRandom:
    """Draws for every item of a batch from that item's own generator.

    Args:
        seeds: (B,) integer seeds, from the data loader.
        stream: separates several users of the same seeds.
        device: where the numbers go.
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
