"""components/ops: every number here is derived by hand or by an independent method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.ops.flips import flip_order, nearer_flip
from components.ops.grid import axis, plane, to_pixels
from components.ops.pixels import from_pixel, to_pixel
from components.ops.segments import nearest_squared_distance, squared_distances
from components.ops.soft_argmax import separable_soft_argmax, soft_argmax
from components.ops.tps import (
    Spline,
    affine_matrix,
    control_grid,
    fit,
    radial,
    radial_slope,
)
from components.ops.warp import warp


def test_the_three_grids_of_four_pixels():
    assert axis(4).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert axis(4, "left_edge").tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert torch.allclose(axis(4, "corners"), torch.tensor([-1.0, -1 / 3, 1 / 3, 1.0]))
    with pytest.raises(ValueError, match="grid='centre' must be"):
        axis(4, "centre")


def test_plane_is_x_then_y():
    xy = plane(2, 4)  # two rows, four columns
    assert xy.shape == (2, 4, 2)
    assert xy[1, 0].tolist() == [-0.75, 0.5]


def test_half_precision_grids_are_float32():
    assert axis(3, like=torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32


def test_contract_coordinates_to_pixels():
    assert to_pixels(torch.tensor([[-0.75, 0.5]]), height=2, width=4).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("grid", ["half_pixel", "corners", "left_edge"])
def test_soft_argmax_of_a_sharp_peak_is_its_pixel_in_x_then_y(grid):
    logits = torch.zeros(1, 1, 6, 9)
    # the mean over the other axis divides by 6 and 9, so the peak must stand out after that
    logits[0, 0, 4, 2] = 2000.0
    expected = torch.tensor([axis(9, grid)[2], axis(6, grid)[4]])
    assert torch.allclose(separable_soft_argmax(logits, grid)[0, 0], expected, atol=1e-6)


def test_soft_argmax_of_the_whole_map_by_hand():
    logits = torch.tensor([[[[0.0, 0.0], [0.0, 2.0]]]])
    # probabilities 1/s three times and e^2/s, s = 3 + e^2; x and y are -1/2 or 1/2
    share = (1 + math.exp(2)) / (3 + math.exp(2))
    expected = torch.full((1, 1, 2), share / 2 - (1 - share) / 2)
    assert torch.allclose(soft_argmax(logits), expected)
    apart = 1 / (1 + math.exp(-1))  # per axis, from the means 0 and 1
    assert torch.allclose(separable_soft_argmax(logits), torch.full((1, 1, 2), apart - 0.5))


def test_soft_argmax_by_a_loop():
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    weights = [math.exp(sum(logits[0, 0, y, x].item() for y in range(3)) / 3) for x in range(4)]
    centres = [-0.75, -0.25, 0.25, 0.75]
    expected = sum(w * c for w, c in zip(weights, centres)) / sum(weights)
    assert separable_soft_argmax(logits)[0, 0, 0].item() == pytest.approx(expected, abs=1e-12)


def test_soft_argmax_gradient():
    logits = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(separable_soft_argmax, logits)


def segment_distance(p: tuple, a: tuple, b: tuple) -> float:
    """Distance by comparing the end points and the foot of the perpendicular."""
    (px, py), (ax, ay), (bx, by) = p, a, b
    length = math.hypot(bx - ax, by - ay)
    along = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length
    if along <= 0:
        return math.hypot(px - ax, py - ay)
    if along >= length:
        return math.hypot(px - bx, py - by)
    return abs((bx - ax) * (ay - py) - (ax - px) * (by - ay)) / length


def test_segment_distances_by_geometry():
    points = [(-0.6, -0.2), (0.3, 0.7), (0.5, -0.5)]
    edges = [(0, 1), (1, 2)]
    found = squared_distances(torch.tensor([points], dtype=torch.float64), edges, 5, 7)
    assert found.shape == (1, 2, 5, 7)
    for e, (i, j) in enumerate(edges):
        for row in range(5):
            for column in range(7):
                p = ((2 * column + 1) / 7 - 1, (2 * row + 1) / 5 - 1)
                expected = segment_distance(p, points[i], points[j]) ** 2
                assert found[0, e, row, column].item() == pytest.approx(expected, abs=1e-12)


def test_nearest_distance_is_the_minimum_with_its_gradient():
    torch.manual_seed(0)
    edges = [(0, 1), (1, 2), (3, 4), (4, 0)]
    xy = (torch.rand(2, 5, 2, dtype=torch.float64) * 2 - 1).requires_grad_()
    weight = torch.randn(2, 9, 8, dtype=torch.float64)
    nearest = nearest_squared_distance(xy, edges, 9, 8)
    lowest = squared_distances(xy, edges, 9, 8).amin(dim=1)
    assert torch.allclose(nearest, lowest, atol=1e-14)
    ours = torch.autograd.grad((nearest * weight).sum(), xy)[0]
    theirs = torch.autograd.grad((lowest * weight).sum(), xy)[0]
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_a_segment_of_no_length_is_a_point():
    xy = torch.tensor([[[0.25, -0.25], [0.25, -0.25]]])
    found = nearest_squared_distance(xy, [(0, 1)], 4, 4)
    assert found[0, 1, 2].item() == pytest.approx(0.0, abs=1e-12)
    assert found[0, 0, 0].item() == pytest.approx(1.0**2 + 0.5**2, abs=1e-6)


def test_identity_warp_returns_the_image_exactly():
    image = torch.rand(1, 3, 5, 8)
    grid = plane(5, 8)[None]
    assert torch.allclose(warp(image, grid), image, atol=1e-6)


def test_warp_by_one_pixel():
    image = torch.arange(4.0).view(1, 1, 1, 4)
    grid = plane(1, 4)[None] + torch.tensor([0.5, 0.0])  # one pixel of four
    assert torch.allclose(
        warp(image, grid, "border").flatten(), torch.tensor([1.0, 2, 3, 3]), atol=1e-6
    )


def test_flip_order_is_an_involution():
    order = flip_order(5, [(0, 3), (1, 2)])
    assert order == [3, 2, 1, 0, 4]
    assert [order[i] for i in order] == list(range(5))
    with pytest.raises(ValueError, match="may be in only one pair"):
        flip_order(5, [(0, 3), (3, 1)])


def test_nearer_flip_exchanges_only_where_it_helps():
    reference = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]).repeat(2, 1, 1)
    found = torch.stack((reference[0], reference[0].flip(0)))
    assert torch.equal(nearer_flip(found, reference, [(0, 1)]), reference)
    assert torch.equal(nearer_flip(found, reference, []), found)


def test_radial_kernels_at_known_distances():
    xy, control = torch.tensor([[[0.5, 0.0]]]), torch.zeros(1, 2)
    assert radial(xy, control, "r2_log_r2").item() == pytest.approx(0.25 * math.log(0.25), abs=1e-6)
    diagonal = torch.tensor([[[0.5, -0.25]]])
    assert radial(diagonal, control, "l1").item() == pytest.approx(
        0.75**2 * math.log(0.75), abs=1e-5
    )


def test_fitted_spline_goes_through_its_points():
    torch.manual_seed(0)
    control = control_grid(4).double()
    moved = control + 0.1 * torch.randn(3, 16, 2, dtype=torch.float64)
    spline = fit(control, moved)
    assert torch.allclose(spline(control[None]), moved, atol=1e-6)
    # the side conditions of a thin plate: coefficients sum to zero, also against x and y
    assert spline.weight.sum(dim=1).abs().max() < 1e-8
    assert (control.T @ spline.weight).abs().max() < 1e-8


def test_fitting_an_affine_map_bends_nothing():
    control = control_grid(3)
    matrix = affine_matrix(
        torch.tensor([0.3]), torch.tensor([[1.1, 0.9]]), torch.tensor([[0.1, -0.2]])
    )
    moved = control @ matrix[0, :, :2].T + matrix[0, :, 2]
    spline = fit(control, moved[None])
    assert spline.weight.abs().max() < 1e-5
    assert torch.allclose(spline.affine, matrix, atol=1e-5)


@pytest.mark.parametrize("canvas", [1.0, 2.0])
def test_inverse_of_a_spline(canvas):
    torch.manual_seed(0)
    weight = 0.004 * torch.randn(2, 100, 2, dtype=torch.float64)
    affine = torch.eye(2, 3, dtype=torch.float64) + 0.1 * torch.randn(2, 2, 3, dtype=torch.float64)
    spline = Spline(control_grid(10).double().expand_as(weight), weight, affine, canvas=canvas)
    points = torch.rand(2, 7, 2, dtype=torch.float64) * 1.6 - 0.8
    assert torch.allclose(spline(spline.invert(points)), points, atol=1e-10)


def test_canvas_scales_the_whole_map():
    """On a canvas of twice the size a shift of 0.1 is a shift of 0.2 of the image."""
    affine = torch.tensor([[[1.0, 0.0, 0.1], [0.0, 1.0, 0.0]]])
    spline = Spline(control_grid(10)[None], torch.zeros(1, 100, 2), affine, canvas=2.0)
    assert torch.allclose(spline(torch.tensor([[[0.3, 0.4]]])), torch.tensor([[[0.5, 0.4]]]))


@pytest.mark.parametrize(
    ("kernel", "canvas"), [("r2_log_r2", 1.0), ("r2_log_r2", 2.0), ("l1", 1.0)]
)
def test_slope_of_a_spline_by_autograd(kernel, canvas):
    torch.manual_seed(0)
    weight = 0.05 * torch.randn(2, 25, 2, dtype=torch.float64)
    affine = torch.eye(2, 3, dtype=torch.float64) + 0.1 * torch.randn(2, 2, 3, dtype=torch.float64)
    control = torch.rand(2, 25, 2, dtype=torch.float64) * 2 - 1  # each item its own
    spline = Spline(control, weight, affine, kernel, canvas)
    xy = (torch.rand(2, 6, 2, dtype=torch.float64) * 2 - 1).requires_grad_()
    slope = spline.slope(xy)
    for i in range(2):
        expected = torch.autograd.grad(spline(xy)[..., i].sum(), xy)[0]
        assert torch.allclose(slope[..., i, :], expected, atol=1e-10)


@pytest.mark.parametrize("kernel", ["r2_log_r2", "l1"])
def test_slope_of_the_radial_basis_by_autograd(kernel):
    torch.manual_seed(0)
    xy = (torch.rand(1, 6, 2, dtype=torch.float64) * 2 - 1).requires_grad_()
    control = control_grid(3).double() * 0.9
    slope = radial_slope(xy, control, kernel)
    for n in range(9):
        expected = torch.autograd.grad(radial(xy, control, kernel)[..., n].sum(), xy)[0]
        assert torch.allclose(slope[:, :, n], expected, atol=1e-12)


def test_a_warp_of_a_bfloat16_image_keeps_the_precision_of_its_grid():
    image = (torch.arange(256) % 2).expand(1, 1, 4, 256).bfloat16()
    half_a_pixel = plane(4, 256)[None] + torch.tensor((1 / 256, 0.0))
    moved = warp(image, half_a_pixel)
    assert moved.dtype == torch.bfloat16
    assert (moved[..., 1:-1] == 0.5).all()


def test_pixels_and_coordinates_by_hand():
    """Four pixels: centres at -3/4, -1/4, 1/4, 3/4; numbers, arrays and tensors alike."""
    centres = [-0.75, -0.25, 0.25, 0.75]
    assert [from_pixel(i, 4) for i in range(4)] == centres
    assert [to_pixel(x, 4) for x in centres] == [0, 1, 2, 3]
    sizes = np.array([[4.0, 2.0]])
    assert from_pixel(np.array([[3.0, 0.0]]), sizes).tolist() == [[0.75, -0.5]]
    assert torch.equal(to_pixel(torch.tensor(centres), 4), torch.arange(4.0))
