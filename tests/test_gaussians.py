"""Maps to Gaussians and back, part vectors: by hand, by loops, and where numbers are hardest."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from components.layers.spectral import Spectral
from components.ops.gaussians import draw_gaussians, moments, positive_definite, spatial_softmax
from components.ops.parts import pool_parts, spread_parts
from registry import build
from registry.contract import Landmarks


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(**arguments: object) -> torch.nn.Module:
    return build(dict(type="bottlenecks/gaussian", **arguments))


def test_moments_of_a_known_map():
    """Half of the mass on pixel (row 0, column 3), half on (row 1, column 1), of 2 x 4 pixels."""
    prob = torch.zeros(1, 1, 2, 4)
    prob[0, 0, 0, 3] = prob[0, 0, 1, 1] = 0.5
    # centres (x, y): (3/4, -1/2) and (-1/4, 1/2); half their difference is (1/2, -1/2)
    xy, cov = moments(prob)
    assert xy.flatten().tolist() == pytest.approx([0.25, 0.0])
    assert cov.flatten().tolist() == pytest.approx([0.25, -0.25, -0.25, 0.25])
    # left edges lie half a pixel lower, 1/4 in x and 1/2 in y; the covariance does not change
    edge_xy, edge_cov = moments(prob, "left_edge")
    assert edge_xy.flatten().tolist() == pytest.approx([0.0, -0.5])
    assert torch.allclose(edge_cov, cov)


def test_softmax_with_a_temperature():
    logits = torch.tensor([[[[0.0, math.log(3)]]]])
    assert spatial_softmax(logits).flatten().tolist() == pytest.approx([1 / 4, 3 / 4])
    cold = spatial_softmax(logits, temperature=0.5)  # logits twice as large: 1 and 9
    assert cold.flatten().tolist() == pytest.approx([1 / 10, 9 / 10])
    assert spatial_softmax(1e4 * logits).isfinite().all()


@pytest.mark.parametrize(("kernel", "value"), [("rational", 1 / 2), ("exponential", math.exp(-1))])
def test_kernels_at_one_standard_deviation(kernel, value):
    """The mean on the pixel (row 1, column 2) of 4 x 8; a step is 1/4 in x and 1/2 in y."""
    xy = torch.tensor([[[-3 / 8, -1 / 4]]])
    cov = torch.tensor([[[[1 / 16, 0], [0, 1 / 4]]]])
    drawn = draw_gaussians(xy, cov, 4, 8, kernel)[0, 0]
    assert drawn[1, 2] == 1
    assert drawn[1, [1, 3]].tolist() == pytest.approx([value] * 2)
    assert drawn[[0, 2], 2].tolist() == pytest.approx([value] * 2)
    # the two steps together: a squared distance of 2
    expected = 1 / 3 if kernel == "rational" else math.exp(-2)
    assert drawn[2, 3].item() == pytest.approx(expected)


def test_drawing_by_an_inverse_in_a_loop():
    xy, root = random(2, 3, 2) / 3, random(2, 3, 2, 2, seed=1)
    cov = root @ root.transpose(-1, -2) + 0.1 * torch.eye(2)
    drawn = draw_gaussians(xy, cov, 4, 6)
    for b in range(2):
        for k in range(3):
            for row in range(4):
                for column in range(6):
                    pixel = torch.tensor([(2 * column + 1) / 6 - 1, (2 * row + 1) / 4 - 1])
                    away = pixel.double() - xy[b, k]
                    m = away @ torch.linalg.solve(cov[b, k], away)
                    assert drawn[b, k, row, column].item() == pytest.approx(1 / (1 + m.item()))


def test_pooling_and_spreading_by_loops():
    prob, features = random(2, 3, 4, 5).flatten(2).softmax(-1).view(2, 3, 4, 5), random(2, 2, 4, 5)
    codes = pool_parts(prob, features, "sum")
    assert torch.allclose(pool_parts(prob, features), codes / 20)
    spread = spread_parts(codes, prob)
    for b in range(2):
        for d in range(2):
            for k in range(3):
                pixels = [
                    prob[b, k, i, j] * features[b, d, i, j] for i in range(4) for j in range(5)
                ]
                assert codes[b, k, d].item() == pytest.approx(sum(pixels).item())
            for i in range(4):
                for j in range(5):
                    total = sum(codes[b, k, d] * prob[b, k, i, j] for k in range(3))
                    expected = total / (1 + sum(prob[b, k, i, j] for k in range(3)))
                    assert spread[b, d, i, j].item() == pytest.approx(expected.item())


def test_gradients():
    def fit(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        xy, cov = moments(spatial_softmax(logits))
        return xy, positive_definite(cov)

    check = torch.autograd.gradcheck
    assert check(fit, random(1, 2, 3, 4).requires_grad_())
    xy, root = random(1, 2, 2), random(1, 2, 2, 2, seed=1)
    for kernel in ("rational", "exponential"):
        # of the root: a change of the covariance that keeps it symmetric

        def draw(xy: torch.Tensor, root: torch.Tensor, kernel: str = kernel) -> torch.Tensor:
            cov = root @ root.transpose(-1, -2) + torch.eye(2)
            return draw_gaussians(xy, cov, 3, 4, kernel)

        assert check(draw, (xy.requires_grad_(), root.requires_grad_()))
    prob = random(1, 2, 3, 4).requires_grad_()
    assert check(partial(pool_parts, reduction="sum"), (prob, random(1, 3, 3, 4).requires_grad_()))
    assert check(spread_parts, (random(1, 2, 3).requires_grad_(), prob.detach().abs()))


FLAT = torch.full((1, 2, 8, 8), 3.0) + 1e-4 * random(1, 2, 8, 8).float()
PEAK = torch.zeros(1, 2, 8, 8)
PEAK[0, 0, 3, 3] = PEAK[0, 1, 0, 7] = 6e4
LINE = torch.zeros(1, 2, 8, 8)
LINE[0, 0, 3] = 1e3  # all in one row
LINE[0, 1, range(8), range(8)] = 1e3  # all on the diagonal
FEW = torch.zeros(1, 5, 8, 8)
FEW[0, 0, 0, 0] = FEW[0, 1, 7, 4] = FEW[0, 2, 2, 5] = 1e4  # one pixel: a corner, an edge, inside
FEW[0, 3, [0, 7], [0, 7]] = 1e4  # opposite corners
FEW[0, 4] = -1e4
FEW[0, 4, 7, 0] = 0.0  # one pixel by all others being small
HUGE = 6e4 * random(1, 4, 8, 8).sign().float()  # many equal largest ones
HARD = {
    **{"flat": FLAT, "equal": torch.full((1, 2, 8, 8), -6e4), "noise": 100 * random(1, 4, 8, 8)},
    **{"peak": PEAK, "few": FEW, "line": LINE, "huge": HUGE, "one pixel": torch.ones(1, 2, 1, 1)},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("covariance", ["fitted", "circular", "fixed"])
def test_covariances_are_positive_definite(name, dtype, covariance):
    logits = HARD[name].to(dtype, copy=True).requires_grad_()
    found = gaussian(covariance=covariance)(logits)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.xy.dtype == found.cov.dtype == found.prob.dtype == wide
    smallest = torch.linalg.eigvalsh(found.cov.double())[..., 0]
    assert (smallest > 0.9e-6).all()
    assert (found.xy.abs() < 1).all()
    for kernel in ("rational", "exponential"):
        rasterizer = build(dict(type="rasterizers/gaussian", image_size=16, kernel=kernel))
        drawn = rasterizer(found)
        # far away the exponential is 0
        low = 0 if kernel == "exponential" else torch.finfo(wide).tiny
        assert ((drawn >= low) & (drawn <= 1)).all()
        weight = random(*drawn.shape).to(drawn)
        (grad,) = torch.autograd.grad((drawn * weight).sum(), logits, retain_graph=True)
        assert grad.isfinite().all()


def test_what_is_already_positive_definite_is_not_changed():
    cov = torch.tensor([[0.3, -0.1], [-0.1, 0.05]])
    assert torch.equal(positive_definite(cov), cov)
    # eigenvalues 2 and 0 along the diagonals: both are raised, the directions stay
    lifted = positive_definite(torch.ones(2, 2, dtype=torch.float64), floor=0.5)
    assert torch.allclose(lifted, torch.tensor([[1.5, 1.0], [1.0, 1.5]], dtype=torch.float64))


def test_fixed_and_circular_covariances():
    logits = random(2, 3, 4, 6).float()
    fixed = gaussian(covariance="fixed", variance=0.02)(logits)
    assert torch.allclose(fixed.cov, 0.02 * torch.eye(2).expand(2, 3, 2, 2))
    fitted, circular = gaussian()(logits), gaussian(covariance="circular")(logits)
    mean = (fitted.cov[..., 0, 0] + fitted.cov[..., 1, 1]) / 2
    assert torch.allclose(circular.cov, mean[..., None, None] * torch.eye(2))
    for found in (fixed, circular):
        assert torch.equal(found.xy, fitted.xy)
        assert torch.equal(found.prob, fitted.prob)


def test_covariances_of_two_pixels():
    """Pixels at x = -1/2 and 1/2, y = 0, half of the mass each: variances 1/4 and 0."""
    logits = torch.zeros(1, 1, 1, 2)
    fitted, circular = gaussian()(logits), gaussian(covariance="circular")(logits)
    # both variances are raised by what the smaller one lacks
    assert fitted.cov.flatten().tolist() == pytest.approx([0.250001, 0, 0, 1e-6], rel=1e-3)
    assert circular.cov.flatten().tolist() == pytest.approx([1 / 8, 0, 0, 1 / 8])
    # three quarters and one quarter: mean -1/4, variance 1/4 - 1/16
    logits = torch.tensor([math.log(3), 0.0]).view(1, 1, 1, 2)
    circular = gaussian(covariance="circular")(logits)
    assert circular.xy.flatten().tolist() == pytest.approx([-1 / 4, 0])
    assert circular.cov.flatten().tolist() == pytest.approx([3 / 32, 0, 0, 3 / 32])


def test_moments_are_not_taken_in_bfloat16():
    """Autocast runs matrix products in bfloat16; means and covariances must not notice."""
    logits = 4 * random(2, 3, 16, 16).float()
    plain = gaussian()(logits)
    with torch.autocast("cpu", torch.bfloat16):
        under = gaussian()(logits)
        drawn = build(dict(type="rasterizers/gaussian", image_size=16))(under)
    assert torch.equal(under.xy, plain.xy)
    assert torch.equal(under.cov, plain.cov)
    assert torch.equal(drawn, build(dict(type="rasterizers/gaussian", image_size=16))(plain))


def test_drawing_without_covariances():
    """One pixel of 4, 1/2, from a mean on a pixel's centre: 1 / (1 + (1/2)^2 / variance)."""
    rasterizer = build(dict(type="rasterizers/gaussian", image_size=4, variance=0.125))
    drawn = rasterizer(Landmarks(xy=torch.full((1, 1, 2), 0.25)))[0, 0]
    assert drawn[2].tolist() == pytest.approx([1 / 9, 1 / 3, 1, 1 / 3])
    assert torch.equal(drawn, drawn.T)


def test_power_iterations_find_the_largest_singular_value():
    torch.manual_seed(0)
    weight = random(6, 4, 3, 3).float()
    largest = torch.linalg.matrix_norm(weight.flatten(1), 2)
    norm = Spectral(weight)
    for _ in range(200):
        found = norm(weight)
    assert torch.allclose(found, weight / largest, rtol=1e-4)
    kept = norm.u.clone()
    assert torch.allclose(norm.eval()(weight), found, rtol=1e-5)
    assert torch.equal(norm.u, kept)
