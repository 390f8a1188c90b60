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

Kind = Literal["cholesky", "covariance", "affine"]
NUMBERS: dict[Kind, int] = {"cholesky": 5, "covariance": 6, "affine": 6}
FLOOR = 1e-6  # minimum eigenvalue of a covariance, as in ops/gaussians.positive_definite
LEAST_AREA = 1e-2  # minimum determinant of a predicted affine map


def to_states(xy: Tensor, matrix: Tensor, kind: Kind = "cholesky") -> Tensor:
    """Return points and their covariances (or affine maps) as states.

    Shapes:
        xy (..., 2), matrix (..., 2, 2) -> (..., S)
    Source: factorized sec D; monkeynet sec 3.5
    Differs: Cholesky factors use the closed form, which also works for nearly singular matrices
    """
    xy, matrix = at_least_float32(xy), at_least_float32(matrix)
    if kind != "cholesky":
        return torch.cat((xy, matrix.flatten(-2)), dim=-1)
    l11 = matrix[..., 0, 0].clamp_min(FLOOR).sqrt()
    l21 = matrix[..., 0, 1] / l11
    l22 = (matrix[..., 1, 1] - l21.square()).clamp_min(FLOOR**2).sqrt()
    return torch.cat((xy, torch.stack((l11, l21, l22), dim=-1)), dim=-1)


def from_states(states: Tensor, kind: Kind = "cholesky") -> tuple[Tensor, Tensor]:
    """Return points and matrices; covariances are positive definite, whatever was predicted.

    For a Cholesky factor L the covariance is L L^T + FLOOR I. An affine map that is nearly singular
    becomes the identity, since motion transfer needs its inverse.

    Shapes:
        (..., S) -> (..., 2), (..., 2, 2)
    Source: factorized sec D; monkeynet sec 3.5
    """
    states = at_least_float32(states)
    if kind != "cholesky":
        matrix = states[..., 2:].unflatten(-1, (2, 2))
        if kind == "covariance":
            return states[..., :2], positive_definite(matrix, FLOOR)
        det = matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
        flat = (det.abs() < LEAST_AREA)[..., None, None]
        return states[..., :2], torch.where(flat, torch.eye(2).to(matrix), matrix)
    l11, l21, l22 = states[..., 2:].unbind(-1)
    cross = l11 * l21
    rows = (l11.square() + FLOOR, cross, cross, l21.square() + l22.square() + FLOOR)
    return states[..., :2], torch.stack(rows, dim=-1).unflatten(-1, (2, 2))


def constant_velocity(states: Tensor, steps: int) -> Tensor:
    """Predict each next state by repeating the last change, then ``steps`` more after the last one.

    Shapes:
        (B, T, K, S) -> (B, T - 1 + steps, K, S), the predictions of states 2 ... T + steps
    """
    change = torch.diff(states, dim=1, prepend=states[:, :1])
    ahead = change[:, -1:].expand(-1, steps, -1, -1).cumsum(dim=1)
    return torch.cat(((states + change)[:, :-1], states[:, -1:] + ahead), dim=1)
