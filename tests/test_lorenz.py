"""Lorenz et al.: sizes, losses and views by hand or by another method.

Their repository does not parse, so there are no golden numbers of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from components.layers.hourglass import Hourglass
from components.losses.equivariance import areas, carried_moments
from components.losses.part_window import part_window
from components.ops.grid import plane
from components.ops.tps import Spline, control_grid
from components.ops.warp import warp
from registry import build
from registry.contract import (
    Appearance,
    Batch,
    Encoding,
    Landmarks,
    MissingFieldError,
    Outputs,
    Pose,
)


def size_of(module):
    return sum(p.numel() for p in module.parameters())


# networks


def block(a, b):
    """Parameters of BN, conv1, BN, conv3, BN, conv1 and, where the width changes, conv1."""
    h = b // 2
    return 2 * a + a * h + 2 * h + 9 * h * h + 2 * h + h * b + (a * b if a != b else 0)


def test_encoder_has_the_parameters_of_the_paper():
    assert block(256, 256) == 214_016
    stem = 6 * 6 * 3 * 64 + 2 * 64
    # five poolings: three blocks each, and one at the bottom
    parts = 16 * block(256, 256) + 256 * 256 + 2 * 256 + 256 * 16
    small = build(dict(type="encoders/residual_hourglass", num_landmarks=16), "e")
    large = build(dict(type="encoders/residual_hourglass", num_landmarks=16, stride=4), "e")
    assert size_of(small) == stem + block(64, 256) + parts == 3_706_880
    wide = block(64, 128) + block(128, 128) + block(128, 256)
    assert size_of(large) == stem + wide + parts == 3_843_072


def test_appearance_encoder_has_the_parameters_of_the_paper():
    found = build(dict(type="encoders/hourglass_appearance", num_landmarks=16), "e")
    assert size_of(found) == 16 * 256 + 7 * block(256, 256) + 256 * 256 + 512 + 256 * 64


def test_decoder_has_the_parameters_of_the_paper():
    """Inputs per stage: what comes from below plus part maps and 64 appearance channels."""
    inputs = (2 + 64, 512 + 4 + 64, 256 + 16 + 64, 256 + 16, 128 + 16)
    widths = ((512, 512), (512, 256), (256, 256), (256, 128), (128, 64))
    expected = 36 * (64 + 16) * 3 + 3
    for c, (a, b) in zip(inputs, widths):
        expected += 16 * c * a + 2 * a + 16 * a * b + b
    found = build(dict(type="decoders/multiscale_parts", num_landmarks=16), "d")
    assert size_of(found) == expected


@pytest.mark.parametrize(("stride", "side"), [(2, 128), (4, 256)])
def test_maps_have_64_pixels(stride, side):
    node = dict(type="encoders/residual_hourglass", num_landmarks=5, stride=stride, width=8)
    found = build(node, "e").eval()(torch.rand(1, 3, side, side))
    assert found.maps.shape == (1, 5, 64, 64)
    assert found.features.shape == (1, 8, 64, 64)


def test_hourglass_sums_its_levels():
    """With every convolution zero a block is the identity, and what is left can be done by hand."""
    net = Hourglass(channels=2, depth=1).eval()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 2, 8, 8)
    deepest = x.unflatten(2, (2, 4)).unflatten(4, (2, 4)).amax(dim=(3, 5))
    middle = x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).amax(dim=(3, 5))
    spread = deepest.repeat_interleave(2, 2).repeat_interleave(2, 3) + middle
    assert torch.equal(net(x), spread.repeat_interleave(2, 2).repeat_interleave(2, 3) + x)


def test_hourglass_takes_odd_sides():
    assert Hourglass(channels=2, depth=2).eval()(torch.rand(1, 2, 5, 12)).shape == (1, 2, 5, 12)


def test_a_part_is_pooled_from_where_its_map_is():
    """Two maps of one pixel each: the codes are the network's features at these pixels."""
    torch.manual_seed(0)
    node = dict(type="encoders/hourglass_appearance", num_landmarks=2, features=4, out_channels=3)
    encoder = build(node, "e").eval()
    prob = torch.zeros(1, 2, 8, 8)
    prob[0, 0, 1, 2] = prob[0, 1, 6, 5] = 1
    trunk = torch.rand(1, 4, 8, 8)
    pose = Pose(
        encoding=Encoding(maps=prob, features=trunk),
        landmarks=Landmarks(xy=torch.zeros(1, 2, 2), prob=prob),
        drawn=prob,
    )
    codes = encoder(torch.rand(1, 3, 8, 8), pose).codes
    features = encoder.net(trunk + encoder.merge(prob))
    assert torch.allclose(codes[0, 0], features[0, :, 1, 2])
    assert torch.allclose(codes[0, 1], features[0, :, 6, 5])


