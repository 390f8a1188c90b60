"""Learned perceptual distance of renders and of predicted frames."""

from __future__ import annotations

from torch import Tensor

from components.layers.alexnet import lpips_network
from components.metrics._support import ImageScore
from registry.roles import METRICS


@METRICS.register_module("metrics/lpips")
class Lpips(ImageScore):
    """LPIPS v0.1 on AlexNet, mean over frames; the papers plot 1 - LPIPS.

    Args:
        trunk: AlexNet's ImageNet weights: ``torchvision`` (downloads once), torchvision's file
            (``.pth`` or ``.safetensors``), or ``random``: fixed random filters for tests, then
            part of the metric's name.

    Raises:
        ConfigError: the weights are unavailable; random ones are never a fallback.
    Source: factorized sec 4.3; factorized fig 5
    """

    unit = "LPIPS"

    def __init__(self, *, trunk: str = "torchvision") -> None:
        super().__init__()
        self.network = lpips_network(trunk)
        self.metric = "lpips-alex-v0.1" + ("-random-trunk" if trunk == "random" else "")

    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the distance of each image (B,)."""
        network = self.network.to(image.device)
        # normalize: from [0, 1] to the [-1, 1] that the network takes
        found: Tensor = network(image.float(), target.float(), normalize=True).flatten()
        return found
