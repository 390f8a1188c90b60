"""Batch transforms: what moves with what, and that items draw from their own seeds."""

from __future__ import annotations

import colorsys

import pytest
import torch

from components.ops.grid import plane
from components.transforms.color_jitter import shift_hue
from registry import build
from registry.contract import Batch

SAMPLERS = ["tps_gaussian", "tps_uniform", "tps_l1", "tps_solved"]


def sampler(name: str) -> object:
    return build(dict(type=f"warps/{name}"), "t", "warps")


def blob(xy: torch.Tensor, size: int = 64) -> torch.Tensor:
    """Draw one soft dot per image at (B, 2)."""
    d2 = (plane(size, size) - xy[:, None, None]).square().sum(dim=-1)
    return torch.exp(-d2 / 0.01)[:, None].expand(-1, 3, -1, -1).contiguous()


def centre(image: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass of each image (B, 2)."""
    weight = image[:, 0]
    return (weight[..., None] * plane(*weight.shape[-2:])).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))[
        :, None
    ]


@pytest.mark.parametrize("name", SAMPLERS)
def test_keypoints_follow_the_pixels(name):
    """A dot is drawn at a keypoint; the warped dot's centre of mass is at the moved keypoint."""
    torch.manual_seed(0)
    xy = torch.rand(8, 2) * 0.6 - 0.3
    image = blob(xy)
    batch = Batch(
        source=image, driving=image, target=image, keypoints=xy[:, None], visible=torch.ones(8, 1)
    )
    pair = build(
        dict(
            type="transforms/tps_pair",
            driving_warp=dict(type=f"warps/{name}"),
            source_warp=dict(type=f"warps/{name}"),
        ),
        "t",
        "transforms",
    )
    out = pair(batch, torch.arange(8))
    moved = out.keypoints[:, 0]
    assert (moved - xy).norm(dim=-1).max() > 0.01  # it did warp
    inside = moved.abs().amax(dim=-1) < 0.7
    assert inside.any()
    assert (centre(out.driving) - moved)[inside].norm(dim=-1).max() < 0.025  # under one pixel of 64
    assert out.target is out.driving
    assert not torch.equal(out.source, out.driving)
    assert torch.equal(batch.driving, image)  # nothing was changed in place


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_item_draws_the_same_in_any_batch(name):
    make = sampler(name)
    whole = make(torch.tensor([5, 6, 7]), 0, torch.device("cpu"))
    alone = make(torch.tensor([6]), 0, torch.device("cpu"))
    assert torch.allclose(whole.weight[1], alone.weight[0], atol=1e-6)
    assert torch.allclose(whole.affine[1], alone.affine[0], atol=1e-6)
    assert not torch.allclose(whole.affine[0], whole.affine[1])


def test_gaussian_sampler_has_the_published_spread():
    spline = sampler("tps_gaussian")(torch.arange(2000), 0, torch.device("cpu"))
    angle = torch.atan2(spline.affine[:, 1, 0], spline.affine[:, 0, 0]) * 180 / torch.pi
    assert angle.std().item() == pytest.approx(5.0, rel=0.06)
    assert spline.affine[:, :, 2].std().item() == pytest.approx(0.05, rel=0.06)
    # half of the entries also draw from the wide Gaussian: variance 0.0005^2 + 0.005^2 / 2
    assert spline.weight.std().item() == pytest.approx((0.0005**2 + 0.005**2 / 2) ** 0.5, rel=0.03)


def test_l1_sampler_adds_the_same_to_x_and_y():
    spline = sampler("tps_l1")(torch.arange(3), 0, torch.device("cpu"))
    assert torch.equal(spline.weight[..., 0], spline.weight[..., 1])
    assert spline.kernel == "l1"
    assert spline.control.shape == (3, 25, 2)


def test_uniform_sampler_stays_in_its_ranges():
    make = build(
        dict(type="warps/tps_uniform", rotation=0.0, pivot_range=0.0, point_range=0.0), "t"
    )
    spline = make(torch.arange(500), 0, torch.device("cpu"))
    scale = spline.affine[:, [0, 1], [0, 1]]
    assert scale.min() >= 1.05 - 1e-4
    assert scale.max() <= 1.15 + 1e-4
    assert spline.weight.abs().max() < 1e-4


def test_chained_source_is_a_warp_of_the_driving_image():
    image = torch.rand(2, 3, 16, 16)
    still = dict(
        type="warps/tps_gaussian", rotation_sd=0, scale_sd=0, translation_sd=0, warp_sd=(0, 0)
    )
    shift = dict(still, translation_sd=0.3)
    node = dict(type="transforms/tps_pair", driving_warp=shift, source_warp=still)
    batch = Batch(source=image, driving=image, target=image)
    apart = build(node, "t")(batch, torch.tensor([1, 2]))
    chained = build(dict(node, chained=True), "t")(batch, torch.tensor([1, 2]))
    assert torch.allclose(apart.source, image, atol=1e-5)
    assert torch.allclose(chained.source, chained.driving, atol=1e-5)
    assert not torch.allclose(chained.driving, image, atol=1e-2)


def test_temporal_and_warped_sources_of_the_same_targets():
    target, driving, other = (torch.rand(2, 3, 16, 16) for _ in range(3))
    batch = Batch(
        source=other,
        driving=driving,
        target=target,
        keypoints=torch.rand(2, 5, 2),
        name=("a/1", "b/2"),
    )
    node = dict(type="transforms/tps_and_temporal", source_warp=dict(type="warps/tps_uniform"))
    out = build(node, "t")(batch, torch.tensor([1, 2]))
    for field in ("target", "driving", "keypoints"):
        value = getattr(batch, field)
        assert torch.equal(getattr(out, field), torch.cat((value, value)))
    assert out.name == ("a/1", "b/2", "a/1", "b/2")
    assert out.mask is None
    # the first half is what the transform of "tps" alone makes of the target
    pair = build(dict(node, type="transforms/tps_pair"), "t")
    alone = pair(Batch(source=target, driving=driving), torch.tensor([1, 2]))
    assert torch.equal(out.source, torch.cat((alone.source, other)))
    assert not torch.allclose(alone.source, target, atol=0.05)


def test_points_that_leave_the_image_become_invisible():
    node = dict(
        type="transforms/tps_pair",
        driving_warp=dict(
            type="warps/tps_gaussian",
            rotation_sd=0,
            scale_sd=0,
            translation_sd=1.0,
            warp_sd=(0, 0),
        ),
        source_warp=dict(type="warps/tps_gaussian"),
    )
    image = torch.rand(16, 3, 8, 8)
    points = torch.zeros(16, 1, 2)
    out = build(node, "t")(
        Batch(source=image, driving=image, target=image, keypoints=points), torch.arange(16)
    )
    outside = (out.keypoints.abs() > 1).any(dim=-1)
    assert outside.any()
    assert torch.equal(out.visible, (~outside).float())


def test_color_jitter_changes_the_pose_source_only():
    image = torch.rand(3, 3, 8, 8)
    batch = Batch(source=image, driving=image, target=image)
    out = build(dict(type="transforms/color_jitter"), "t")(batch, torch.arange(3))
    assert torch.equal(out.target, image)
    assert torch.equal(out.source, image)
    assert not torch.allclose(out.driving, image, atol=0.05)
    assert out.driving.min() >= 0
    assert out.driving.max() <= 1


def test_hue_shift_equals_colorsys():
    torch.manual_seed(0)
    image, turns = torch.rand(1, 3, 4, 5), 0.23
    found = shift_hue(image, torch.full((1, 1, 1, 1), turns))
    for y in range(4):
        for x in range(5):
            h, s, v = colorsys.rgb_to_hsv(*image[0, :, y, x].tolist())
            expected = colorsys.hsv_to_rgb((h + turns) % 1, s, v)
            assert found[0, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_one_warp_for_both_keeps_the_difference_of_the_frames_in_place():
    """Frames that differ in one square: after the common warp they still differ there only."""
    frame = torch.rand(1, 3, 32, 32)
    other = frame.clone()
    other[:, :, 8:12, 8:12] = 0
    node = dict(type="transforms/tps_pair", driving_warp=dict(type="warps/tps_gaussian"))
    out = build(node, "t")(Batch(source=other, driving=frame, target=frame), torch.tensor([3]))
    still = build(dict(type="transforms/tps_pair"), "t")(
        Batch(source=other, driving=frame, target=frame), torch.tensor([3])
    )
    assert torch.equal(still.source, other)
    assert not torch.allclose(out.driving, frame, atol=0.01)
    changed = (out.driving - out.source).abs().amax(dim=1)[0] > 1e-6
    assert 4 < changed.sum() < 60