def decoder(monkeypatch):
    """Return a decoder of 64 pixels, and the list in which it notes its encodings."""
    widths = ((4, 4), (4, 4), (4, 4), (4, 4))
    node = dict(
        type="decoders/multiscale_parts", num_landmarks=7, appearance_channels=3, widths=widths
    )
    torch.manual_seed(0)
    found, seen = build(node, "d").eval(), []
    read = found._encoding
    monkeypatch.setattr(found, "_encoding", lambda *a: seen.append(read(*a)) or seen[-1])
    return found, seen


def test_encodings_by_hand(monkeypatch):
    found, seen = decoder(monkeypatch)
    xy = 0.8 * (2 * torch.rand(1, 7, 2, generator=torch.Generator().manual_seed(1)) - 1)
    drawn = build(dict(type="rasterizers/gaussian", image_size=64), "r")(Landmarks(xy=xy))
    codes = torch.rand(1, 7, 3)
    image = found(drawn, Appearance(codes=codes))
    assert image.shape == (1, 3, 64, 64)
    assert 0 < image.min() < image.max() < 1
    counts, groups = (2, 4, 7, 7, 7), ((0, 2), (2, 4), (4, 7), (0, 0), (0, 0))
    for i, (encoding, count, (first, end)) in enumerate(zip(seen, counts, groups)):
        side = 4 * 2**i
        # drawn anew at the pixel centres of this scale: off by 100 * 2 / 64^2 at a peak
        d2 = (plane(side, side) - xy[0, :, None, None]).square().sum(dim=-1)
        maps = 1 / (1 + 100 * d2)
        assert encoding.shape == (1, count + 3 * (end > 0), side, side)
        assert torch.allclose(encoding[0, :count], maps[:count], atol=0.05)
        own = maps[first:end]
        spread = torch.einsum("khw,kd->dhw", own, codes[0, first:end]) / (1 + own.sum(dim=0))
        assert torch.allclose(encoding[0, count:], spread[: 3 * (end > 0)], atol=0.05)


def test_every_part_reaches_the_image_through_its_vector(monkeypatch):
    found, _ = decoder(monkeypatch)
    codes = torch.rand(1, 7, 3, requires_grad=True)
    found(torch.rand(1, 7, 64, 64), Appearance(codes=codes)).sum().backward()
    assert (codes.grad.abs().sum(dim=-1) > 0).all()


def test_decoder_takes_sides_that_are_no_multiple(monkeypatch):
    found, seen = decoder(monkeypatch)
    image = found(torch.rand(1, 7, 40, 36), Appearance(codes=torch.rand(1, 7, 3)))
    assert image.shape == (1, 3, 40, 36)
    assert [tuple(e.shape[-2:]) for e in seen] == [(3, 3), (5, 5), (10, 9), (20, 18), (40, 36)]


