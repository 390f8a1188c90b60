"""Lee et al.'s optical flow loss: near landmarks the generated image moves as the real one did."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.raft import Raft
from components.layers.warmup import Warmup
from components.ops.flow import windows
from components.ops.grid import at_least_float32, plane
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/flow_agreement")
class FlowAgreement(nn.Module):
    """weight * sum over landmarks of |W_k (flow of the render - flow of the driving image)|_1.

    Both flows lead to the source image; W_k is a Gaussian window around driving landmark k with sum
    1, and passes no gradient to it. The driving image's flow is ``batch.flow``; the render's is
    estimated by a network, or is the motion field that produced it. The latter is the paper's
    phi(u_t+1, u_t), and needs neither weights nor extra time.

    Args:
        weights: weights of the estimator: ``torchvision`` (downloads once), a file (``.pth`` or
            ``.safetensors``) or ``random``, for runs and tests without a download; None reads the
            motion field instead.
        network: ``raft_small`` or ``raft_large``.
        updates: refinement steps of the estimator.
        weight: factor.
        variance: variance of the window; that of FOMM's drawn landmarks.
        warmup: training steps over which the factor rises to ``weight``.

    Raises:
        ConfigError: weights are unavailable; random ones are never a fallback.
    Source: lee eq 6
    Differs: the equation's brackets do not match and its H_k(u_t+1) has no flow; interpreted as in
        the first line, with the flow of real frames computed beforehand
    """

    def __init__(
        self,
        *,
        weights: str | None = None,
        network: Literal["raft_small", "raft_large"] = "raft_small",
        updates: int = 12,
        weight: float = 1.0,
        variance: float = 0.01,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        self.raft = Raft(network, weights, updates) if weights else None
        self.weight, self.variance = weight, variance
        seen = ("render", "batch.source") if weights else ("motion",)
        self.reads = ("landmarks", "batch.flow", *seen)
        self.warmup = Warmup(warmup)

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        points = need(outputs, "landmarks", "a pipeline with landmarks").xy.detach()
        wanted = at_least_float32(need(batch, "flow", "datasets/flow_pairs (data.train)"))
        found = self._flow(outputs, batch)
        size = found.shape[-2:]
        if wanted.shape[-2:] != size:
            wanted = F.interpolate(
                wanted, size, mode="bilinear", align_corners=False, antialias=True
            )
        error = (found - wanted).abs().sum(dim=1, keepdim=True)
        near = windows(points, self.variance, *size) * error  # (B, K, h, w)
        return self.weight * self.warmup() * near.sum(dim=(1, 2, 3)).mean()

    def _flow(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the flow (B, 2, h, w) from the render to the source image."""
        if self.raft is not None:
            render = need(outputs, "render", "a pipeline with a decoder")
            return self.raft(render, need(batch, "source", "the training dataset (data.train)"))
        motion = need(outputs, "motion", "pipelines/motion_transfer")
        places = at_least_float32(motion.grid)
        height, width = places.shape[1:3]
        # the identity of the sampler, whatever grid the landmarks use
        still = plane(height, width, "half_pixel", places)
        return (places - still).movedim(-1, 1)
