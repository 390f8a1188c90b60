"""Drawing landmarks and panels with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    """Return rows of source, driving, landmarks, intermediate results, and the render.

    Each column has its title above it.

    Args:
        batch: source, driving.
        outputs: result of ``pipeline.infer(batch)``; missing fields are left out.
        edges: limbs drawn over the image.
        blank: value of ``outputs.drawn`` for an empty pixel.
    """
    side = batch.driving.shape[-1]
    scale = max(1, 160 // side)
    found = zip(batch.driving, outputs.landmarks.xy)
    marked = [overlay(image, xy, edges, scale) for image, xy in found]
    columns: dict[str, Any] = {"source": batch.source, "driving": batch.driving}
    columns["landmarks"] = marked
    if outputs.pose_image is not None:
        columns["pose image"] = (outputs.pose_image + 1) / 2
    if (drawn := outputs.drawn) is not None:
        columns["drawn pose"] = (drawn.amax(dim=1, keepdim=True) - blank) / (1 - blank)
    if outputs.motion is not None:
        columns |= {"visibility": outputs.motion.visibility, "deformed": outputs.deformed}
    if (layers := outputs.layers) is not None:
        columns |= {"mask": layers.mask, "foreground": layers.foreground}
        columns["background"] = layers.background
    columns["render"] = outputs.render
    strips = []
    for name, images in columns.items():
        if images is None:
            continue
        # maps may be drawn smaller than the image
        cells = [
            cell if name == "landmarks" else enlarge(cell, scale * side // cell.shape[-1])
            for cell in images
        ]
        strips.append(np.concatenate([titled(name, cells[0].shape[1]), *cells], axis=0))
    return np.concatenate(strips, axis=1)


def titled(text: str, width: int) -> np.ndarray:
    """Return a white strip (24, width, 3) with a centred title, smaller if it would not fit."""
    strip = np.full((24, width, 3), 255, np.uint8)
    scale = min(0.5, 0.5 * (width - 4) / text_width(text, 0.5))
    write(strip, text, ((width - text_width(text, scale)) // 2, 17), scale)
    return strip


FONT = cv2.FONT_HERSHEY_SIMPLEX


def text_width(text: str, scale: float) -> int:
    """Return the width of a text in pixels."""
    return int(cv2.getTextSize(_safe(text), FONT, scale, 1)[0][0])


def _safe(text: str) -> str:
    """Return what OpenCV can write: it crashes on names of files that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def write(
    image: np.ndarray,
    text: str,
    at: tuple[int, int],
    scale: float = 0.5,
    colour: Sequence[int] = (40, 40, 40),
) -> None:
    """Write text into an image; ``at`` is the start of its baseline, in pixels."""
    cv2.putText(image, _safe(text), at, FONT, scale, tuple(map(int, colour)), 1, cv2.LINE_AA)


