"""Thin-plate splines: one form for all parameterisations, evaluated for a whole batch at once.

A spline maps a point z of the *warped* image to the corresponding point of the original,
T(z) = A (z, 1) + sum_n w_n U(|z - c_n|).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from components.ops.grid import Grid, axis, plane

Kernel = Literal["r2_log_r2", "l1"]


@dataclass(frozen=True, slots=True)
class Spline:
    """A batch of splines.

    Attributes:
        control: (B, N, 2) control points.
        weight: (B, N, 2) coefficients w.
        affine: (B, 2, 3) matrix A.
        kernel: ``r2_log_r2`` of the Euclidean distance, or ``l1``: r^2 log(r + 1e-6) of the L1
            distance (FOMM).
        canvas: coordinates are divided by this before and multiplied by it after: 2 for splines
            defined on an image padded by half its size on every side (KeypointGAN).
    """

    control: Tensor
    weight: Tensor
    affine: Tensor
    kernel: Kernel = "r2_log_r2"
    canvas: float = 1.0

    def __call__(self, xy: Tensor) -> Tensor:
        """Map points.

        Shapes:
            (B, P, 2) or (1, P, 2) -> (B, P, 2)
        Source: imm sec 3; fomm sec 3.3
        """
        z = xy / self.canvas
        bent = radial(z, self.control, self.kernel) @ self.weight
        straight = z @ self.affine[..., :2].transpose(-1, -2) + self.affine[..., None, :, 2]
        return self.canvas * (bent + straight)

    def grid(self, height: int, width: int, grid: Grid = "half_pixel") -> Tensor:
        """Return where each pixel of the warped image comes from.

        Shapes:
            -> (B, height, width, 2)
        """
        xy = plane(height, width, grid, self.weight).flatten(0, 1)[None]
        return self(xy).unflatten(1, (height, width))

    def slope(self, xy: Tensor) -> Tensor:
        """Return the derivative dT/dp; row i holds the derivatives of coordinate i.

        Shapes:
            (B, P, 2) -> (B, P, 2, 2)
        Source: fomm sec 3.3
        """
        bent = radial_slope(xy / self.canvas, self.control, self.kernel)
        return self.affine[..., None, :, :2] + torch.einsum("bpnj,bni->bpij", bent, self.weight)

    def invert(self, xy: Tensor, steps: int = 8) -> Tensor:
        """Return the points that T maps to ``xy``: where keypoints of the original end up.

        Newton's method from the inverse of the affine part; it converges wherever T is one-to-one,
        as the splines of all samplers of this package are inside the image.

        Shapes:
            (B, P, 2) -> (B, P, 2)
        """
        straight = torch.linalg.inv(self.affine[..., :2]).transpose(-1, -2)
        guess = (xy - self.canvas * self.affine[..., None, :, 2]) @ straight
        for _ in range(steps):
            error = self(guess) - xy
            guess = guess - torch.linalg.solve(self.slope(guess), error[..., None])[..., 0]
        return guess


def radial(xy: Tensor, control: Tensor, kernel: Kernel) -> Tensor:
    """Evaluate the radial basis.

    Shapes:
        xy (B, P, 2), control (B, N, 2) or (N, 2) -> (B, P, N)
    """
    difference = xy[..., :, None, :] - control[..., None, :, :]
    if kernel == "l1":
        r = difference.abs().sum(dim=-1)
        return r * r * (r + 1e-6).log()
    r2 = difference.square().sum(dim=-1).clamp_min(1e-8)
    return r2 * r2.log()


def radial_slope(xy: Tensor, control: Tensor, kernel: Kernel) -> Tensor:
    """Return the derivative of :func:`radial` with respect to x and y.

    Shapes:
        xy (B, P, 2), control (B, N, 2) or (N, 2) -> (B, P, N, 2)
    """
    difference = xy[..., :, None, :] - control[..., None, :, :]
    if kernel == "l1":
        r = difference.abs().sum(dim=-1, keepdim=True)
        return difference.sign() * (2 * r * (r + 1e-6).log() + r * r / (r + 1e-6))
    r2 = difference.square().sum(dim=-1, keepdim=True).clamp_min(1e-8)
    return 2 * difference * (r2.log() + 1)


def fit(control: Tensor, moved: Tensor) -> Spline:
    """Solve for the spline with T(control) = moved.

    Shapes:
        control (N, 2), moved (B, N, 2)
    Source: factorized sec 3; lorenz sec 3
    """
    n = len(control)
    ones = torch.cat((control.new_ones(n, 1), control), dim=1)  # (N, 3)
    system = control.new_zeros(n + 3, n + 3)
    system[:n, :n] = radial(control[None], control, "r2_log_r2")[0]
    system[:n, n:], system[n:, :n] = ones, ones.T
    right = torch.cat((moved, moved.new_zeros(len(moved), 3, 2)), dim=1)
    # float64: the system of a 10 x 10 grid is too ill-conditioned for float32
    solution = torch.linalg.solve(system.double(), right.double()).to(moved.dtype)
    affine = solution[:, n:].transpose(1, 2)[..., [1, 2, 0]]
    return Spline(control.expand_as(moved), solution[:, :n], affine)


def control_grid(side: int, extent: float = 1.0) -> Tensor:
    """Return side x side control points spread over [-extent, extent].

    Shapes:
        (side * side, 2)
    """
    line = axis(side, "corners") * extent
    return torch.cartesian_prod(line, line).flip(-1)


def affine_matrix(angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return matrices of rotation times scale, with a shift.

    Shapes:
        angle (B,), scale (B, 2) of x and y, shift (B, 2) -> (B, 2, 3)
    """
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        (
            scale[:, 0] * cos,
            -scale[:, 1] * sin,
            shift[:, 0],
            scale[:, 0] * sin,
            scale[:, 1] * cos,
            shift[:, 1],
        ),
        dim=-1,
    )
    return rows.unflatten(-1, (2, 3))
