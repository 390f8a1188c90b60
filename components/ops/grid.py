"""Coordinate grids; the only file that creates them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.ops.pixels import from_pixel, to_pixel

Grid = Literal["half_pixel", "corners", "left_edge"]


def axis(size: int, grid: Grid = "half_pixel", like: Tensor | None = None) -> Tensor:
    """Return the coordinates of the ``size`` pixels of one axis.

    ``half_pixel`` is the contract: pixel centres of a [-1, 1] interval cut into ``size`` cells.
    ``corners`` puts the first and last pixel on -1 and 1 (KeypointGAN, IMM, FOMM, Monkey-Net,
    Lorenz); ``left_edge`` puts pixel i at -1 + 2 i / size (factorized).

    Args:
        size: number of pixels.
        grid: convention.
        like: tensor whose device and dtype are used (half precision becomes float32).

    Shapes:
        (size,)

    Example:
        >>> axis(4)
        tensor([-0.7500, -0.2500,  0.2500,  0.7500])
    """
    dtype = torch.float32 if like is None else at_least_float32(like).dtype
    device = None if like is None else like.device
    if grid == "corners":
        # float32 for any dtype, as in the official code: its networks are so sensitive that the
        # 3e-8 between the two would change gradients by 1e-4
        return torch.linspace(-1, 1, size, device=device).to(dtype)
    i = torch.arange(size, device=device, dtype=dtype)
    if grid == "half_pixel":
        return from_pixel(i, size)
    if grid == "left_edge":
        return 2 * i / size - 1
    raise ValueError(f"grid={grid!r} must be 'half_pixel', 'corners' or 'left_edge'.")


def plane(height: int, width: int, grid: Grid = "half_pixel", like: Tensor | None = None) -> Tensor:
    """Return the (x, y) coordinates of every pixel of a map.

    Shapes:
        (height, width, 2)
    """
    y, x = axis(height, grid, like), axis(width, grid, like)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)


def to_pixels(xy: Tensor, height: int, width: int) -> Tensor:
    """Convert contract coordinates to pixel coordinates, pixel centres at integers.

    Shapes:
        (..., 2) -> (..., 2)

    Example:
        >>> to_pixels(torch.tensor([-0.75, 0.75]), 4, 4)
        tensor([0., 3.])
    """
    return to_pixel(xy, xy.new_tensor((width, height)))


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` as float32 if it has half precision, else unchanged.

    Moments, renderers and losses start with this: under autocast they must not run in bfloat16.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
