"""What a puppet looks like: tables of bones, the painting of limbs, patterned backgrounds.

Lengths are in contract coordinates: the image is 2 wide.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

Disc = tuple[float | str, float]  # (a fraction of the bone or a joint rigid with it, radius)

_TURN = np.arange(24) * (2 * np.pi / 24)
_CIRCLE = np.stack((np.cos(_TURN), np.sin(_TURN)), axis=1)


class Bone(NamedTuple):
    """One row of a skeleton; angles are in degrees, relative to the parent's bone.

    In the frame of the root, 0 points down and 90 to the right of the image.
    """

    joint: str
    parent: str
    length: float
    angle: tuple[float, float]  # range of the angle that a clip swings around
    swing: float  # maximum swing
    outline: tuple[Disc, ...] = ()  # drawn as the hull of these discs
    colour: str = ""
    tip: str = ""  # colour of the far end
    depth: tuple[int, int] = (4, -1)  # drawing order on the near side, on the far side


class Skeleton(NamedTuple):
    """Bones, parents first; each `left_` bone gets a `right_` twin with angles times `twin`."""

    root: str
    twin: int  # -1: front view, mirrored sides; 1: side view, the right side is the far one
    face: str  # the bone with eyes
    eyes: tuple[tuple[float, float], ...]  # (fraction of the bone, offset in radii)
    bones: tuple[Bone, ...]


def _limb(start: float, end: float) -> tuple[Disc, ...]:
    return (0.0, start), (1.0, end)


_TORSO = (
    *(("left_shoulder", 0.06), ("right_shoulder", 0.06)),
    *(("left_hip", 0.07), ("right_hip", 0.07)),
)
_HEAD = ((0.0, 0.04), (0.52, 0.125), (0.85, 0.09))
_LEG = (1, 0)
# fmt: off
_HUMAN = (
    Bone("neck", "pelvis", .50, (180, 180), 0, _TORSO, "shirt", "", (2, 2)),
    Bone("head_top", "neck", .30, (-10, 10), 14, _HEAD, "skin", "hair", (3, 3)),
    Bone("left_shoulder", "neck", .18, (-105, -105), 0),
    Bone("left_elbow", "left_shoulder", .28, (-75, 75), 45, _limb(.068, .055), "shirt"),
    Bone("left_wrist", "left_elbow", .26, (-110, 110), 45, _limb(.055, .048), "shirt", "skin"),
    Bone("left_hip", "pelvis", .11, (80, 80), 0),
    Bone("left_knee", "left_hip", .37, (-83, -38), 28, _limb(.085, .065), "pants", "", _LEG),
    Bone("left_ankle", "left_knee", .35, (-40, 12), 25, _limb(.065, .055), "pants", "shoe", _LEG),
)
_ANIMAL = (
    Bone("withers", "rump", .62, (-90, -90), 0, _limb(.17, .19), "shirt", "", (1, 1)),
    Bone("poll", "withers", .34, (-75, -10), 25, _limb(.13, .09), "shirt", "", (2, 2)),
    Bone("nose", "poll", .26, (40, 90), 20, _limb(.11, .055), "skin", "hair", (3, 3)),
    Bone("tail_tip", "rump", .36, (60, 150), 30, _limb(.05, .035), "shirt", "hair", (0, 0)),
    Bone("left_fore_knee", "withers", .32, (60, 120), 30, _limb(.09, .055), "pants"),
    Bone("left_fore_paw", "left_fore_knee", .28, (-5, 40), 25, _limb(.055, .05), "pants", "shoe"),
    Bone("left_hind_knee", "rump", .32, (-35, 25), 30, _limb(.11, .055), "pants"),
    Bone("left_hind_paw", "left_hind_knee", .28, (-5, 40), 25, _limb(.055, .05), "pants", "shoe"),
)
# fmt: on
SKELETONS = {
    "human": Skeleton("pelvis", -1, "head_top", ((0.55, -0.42), (0.55, 0.42)), _HUMAN),
    "animal": Skeleton("rump", 1, "nose", ((0.15, 0.3),), _ANIMAL),
}


def with_twins(skeleton: Skeleton) -> list[Bone]:
    """Return the bones, each left one followed by its right twin."""
    bones = []
    for bone in skeleton.bones:
        bones.append(bone)
        if bone.joint.startswith("left_"):
            joint, parent = (name.replace("left_", "right_") for name in (bone.joint, bone.parent))
            low, high = sorted(angle * skeleton.twin for angle in bone.angle)
            bones.append(bone._replace(joint=joint, parent=parent, angle=(low, high)))
    return bones


def colour(
    rng: np.random.Generator, mean: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]
) -> np.ndarray:
    """Return the first of 16 random colours far enough from the mean colour, else the farthest."""
    colours = rng.uniform(low, high, (16, 3))
    distance = np.linalg.norm(colours - mean, axis=1)
    return colours[np.argmax(np.minimum(distance, 0.4))]


def fixed(corners: np.ndarray) -> np.ndarray:
    """Return corners, counted in pixels from the border, as OpenCV draws them with shift=6."""
    return np.rint((corners - 0.5) * 64).astype(np.int32)


def hull(discs: np.ndarray) -> np.ndarray:
    """Return the convex outline (n, 2) of discs (u, v, radius)."""
    points = discs[:, None, :2] + _CIRCLE * discs[:, None, 2:]
    return cv2.convexHull(points.reshape(-1, 2).astype(np.float32))[:, 0]


def paint(
    bone: Bone, discs: np.ndarray, u: np.ndarray, v: np.ndarray, palette: dict[str, np.ndarray],
    period: float, style: int, eyes: tuple[tuple[float, float], ...],
) -> np.ndarray:  # fmt: skip
    """Return the colours (h, w, 3) of a bone at u (w,) along it and v (h, 1) across it."""
    base, length, radius = palette[bone.colour], discs[:, 0].max(), discs[:, 2].max()
    bands, columns = np.broadcast_arrays(u / period % 1 < 0.4, v / period % 1 < 0.4)
    if bone.joint.startswith("right_"):
        base, other, where = base * 0.4, base, bands
    elif bone.joint.startswith("left_"):
        other, where = base * 0.4, np.broadcast_to(np.abs(v) < radius * 0.25, bands.shape)
    else:  # stripes across, stripes along or checks; a face is plain
        other = base if eyes else base * 0.6 + 0.15
        where = (bands, columns, bands ^ columns)[style]
    colours = np.where(where[:, :, None], other, base)
    if bone.tip:
        colours[:, u > length - radius * 0.4] = palette[bone.tip]
    for along, across in eyes:
        eye = (u - along * length) ** 2 + (v - across * radius) ** 2 < (0.22 * radius) ** 2
        colours[eye] = 0.05
    return colours


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a picture with a margin of size // 4: smooth noise, boxes and rows of stripes."""
    side = size + 2 * (size // 4)
    mean = rng.uniform(0.25, 0.7, 3)
    noise = (mean + rng.uniform(-0.2, 0.2, (6, 6, 3))) * 255
    canvas = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = np.rint(canvas.clip(0, 255)).astype(np.uint8)
    for _ in range(rng.integers(6, 11)):
        centre, turn, extent = rng.random(2), rng.uniform(0, np.pi), rng.uniform(0.02, 0.16, 2)
        colour = ((mean + rng.uniform(-0.25, 0.25, 3)).clip(0, 1) * 255).tolist()
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        stripes = int(rng.choice([1, 4]))
        if stripes > 1:
            extent[1] = 0.015
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * extent @ axes + centre
        for k in range(stripes):
            corners = fixed((box + 0.06 * k * axes[1]) * side)
            cv2.fillConvexPoly(canvas, corners, colour, cv2.LINE_AA, shift=6)
    return canvas
