"""Lorenz et al.'s reconstruction loss: only pixels near a part count."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.gaussians import circular, draw_gaussians
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/part_window")
class PartWindow(nn.Module):
    """Mean over colours of the sum over pixels of W (render - target)^2.

    W is sum_k 1 / (1 + (d_k / radius)^2), with d_k the distance to part k of the driving image;
    clipped to 1, set to zero where it does not exceed the threshold, and scaled to sum 1 per image.

    Args:
        radius: distance from a part at which its weight is 1/2.
        threshold: pixels at or below it do not count: background far from parts is not
            reconstructed.

    Source: lorenz sec 3
    Differs: squared error only; the official code can also use the absolute error
    """

    reads = ("render", "landmarks", "batch.target")

    def __init__(self, *, radius: float = 0.1, threshold: float = 0.2) -> None:
        super().__init__()
        self.radius, self.threshold = radius, threshold

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        render = at_least_float32(need(outputs, "render", "a pipeline with a decoder"))
        target = at_least_float32(need(batch, "target", "the training dataset (data.train)"))
        xy = need(outputs, "landmarks", "a pipeline with a bottleneck").xy.detach()
        height, width = render.shape[-2:]
        window = part_window(xy, height, width, self.radius, self.threshold)
        error = (window * (render - target).square()).sum(dim=(-2, -1))
        return error.mean()


def part_window(xy: Tensor, height: int, width: int, radius: float, threshold: float) -> Tensor:
    """Return the weight of each pixel, sum 1 per image.

    Shapes:
        (B, K, 2) -> (B, 1, height, width)
    Source: lorenz sec 3
    """
    cov = circular(at_least_float32(xy), radius**2)
    near = draw_gaussians(xy, cov, height, width).sum(dim=1, keepdim=True).clamp(max=1)
    near = near * (near > threshold)
    return near / near.sum(dim=(-2, -1), keepdim=True)