def curve(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    marks: Sequence[float] = (),
) -> np.ndarray:
    """Draw errors and losses over the iterations, on a logarithmic scale.

    Args:
        lines: name -> (iteration, value) points; values without a logarithm are left out. The
            first line is the thickest.
        title: title above the picture.
        marks: iterations marked by a vertical line.

    Shapes:
        -> (520, 960, 3) uint8 RGB
    """
    picture = np.full((520, 960, 3), 255, np.uint8)
    left, right, top, bottom = 80, 720, 40, 470
    found = {}
    for name, points in lines.items():
        if positive := [(x, y) for x, y in points if y > 0 and math.isfinite(y)]:
            found[name] = positive
    write(picture, title, (left, 24), 0.55)
    write(picture, "iterations", ((left + right) // 2 - 35, 510))
    xs = [x for points in found.values() for x, _ in points] or [1.0]
    ys = [y for points in found.values() for _, y in points] or [1.0]
    low, high = math.log10(min(ys)) - 0.05, math.log10(max(ys)) + 0.05
    last = max(xs)

    def place(x: float, y: float) -> tuple[int, int]:
        across = left + (right - left) * x / last
        up = (math.log10(y) - low) / (high - low)
        return round(across), round(bottom - (bottom - top) * up)

    for y in _ticks(low, high):
        row = place(0, y)[1]
        cv2.line(picture, (left, row), (right, row), (225, 225, 225), 1)
        write(picture, f"{y:g}", (left - 8 - text_width(f"{y:g}", 0.45), row + 5), 0.45)
    power = 10 ** math.floor(math.log10(max(last, 1)))
    steps = (power / 5, power / 2, power, 2 * power)
    step = max(1, round(next(each for each in steps if last / each <= 8)))
    for x in range(0, int(last) + 1, step):
        column = place(x, 1)[0]
        cv2.line(picture, (column, bottom), (column, bottom + 5), (40, 40, 40), 1)
        write(picture, str(x), (column - text_width(str(x), 0.45) // 2, bottom + 20), 0.45)
    for mark in marks:
        if 0 < mark < last:
            column = place(mark, 1)[0]
            for row in range(top, bottom, 8):
                cv2.line(picture, (column, row), (column, row + 4), (150, 150, 150), 1)
            write(picture, "learning rate", (column - 40, top - 4), 0.35, (110, 110, 110))
    cv2.rectangle(picture, (left, top), (right, bottom), (40, 40, 40), 1)
    palette = _dark(max(len(found), 1))
    names = sorted(found, key=lambda name: -found[name][-1][1])
    rows: dict[str, int] = {}
    for name in names:  # labels at the ends of the lines, without overlaps
        row = place(*found[name][-1])[1] + 5
        rows[name] = max([row, *(other + 17 for other in rows.values())])
    over = max(0, max(rows.values(), default=0) - (bottom + 5))
    for number, (name, points) in enumerate(found.items()):
        colour, thick = palette[number], 3 if number == 0 else 1
        corners = np.array([place(*point) for point in points], np.int32)
        if len(corners) == 1:
            cv2.circle(picture, tuple(corners[0].tolist()), 4, colour, -1, cv2.LINE_AA)
        cv2.polylines(picture, [corners], False, colour, thick, cv2.LINE_AA)
        label = f"{name} {points[-1][1]:.3g}"
        scale = min(0.45, 0.45 * (960 - right - 12) / text_width(label, 0.45))
        write(picture, label, (right + 8, rows[name] - over), scale, colour)
    return picture


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten, more of them for a smaller range."""
    digits = [1] if high - low > 4 else [1, 2, 5] if high - low > 0.7 else list(range(1, 10))
    powers = range(math.floor(low), math.ceil(high) + 1)
    return [d * 10.0**p for p in powers for d in digits if low <= math.log10(d * 10.0**p) <= high]


def _dark(count: int) -> list[tuple[int, int, int]]:
    """Return distinct colours that are legible on white."""
    hue = np.arange(count) * 179 // max(count, 1)
    hsv = np.stack((hue, np.full(count, 255), np.full(count, 170)), axis=-1).astype(np.uint8)
    return [tuple(c) for c in cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].tolist()]


def forecast_pictures(frames: Tensor, predicted: Tensor) -> Iterator[np.ndarray]:
    """Yield a clip's true frames, each beside the seen one or, in a red border, the predicted one.

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


def shown_frames(job: Job, name: str, frames: int = 48) -> Iterator[np.ndarray]:
    """Yield the first frames of a data set with landmarks, and its last image in their poses.

    For a pipeline that forecasts: the first clips with their forecasts.

    Args:
        job: a finished run whose pipeline infers.
        name: data set: ``test``, ``val`` or ``train``.
        frames: number of frames to show.
    """
    dataset: Any = job.datasets(name)
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
        # not imwrite, which does not report a full disk
        pixels = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        temporary.write_bytes(pixels.tobytes())
