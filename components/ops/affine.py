"""2x2 matrices, the local affine maps of landmarks, computed without autocast's rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.grid import at_least_float32


def inverse(matrix: Tensor) -> Tensor:
    """Return the inverses, by the explicit formula.

    Shapes:
        (..., 2, 2) -> (..., 2, 2)

    Example:
        >>> inverse(torch.tensor([[2.0, 1.0], [0.0, 4.0]]))
        tensor([[ 0.5000, -0.1250],
                [ 0.0000,  0.2500]])
    """
    (a, b), (c, d) = ([row[..., 0], row[..., 1]] for row in at_least_float32(matrix).unbind(-2))
    adjugate = torch.stack((d, -b, -c, a), dim=-1).unflatten(-1, (2, 2))
    return adjugate / (a * d - b * c)[..., None, None]


def product(first: Tensor, second: Tensor) -> Tensor:
    """Return first @ second.

    Shapes:
        (..., 2, 2), (..., 2, 2) -> (..., 2, 2)
    """
    first, second = at_least_float32(first), at_least_float32(second)
    return (first[..., None] * second[..., None, :, :]).sum(dim=-2)
