"""Spectral normalisation of a layer's weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize


class Spectral(nn.Module):
    """A weight divided by its largest singular value, estimated by power iteration.

    In training, each call makes one step, updating v first; in evaluation the stored vectors are
    used. ``torch.nn.utils.parametrizations.spectral_norm`` updates u first, half a step away from
    what the official codes trained with.

    Shapes:
        (C, ...) -> (C, ...)
    Source: factorized sec 4
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(columns), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        # no matrix products: autocast would run them in bfloat16
        if self.training:
            with torch.no_grad():
                self.v.copy_(F.normalize((matrix * self.u[:, None]).sum(dim=0), dim=0))
                self.u.copy_(F.normalize((matrix * self.v).sum(dim=1), dim=0))
        # copies: a second call before the backward pass moves the buffers in place
        u, v = self.u.clone(), self.v.clone()
        return weight / (u * (matrix * v).sum(dim=1)).sum()


def spectral_norm(layer: nn.Conv2d) -> nn.Conv2d:
    """Return ``layer`` with its weight normalised; ``init_xavier`` still reaches the raw weight."""
    parametrize.register_parametrization(layer, "weight", Spectral(layer.weight))
    return layer
