"""Distance of what an identity network makes of renders and of their targets (AED)."""

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
    """Squared distance of embeddings, as the official script has it, mean over frames.

    The Euclidean distance that the name promises is reported beside it. The judge must be given,
    and figures of different judges cannot be compared.

    Args:
        encoder: the judge, any encoder: its features, else its codes, else its maps; maps are
            averaged over the image, codes of parts stand one after the other. A network trained on
            another range or size converts inside.
        weights: checkpoint of a run here whose encoder it is; ``own``: it comes with its weights.
        part: what of that run it is.

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
