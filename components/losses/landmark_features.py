"""Lee et al.'s perceptual loss: near landmarks the render must have the target's features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.losses.perceptual import Perceptual
from components.ops.flow import windows
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/landmark_features")
class LandmarkFeatures(nn.Module):
    """weight * sum over landmarks and taps of W_k * mean over channels |VGG(render) - VGG(target)|.

    W_k is a Gaussian window around driving landmark k with sum 1 on each tap's map; it
    passes no gradient to the landmark, which would otherwise move to where errors are small.

    Args:
        weights: of VGG19: ``torchvision`` (downloads once), a file, or ``random`` for runs and
            tests without a download, as in ``losses/perceptual``.
        taps: convolutions to compare, after their ReLU; by default FOMM's.
        variance: variance of the window; that of FOMM's drawn landmarks.
        weight: factor.
        width: channels of the first convolution, 64 in VGG; others only with random filters.

    Shapes:
        outputs.render and batch.target (B, 3, H, W) in [0, 1], landmarks (B, K, 2) -> scalar
    Raises:
        ConfigError: weights are unavailable; random ones are never a fallback.
    Source: lee eq 7
    Differs: the paper does not specify the layers, whether H_k weights the image or its features
        (here the features, computed in one pass for all landmarks) or the mean over channels. Its
        H_k is the difference of two Gaussians, which sums to zero; here only the one at the driving
        landmark. It compares with u_t, the source; here with u_t+1, which the render should show.
        The second argument of its first term has no counterpart in the second and is left out
    """

    reads = ("landmarks", "render", "batch.target")

    def __init__(
        self,
        *,
        weights: str,
        taps: Sequence[str] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        variance: float = 0.01,
        weight: float = 1.0,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.vgg = Perceptual(
            weights=weights, taps=taps, relu=True, tap_weights=[1.0] * len(taps), width=width
        )
        self.variance, self.weight = variance, weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        points = need(outputs, "landmarks", "a pipeline with landmarks").xy.detach()
        render = need(outputs, "render", "a pipeline with a decoder")
        target = need(batch, "target", "the training dataset (data.train)")
        total = points.new_zeros(())
        for found, wanted in zip(self.vgg.features(render), self.vgg.features(target)):
            error = (at_least_float32(found) - at_least_float32(wanted)).abs().mean(dim=1)
            near = windows(points, self.variance, *error.shape[-2:]).sum(dim=1)
            total = total + (near * error).sum(dim=(1, 2)).mean()
        return self.weight * total
