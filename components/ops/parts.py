"""Appearance vectors of parts: pooled from one image's maps, spread over another's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def pool_parts(
    prob: Tensor, features: Tensor, reduction: Literal["sum", "mean"] = "mean"
) -> Tensor:
    """Return one vector per part: the features weighted by the part's map.

    Shapes:
        prob (B, K, h, w), features (B, D, h, w) -> (B, K, D)
    Source: factorized eq 1; lorenz sec 3
    Differs: ``mean`` follows the official code, 1 / (h w) of the paper's ``sum``
    """
    codes = torch.einsum("bkhw,bdhw->bkd", prob, features.to(prob.dtype))
    return codes if reduction == "sum" else codes / prob[0, 0].numel()


def spread_parts(codes: Tensor, drawn: Tensor) -> Tensor:
    """Return the appearance map: sum_k v_k s_k / (1 + sum_j s_j).

    Shapes:
        codes (B, K, D), drawn (B, K, h, w) -> (B, D, h, w)
    Source: factorized sec 3; lorenz sec 3
    """
    total = torch.einsum("bkd,bkhw->bdhw", codes, drawn.to(codes.dtype))
    return total / (1 + drawn.sum(dim=1, keepdim=True))
