"""Flips of an image pair: source and driving exchanged, or both mirrored."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from registry.contract import Batch, need
from registry.roles import TRANSFORMS

OF_DRIVING = ("mask", "weight", "keypoints", "flow")


@TRANSFORMS.register_module("transforms/flip_pair")
class FlipPair:
    """Exchange source and driving with probability 1/2, else mirror both with probability 1/2.

    Everything that belongs to the driving image is mirrored with it; left and right keypoints keep
    their names. A second view is dropped, so create it afterwards.

    Args:
        time: allow the exchange; if False, half of the pairs are mirrored.

    Shapes:
        Batch, seeds (B,) -> Batch
    Raises:
        ValueError: ``time`` is on, and the driving image has a field that the source lacks, such as
            optical flow.
    Differs: none from FOMM's official code; the paper does not mention it
    """

    def __init__(self, *, time: bool = True) -> None:
        self.time = time

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        data = "the training dataset (data.train)"
        driving, source = need(batch, "driving", data), need(batch, "source", data)
        target = driving if batch.target is None else batch.target
        stuck = [name for name in OF_DRIVING if getattr(batch, name) is not None]
        if target is not driving:
            stuck.append("target")
        if self.time and stuck:
            raise ValueError(
                f"transforms/flip_pair: {' and '.join(stuck)} of the driving image would be wrong "
                "after a flip in time. Set time=False, or put this transform before the one that "
                "creates it."
            )
        draws = ItemRandom(seeds, 8, driving.device).uniform(0, 1, 2, 1, 1, 1) < 0.5
        swap = draws[:, 0] & self.time
        mirror = draws[:, 1] & ~swap

        def mirrored(x: Tensor | None) -> Tensor | None:
            return None if x is None else torch.where(mirror, x.flip(-1), x)

        first, second = torch.where(swap, driving, source), torch.where(swap, source, driving)
        new = mirrored(second)
        sign = 1 - 2 * mirror[:, 0].to(driving.dtype) * driving.new_tensor((1, 0))  # of x, y
        flow, points = mirrored(batch.flow), batch.keypoints
        return replace(
            batch,
            source=mirrored(first),
            driving=new,
            target=new if target is driving else mirrored(target),
            warped=None,
            warp=None,
            mask=mirrored(batch.mask),
            weight=mirrored(batch.weight),
            keypoints=None if points is None else points * sign,
            flow=None if flow is None else flow * sign.transpose(1, 2)[..., None],
        )
