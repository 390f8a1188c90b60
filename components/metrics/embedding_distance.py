"""Distance between an identity network's embeddings of renders and of their targets (AED)."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from components.metrics._support import ImageScore
from registry.checkpoint import load, load_part
from registry.contract import Encoding
from registry.protocols import Encoder
from registry.roles import METRICS


@METRICS.register_module("metrics/embedding_distance")
class EmbeddingDistance(ImageScore):
    """Squared distance of embeddings, as in the official script, mean over frames.

    The Euclidean distance that the name promises is also reported. The judge must be provided, and
    results of different judges are not comparable.

    Args:
        encoder: the judge, any encoder: its features, else its codes, else its maps; maps are
            averaged over the image, codes of parts are concatenated. A network trained on another
            range or size must convert its input itself.
        weights: checkpoint of a run whose encoder is the judge; ``own`` if it has its own weights.
        part: the judge's name in that run.

    Raises:
        ConfigError: the checkpoint does not fit.
    Source: fomm sec 4; monkeynet sec 4; lee table 1
    """

    metric, unit = "embedding_distance", "squared distance"

    def __init__(
        self,
        *,
        encoder: Encoder,
        weights: str,
        part: Literal["encoder", "appearance_encoder"] = "encoder",
    ) -> None:
        if weights != "own":
            load_part(cast(nn.Module, encoder), load(weights), part, weights)
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


def _embedding(found: Encoding) -> Tensor:
    """Return one vector per image (B, D) in double precision."""
    value = next(v for v in (found.features, found.codes, found.maps) if v is not None)
    if value.ndim == 4:
        value = value.mean(dim=(2, 3))
    return value.flatten(1).double()
