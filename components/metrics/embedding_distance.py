"""Distance of what an identity network makes of renders and of their targets (AED)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from components.metrics._support import ImageScore
from registry.checkpoint import load, load_part
from registry.contract import Appearance, Encoding
from registry.errors import ConfigError
from registry.roles import METRICS


@METRICS.register_module("metrics/embedding_distance")
class EmbeddingDistance(ImageScore):
    """Squared distance of embeddings, as the official script has it, mean over frames.

    The Euclidean distance that the name promises is reported beside it. The judge must be given,
    and figures of different judges cannot be compared.

    Args:
        encoder: the judge: images in [0, 1] to embeddings (B, D), or any of our encoders: maps are
            averaged over the image, codes of parts stand one after the other. A network trained on
            another range or size converts inside.
        weights: checkpoint of a run here whose encoder it is; ``own``: it comes with its weights.
        part: what of that run it is.

    Raises:
        ConfigError: the checkpoint does not fit, or the encoder reads poses, too.
    Source: fomm sec 4; monkeynet sec 4; lee table 1
    """

    metric, unit = "embedding_distance", "squared distance"

    def __init__(
        self,
        *,
        encoder: nn.Module,
        weights: str,
        part: Literal["encoder", "appearance_encoder"] = "encoder",
    ) -> None:
        if getattr(encoder, "needs_pose", False):
            raise ConfigError("this encoder reads the pose, too; give one of images alone.")
        if weights != "own":
            load_part(encoder, load(weights), part, weights)
        super().__init__()
        self.encoder = encoder.eval()

    @torch.no_grad()
    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the squared distance of each image (B,)."""
        encoder = self.encoder.to(image.device)
        first, second = (_embedding(encoder(x.float())) for x in (image, target))
        return (first - second).square().sum(dim=1)

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = super().compute()
        row["extra"]["Euclidean"] = float(np.sqrt(np.concatenate(self.scores)).mean())
        return row


def _embedding(found: Tensor | Encoding | Appearance) -> Tensor:
    """Return one vector per image (B, D) in double precision."""
    if isinstance(found, Encoding):
        found = found.pose if found.features is None else found.features
    elif isinstance(found, Appearance):
        found = found.image if found.codes is None else found.codes
    if found.ndim == 4:
        found = found.mean(dim=(2, 3))
    return found.flatten(1).double()
