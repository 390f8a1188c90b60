"""Drawing landmarks and panels with OpenCV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from torch import Tensor

from components.ops.grid import to_pixels
from registry.atomic import replacing
from registry.loading import frames_of, to_batch

if TYPE_CHECKING:
    from registry.job import Job


def colours(count: int) -> np.ndarray:
    """Return ``count`` distinct RGB colours.

    Shapes:
        (count, 3) uint8
    """
    hue = np.arange(count) * 179 // max(count, 1)
    hsv = np.stack((hue, np.full(count, 255), np.full(count, 255)), axis=-1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def draw_landmarks(
    image: np.ndarray, pixels: np.ndarray, edges: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """Return a copy of an image with points and limbs on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        pixels: (K, 2) pixel coordinates, pixel centres at integers.
        edges: limbs.
    """
    image, size = image.copy(), max(image.shape[:2])
    palette = colours(len(pixels))
    # 4 fractional bits: points stay sub-pixel
    points = np.round(np.nan_to_num(pixels) * 16).astype(int)
    for a, b in edges:
        if a != b:
            start, end = tuple(points[a].tolist()), tuple(points[b].tolist())
            colour = palette[a].tolist()
            cv2.line(image, start, end, colour, max(1, size // 160), cv2.LINE_AA, 4)
    for point, colour in zip(points, palette):
        radius = max(24, size // 80 * 16)
        cv2.circle(image, tuple(point.tolist()), radius, colour.tolist(), -1, cv2.LINE_AA, 4)
    return image


def to_uint8(image: Tensor) -> np.ndarray:
    """Turn one image (3 or 1, H, W) in [0, 1] into (H, W, 3) uint8 RGB, clipped."""
    array = image.detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(
        np.round(np.broadcast_to(array, (*array.shape[:2], 3)) * 255), np.uint8
    )


def enlarge(image: Tensor, scale: int) -> np.ndarray:
    """Turn one image (3 or 1, H, W) in [0, 1] into uint8 RGB, every pixel a square of ``scale``."""
    return to_uint8(image).repeat(scale, axis=0).repeat(scale, axis=1)


def overlay(
    image: Tensor, xy: Tensor, edges: Sequence[Sequence[int]], scale: int = 1
) -> np.ndarray:
    """Draw landmarks in contract coordinates on one image (3, H, W), enlarged ``scale`` times."""
    picture = enlarge(image, scale)
    height, width = picture.shape[:2]
    return draw_landmarks(
        picture, to_pixels(xy.detach().float().cpu(), height, width).numpy(), edges
    )


def panel(
    batch: Any, outputs: Any, edges: Sequence[Sequence[int]], blank: float = 0.0
) -> np.ndarray:
    """Return rows of source, driving, landmarks, what the model made on the way, and the render.

    Args:
        batch: source, driving.
        outputs: of ``pipeline.infer(batch)``; what it lacks is left out.
        edges: limbs drawn over the image.
        blank: value of ``outputs.drawn`` where nothing is drawn.
    """
    scale = max(1, 160 // batch.driving.shape[-1])
    later = []
    if (drawn := outputs.drawn) is not None:
        later.append((drawn.amax(dim=1, keepdim=True) - blank) / (1 - blank))
    if outputs.motion is not None:
        later += [outputs.motion.visibility, outputs.deformed]
    if outputs.pose_image is not None:
        later.insert(0, (outputs.pose_image + 1) / 2)
    if (layers := outputs.layers) is not None:
        later += [layers.mask, layers.foreground, layers.background]
    rows = []
    for i in range(len(batch.driving)):
        found = overlay(batch.driving[i], outputs.landmarks.xy[i], edges, scale)
        before = [enlarge(image[i], scale) for image in (batch.source, batch.driving)]
        # maps may be drawn smaller than the image
        after = [
            enlarge(image[i], scale * batch.driving.shape[-1] // image.shape[-1])
            for image in (*later, outputs.render)
            if image is not None
        ]
        rows.append(np.concatenate([*before, found, *after], axis=1))
    return np.concatenate(rows, axis=0)


def forecast_pictures(frames: Tensor, predicted: Tensor) -> Iterator[np.ndarray]:
    """Yield a clip's true frames, each with the seen or, in a red border, predicted one beside it.

    Shapes:
        (T, 3, H, W), (S, 3, H, W) of the last S frames -> T times (H', 2 W', 3) uint8
    """
    scale, seen = max(1, 160 // frames.shape[-1]), len(frames) - len(predicted)
    for t, frame in enumerate(frames):
        true = enlarge(frame, scale)
        shown = true if t < seen else enlarge(predicted[t - seen], scale)
        colour = (90, 90, 90) if t < seen else (220, 40, 40)
        edge = (3, 3, 3, 3, cv2.BORDER_CONSTANT)
        pair = [cv2.copyMakeBorder(true, *edge, value=(90, 90, 90))]
        yield np.concatenate([*pair, cv2.copyMakeBorder(shown, *edge, value=colour)], axis=1)


def held_out(job: Job, frames: int = 48) -> Iterator[np.ndarray]:
    """Yield the first test frames with their landmarks and the last test picture in their pose.

    Of a pipeline that forecasts: the first clips with their forecasts.

    Args:
        job: a finished run.
        frames: show this many.
    """
    dataset: Any = job.datasets("test")
    pipeline: Any = job.evaluated()
    device = next(pipeline.parameters()).device
    if hasattr(pipeline, "forecast"):
        for arrays in frames_of(dataset, range(min(4, len(dataset))), batch_size=1):
            batch: Any = to_batch(arrays, device)
            yield from forecast_pictures(batch.frames[0], pipeline.infer(batch).frames[0])
        return
    last: Any = to_batch(next(iter(frames_of(dataset, [len(dataset) - 1], batch_size=1))), device)
    moves = hasattr(pipeline, "animator") and last.source is not None
    move = pipeline.animator(last.source[0]) if moves else None
    for arrays in frames_of(dataset, range(min(frames, len(dataset))), batch_size=16):
        images: Any = to_batch(arrays, device).driving
        points = pipeline.predict(images).landmarks.xy
        scale = max(1, 256 // images.shape[-1])
        pictures = [overlay(*two, pipeline.limbs(), scale) for two in zip(images, points)]
        if move is not None:
            others = [enlarge(image, scale) for image in move(images)]
            still = enlarge(last.source[0], scale)
            pictures = [np.hstack((still, *both)) for both in zip(pictures, others)]
        yield from pictures


def write_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, atomically."""
    with replacing(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OSError(f"cannot write {path}.")
