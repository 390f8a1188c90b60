"""Losses of FOMM and Monkey-Net and the second view they need, by hand or by another method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.ops.tps import Spline
from components.transforms.second_view import SecondView
from registry import build
from registry.contract import Batch, CriticScores, Landmarks, MissingFieldError, Outputs
from registry.trainee import Trainee


def loss(name: str, **arguments) -> nn.Module:
    return build(dict(type=f"losses/{name}", **arguments), "l", "losses")


def straight(*matrices: list) -> Spline:
    """Splines that bend nothing, one per (2, 3) matrix."""
    affine = torch.tensor(matrices)
    nowhere = torch.zeros(len(affine), 1, 2)
    return Spline(nowhere, nowhere, affine)


def views(xy, warped_xy, affine=None, warped_affine=None) -> Outputs:
    return Outputs(
        landmarks=Landmarks(xy=xy, affine=affine),
        warped_landmarks=Landmarks(xy=warped_xy, affine=warped_affine),
    )


# equivariance


def test_points_by_hand():
    stretch, move = [[2.0, 0.0, 0.1], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, -0.25]]
    outputs = views(torch.tensor([[[1.0, -0.7]], [[0.2, 0.3]]]), torch.full((2, 1, 2), 0.5))
    # (0.5, 0.5) goes to (1.1, 0.5) and to (0.5, 0.25)
    expected = 10 * (0.1 + 1.2 + 0.3 + 0.05) / 4
    found = loss("equivariance_points")(outputs, Batch(warp=straight(stretch, move)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_jacobians_by_hand():
    warp = straight([[2.0, 0.0, 0.3], [0.0, 4.0, 0.0]])
    local = torch.tensor([[[[2.0, 0.0], [0.0, 1.0]]]])
    warped = torch.tensor([[[[1.0, 1.0], [0.0, 1.0]]]])
    zero = torch.zeros(1, 1, 2)
    # dT/dp J' = (2 2; 0 4), J^-1 of it (1 1; 0 4), off the identity by 1 and 3
    found = loss("equivariance_jacobian", weight=5.0)(
        views(zero, zero, local, warped), Batch(warp=warp)
    )
    assert found.item() == pytest.approx(5 * (1 + 3) / 4)


def test_landmarks_that_follow_a_bent_warp_cost_nothing():
    torch.manual_seed(0)
    sampler = build(dict(type="warps/tps_l1", warp_sd=0.02), "t")
    warp = sampler(torch.arange(2), 0, torch.device("cpu"))
    warp = Spline(warp.control.double(), warp.weight.double(), warp.affine.double(), warp.kernel)
    xy = 1.6 * torch.rand(2, 4, 2, dtype=torch.float64) - 0.8
    affine = torch.eye(2, dtype=torch.float64) + 0.3 * torch.randn(2, 4, 2, 2, dtype=torch.float64)
    # how the image of a small step of each local axis moves: the chain rule by differences
    ends = [xy + s * 1e-6 * affine[..., i] for i in (0, 1) for s in (1, -1)]
    x1, x0, y1, y0 = map(warp, ends)
    carried = torch.stack(((x1 - x0) / 2e-6, (y1 - y0) / 2e-6), dim=-1)
    outputs, batch = views(warp(xy), xy, carried, affine), Batch(warp=warp)
    assert loss("equivariance_points")(outputs, batch).item() < 1e-12
    assert loss("equivariance_jacobian")(outputs, batch).item() < 1e-7
    still = views(xy, xy, affine, affine)
    assert loss("equivariance_points")(still, batch).item() > 0.01
    assert loss("equivariance_jacobian")(still, batch).item() > 0.01


def test_both_views_learn():
    torch.manual_seed(0)
    xy, warped_xy = torch.rand(2, 1, 3, 2, requires_grad=True)
    affine, warped_affine = torch.eye(2) + 0.1 * torch.rand(2, 1, 3, 2, 2)
    leaves = [v.detach().requires_grad_() for v in (xy, warped_xy, affine, warped_affine)]
    warp = build(dict(type="warps/tps_l1"), "t")(torch.arange(1), 0, torch.device("cpu"))
    outputs, batch = views(*leaves), Batch(warp=warp)
    sum(loss(f"equivariance_{n}")(outputs, batch) for n in ("points", "jacobian")).backward()
    assert all(leaf.grad.abs().max() > 0 for leaf in leaves)


def test_what_is_missing_is_named():
    xy = torch.zeros(1, 2, 2)
    alone = Outputs(landmarks=Landmarks(xy=xy))
    for name in ("equivariance_points", "equivariance_jacobian"):
        with pytest.raises(MissingFieldError, match="second_view"):
            loss(name)(alone, Batch())
        with pytest.raises(MissingFieldError, match=r"Batch\.warp is missing"):
            loss(name)(views(xy, xy), Batch())
    warp = straight([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    with pytest.raises(
        MissingFieldError, match=r"Landmarks\.affine is missing.*bottlenecks/affine"
    ):
        loss("equivariance_jacobian")(views(xy, xy), Batch(warp=warp))


# the second view


def shifted(by: float):
    def sample(seeds: Tensor, stream: int, device: torch.device) -> Spline:
        return straight([[1.0, 0.0, by], [0.0, 1.0, 0.0]])

    return sample


@pytest.mark.parametrize(
    ("arguments", "by", "expected"),
    [
        ({}, 1.0, [2, 3, 3, 3]),
        (dict(padding="reflection"), 1.0, [2, 3, 3, 2]),
        # the first and the last pixel are at -1 and 1: steps of 2/3, and the mirror is a pixel
        (dict(padding="reflection", grid="corners", align_corners=True), 2 / 3, [1, 2, 3, 2]),
        # FOMM under newer torch: its grid spans the pixels' outer edges instead of their centres
        (dict(padding="reflection", grid="corners"), 0.0, [0, 5 / 6, 13 / 6, 3]),
    ],
)
def test_second_view_of_four_pixels(arguments, by, expected):
    image = torch.arange(4.0).expand(1, 3, 1, 4) / 4
    out = SecondView(driving_warp=shifted(by), **arguments)(Batch(driving=image), torch.tensor([0]))
    assert torch.allclose(4 * out.warped[0, 0, 0], torch.tensor(expected) * 1.0, atol=1e-5)
    assert torch.allclose(out.warp(torch.zeros(1, 1, 2)), torch.tensor([by, 0.0]))


def test_a_doubled_batch_doubles_its_warp():
    torch.manual_seed(0)
    sampler = dict(type="warps/tps_l1")
    image = torch.rand(2, 3, 8, 8)
    batch, seeds = Batch(source=image, driving=image, target=image), torch.tensor([3, 4])
    viewed = build(dict(type="transforms/second_view", driving_warp=sampler), "t")(batch, seeds)
    node = dict(type="transforms/tps_and_temporal", source_warp=sampler)
    twice = build(node, "t")(viewed, seeds)
    grid = viewed.warp.grid(4, 4)
    assert torch.allclose(twice.warp.grid(4, 4), torch.cat((grid, grid)), atol=1e-6)
    assert torch.equal(twice.warped, torch.cat((viewed.warped, viewed.warped)))


def test_transforms_keep_float32_under_autocast():
    """The splines' matrix products in bfloat16 would put the grid off by a pixel."""
    seen = []

    def note(batch: Batch, seeds: Tensor) -> Batch:
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return batch

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, batch: Batch) -> Outputs:
            note(batch, None)
            return Outputs(render=self.factor * batch.driving)

    trainee = Trainee(Scaled(), {"pixel": loss("pixel")}, [note])
    arrays = dict(target=torch.zeros(1, 4, 4, 3, dtype=torch.uint8), seed=torch.tensor([1]))
    with torch.autocast("cpu", torch.bfloat16):
        trainee(**arrays)
    assert seen == [torch.float32, torch.bfloat16]


