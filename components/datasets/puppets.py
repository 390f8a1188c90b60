"""Puppets: articulated figures over patterned backgrounds, drawn from a seed while training runs.

A clip has one figure (proportions, clothes), one background and one smooth motion. A skeleton is a
table of bones. Kinematics turns angles into joints; each drawn bone is a small picture, made once
per clip and moved by one similarity transform per frame. Geometry is in contract coordinates, so
poses do not depend on the image size; lengths in the tables use the same unit (the image is 2
wide).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from components.data.figures import (
    SKELETONS,
    background,
    colour,
    fixed,
    hull,
    paint,
    with_twins,
)
from components.ops.pixels import from_pixel, to_pixel
from registry.roles import DATASETS

T = TypeVar("T")

SPLITS = ("train", "test", "prior")  # the position is part of every seed
CACHED_CLIPS = 512  # about 50 KB each for 64 x 64 images, 140 KB for 128 x 128
LIMIT = 0.92  # joints stay in [-LIMIT, LIMIT]
FINE = 4  # limb pictures are drawn this many times larger, then averaged: antialiasing


class Motion(NamedTuple):
    """What moves in a clip of F frames with J joints and P drawn bones."""

    points: np.ndarray  # (F, J, 2) joints
    angles: np.ndarray  # (F, P) direction of each drawn bone, radians
    scale: np.ndarray  # (F,) size of the figure
    discs: list[np.ndarray]  # P outlines (n, 3): u along the bone, v across, radius, at scale 1


class Looks(NamedTuple):
    """What stays the same in a clip."""

    canvas: np.ndarray  # the background with a margin, uint8
    drift: np.ndarray  # (F, 2) shift of a moving background
    textures: list[np.ndarray]  # P pictures (h, w, 4) uint8, colours multiplied by alpha
    frames: np.ndarray  # (P, 2, 3) from texture pixels to (u, v)
    order: list[int]  # drawn bones, farthest first


@DATASETS.register_module("datasets/puppets")
class Puppets:
    """Articulated figures with exact joints, visibility and masks; no split shares a figure.

    Left and right can be told apart in every image: the right limbs of every figure are dark with
    bright cross bands, the left limbs bright with a dark line along them. Also, a human faces the
    viewer and an animal looks to the left of the image. Mirroring an image breaks these rules, so
    do not mirror if a model must distinguish left and right.

    Shapes: images (H, H, 3) uint8, masks (H, H), keypoints (J, 2), visible (J,).
    Range: keypoints in [-0.92, 0.92].
    Raises: ValueError for an unknown choice, or for sizes that allow no image or no pair.

    Args:
        split: "train", "test", or "prior" for unpaired poses.
        image_size: side of the square images.
        clips: number of clips; each has its own figure, background and motion.
        frames_per_clip: length of a clip; longer clips are not slower.
        background: "static", or "moving" for one that drifts within the clip.
        skeleton: "human" from the front or "animal" from its left.
        seed: seed of everything that is drawn.
        pair_range: smallest and largest distance from target to source frame; None for any other.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        image_size: int = 64,
        clips: int = 400,
        frames_per_clip: int = 32,
        background: str = "static",
        skeleton: str = "human",
        seed: int = 0,
        pair_range: tuple[int, int] | None = None,
    ) -> None:
        for name, value, known in (
            ("split", split, SPLITS),
            ("background", background, ("static", "moving")),
            ("skeleton", skeleton, tuple(SKELETONS)),
        ):
            if value not in known:
                raise ValueError(
                    f"datasets/puppets: {name} must be one of {', '.join(known)}, not {value!r}."
                )
        for name, size, least in (
            ("image_size", image_size, 16),
            ("clips", clips, 1),
            ("frames_per_clip", frames_per_clip, 2),
            ("seed", seed, 0),
        ):
            if size < least:
                raise ValueError(f"datasets/puppets: {name} must be at least {least}, not {size}.")
        nearest, farthest = pair_range or (1, frames_per_clip)
        half = frames_per_clip // 2  # the maximum distance from the middle frame
        if not 1 <= nearest <= min(farthest, half):
            raise ValueError(
                f"datasets/puppets: pair_range={pair_range} leaves a frame without a partner. Use "
                f"(min, max) with 1 <= min <= max and min <= {half}, half a clip."
            )
        self.split, self.image_size, self.seed = split, image_size, seed
        self.clips, self.frames_per_clip = clips, frames_per_clip
        self.background, self.pair_range = background, (nearest, farthest)
        self._skeleton = SKELETONS[skeleton]
        self._bones = with_twins(self._skeleton)
        self._drawn = [bone for bone in self._bones if bone.outline]
        self.keypoint_names = (self._skeleton.root, *(bone.joint for bone in self._bones))
        at = self._at = {name: j for j, name in enumerate(self.keypoint_names)}
        self.edges = tuple((at[bone.parent], at[bone.joint]) for bone in self._bones)
        left = [name for name in at if name.startswith("left_")]
        self.flip_pairs = tuple((at[name], at[name.replace("left", "right")]) for name in left)
        # A joint is visible if any of its bones is visible there. The background (0) hides nothing.
        owned = [{b.joint, b.parent, *(place for place, _ in b.outline)} for b in self._drawn]
        self._owners = np.array([[True, *(name in names for names in owned)] for name in at])
        self._motions: OrderedDict[int, Motion] = OrderedDict()
        self._looks: OrderedDict[int, Looks] = OrderedDict()

    def __len__(self) -> int:
        return self.clips * self.frames_per_clip

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return target frame `index`, annotated, and a source frame that `rng` picks."""
        clip, frame = self._locate(index)
        distance = np.abs(np.arange(self.frames_per_clip) - frame)
        nearest, farthest = self.pair_range
        partners = np.flatnonzero((nearest <= distance) & (distance <= farthest))
        target, mask, keypoints, visible = self.render(clip, frame)
        return {
            "target": target,
            "source": self.render(clip, int(rng.choice(partners)))[0],
            "keypoints": keypoints,
            "visible": visible,
            "mask": mask,
            "size": self.size(index),
            "name": f"{self.split}/{clip:05d}/{frame:03d}",
        }

    def keypoints(self, index: int) -> np.ndarray:
        """Return the joints (J, 2) of target frame `index` without drawing it."""
        clip, frame = self._locate(index)
        return self._motion(clip).points[frame].astype(np.float32)

    def clip_ranges(self) -> list[tuple[str, range]]:
        """Return the name of each clip and the numbers of its frames, for `image`."""
        length = self.frames_per_clip
        return [
            (f"{self.split}/{clip:05d}", range(clip * length, (clip + 1) * length))
            for clip in range(self.clips)
        ]

    def image(self, index: int) -> np.ndarray:
        """Return frame `index` (H, H, 3)."""
        return self.parts(*self._locate(index))[0]

    def size(self, index: int) -> np.ndarray:
        """Return width and height (2,) float32 of a frame, which is drawn at this size."""
        return np.full(2, self.image_size, np.float32)

    def render(
        self, clip: int, frame: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return image (H, H, 3), mask (H, H), keypoints (J, 2) and visible (J,) of one frame."""
        image, parts = self.parts(clip, frame)
        points = self._motion(clip).points[frame]
        x, y = np.rint(to_pixel(points, self.image_size)).astype(int).T
        visible = self._owners[np.arange(len(points)), parts[y, x]]
        mask = (parts > 0).astype(np.uint8)
        return image, mask, points.astype(np.float32), visible.astype(np.float32)

    def transforms(self, clip: int, frame: int) -> np.ndarray:
        """Return (P, 2, 3): affines from each drawn bone's own (u, v) to contract coordinates.

        With `parts` this is the exact motion: a point of bone p at x in frame a is in frame b at
        transforms_b[p] applied to the inverse of transforms_a[p] applied to x.
        """
        motion = self._motion(clip)
        sin, cos = np.sin(motion.angles[frame]), np.cos(motion.angles[frame])
        turn = np.stack([sin, -cos, cos, sin], axis=1).reshape(-1, 2, 2) * motion.scale[frame]
        start = motion.points[frame, [self._at[bone.parent] for bone in self._drawn]]
        return np.concatenate([turn, start[:, :, None]], axis=2)

    def parts(self, clip: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (H, H, 3) and, per pixel, 1 + the drawn bone visible there, or 0."""
        size, margin, looks = self.image_size, self.image_size // 4, self._look(clip)
        image = looks.canvas[margin : margin + size, margin : margin + size].copy()
        if self.background == "moving":
            x, y = ((len(looks.canvas) - 1 + looks.drift[frame] * size) / 2).tolist()
            image = cv2.getRectSubPix(looks.canvas, (size, size), (x, y))
        parts = np.zeros((size, size), np.uint8)
        place = self.transforms(clip, frame)
        place = place[:, :, :2] @ looks.frames + place[:, :, 2:] * (0, 0, 1)  # to contract
        place = place * (size / 2) + np.array([0, 0, to_pixel(0, size)])  # to image pixels
        for p in looks.order:
            texture, matrix = looks.textures[p], place[p]
            h, w = texture.shape[:2]
            corners = matrix @ np.array([[-1, w, -1, w], [-1, -1, h, h], [1, 1, 1, 1]])
            x0, y0 = np.maximum(np.floor(corners.min(axis=1)), 0).astype(int).tolist()
            x1, y1 = np.minimum(np.ceil(corners.max(axis=1)) + 1, size).astype(int).tolist()
            matrix[:, 2] -= (x0, y0)
            patch = cv2.warpAffine(texture, matrix, (x1 - x0, y1 - y0))
            alpha, under = patch[:, :, 3:], image[y0:y1, x0:x1]
            # No overflow: a colour multiplied by alpha never exceeds alpha.
            under[:] = patch[:, :, :3] + (under * (255 - alpha.astype(np.uint16)) + 127) // 255
            parts[y0:y1, x0:x1][alpha[:, :, 0] > 127] = p + 1
        return image, parts

    def flow(self, index: int, other: int) -> np.ndarray:
        """Return the displacement of each pixel of frame `index` to its position in frame `other`.

        Exact for what covers most of the pixel (see `parts`), even if hidden in the other frame.

        Shapes: (H, H, 2) float32, differences (x, y) of contract coordinates.
        Raises: ValueError if the two are frames of different clips.
        """
        (clip, frame), (same, there) = self._locate(index), self._locate(other)
        if clip != same:
            raise ValueError(
                f"datasets/puppets: frames {index} and {other} belong to different clips."
            )
        before, after = self.transforms(clip, frame), self.transforms(clip, there)
        moves = np.zeros((1 + len(before), 2, 3))  # z -> displacement; background first
        turn = after[:, :, :2] @ np.linalg.inv(before[:, :, :2])
        moves[1:, :, :2] = turn - np.eye(2)
        moves[1:, :, 2:] = after[:, :, 2:] - turn @ before[:, :, 2:]
        if self.background == "moving":
            drift = self._look(clip).drift
            moves[0, :, 2] = drift[frame] - drift[there]
        z = from_pixel(np.arange(self.image_size), self.image_size)
        seen = moves[self.parts(clip, frame)[1]]  # (H, H, 2, 3)
        flow = seen[..., 0] * z[:, None] + seen[..., 1] * z[:, None, None] + seen[..., 2]
        return flow.astype(np.float32)

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"datasets/puppets: no frame {index}; the data set has {len(self)}.")
        return divmod(index, self.frames_per_clip)

    def _rng(self, clip: int, stream: int) -> np.random.Generator:
        if not 0 <= clip < self.clips:
            raise IndexError(f"datasets/puppets: no clip {clip}; the data set has {self.clips}.")
        return np.random.default_rng((self.seed, SPLITS.index(self.split), clip, stream))

    def _motion(self, clip: int) -> Motion:
        return _remember(self._motions, clip, self._make_motion)

    def _look(self, clip: int) -> Looks:
        return _remember(self._looks, clip, self._make_looks)

    def _make_motion(self, clip: int) -> Motion:
        rng, at, frames = self._rng(clip, 0), self._at, self.frames_per_clip
        build = rng.uniform(0.88, 1.12, (2, len(self._bones)))  # lengths, widths
        twins = [j for j, bone in enumerate(self._bones) if bone.joint.startswith("right_")]
        build[:, twins] = build[:, np.array(twins) - 1]  # both sides have the same build
        lengths, widths = build * [[bone.length for bone in self._bones], np.ones(len(self._bones))]
        # The whole figure: lean, size, centre x, centre y. Then each bone's relative angle.
        low, high = np.array([(-14, 14), (0.86, 1.02), (-0.22, 0.22), (-0.1, 0.1)]).T
        lean, scale, *centre = _waves(rng, frames, low, high, np.array([10, 0.06, 0.1, 0.06])).T
        low, high = np.array([bone.angle for bone in self._bones]).T
        bends = _waves(rng, frames, low, high, np.array([bone.swing for bone in self._bones]))

        angles = np.zeros((frames, len(at)))
        points = np.zeros((frames, len(at), 2))
        angles[:, 0] = np.deg2rad(lean)
        for j, bone in enumerate(self._bones, start=1):
            angles[:, j] = angles[:, at[bone.parent]] + np.deg2rad(bends[:, j - 1])
            step = np.stack([np.sin(angles[:, j]), np.cos(angles[:, j])], axis=1)
            points[:, j] = points[:, at[bone.parent]] + lengths[j - 1] * step

        discs = []
        for bone in self._drawn:
            j, start = at[bone.joint], points[0, at[bone.parent]]
            sin, cos = np.sin(angles[0, j]), np.cos(angles[0, j])
            rows = []
            for place, radius in bone.outline:
                if isinstance(place, str):  # rigid with the bone, so any frame gives it
                    u, v = (points[0, at[place]] - start) @ np.array([[sin, -cos], [cos, sin]])
                else:
                    u, v = place * lengths[j - 1], 0.0
                rows.append((u, v, radius * widths[j - 1]))
            discs.append(np.array(rows))

        points = (points - points.mean(axis=(0, 1))) * scale[:, None, None]
        points += np.stack(centre, axis=1)[:, None]
        # One shrink and one shift for the whole clip keep every joint inside and the motion smooth.
        low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
        shrink = min(1.0, 2 * LIMIT / (high - low).max())
        shift = np.maximum(-LIMIT - low * shrink, 0) - np.maximum(high * shrink - LIMIT, 0)
        drawn = [at[bone.joint] for bone in self._drawn]
        return Motion(points * shrink + shift, angles[:, drawn], scale * shrink, discs)

    def _make_looks(self, clip: int) -> Looks:
        rng, motion, skeleton = self._rng(clip, 1), self._motion(clip), self._skeleton
        swing = np.full(2, 0.3)
        drift = _waves(rng, self.frames_per_clip, -swing / 2, swing / 2, swing)
        canvas = background(rng, self.image_size)
        mean = canvas.mean(axis=(0, 1)) / 255
        dark, dim, bright = (0.0, 0.0, 0.0), (0.35, 0.35, 0.35), (1.0, 1.0, 1.0)
        palette = {name: colour(rng, mean, dim, bright) for name in ("shirt", "pants")}
        palette["skin"] = colour(rng, mean, (0.5, 0.35, 0.25), (1.0, 0.85, 0.7))
        palette |= {name: colour(rng, mean, dark, bright) for name in ("hair", "shoe")}
        period, style = rng.uniform(0.13, 0.18), int(rng.integers(3))

        density = self.image_size / 2 * motion.scale.mean()  # roughly that of the image's pixels
        textures, frames = [], []
        for bone, discs in zip(self._drawn, motion.discs):
            low = (discs[:, :2] - discs[:, 2:]).min(axis=0) - 1 / density
            high = (discs[:, :2] + discs[:, 2:]).max(axis=0) + 1 / density
            w, h = np.ceil((high - low) * density).astype(int).tolist()
            u = low[0] + (np.arange(w * FINE) + 0.5) / (FINE * density)
            v = low[1] + (np.arange(h * FINE) + 0.5) / (FINE * density)
            picture = np.empty((h * FINE, w * FINE, 4), np.float32)
            eyes = skeleton.eyes if bone.joint == skeleton.face else ()
            picture[:, :, :3] = paint(bone, discs, u, v[:, None], palette, period, style, eyes)
            picture[:, :, 3] = 1
            alpha = np.zeros(picture.shape[:2], np.float32)
            cv2.fillConvexPoly(alpha, fixed((hull(discs) - low) * density * FINE), 255, shift=6)
            picture *= alpha[:, :, None]
            textures.append(np.rint(cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)))
            u0, v0 = low + 0.5 / density
            frames.append([[1 / density, 0, u0], [0, 1 / density, v0]])

        # A human seen from the front may be slightly turned, which puts one side's limbs behind.
        far = {"left": False, "right": True}
        if skeleton.twin < 0:
            far = {side: bool(rng.random() < 0.25) for side in far}
        depth = [bone.depth[far.get(bone.joint.split("_")[0], False)] for bone in self._drawn]
        order = np.argsort(depth, kind="stable").tolist()
        return Looks(canvas, drift, [t.astype(np.uint8) for t in textures], np.array(frames), order)


def _remember(store: OrderedDict[int, T], clip: int, make: Callable[[int], T]) -> T:
    """Return store[clip], made if missing; forget the least recently used clip."""
    if clip not in store:
        store[clip] = make(clip)
        if len(store) > CACHED_CLIPS:
            store.popitem(last=False)
    store.move_to_end(clip)
    return store[clip]


def _waves(
    rng: np.random.Generator, frames: int, low: np.ndarray, high: np.ndarray, swing: np.ndarray
) -> np.ndarray:
    """Return (frames, n): values of [low, high] plus two sinusoids of at most `swing` together."""
    slow_fast = ([[1 / 90], [1 / 45]], [[1 / 45], [1 / 20]])  # cycles per frame
    speed, phase = rng.uniform(*slow_fast, (2, len(low))), rng.random((2, len(low)))
    height = rng.uniform(0.5, 1.0, (2, len(low))) * [[0.75], [0.25]] * swing
    turn = 2 * np.pi * (np.arange(frames)[:, None, None] * speed + phase)
    return rng.uniform(low, high) + (height * np.sin(turn)).sum(axis=1)
