"""How well the predicted foreground mask matches the true one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from components.metrics._support import Array, names_of, numpy_of
from components.ops.statistics import summary
from registry.contract import Batch, Layers, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/mask_iou")
class MaskIou:
    """Intersection over union of predicted and true foreground (threshold 0.5), mean over frames.

    The baseline predicts the mean mask of ``data.fit``. Also reported are the mean of the predicted
    mask and its binarisation, the mean of ``|2 m - 1|``: 1 for a binary mask.

    Source: factorized sec 4.2; factorized fig 3
    Differs: ours; the paper shows masks and discusses how binary they are, without a number
    """

    reads = ("layers.mask",)
    baseline = "mean_mask"
    fits = True
    higher_is_better = True

    def __init__(self) -> None:
        self.sum = torch.zeros(())
        self.count = 0
        self.figures: list[Array] = []
        self.names: list[str] = []

    def fit(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch of ``data.fit`` to the mean mask."""
        mask = need(batch, "mask", "a data set with foreground masks (data.fit)").double()
        self.sum, self.count = self.sum.to(mask) + mask.sum(dim=0), self.count + len(mask)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch of the test set."""
        truth = need(batch, "mask", "a data set with foreground masks (data.test)") > 0.5
        layers = need(outputs, "layers", "a pipeline with a compositor")
        mask = need(layers, "mask", "a compositor with a mask (compositors/mask_blend)").double()
        found = mask > 0.5
        both, either = (part.sum(dim=(1, 2, 3)) for part in (found & truth, found | truth))
        iou = (both / either).nan_to_num(1.0)  # both masks are empty
        means = (mask.mean(dim=(1, 2, 3)), (2 * mask - 1).abs().mean(dim=(1, 2, 3)))
        self.figures.append(np.stack([numpy_of(figure) for figure in (100 * iou, *means)]))
        self.names += names_of(batch, len(truth))

    def guess(self, batch: Batch) -> Outputs:
        """Predict the mean mask of ``data.fit`` for any image."""
        image = need(batch, "driving", "the data set (data.test)")
        mask = (self.sum / self.count).to(image.device).expand(len(image), -1, -1, -1)
        return Outputs(layers=Layers(foreground=image, background=image, mask=mask))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        iou, mean, binarisation = np.concatenate(self.figures, axis=1)
        row = summary(iou, self.names)
        row["extra"] = {
            "mask mean": float(mean.mean()),
            "binarisation": float(binarisation.mean()),
        }
        return {"metric": "mask_iou", "unit": "%", **row}
