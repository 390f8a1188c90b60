"""KeypointGAN's pose prior: predicted pose images must look like drawings of unpaired poses."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.history import History
from components.steps.adversarial import critic_scores
from registry.contract import CriticScores
from registry.protocols import Critic
from registry.roles import PRIORS


@PRIORS.register_module("priors/unpaired_poses")
class UnpairedPoses(nn.Module):
    """A critic that distinguishes predicted pose images from drawn poses of other objects.

    Args:
        critic: judges pose images.
        image_size: side of the pose images.
        history: number of earlier predictions kept to train the critic; 0 for none, official 50.

    Shapes:
        pose_image (B, 1, H, W), prior_drawn (B, 1, H, W) -> CriticScores
    Source: keypointgan eq 5; keypointgan sec 3.2
    Differs: labels are reversed (real 1), as in the official code
    """

    def __init__(self, *, critic: Critic, image_size: int, history: int = 50) -> None:
        super().__init__()
        self.critic = critic
        self.history = History(size=history, shape=(1, image_size, image_size)) if history else None

    def forward(self, pose_image: Tensor, prior_drawn: Tensor) -> CriticScores:
        return critic_scores(self.critic, pose_image, prior_drawn, replay=self.history)
