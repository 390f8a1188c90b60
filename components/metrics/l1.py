"""Mean absolute difference of renders and of predicted frames."""

from __future__ import annotations

from torch import Tensor

from components.metrics._support import ImageScore
from registry.roles import METRICS


@METRICS.register_module("metrics/l1")
class L1(ImageScore):
    """Mean over frames of the mean absolute difference of pixels in [0, 1].

    The motion transfer papers reconstruct test clips from their first frames
    (datasets/first_source).

    Source: fomm sec 4; monkeynet sec 4; lee table 1
    """

    metric, unit = "l1", "of [0, 1]"

    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute difference of each image (B,)."""
        return (image.double() - target.double()).abs().mean(dim=(1, 2, 3))
