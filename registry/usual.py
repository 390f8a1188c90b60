"""What training images look like to a model, and whether another image looks like them.

A few statistics of some images of ``data.train``, without augmentation, are kept as quantiles: by a
run in ``usual.json``, by a package in its config.json.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from registry.atomic import replacing
from registry.build import build
from registry.config import section
from registry.contract import Batch, Outputs, need
from registry.loading import frames_of, spread, to_batch

IMAGES = 256  # training images that are measured
QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)
CHECKED = 16  # images of one call, or of one file, that are compared with the training images
# Root mean square, over the statistics of an image, of the distance from the training median, in
# units of the distance from the median to the 1 % or 99 % quantile. Chosen so that about 1 % of
# generated puppets that no model has seen exceed it.
LIMIT = 1.2
NARROWEST = 0.1  # that unit is at least this share of the median: one room has one brightness
FEW = 1 / 8  # this share may look unusual without a warning: 1 % of the usual images do


@torch.no_grad()
def observe(pipeline: Any, images: Tensor) -> dict[str, Tensor]:
    """Return numbers that tell images apart from training images.

    ``brightness`` is the mean and ``contrast`` the standard deviation of an image's values,
    ``detail`` the mean absolute difference of neighbouring pixels; ``reconstruction_error`` the
    mean absolute difference between the image and its reconstruction, if the pipeline renders;
    ``landmark_spread`` the root mean square distance of the landmarks from their mean; ``score``
    the mean score of the landmarks.

    Args:
        pipeline: in evaluation mode.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        name -> (B,), at least 0; empty if the pipeline does not find landmarks in images.
    """
    part = getattr(pipeline, "image_pipeline", pipeline)  # of a forecast
    found: Outputs
    if "landmarks" in part.infers:
        found = part.infer(Batch(source=images, driving=images))
    elif hasattr(part, "predict"):
        found = part.predict(images)
    else:
        return {}
    images, landmarks = images.float(), need(found, "landmarks")
    across, down = images.diff(dim=-1).abs().mean((1, 2, 3)), images.diff(dim=-2).abs()
    numbers = {
        "brightness": images.mean((1, 2, 3)),
        "contrast": images.std((1, 2, 3), correction=0),
        "detail": (across + down.mean((1, 2, 3))) / 2,
        "landmark_spread": landmarks.xy.float().var(1, correction=0).sum(-1).sqrt(),
    }
    if landmarks.score is not None:
        numbers["score"] = landmarks.score.float().mean(1)
    if found.render is not None:
        redrawn = found.render.float().clamp(0, 1)
        numbers["reconstruction_error"] = (redrawn - images).abs().mean((1, 2, 3))
    return numbers


@dataclass(frozen=True, slots=True)
class Usual:
    """What training images look like to a model.

    Attributes:
        images: how many were measured.
        quantiles: name of a number of :func:`observe` -> its minimum, its 1, 50 and 99 % quantiles
            and its maximum over these images.
    """

    images: int
    quantiles: Mapping[str, Sequence[float]]

    def remarks(self, pipeline: Any, images: Tensor) -> list[str]:
        """Return what is most unusual about each image; '' if it looks like the training images.

        This takes about as long as reconstructing the images.

        Shapes:
            (B, 3, H, W) in [0, 1] -> B texts

        Example:
            ``model.usual.remarks(model, model.preprocess("photo.jpg").images)``
        """
        numbers = {k: v for k, v in observe(pipeline, images).items() if k in self.quantiles}
        if not numbers:
            return [""] * len(images)
        names, away = list(numbers), []
        for name, values in numbers.items():
            _, low, middle, high, _ = self.quantiles[name]
            narrowest = NARROWEST * (1 - middle if name == "score" else middle)
            unit = torch.where(values < middle, middle - low, high - middle)
            away.append((values - middle).abs() / unit.clamp_min(max(narrowest, 1e-6)))
        strange = torch.stack(away, dim=1)  # (B, numbers)
        beyond = ~(strange.square().mean(dim=1).sqrt() <= LIMIT)  # NaN is beyond
        texts = []
        for i, place in enumerate(strange.argmax(dim=1).tolist()):
            _, low, _, high, _ = self.quantiles[names[place]]
            value = float(numbers[names[place]][i])
            text = f"{names[place].replace('_', ' ')} {value:.2g}, training {low:.2g} to {high:.2g}"
            texts.append(text if beyond[i] else "")
        return texts


def usual_of(pipeline: Any, cfg: Mapping[str, Any], images: int = IMAGES) -> Usual | None:
    """Measure images of ``data.train``, evenly spread and without augmentation.

    Args:
        pipeline: trained; its mode is kept.
        cfg: resolved config.
        images: how many.

    Returns:
        None if there are no images, as for a pipeline that trains on poses alone.

    Raises:
        ConfigError, OSError: the data are missing.
    """
    data = section(cfg, "data")
    if data.train is None:
        return None
    dataset = build(data.train, "data.train", "datasets")
    device, training = next(pipeline.parameters()).device, pipeline.training
    seen: dict[str, list[Tensor]] = {}
    pipeline.eval()
    try:
        for arrays in frames_of(dataset, spread(len(dataset), images), CHECKED):
            batch = to_batch(arrays, device)
            shown = need(batch, "driving") if batch.frames is None else batch.frames[:, 0]
            for name, values in observe(pipeline, shown).items():
                seen.setdefault(name, []).append(values.double().cpu())
    finally:
        pipeline.train(training)
    at = torch.tensor(QUANTILES, dtype=torch.float64)
    quantiles = {k: torch.cat(v).quantile(at).tolist() for k, v in seen.items()}
    if not all(math.isfinite(value) for five in quantiles.values() for value in five):
        return None
    rounded = {k: [float(f"{value:.5g}") for value in five] for k, five in quantiles.items()}
    return Usual(min(images, len(dataset)), rounded) if rounded else None


def write(usual: Usual | None, work_dir: Path) -> None:
    """Write ``usual.json`` of a run, if there is anything to write."""
    if usual is not None:
        with replacing(work_dir / "usual.json") as temporary:
            temporary.write_text(json.dumps(asdict(usual), indent=2) + "\n", encoding="utf-8")


def read(stated: Mapping[str, Any] | Path | None) -> Usual | None:
    """Read the statistics of a package, or of a run's ``usual.json`` if it exists."""
    if isinstance(stated, Path):
        stated = json.loads(stated.read_text(encoding="utf-8")) if stated.is_file() else None
    return Usual(stated["images"], stated["quantiles"]) if stated else None


def warn_of(remarks: Sequence[str], where: str = "") -> None:
    """Warn once if more than a few images look unlike the training images.

    Args:
        remarks: of the images that were checked, from :meth:`Usual.remarks`.
        where: begins the warning, such as the file that they are from.
    """
    told = [remark for remark in remarks if remark]
    if len(told) <= FEW * len(remarks):
        return
    one = "this image looks" if len(remarks) == 1 else f"{len(told)} of {len(remarks)} images look"
    warnings.warn(
        f"{where}{': ' if where else ''}{one} unlike those that the model was trained on "
        f"({told[0]}). Do not trust {'its' if len(remarks) == 1 else 'their'} landmarks.",
        UserWarning,
        stacklevel=3,
    )
