"""How much of each landmark's probability lies on the foreground."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.nn import functional as F

from components.metrics._support import names_of
from components.ops.statistics import summary
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/containment")
class Containment:
    """Share of each landmark's softmax mass in the foreground, mean over images and landmarks.

    Every landmark is reported beside the value, the least contained first. The baseline is a
    uniform map: the share of the image that is foreground.

    Source: factorized sec 4.2; factorized fig 2
    Differs: the mask is averaged down to the size of the maps; the mean over landmarks is ours,
        the paper plots the landmarks and names the least contained
    """

    baseline = "uniform_map"
    higher_is_better = True

    def __init__(self) -> None:
        self.shares: list[np.ndarray] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        mask = need(batch, "mask", "a data set with foreground masks (data.test)").double()
        if mean_of:
            shares = mask.mean(dim=(2, 3))  # one landmark, everywhere
        else:
            landmarks = need(outputs, "landmarks", "a pipeline with a bottleneck")
            prob = need(landmarks, "prob", "a bottleneck that reads probability maps").double()
            shares = (prob * F.adaptive_avg_pool2d(mask, prob.shape[-2:])).sum(dim=(2, 3))
        self.shares.append(100 * shares.cpu().numpy())
        self.names += names_of(batch, len(mask))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        shares = np.concatenate(self.shares)
        row = summary(shares.mean(axis=1), self.names)
        of_landmark = shares.mean(axis=0)
        row["extra"]["least contained"] = float(of_landmark.min())
        for k in np.argsort(of_landmark):
            row["extra"][f"landmark {k}"] = float(of_landmark[k])
        return {"metric": "containment", "unit": "% of mass", **row}