# images


def test_pyramid_by_hand():
    """Two grey images, 0.1 apart everywhere, of 4 x 4 and, zeros around them, of 2 x 2 pixels."""
    common = dict(weights="random", width=2, taps=("input",), input_range="signed")
    image, target = torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)
    outputs, batch = Outputs(render=image), Batch(target=target)
    a, b = math.exp(-2), math.exp(-8)  # one and two pixels away at sigma 1/2
    total = 1 + 2 * a + 2 * b
    left, right = (1 + a + b) / total, (1 + 2 * a + b) / total  # what of the kernel is inside
    half = ((left + right) / 2) ** 2
    node = dict(**common, tap_weights=(10,), distance="l1")
    found = loss("perceptual", **node, scales=(1, 0.5))(outputs, batch)
    assert found.item() == pytest.approx(10 * 0.2 * (1 + half), rel=1e-5)
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:] = 0
    found = loss("perceptual", **node)(outputs, Batch(target=target, weight=weight))
    assert found.item() == pytest.approx(10 * 0.2 / 2, rel=1e-5)
    squared = loss("perceptual", **common, tap_weights=(10,))(outputs, batch)
    assert squared.item() == pytest.approx(10 * 0.04, rel=1e-4)


def test_a_pyramid_has_whole_steps():
    with pytest.raises(ValueError, match=r"scales must be 1, 1/2, .* not \(1, 0\.3\)"):
        loss("perceptual", weights="random", width=2, taps=("input",), scales=(1, 0.3))


