"""Colour jitter of the image the pose is read from, so that the pose cannot carry appearance."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from components.ops.randomness import ItemRandom
from registry.contract import Batch, need
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/color_jitter")
class ColorJitter:
    """Brightness, contrast, saturation and hue of ``driving``; target and source stay as they are.

    Args:
        brightness, contrast, saturation: factors are drawn from [1 - x, 1 + x].
        hue: shift is drawn from [-hue, hue], in turns.
        pair: also change source and target by the same draw, as plain data augmentation.

    Shapes:
        Batch, seeds (B,) -> Batch
    Source: factorized sec 3
    Differs: always in this order; torchvision and FOMM shuffle the four
    """

    def __init__(
        self,
        *,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.3,
        pair: bool = False,
    ) -> None:
        self.ranges = (brightness, contrast, saturation, hue)
        self.pair = pair

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        image = need(batch, "driving", "the training dataset (data.train)")
        random = ItemRandom(seeds, 3, image.device)
        draw = [random.uniform(-r, r, 1, 1, 1) for r in self.ranges]
        driving, target = jitter(image, draw), image if batch.target is None else batch.target
        if not self.pair:
            return replace(batch, driving=driving, target=target)
        return replace(
            batch,
            driving=driving,
            target=driving if target is image else jitter(target, draw),
            source=jitter(need(batch, "source", "the training dataset (data.train)"), draw),
        )


def jitter(image: Tensor, draw: list[Tensor]) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Shapes:
        (B, 3, H, W) in [0, 1], four (B, 1, 1, 1) -> (B, 3, H, W)
    """
    brightness, contrast, saturation, hue = draw
    grey = F.rgb_to_grayscale
    image = (image * (1 + brightness)).clamp(0, 1)
    middle = grey(image).mean(dim=(-2, -1), keepdim=True)
    image = (middle + (image - middle) * (1 + contrast)).clamp(0, 1)
    flat = grey(image)
    image = (flat + (image - flat) * (1 + saturation)).clamp(0, 1)
    return shift_hue(image, hue)


def shift_hue(image: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of each image; torchvision shifts a batch by one number only.

    Shapes:
        (B, 3, H, W) in [0, 1], turns (B, 1, 1, 1) -> (B, 3, H, W)
    """
    high, low = image.amax(dim=1, keepdim=True), image.amin(dim=1, keepdim=True)
    span = (high - low).clamp_min(1e-8)
    red, green, blue = image.split(1, dim=1)
    hue = torch.where(
        high == red,
        (green - blue) / span,
        torch.where(high == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    hue = (hue / 6 + turns) % 1
    # position of each channel on the colour wheel: red 5/6, green 3/6, blue 1/6 ahead
    k = (torch.tensor([5.0, 3.0, 1.0], device=image.device).view(1, 3, 1, 1) + hue * 6) % 6
    return high - (high - low) * torch.minimum(k, 4 - k).clamp(0, 1)
