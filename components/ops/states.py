"""Landmark states: a point and its shape as five or six numbers.

``cholesky``: mean (x, y) and the lower Cholesky factor (l11, l21, l22) of the covariance;
``covariance`` and ``affine``: mean and that matrix, row by row.

Legend: B batch, T time, K landmarks, S numbers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.ops.gaussians import positive_definite
from components.ops.grid import at_least_float32
from registry.contract import Landmarks

Kind = Literal["cholesky", "covariance", "affine"]
NUMBERS: dict[Kind, int] = {"cholesky": 5, "covariance": 6, "affine": 6}
FLOOR = 1e-6  # least eigenvalue of a covariance, as in ops/gaussians.positive_definite


def to_states(xy: Tensor, cov: Tensor) -> Tensor:
    """Return mean and lower Cholesky factor of Gaussians as five numbers.

    Shapes:
        xy (..., 2), cov (..., 2, 2) -> (..., 5)
    Source: factorized sec D
    Differs: the closed form of a 2 x 2 matrix, which a nearly singular one does not stop
    """
    xy, cov = at_least_float32(xy), at_least_float32(cov)
    l11 = cov[..., 0, 0].clamp_min(FLOOR).sqrt()
    l21 = cov[..., 0, 1] / l11
    l22 = (cov[..., 1, 1] - l21.square()).clamp_min(FLOOR**2).sqrt()
    return torch.cat((xy, torch.stack((l11, l21, l22), dim=-1)), dim=-1)


def from_states(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance L L^T + FLOOR I: positive definite, whatever L was predicted.

    Shapes:
        (..., 5) -> (..., 2), (..., 2, 2)
    Source: factorized sec D
    """
    states = at_least_float32(states)
    l11, l21, l22 = states[..., 2:].unbind(-1)
    cross = l11 * l21
    rows = (l11.square() + FLOOR, cross, cross, l21.square() + l22.square() + FLOOR)
    return states[..., :2], torch.stack(rows, dim=-1).unflatten(-1, (2, 2))


def encode(landmarks: Landmarks, kind: Kind) -> Tensor:
    """Return landmarks as states.

    Shapes:
        Landmarks of B images -> (B, K, S)
    """
    if kind == "cholesky":
        return to_states(landmarks.xy, landmarks.cov)
    matrix = landmarks.cov if kind == "covariance" else landmarks.affine
    return at_least_float32(torch.cat((landmarks.xy, matrix.flatten(-2)), dim=-1))


def decode(states: Tensor, kind: Kind) -> Landmarks:
    """Return states as landmarks; covariances are made positive definite where they are not.

    Shapes:
        (B, K, S) -> Landmarks of B images
    """
    if kind == "cholesky":
        xy, cov = from_states(states)
        return Landmarks(xy=xy, cov=cov)
    xy, rows = at_least_float32(states).split((2, 4), dim=-1)
    matrix = rows.unflatten(-1, (2, 2))
    if kind == "affine":
        return Landmarks(xy=xy, affine=matrix)
    return Landmarks(xy=xy, cov=positive_definite(matrix))


def constant_velocity(states: Tensor, steps: int) -> Tensor:
    """Repeat the last change: of each seen state, and ``steps`` times after the last one.

    Shapes:
        (B, T, K, S) -> (B, T - 1 + steps, K, S), the predictions of states 2 ... T + steps
    """
    change = torch.diff(states, dim=1, prepend=states[:, :1])
    ahead = change[:, -1:].expand(-1, steps, -1, -1).cumsum(dim=1)
    return torch.cat(((states + change)[:, :-1], states[:, -1:] + ahead), dim=1)
