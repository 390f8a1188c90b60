"""What metrics compare, taken out of a batch and the outputs of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from registry.contract import Batch, Outputs, need

Normaliser = Literal["image", "eyes", "pixels"]
UNITS = {"image": "% of image", "eyes": "% of eye distance", "pixels": "px"}
_CLOSE = 1 / 64  # eyes nearer to each other than one pixel of 128 measure nothing


def names_of(batch: Batch, count: int) -> Sequence[str]:
    """Return the names of the items, or their numbers."""
    return batch.name or [str(i) for i in range(count)]


def ruler(
    normaliser: Normaliser, batch: Batch, keypoints: Tensor, eyes: Sequence[int] = (0, 1)
) -> Tensor:
    """Return what the width and the height of each image measure in units of the normaliser.

    Args:
        normaliser: ``image``: percent of the side; ``eyes``: percent of the distance between two
            keypoints; ``pixels``: original pixels of the crop, where the data set tells its size,
            else pixels of the model's input image.
        batch: size or driving.
        keypoints: annotation that has the eyes.
        eyes: their numbers.

    Shapes:
        keypoints (B, J, 2) -> (B, 2); NaN where the eyes are missing or on one spot
    """
    if normaliser == "image":
        return keypoints.new_full((len(keypoints), 2), 100.0)
    if normaliser == "eyes":
        apart = (keypoints[:, eyes[0]] - keypoints[:, eyes[1]]).norm(dim=-1, keepdim=True)
        return (200 / apart.where(apart >= _CLOSE, torch.nan)).expand(-1, 2)
    if batch.size is not None:
        return batch.size
    height, width = batch.driving.shape[-2:]
    return keypoints.new_tensor((width, height)).expand(len(keypoints), 2)


def frame_scores(
    function: Callable[[Tensor, Tensor], Tensor],
    outputs: Outputs,
    batch: Batch,
    mean_of: str | None,
) -> tuple[np.ndarray, int | None]:
    """Return the scores (B, T) of predicted images, and how many frames came before them.

    Predicted frames are compared with the last ones of ``batch.frames``, a render with
    ``batch.target`` (T is 1, and nothing came before: None); the player of the mean, which renders
    nothing, copies the source.

    Args:
        function: of predicted and true images (B, 3, H, W) in [0, 1], to (B,).
        outputs: frames or render; overshoot is cut off.
        batch: frames, or target and source.
        mean_of: set for the player of the mean.
    """
    if outputs.frames is not None:
        seen = frames_seen(batch, outputs.frames.shape[1])
        pairs = zip(outputs.frames.unbind(1), batch.frames[:, seen:].unbind(1))
    else:
        data, seen = "the data set (data.test)", None
        if mean_of:
            image = need(batch, "source", data)
        else:
            image = need(outputs, "render", "a pipeline with a decoder")
        pairs = zip([image], [need(batch, "target", data)])
    scores = [function(image.clamp(0, 1), target) for image, target in pairs]
    return torch.stack(scores, dim=1).cpu().numpy(), seen


def frames_seen(batch: Batch, predicted: int) -> int:
    """Return how many frames of a clip come before the predicted ones.

    Raises:
        ValueError: the clip is shorter than what was predicted.
    """
    total = need(batch, "frames", "a data set of clips (data.test)").shape[1]
    if total < predicted:
        raise ValueError(f"{predicted} frames were predicted, but the clips have only {total}.")
    return int(total - predicted)
