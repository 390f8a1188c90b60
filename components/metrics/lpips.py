"""Learned perceptual distance of renders and of predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from components.layers.alexnet import lpips_network
from components.metrics._support import frame_scores, names_of
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs
from registry.roles import METRICS


@METRICS.register_module("metrics/lpips")
class Lpips:
    """LPIPS v0.1 on AlexNet, mean over frames; the papers plot 1 - LPIPS.

    Renders are compared with their targets (the baseline copies the source); predicted frames with
    the last of the clip, one figure per time step (the baseline copies the last seen frame).

    Args:
        trunk: AlexNet's ImageNet weights: ``torchvision`` (downloads once), torchvision's file
            (``.pth`` or ``.safetensors``), or ``random``: fixed random filters for tests, which
            the metric's name then says.

    Raises:
        ConfigError: the weights cannot be had, with what to do; random ones are never a fallback.
    Source: factorized sec 4.3; factorized fig 5
    """

    needs_render = True
    baseline = "copy_source"

    def __init__(self, *, trunk: str = "torchvision") -> None:
        self.network = lpips_network(trunk)
        self.name = "lpips-alex-v0.1" + ("-random-trunk" if trunk == "random" else "")
        self.scores: list[np.ndarray] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        scores, self.seen = frame_scores(self._distance, outputs, batch, mean_of)
        self.scores.append(scores)
        self.names += names_of(batch, len(scores))

    def _distance(self, image: Tensor, target: Tensor) -> Tensor:
        network = self.network.to(image.device)
        # normalize: from [0, 1] to the [-1, 1] that the network takes
        return network(image.float(), target.float(), normalize=True).flatten()

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": self.name, "unit": "LPIPS", **row}
