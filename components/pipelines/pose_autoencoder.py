"""Pre-training of KeypointGAN's regressor: draw a prior pose, read it back."""

from __future__ import annotations

from torch import nn

from components.steps.limbs import limbs_of
from registry.contract import Batch, Landmarks, Outputs, need
from registry.protocols import Bottleneck, Rasterizer
from registry.roles import PIPELINES


@PIPELINES.register_module("pipelines/pose_autoencoder")
class PoseAutoencoder(nn.Module):
    """rasterizer -> bottleneck, on prior poses alone, without images.

    Args:
        rasterizer: maps landmarks to the drawn pose (beta).
        bottleneck: maps the drawn pose to landmarks (eta).

    Source: keypointgan eq 7; keypointgan sec F.2
    """

    task = "pose-regression"
    fills = frozenset({"prior_drawn", "prior_landmarks"})

    def __init__(self, *, rasterizer: Rasterizer, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.rasterizer = rasterizer
        self.bottleneck = bottleneck

    def forward(self, batch: Batch) -> Outputs:
        """Read the drawn poses back."""
        poses = need(batch, "poses", "the pose prior (data.prior)")
        drawn = self.rasterizer(Landmarks(xy=poses))
        return Outputs(prior_drawn=drawn, prior_landmarks=self.bottleneck(drawn))

    def limbs(self) -> list[tuple[int, int]]:
        """Return the limbs that the rasterizer draws."""
        return limbs_of(self.rasterizer.edges())

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the bottleneck's parameters as the only group."""
        return {"bottleneck": list(self.bottleneck.parameters())}