def test_scaled_covariance_is_lorenz_precision():
    """L_inv = 0.8 L^-1: the map is 1 / (1 + |0.8 L^-1 d|^2)."""
    cov = torch.tensor([[0.05, 0.02], [0.02, 0.03]])
    node = dict(type="rasterizers/gaussian", image_size=8, scale=1 / 0.64)
    xy = torch.tensor([[[0.1, -0.2]]])
    drawn = build(node, "r")(Landmarks(xy=xy, cov=cov[None, None]))
    inverse = 0.8 * np.linalg.inv(np.linalg.cholesky(cov.double().numpy()))
    distance = plane(8, 8).double().numpy() - xy[0, 0].double().numpy()
    expected = 1 / (1 + ((distance @ inverse.T) ** 2).sum(-1))
    assert np.allclose(drawn[0, 0].numpy(), expected, atol=1e-5)


# losses


def affine_warp(matrix):
    """A spline that bends nothing: (x, y) -> matrix (x, y, 1)."""
    return Spline(control_grid(3)[None], torch.zeros(1, 9, 2), torch.tensor([matrix]))


@dataclass
class FixedGrid:
    """A warp that is known at the pixels of one size alone."""

    places: torch.Tensor

    def grid(self, height, width):
        assert (height, width) == self.places.shape[1:3]
        return self.places


def dots(xy, spread, places):
    """One Gaussian per point (K, 2), summing to 1, evaluated at places (h, w, 2)."""
    distance = (places - xy[:, None, None]) / spread[:, None, None]
    maps = torch.exp(-distance.square().sum(dim=-1) / 2)
    return (maps / maps.sum(dim=(-2, -1), keepdim=True))[None]


def both(first, second):
    zeros = torch.zeros(*first.shape[:2], 2)
    return Outputs(
        landmarks=Landmarks(xy=zeros, prob=first),
        warped_landmarks=Landmarks(xy=zeros, prob=second),
    )


def test_equivariant_maps_cost_nothing():
    """The second view's maps are the first ones under a known affine map, made independently."""
    xy, spread = torch.tensor([[0.1, -0.2], [-0.3, 0.2]]), torch.tensor([[0.1, 0.15], [0.12, 0.08]])
    matrix = [[0.9, 0.2, 0.05], [-0.1, 1.1, -0.1]]
    turn, shift = torch.tensor([[0.9, 0.2], [-0.1, 1.1]]), torch.tensor([0.05, -0.1])
    batch = Batch(warp=affine_warp(matrix))
    first = dots(xy, spread, plane(64, 64))
    # the Gaussians of the first view, evaluated where the second view's pixels come from
    second = dots(xy, spread, plane(64, 64) @ turn.T + shift)
    loss = build(dict(type="losses/equivariance", covariance_weight=0.0), "l", "losses")
    assert loss(both(first, second), batch).item() < 1e-8
    cov = build(dict(type="losses/equivariance", weight=0.0), "l", "losses")
    assert cov(both(first, second), batch).item() < 0.1 * 1.1e-3  # root of 1e-6
    # maps that stay where they are in the view are carried to the affine image of their points
    moved = xy @ turn.T + shift
    expected = 5 * (moved - xy).square().mean().item()
    assert loss(both(first, first), batch).item() == pytest.approx(expected, 1e-3)


def test_a_bent_view_counts_pixels_by_the_area_they_cover():
    """A map that is flat in a squeezed view is not flat where it comes from."""
    u, v = plane(64, 64).unbind(dim=-1)
    grid = torch.stack((u + 0.2 * (u.square() - 1), v), dim=-1)[None]
    flat = torch.full((1, 1, 64, 64), 1 / 64**2)
    mean, cov = carried_moments(flat, grid)
    # the carried density is even over [-1, 1]^2 again: mean 0, variance 1/3; were all pixels to
    # count the same, the mean would be that of u + 0.2 (u^2 - 1), which is -0.133
    assert torch.allclose(mean, torch.zeros(1, 1, 2), atol=2e-3)
    assert torch.allclose(cov[0, 0], torch.eye(2) / 3, atol=3e-3)