@pytest.mark.parametrize(("of", "expected"), [("render", 2.0), ("deformed", 0.5)])
def test_pixels_by_hand(of, expected):
    outputs = Outputs(render=torch.full((1, 3, 2, 2), 0.9), deformed=torch.full((1, 3, 2, 2), 0.4))
    batch = Batch(target=torch.full((1, 3, 2, 2), 0.5))
    assert loss("pixel", of=of, weight=5.0)(outputs, batch).item() == pytest.approx(expected)


def near_landmarks(error: Tensor, **more) -> tuple[Outputs, Batch]:
    """Two landmarks on the first pixel of 2 x 2 and a render that is off by ``error``."""
    xy = torch.full((1, 2, 2), -0.5, requires_grad=True)
    target = torch.full((1, 3, 2, 2), 0.5)
    return Outputs(landmarks=Landmarks(xy=xy), render=target + error, **more), Batch(target=target)


@pytest.mark.parametrize(("pixel", "squared"), [((0, 0), 0), ((0, 1), 1), ((1, 1), 2)])
def test_features_near_landmarks_by_hand(pixel, squared):
    """0.3 in the green of one pixel, whose distance of the landmarks is 0, 1 or sqrt 2."""
    error = torch.zeros(1, 3, 2, 2)
    error[0, 1][pixel] = 0.3
    error.requires_grad_()
    outputs, batch = near_landmarks(error)
    found = loss(
        "landmark_features", weights="random", width=2, taps=("input",), variance=0.5, weight=10.0
    )(outputs, batch)
    # exp(-0.5 d^2 / 0.5) of the four pixels: 1, 1/e, 1/e, 1/e^2
    window = math.exp(-squared) / (1 + 2 * math.exp(-1) + math.exp(-2))
    # ImageNet's deviation of green, the mean of three channels, two landmarks
    assert found.item() == pytest.approx(10 * 2 * window * 0.3 / 0.224 / 3, rel=1e-4)
    found.backward()
    assert error.grad.abs().sum() > 0
    assert outputs.landmarks.xy.grad is None


def test_features_near_landmarks_by_a_loop():
    """Each tap has a window of its own size; taps and landmarks are summed."""
    torch.manual_seed(0)
    taps = ("conv1_1", "conv2_1")
    landmarks = Landmarks(xy=torch.rand(2, 3, 2) - 0.5)
    render, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    part = loss("landmark_features", weights="random", width=2, taps=taps)
    features = loss("perceptual", weights="random", width=2, taps=taps, relu=True).features
    total = 0.0
    for a, b in zip(features(render), features(target)):
        size = a.shape[-1]
        at = (2 * torch.arange(size) + 1) / size - 1
        for i in range(2):
            for x, y in landmarks.xy[i]:
                window = torch.exp(-50 * ((at - x) ** 2 + (at[:, None] - y) ** 2))
                error = (a[i] - b[i]).abs().mean(dim=0)
                total += float((window * error).sum() / window.sum()) / 2
    found = part(Outputs(landmarks=landmarks, render=render), Batch(target=target))
    assert found.item() == pytest.approx(total, rel=1e-4)


# the critic


def judged(real: Tensor, fake: Tensor) -> Outputs:
    score = torch.tensor([[[[3.0, 0.0]]]])
    scores = CriticScores(
        generator=(score,),
        fake=(score,),
        real=(score,),
        generator_features=(fake, 2 * fake),
        real_features=(real, 2 * real),
    )
    return Outputs(image_critic=scores)


def test_features_by_hand():
    fake = torch.tensor([[[[1.0, -2.0]]]], requires_grad=True)
    outputs = judged(torch.tensor([[[[0.0, 2.0]]]]), fake)
    # differences 1 and 4, then 2 and 8
    found = loss("feature_matching", weights=(10, 1))(outputs, Batch())
    assert found.item() == pytest.approx(10 * 2.5 + 5)
    found.backward()
    assert torch.allclose(fake.grad, torch.tensor([[[[6.0, -6.0]]]]))
    with pytest.raises(ValueError, match="3 weights, but the critic returns the features of 2"):
        loss("feature_matching", weights=(1, 1, 1))(outputs, Batch())


def test_scores_by_hand():
    """FOMM and Monkey-Net do not halve the critic's loss: weight 2."""
    outputs = judged(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    generator = loss("adversarial", scores="image_critic")(outputs, Batch())
    assert generator.item() == pytest.approx((2**2 + 1) / 2)
    critic = loss("critic", scores="image_critic", weight=2.0)(outputs, Batch())
    assert critic.item() == pytest.approx((2**2 + 1) / 2 + 3**2 / 2)
