"""Left and right: exchanging them, and choosing the closer of two poses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def flip_order(count: int, pairs: Sequence[Sequence[int]]) -> list[int]:
    """Return the landmark order in which left and right are exchanged.

    Raises:
        ValueError: a landmark is in two pairs, so exchanging twice would not restore the order.
    """
    order = list(range(count))
    seen: set[int] = set()
    for left, right in pairs:
        if {left, right} & seen or left == right:
            raise ValueError(f"flip pair ({left}, {right}): a landmark may be in only one pair.")
        seen |= {left, right}
        order[left], order[right] = right, left
    return order


def nearer_flip(xy: Tensor, reference: Tensor, pairs: Sequence[Sequence[int]]) -> Tensor:
    """Exchange left and right of a pose if that brings it closer to a reference.

    The distance is the mean over the landmarks that have a partner.

    Shapes:
        (B, K, 2), (B, K, 2) -> (B, K, 2)
    Source: keypointgan sec 5
    """
    if not pairs:
        return xy
    order = flip_order(xy.shape[1], pairs)
    swapped = xy[:, order]
    sided = [k for pair in pairs for k in pair]
    plain = (xy - reference)[:, sided].norm(dim=-1).mean(dim=-1)
    other = (swapped - reference)[:, sided].norm(dim=-1).mean(dim=-1)
    return torch.where((other < plain)[:, None, None], swapped, xy)