def test_loss_equals_numeric_integration():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 1, 2, 6, 7))
    first, second = (p / p.sum((-2, -1), keepdims=True) for p in (first, second))
    ys, xs = ((2 * np.arange(n) + 1) / n - 1 for n in (6, 7))
    x, y = np.meshgrid(xs, ys)
    places = np.stack((0.9 * x + 0.1 * y * y, 0.8 * y + 0.1 * x * y), -1)
    area = np.empty((6, 7))
    for i in range(6):
        for j in range(7):
            r, c = min(max(i, 1), 4), min(max(j, 1), 5)  # borders repeat their neighbours
            du = sum(
                w * (places[r + k, c + 1] - places[r + k, c - 1])
                for k, w in ((-1, 1), (0, 2), (1, 1))
            )
            dv = sum(
                w * (places[r + 1, c + k] - places[r - 1, c + k])
                for k, w in ((-1, 1), (0, 2), (1, 1))
            )
            area[i, j] = abs(du[0] * dv[1] - du[1] * dv[0])
    values, norms = [], []
    for k in range(2):
        moments = []
        for weight, where in (
            (first[0, k], np.stack((x, y), -1)),
            (second[0, k] * area / (second[0, k] * area).sum(), places),
        ):
            mean = sum(weight[i, j] * where[i, j] for i in range(6) for j in range(7))
            cov = sum(
                weight[i, j] * np.outer(where[i, j] - mean, where[i, j] - mean)
                for i in range(6)
                for j in range(7)
            )
            moments.append((mean, cov))
        (mean, cov), (carried, carried_cov) = moments
        values.append((mean - carried) ** 2)
        norms.append(np.sqrt(((cov - carried_cov) ** 2).sum() + 1e-6))
    expected = 5 * np.mean(values) + 0.1 * np.mean(norms)
    outputs = both(torch.from_numpy(first).float(), torch.from_numpy(second).float())
    batch = Batch(warp=FixedGrid(torch.from_numpy(places[None]).float()))
    found = build(dict(type="losses/equivariance"), "l", "losses")(outputs, batch)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    ratio = areas(torch.from_numpy(places[None]).movedim(-1, 1))[0, 0].numpy() / area
    assert np.allclose(ratio, ratio[0, 0])


def test_equivariance_teaches_both_views():
    logits = torch.randn(2, 1, 3, 8, 8, requires_grad=True)
    first, second = logits.flatten(3).softmax(dim=-1).unflatten(3, (8, 8))
    batch = Batch(warp=FixedGrid(plane(8, 8)[None]))
    build(dict(type="losses/equivariance"), "l", "losses")(both(first, second), batch).backward()
    assert (logits.grad.abs().amax(dim=(1, 2, 3, 4)) > 0).all()


def test_equivariance_without_a_second_view_says_what_is_missing():
    outputs = Outputs(landmarks=Landmarks(xy=torch.zeros(1, 2, 2)))
    with pytest.raises(MissingFieldError, match="second_view"):
        build(dict(type="losses/equivariance"), "l", "losses")(outputs, Batch())


def test_window_by_hand():
    """One part in the centre of 3 x 3 pixels, 2/3 apart; radius 2/3."""
    window = part_window(torch.zeros(1, 1, 2), 3, 3, radius=2 / 3, threshold=0.4)
    # 1 in the centre, 1/2 beside it, 1/3 in the corners, which is below the threshold
    expected = torch.tensor([[0, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 0]]) / 3
    assert torch.allclose(window[0, 0], expected, atol=1e-6)
    # two parts at one place: the centre stays 1, its neighbours reach it, corners count 2/3
    window = part_window(torch.zeros(1, 2, 2), 3, 3, radius=2 / 3, threshold=0.4)
    corner = 2 / 3
    expected = torch.tensor([[corner, 1, corner], [1, 1, 1], [corner, 1, corner]])
    assert torch.allclose(window[0, 0], expected / expected.sum(), atol=1e-6)


