"""Sampler of a random zoom about a random point, within the limits of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from components.ops.tps import Spline, control_grid
from registry.roles import WARPS


@WARPS.register_module("warps/zoom")
class Zoom:
    """Resize by a random factor, then crop a window of the original size, anywhere in the image.

    A reduced image stays in the middle. ``transforms/tps_pair`` with this as its only sampler,
    ``driving_warp``, crops the same window from both frames.

    Args:
        scale: smallest and largest factor.

    Shapes:
        seeds (B,) -> Spline of B
    Differs: FOMM's official code takes the nearest pixel; here values are interpolated, and windows
        need not start at whole pixels
    """

    def __init__(self, *, scale: tuple[float, float] = (0.9, 1.1)) -> None:
        self.scale = scale

    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Spline:
        random = ItemRandom(seeds, stream, device)
        scale = random.uniform(*self.scale, 1, 1)
        # the resized image spans [-scale, scale]; the window can shift by this much to each side
        shift = random.uniform(-1, 1, 2, 1) * (scale - 1).clamp_min(0)
        affine = torch.cat((torch.eye(2, device=device).expand(len(scale), -1, -1), shift), dim=-1)
        control = control_grid(1).to(device).expand(len(scale), -1, -1)
        return Spline(control, torch.zeros_like(control), affine / scale)
