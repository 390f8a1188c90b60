"""Reducing images without aliasing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from components.ops.grid import at_least_float32, axis


def reduce(image: Tensor, factor: int) -> Tensor:
    """Blur with a Gaussian (zero padding) and keep every ``factor``-th pixel from the first on.

    The Gaussian's sigma is (factor - 1) / 2; factor 1 returns the image itself.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / factor), ceil(W / factor))
    Source: fomm sec B
    """
    if factor == 1:
        return image
    sigma = (factor - 1) / 2
    reach = round(4 * sigma)
    image = at_least_float32(image)
    offsets = reach * axis(2 * reach + 1, "corners", image)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    # one axis after the other, only at kept pixels; not in bfloat16, whose eight bits are too few
    # for a target
    with torch.autocast(image.device.type, enabled=False):
        single = image.flatten(0, 1)[:, None]
        rows = F.conv2d(single, kernel[None, None, :, None], stride=(factor, 1), padding=(reach, 0))
        both = F.conv2d(rows, kernel[None, None, None], stride=(1, factor), padding=(0, reach))
    return both[:, 0].unflatten(0, image.shape[:2])
