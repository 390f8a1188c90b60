"""How much of each landmark's probability lies on the foreground."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.metrics._support import Array, landmarks_of, names_of, numpy_of
from components.ops.statistics import summary
from registry.contract import Batch, Landmarks, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/containment")
class Containment:
    """Fraction of each landmark's softmax mass in the foreground, mean over images and landmarks.

    Every landmark is also reported, the least contained first. The baseline is a uniform map: the
    fraction of the image that is foreground.

    Source: factorized sec 4.2; factorized fig 2
    Differs: the mask is averaged down to the size of the maps; the mean over landmarks is ours:
        the paper plots the landmarks and names the least contained
    """

    reads = ("landmarks.prob",)
    baseline = "uniform_map"
    higher_is_better = True

    def __init__(self) -> None:
        self.shares: list[Array] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch."""
        mask = _mask(batch).double()
        maps = "a bottleneck that reads probability maps"
        prob = need(landmarks_of(outputs), "prob", maps).double()
        shares = (prob * F.adaptive_avg_pool2d(mask, prob.shape[-2:])).sum(dim=(2, 3))
        self.shares.append(100 * numpy_of(shares))
        self.names += names_of(batch, len(mask))

    def guess(self, batch: Batch) -> Outputs:
        """Return one landmark spread over the whole image."""
        prob = torch.ones_like(_mask(batch))
        prob /= prob[0].numel()
        return Outputs(landmarks=Landmarks(xy=prob.new_zeros(len(prob), 1, 2), prob=prob))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        shares = np.concatenate(self.shares)
        row = summary(shares.mean(axis=1), self.names)
        of_landmark = shares.mean(axis=0)
        row["extra"]["least contained"] = float(of_landmark.min())
        for k in np.argsort(of_landmark):
            row["extra"][f"landmark {k}"] = float(of_landmark[k])
        return {"metric": "containment", "unit": "% of mass", **row}


def _mask(batch: Batch) -> Tensor:
    mask: Tensor = need(batch, "mask", "a data set with foreground masks (data.test)")
    return mask
