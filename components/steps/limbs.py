"""Select the limbs to draw and export by their strengths."""

from __future__ import annotations

from torch import Tensor

SHARE = 0.5  # of the strongest limb's strength; weaker ones are not shown


def limbs_of(strengths: Tensor | None) -> list[tuple[int, int]]:
    """Return the limbs that are at least half as strong as the strongest, from (N, N) strengths.

    Example:
        >>> limbs_of(Tensor([[0, 1, 0.9], [1, 0, 0.2], [0.9, 0.2, 0]]))
        [(0, 1), (0, 2)]
    """
    if strengths is None:
        return []
    upper = strengths.detach().float().cpu().triu(diagonal=1)
    largest = float(upper.max()) if upper.numel() else 0.0
    if largest <= 0:
        return []
    return [(int(a), int(b)) for a, b in (upper >= SHARE * largest).nonzero()]
