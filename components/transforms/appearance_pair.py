"""Colour jitter that separates appearance from shape: one draw for pose, one for appearance."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from components.ops.randomness import ItemRandom
from components.transforms.color_jitter import shift_hue
from registry.contract import Batch, need
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/appearance_pair")
class AppearancePair:
    """Jitter driving by one draw, source and target by another, ``warped`` by a third.

    Args:
        contrast, saturation: factors are drawn from [1 - x, 1 + x].
        brightness: the offset is drawn from [-x, x].
        hue: shift is drawn from [-hue, hue], in turns.

    Shapes:
        Batch, seeds (B,) -> Batch
    Source: lorenz sec 3
    Differs: values are clipped to [0, 1] after each step, not only at the end
    """

    def __init__(
        self,
        *,
        contrast: float = 0.5,
        brightness: float = 0.3,
        saturation: float = 0.1,
        hue: float = 0.3,
    ) -> None:
        self.ranges = (contrast, brightness, saturation, hue)

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        driving = need(batch, "driving", "the training dataset (data.train)")
        source = need(batch, "source", "the training dataset (data.train)")
        randoms = [ItemRandom(seeds, stream, driving.device) for stream in (5, 6, 7)]
        pose, looks, view = (
            [random.uniform(-r, r, 1, 1, 1) for r in self.ranges] for random in randoms
        )
        return replace(
            batch,
            driving=jitter(driving, pose),
            source=jitter(source, looks),
            target=jitter(driving if batch.target is None else batch.target, looks),
            warped=None if batch.warped is None else jitter(batch.warped, view),
        )


def jitter(image: Tensor, draw: list[Tensor]) -> Tensor:
    """Change contrast, brightness, saturation and hue of each image, in this order.

    Shapes:
        (B, 3, H, W) in [0, 1], four (B, 1, 1, 1) -> (B, 3, H, W)
    """
    contrast, brightness, saturation, hue = draw
    middle = image.mean(dim=(-2, -1), keepdim=True)
    image = (middle + (image - middle) * (1 + contrast) + brightness).clamp(0, 1)
    high = image.amax(dim=1, keepdim=True)  # HSV saturation: value and hue stay
    image = (high - (high - image) * (1 + saturation)).clamp(0, 1)
    return shift_hue(image, hue)
