"""Lorenz et al.'s equivariance: parts of a warped view, mapped back, match the original's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.ops.gaussians import moments
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/equivariance")
class Equivariance(nn.Module):
    """weight * mean (mu - mu')^2 + covariance_weight * mean Frobenius norm of (cov - cov').

    mu and cov belong to the driving image's part maps; mu' and cov' to the warped view's, taken as
    densities over the driving image: each pixel is weighted by the area it covers there.

    Args:
        weight: factor of the means; 5 in the official code.
        covariance_weight: factor of the covariances; 0.1 in the official code.

    Source: lorenz sec 3
    Differs: compared in the driving image; the official code warps both views and compares in the
        image they come from
    """

    reads = ("landmarks.prob", "warped_landmarks", "batch.warp")

    def __init__(self, *, weight: float = 5.0, covariance_weight: float = 0.1) -> None:
        super().__init__()
        self.weight, self.covariance_weight = weight, covariance_weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        view = need(outputs, "warped_landmarks", "transforms/second_view")
        warp = need(batch, "warp", "transforms/second_view")
        maps = "a bottleneck that reads maps"
        mean, cov = moments(need(outputs.landmarks, "prob", maps))
        prob = need(view, "prob", maps)
        carried_mean, carried_cov = carried_moments(prob, warp.grid(*prob.shape[-2:]))
        # 1e-6 keeps the root's slope finite where both covariances are equal
        frobenius = ((cov - carried_cov).square().sum(dim=(-2, -1)) + 1e-6).sqrt()
        values = (mean - carried_mean).square().mean()
        return self.weight * values + self.covariance_weight * frobenius.mean()


def carried_moments(prob: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of a warped view's maps, in the image that ``grid`` points into.

    Shapes:
        prob (B, K, h, w), grid (B, h, w, 2) -> (B, K, 2), (B, K, 2, 2)
    Source: lorenz sec 3
    """
    prob = at_least_float32(prob)
    places = at_least_float32(grid).movedim(-1, 1)
    density = prob * areas(places)
    density = density / density.sum(dim=(-2, -1), keepdim=True)
    x, y = places.split(1, dim=1)  # (B, 1, h, w)
    mean_x, mean_y = ((density * p).sum(dim=(-2, -1), keepdim=True) for p in (x, y))
    dx, dy = x - mean_x, y - mean_y  # (B, K, h, w)
    entries = [(density * product).sum(dim=(-2, -1)) for product in (dx * dx, dx * dy, dy * dy)]
    cov = torch.stack([entries[i] for i in (0, 1, 1, 2)], dim=-1).unflatten(-1, (2, 2))
    return torch.cat((mean_x, mean_y), dim=-1)[..., 0, :], cov


def areas(places: Tensor) -> Tensor:
    """Return the area that each pixel covers in the image it comes from, up to a common factor.

    The Jacobian uses Sobel filters; border pixels take their neighbours' value.

    Shapes:
        (B, 2, h, w) -> (B, 1, h, w)
    Source: lorenz sec 3
    """
    down = places[..., :-2, :] + 2 * places[..., 1:-1, :] + places[..., 2:, :]
    along = places[..., :-2] + 2 * places[..., 1:-1] + places[..., 2:]
    x_u, y_u = (down[..., 2:] - down[..., :-2]).split(1, dim=1)  # from column to column
    x_v, y_v = (along[..., 2:, :] - along[..., :-2, :]).split(1, dim=1)  # from row to row
    return F.pad((x_u * y_v - x_v * y_u).abs(), (1, 1, 1, 1), mode="replicate")