def test_window_loss_by_hand():
    render, target = torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 3)
    render[0, 0, 1, 1], render[0, 1, 0, 1], render[0, 2, 0, 0] = 0.3, 0.6, 1.0
    xy = torch.zeros(1, 1, 2, requires_grad=True)
    node = dict(type="losses/part_window", radius=2 / 3, threshold=0.4)
    render.requires_grad_()
    outputs = Outputs(landmarks=Landmarks(xy=xy), render=render)
    loss = build(node, "l", "losses")(outputs, Batch(target=target))
    # centre weighs 1/3, the pixel above 1/6, the corner nothing; mean over three colours
    assert loss.item() == pytest.approx((0.09 / 3 + 0.36 / 6) / 3, rel=1e-5)
    loss.backward()
    assert xy.grad is None  # parts cannot flee from what they do not explain


# views and colours


def still(**changes):
    base = dict(
        type="warps/tps_gaussian",
        rotation_sd=0.0,
        scale_sd=0.0,
        translation_sd=0.0,
        warp_sd=(0.0, 0.0),
    )
    return {**base, **changes}


def test_second_view_is_the_driving_image_sampled_where_its_grid_says():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 12, 12)
    node = dict(type="transforms/second_view", driving_warp=dict(type="warps/tps_solved"))
    batch = Batch(source=image.flip(0), driving=image, target=image)
    out = build(node, "t")(batch, torch.tensor([3, 4]))
    assert out.driving is image
    assert out.target is image
    pixels = (((out.warp.grid(12, 12) + 1) * 12 - 1) / 2).clamp(0, 11)
    low = pixels.floor().long().clamp(max=10)
    part = (pixels - low)[..., None]
    for n in range(2):
        (x, y), (fx, fy) = low[n].unbind(dim=-1), part[n].unbind(dim=-2)
        at = image[n].permute(1, 2, 0)
        expected = (1 - fy) * ((1 - fx) * at[y, x] + fx * at[y, x + 1]) + fy * (
            (1 - fx) * at[y + 1, x] + fx * at[y + 1, x + 1]
        )
        assert torch.allclose(out.warped[n].permute(1, 2, 0), expected, atol=1e-5)
    assert not torch.allclose(out.warped, image, atol=0.1)


def test_second_view_differs_from_the_other_warps_of_the_item():
    sampler = dict(type="warps/tps_solved")
    image = torch.rand(1, 3, 16, 16)
    batch = Batch(source=image, driving=image, target=image)
    seeds = torch.tensor([8])
    pair = dict(type="transforms/tps_pair", driving_warp=sampler, source_warp=sampler)
    view = dict(type="transforms/second_view", driving_warp=sampler)
    warped = build(pair, "t")(batch, seeds)
    second = build(view, "t")(batch, seeds).warped
    assert not torch.allclose(warped.driving, warped.source, atol=0.05)
    assert not torch.allclose(second, warped.driving, atol=0.05)
    assert not torch.allclose(second, warped.source, atol=0.05)


def test_solved_spline_turns_and_scales_about_points_near_the_centre():
    """The official offsets are the points that scale and rotation leave in place."""
    node = dict(type="warps/tps_solved", displacement=0.0)
    spline: Spline = build(node, "t")(torch.arange(400), 0, torch.device("cpu"))
    assert spline.weight.abs().max() < 1e-3  # no bending without displacement
    size = spline.affine[..., :2].norm(dim=1)  # of the columns: rotation times diagonal
    assert 0.76 <= size.min() < 0.78
    assert 0.82 < size.max() <= 0.84
    assert not torch.allclose(size[:, 0], size[:, 1], atol=1e-3)
    # at most 0.24 * 0.15 of scaling and about 0.1 * 0.15 * sqrt(2) of turning
    shift = spline.affine[..., 2].abs()
    assert 0.02 < shift.max() < 0.24 * 0.15 + 0.025


