"""Relative motion transfer: the source's landmarks move as those of the driving frames do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import cv2
import torch
from torch import Tensor

from components.ops.affine import inverse, product
from components.ops.grid import at_least_float32
from components.ops.states import to_states
from registry.contract import Landmarks, need

LEAST_AREA = 1e-3  # minimum area of a hull (the image has 4); a thinner one says nothing on size


def follow(
    source: Landmarks, driving: Landmarks, initial: Landmarks, adapt_scale: bool = False
) -> Landmarks:
    """Move the source's landmarks as the driving ones moved since their initial frame.

    Affine maps are multiplied by A = driving inverse(initial). Covariances C become A C A^T, where
    A = L(driving) inverse(L(initial)) takes the initial Gaussian to the driving one (L: Cholesky
    factor): they stay symmetric and positive definite, and at the initial frame the source's own.

    Args:
        source: landmarks of one image.
        driving: landmarks of T frames.
        initial: landmarks of one frame, assumed to have the source's pose.
        adapt_scale: scale movements by the square root of the ratio of the convex hulls' areas,
            the source's to the initial one's; not if either hull is too thin.

    Shapes:
        Landmarks of 1, T and 1 images -> of T
    Source: fomm sec 3.4
    Differs: the covariances' rule is ours; ``adapt_scale`` is off in the official configurations,
        on in the official demonstration
    """
    start, now, since = (at_least_float32(part.xy) for part in (source, driving, initial))
    areas = _hull_area(start), _hull_area(since)
    scale = (areas[0] / areas[1]) ** 0.5 if adapt_scale and min(areas) > LEAST_AREA else 1.0
    cov = affine = None
    if driving.cov is not None:
        change = product(_factor(driving), inverse(_factor(initial)))
        cov = product(product(change, at_least_float32(need(source, "cov"))), change.mT)
    if driving.affine is not None:
        parts = (driving, initial, source)
        after, before, own = (at_least_float32(need(part, "affine")) for part in parts)
        affine = product(product(after, inverse(before)), own)
    xy = start + scale * (now - since)
    return Landmarks(xy=xy, cov=cov, affine=affine, score=driving.score)


def _hull_area(xy: Tensor) -> float:
    """Return the area; 0 for fewer than three landmarks or collinear ones."""
    hull = cv2.convexHull(xy[0].detach().float().cpu().numpy())
    return float(cv2.contourArea(hull))


def _factor(landmarks: Landmarks) -> Tensor:
    """Return the lower Cholesky factors of the covariances."""
    l11, l21, l22 = to_states(landmarks.xy, need(landmarks, "cov"))[..., 2:].unbind(-1)
    rows = (l11, torch.zeros_like(l11), l21, l22)
    return torch.stack(rows, dim=-1).unflatten(-1, (2, 2))


def pose_distance(landmarks: Landmarks, other: Landmarks) -> Tensor:
    """Return how much poses differ, regardless of their position and size in the image.

    It is the mean squared distance of landmarks, relative to their mean and in units of their
    spread.

    Shapes:
        Landmarks of T images, and of 1 or T -> (T,)
    """
    shapes = []
    for xy in (at_least_float32(landmarks.xy), at_least_float32(other.xy)):
        offset = xy - xy.mean(dim=1, keepdim=True)
        spread = offset.square().sum(dim=-1).mean(dim=1).sqrt()
        shapes.append(offset / spread.clamp_min(1e-6)[:, None, None])
    return (shapes[0] - shapes[1]).square().sum(dim=-1).mean(dim=-1)


def repeated(one: Any, times: int) -> Any:
    """Repeat one image's tensors, or containers of them, for a batch without copying.

    Shapes:
        (1, ...) -> (times, ...)
    """
    if isinstance(one, Tensor):
        return one.expand(times, *one.shape[1:])
    if isinstance(one, (list, tuple)):
        return type(one)(repeated(part, times) for part in one)
    if isinstance(one, Mapping):
        return {name: repeated(part, times) for name, part in one.items()}
    if is_dataclass(one) and not isinstance(one, type):
        parts = {f.name: repeated(getattr(one, f.name), times) for f in fields(one)}
        return type(one)(**parts)
    return one
