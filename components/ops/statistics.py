"""Means of scores over frames, activities and time, with confidence intervals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def clip_of(name: str) -> str:
    """Return the clip in ``<clip>/<frame>``."""
    return name.rpartition("/")[0]


def numbered(name: str) -> tuple[str, int] | None:
    """Split a name into the part before its final frame number, and the number; None without one.

    Frames with the same first part follow each other in time.
    """
    number = re.search(r"\d+$", name)
    return (name[: number.start()], int(number[0])) if number else None


def over_frames(
    scores: Array, names: Sequence[str], activities: Sequence[str] = ()
) -> dict[str, Any]:
    """Return ``value``, ``interval``, ``n`` and ``extra`` of annotated frames.

    Args:
        scores: (N,) of the frames; NaN if there is nothing to score.
        names: ``<clip>/<frame>`` of each frame.
        activities: name prefixes that group clips; the value is then the mean of the groups' means,
            which are also reported.

    Raises:
        ValueError: no frame has a score, or clips and activities do not match.
    """
    known = np.isfinite(scores)
    if not known.any():
        raise ValueError(
            "no frame has an annotated keypoint and a distance to normalise its error by; annotate "
            "some, or correct the data."
        )
    row = summary(scores[known], [name for name, keep in zip(names, known) if keep], activities)
    if not known.all():
        row["extra"]["frames left out"] = float((~known).sum())
    return row


def over_time(
    scores: Sequence[NDArray[Any]], names: Sequence[str], seen: int | None
) -> dict[str, Any]:
    """Return the same for images, or for predicted frames, with a figure per time step.

    Args:
        scores: (B, T) of each batch; infinite ones are left out, and some must be finite.
        names: ``<clip>/<frame>`` of each item.
        seen: number of frames before the predicted ones, which are numbered from ``seen`` + 1;
            None for images.
    """
    table = np.concatenate(scores).astype(np.float64)
    keep = ~np.isinf(table)  # NaN is kept, so that it shows in the result
    row = summary(table[keep], np.repeat(names, table.shape[1])[keep.ravel()].tolist())
    if seen is not None:
        for time, column in enumerate(table.T):
            finite = column[~np.isinf(column)]
            if len(finite):
                row["extra"][f"frame {seen + 1 + time}"] = float(finite.mean())
    return row


def summary(scores: Array, names: Sequence[str], activities: Sequence[str] = ()) -> dict[str, Any]:
    """Return ``value``, ``interval``, ``n`` and ``extra`` of scores (N,) of named frames.

    With activities, also ``activities``, the mean of each; the value is then the mean of these.
    """
    clips = np.array([clip_of(name) for name in names])
    groups = _activity_of(clips, activities)
    means = np.bincount(groups, scores) / np.bincount(groups)
    row = {
        "value": float(means.mean()),
        "interval": _bootstrap(scores, clips, groups),
        "n": len(scores),
        "extra": {"mean over frames": float(scores.mean())} if activities else {},
    }
    return row | ({"activities": dict(zip(activities, means.tolist()))} if activities else {})


def _activity_of(clips: NDArray[np.str_], activities: Sequence[str]) -> NDArray[np.int64]:
    """Return the activity number of each frame; all 0 without activities."""
    if not activities:
        return np.zeros(len(clips), np.int64)
    starts = np.array([clip.rpartition("/")[2].lower() for clip in clips])
    groups = np.full(len(clips), -1)
    for number, activity in enumerate(activities):
        chosen = np.char.startswith(starts, activity)
        if not chosen.any():
            raise ValueError(
                f"no clip is named '{activity}...', so the mean over activities would not match "
                f"the paper's; clips are named like '{clips[0]}'. Correct activities= or add data."
            )
        groups[chosen] = number
    if (groups < 0).any():
        other = clips[int(np.argmax(groups < 0))]
        raise ValueError(f"clip '{other}' belongs to none of the activities; correct activities=.")
    return groups


def _bootstrap(
    scores: Array, clips: NDArray[np.str_], groups: NDArray[np.int64], rounds: int = 1000
) -> list[float]:
    """Resample whole clips within their activity: frames of a clip are not independent."""
    clip = np.unique(clips, return_inverse=True)[1]
    if not clip.any():  # one clip
        clip = np.arange(len(scores))
    sums, counts = np.bincount(clip, scores), np.bincount(clip)
    group_of = np.zeros(len(sums), int)
    group_of[clip] = groups
    rng = np.random.default_rng(0)
    means = []
    for group in np.unique(group_of):
        own = np.flatnonzero(group_of == group)
        draw = own[rng.integers(len(own), size=(rounds, len(own)))]
        means.append(sums[draw].sum(axis=1) / counts[draw].sum(axis=1))
    return [float(v) for v in np.quantile(np.mean(means, axis=0), (0.025, 0.975))]