def test_target_has_the_colours_of_the_source_and_the_shape_of_the_driving_image():
    torch.manual_seed(0)
    driving, source = 0.3 + 0.4 * torch.rand(2, 2, 3, 8, 8)
    transform = build(
        dict(type="transforms/appearance_pair", contrast=0.0, saturation=0.0, hue=0.0), "t"
    )
    batch = Batch(source=source, driving=driving, target=driving, warped=driving.flip(-1))
    out = transform(batch, torch.tensor([1, 2]))

    def added(after, before):
        """The brightness that was added to each image: the same for all its pixels."""
        change = after - before
        assert torch.allclose(change, change[:, :1, :1, :1].expand_as(change), atol=1e-5)
        return change[:, 0, 0, 0]

    c1, c2 = added(out.driving, driving), added(out.target, driving)
    assert torch.allclose(added(out.source, source), c2, atol=1e-5)
    c3 = added(out.warped, driving.flip(-1))
    numbers = torch.stack((c1, c2, c3)).flatten()
    assert len(set(numbers.round(decimals=4).tolist())) == 6  # per draw and per item
    assert numbers.abs().max() <= 0.3


@pytest.mark.parametrize("changed", ["contrast", "brightness", "saturation", "hue"])
def test_each_colour_change_does_what_it_says(changed):
    torch.manual_seed(0)
    image = 0.45 + 0.1 * torch.rand(1, 3, 8, 8)
    off = dict(contrast=0.0, brightness=0.0, saturation=0.0, hue=0.0)
    node = dict(type="transforms/appearance_pair", **{**off, changed: 0.3})
    batch = Batch(source=image, driving=image, target=image)
    out = build(node, "t")(batch, torch.tensor([5])).driving
    assert not torch.allclose(out, image, atol=1e-4)

    def hsv(x):
        high, low = x.amax(dim=1), x.amin(dim=1)
        return high, (high - low) / high, x.mean(dim=(-2, -1))

    (value, pure, mean), (value2, pure2, mean2) = hsv(image), hsv(out)
    if changed == "contrast":
        assert torch.allclose(mean, mean2, atol=1e-5)
        ratio = (out - mean2[..., None, None]).norm() / (image - mean[..., None, None]).norm()
        assert 0.7 <= ratio <= 1.3
    elif changed == "brightness":
        assert (out - image).std() < 1e-5
    else:
        assert torch.allclose(value, value2, atol=1e-5)
        factor = pure2 / pure
        assert torch.allclose(factor, factor.mean().expand_as(factor), atol=1e-3)
        assert torch.allclose(factor.mean(), torch.tensor(1.0), atol=0.3)
    assert batch.driving is image


def test_static_pairs_are_two_warps_of_one_image_with_two_colours():
    """The whole chain: driving and target share pixels' places, source and target colours."""
    sampler = dict(type="warps/tps_solved")
    chain = [
        dict(type="transforms/tps_pair", driving_warp=sampler, source_warp=sampler),
        dict(type="transforms/second_view", driving_warp=sampler),
        dict(type="transforms/appearance_pair"),
    ]
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    batch, seeds = Batch(source=image, driving=image, target=image), torch.tensor([9])
    steps = []
    for node in chain:
        batch = build(node, "t")(batch, seeds)
        steps.append(batch)
    geometry, viewed, final = steps
    assert viewed.target is geometry.target
    expected = warp(geometry.driving, viewed.warp.grid(32, 32), padding="border")
    assert torch.allclose(viewed.warped, expected)
    colours = build(chain[2], "t")
    alone = colours(Batch(source=geometry.driving, driving=geometry.source), seeds)
    assert torch.equal(final.target, alone.source)  # the source's draw on the driving geometry
    assert not torch.allclose(final.target, final.driving, atol=0.05)
