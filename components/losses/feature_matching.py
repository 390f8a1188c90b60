"""Feature matching: a render looks like its target to the layers of the critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/feature_matching")
class FeatureMatching(nn.Module):
    """Sum over layers of weight * mean |features of the real image - of the generated one|.

    Args:
        weights: one per layer of the image critic.

    Raises:
        ValueError: the critic has a different number of layers.
    Source: monkeynet sec 3.4; fomm sec B
    """

    reads = ("image_critic.features",)

    def __init__(self, *, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        scores = need(outputs, "image_critic", "a pipeline with an image critic")
        pairs = list(zip(scores.real_features, scores.generator_features))
        if len(pairs) != len(self.weights):
            raise ValueError(
                f"losses/feature_matching: {len(self.weights)} weights, but the critic returns the "
                f"features of {len(pairs)} layers; set one weight per layer."
            )
        means = [(at_least_float32(a) - at_least_float32(b)).abs().mean() for a, b in pairs]
        return cast(Tensor, sum(weight * mean for weight, mean in zip(self.weights, means)))
