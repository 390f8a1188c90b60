"""Structural similarity of renders and of predicted frames."""

from __future__ import annotations

from torch import Tensor

from components.metrics._support import ImageScore
from components.ops.image_quality import ssim
from registry.roles import METRICS


@METRICS.register_module("metrics/ssim")
class Ssim(ImageScore):
    """SSIM with the settings of Wang et al. 2004, per channel, mean over frames.

    A Gaussian window of 11 x 11 and sigma 1.5, K1 = 0.01, K2 = 0.03, range 1; scikit-image returns
    the same with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    Source: factorized sec 4.3; factorized fig 5
    """

    higher_is_better = True
    metric, unit = "ssim", "SSIM"

    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the similarity of each image (B,)."""
        return ssim(image, target)
