"""Optical flow: exact on puppets, estimated, kept on disk, and the losses that follow it."""

import json
import math
import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import _api
from torchvision.models.optical_flow import raft_large, raft_small

import components.data.flow
import registry
from components.data.flow import dis, partner, shrink
from components.datasets.flow_pairs import FlowPairs
from components.datasets.puppets import Puppets
from components.datasets.standin import StandIn
from components.layers.raft import Raft
from components.layers.warmup import Warmup
from components.losses.flow_agreement import FlowAgreement
from components.losses.flow_points import FlowPoints
from components.ops.flow import sample, to_contract, windows
from components.ops.grid import plane
from components.ops.warp import warp
from registry import ConfigError, load_config
from registry.contract import Batch, Landmarks, MissingFieldError, Motion, Outputs
from registry.job import Job
from registry.loading import Draws, collate
from tests.test_tools import assert_refused, inside

PAIR = [(5, 6), (3, 9), (12, 8)]


def images_of(*arrays):
    return torch.from_numpy(np.stack(arrays)).movedim(-1, 1).float()


def carried(points, others, at):
    """Where `at` on the limb from points[0] to points[1] is when the limb is at `others`."""
    (a, b), (c, d), z = ((p[..., 0] + 1j * p[..., 1]) for p in (points, others, at))
    there = c + (z - a) * (d - c) / (b - a)  # a similarity of the plane, in complex numbers
    return np.stack((there.real, there.imag), axis=-1)


# puppets know their flow


@pytest.mark.parametrize("skeleton", ["human", "animal"])
def test_flow_at_the_middle_of_limbs_is_that_of_their_joints(skeleton):
    puppets = Puppets(clips=4, skeleton=skeleton)
    drawn = [bone.joint for bone in puppets._drawn]
    seen = 0
    for clip in range(4):
        for before, after in PAIR:
            i, j = 32 * clip + before, 32 * clip + after
            flow = puppets.flow(i, j)
            parts = puppets.parts(clip, before)[1]
            here, there = puppets.keypoints(i), puppets.keypoints(j)
            for a, b in puppets.edges:
                name = puppets.keypoint_names[b]
                if name not in drawn:
                    continue
                middle, moved = here[[a, b]].mean(axis=0), there[[a, b]].mean(axis=0)
                x, y = np.floor(((middle + 1) * 64 - 1) / 2).astype(int)
                if not (parts[y : y + 2, x : x + 2] == 1 + drawn.index(name)).all():
                    continue
                # affine inside a limb, so that bilinear sampling is exact
                found = warp(images_of(flow), torch.tensor(middle).view(1, 1, 1, 2))
                np.testing.assert_allclose(found.flatten(), moved - middle, atol=1e-5)
                seen += 1
    assert seen > 30


@pytest.mark.parametrize("background", ["static", "moving"])
def test_flow_finds_each_visible_pixel_in_the_other_frame(background):
    puppets = Puppets(clips=3, image_size=128, background=background)
    square = np.ones((5, 5), np.uint8)
    still, errors = [], []
    for clip in range(3):
        for before, after in PAIR:
            flow = puppets.flow(32 * clip + before, 32 * clip + after)
            (a, parts), (b, others) = (puppets.parts(clip, t) for t in (before, after))
            places = plane(128, 128) + torch.from_numpy(flow)
            found = warp(images_of(b), places[None], "border")[0].movedim(0, -1).numpy()
            # the same part here and there, and two pixels from any edge of it
            x, y = np.rint(((places.numpy() + 1) * 128 - 1) / 2).astype(int).T.clip(0, 127)
            x, y = x.T, y.T
            inner, there = (
                np.where(cv2.erode(p, square) == cv2.dilate(p, square), p, 255)
                for p in (parts, others)
            )
            visible = (inner == there[y, x]) & (inner < 255)
            visible &= np.abs(places.numpy()).max(axis=-1) < 1 - 2 / 128
            assert visible.mean() > 0.5
            # Each frame blends points of its textures less than a pixel apart, the warp blends
            # again: both values are between those of points within two pixels.
            image = a.astype(np.float32)
            near = cv2.dilate(image, square) - cv2.erode(image, square)
            # contrast of the texture that the blending of frame a took away; rounding
            assert (np.abs(found - image)[visible] <= 1.5 * near[visible] + 3).all()
            moving = visible & (parts > 0) if background == "static" else visible
            errors.append(np.abs(found - image)[moving].mean())
            still.append(np.abs(b - image)[moving].mean())
            if background == "static":
                assert not flow[parts == 0].any()
    assert np.mean(errors) < np.mean(still) / 4


def test_a_moving_background_moves_as_one_and_as_its_drift_says():
    puppets = Puppets(clips=1, background="moving")
    flow, (_, parts) = puppets.flow(4, 11), puppets.parts(0, 4)
    # the canvas is shifted by the drift, so what it shows goes the other way
    drift = puppets._look(0).drift
    np.testing.assert_allclose(
        flow[parts == 0], np.broadcast_to(drift[4] - drift[11], ((parts == 0).sum(), 2)), atol=1e-6
    )
    assert np.abs(drift[4] - drift[11]).min() > 0.01


def test_flow_to_the_same_frame_is_zero_and_to_another_clip_refused():
    puppets = Puppets(clips=2, background="moving")
    assert puppets.flow(3, 3).shape == (64, 64, 2)
    assert puppets.flow(3, 3).dtype == np.float32
    assert np.abs(puppets.flow(3, 3)).max() < 1e-7
    with pytest.raises(ValueError, match="frames 31 and 32 belong to different clips"):
        puppets.flow(31, 32)


# estimated


def test_dis_finds_a_known_shift_in_contract_units():
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    target = cv2.GaussianBlur(noise, (0, 0), 2)
    source = np.roll(target, (3, -2), (0, 1))  # 3 down, 2 to the left
    flow = dis(target, source)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [-2 * 2 / 90, 3 * 2 / 60], atol=1e-3)


def test_dis_finds_most_of_the_exact_flow():
    puppets = Puppets(clips=4, image_size=128)
    for clip in range(4):
        i = 32 * clip + 5
        exact, found = puppets.flow(i, i + 2), dis(puppets.image(i), puppets.image(i + 2))
        moving = np.linalg.norm(exact, axis=-1) > 2 / 128
        assert np.median(np.abs(found - exact)[moving]) < 0.5 * 2 / 128  # half a pixel
    with pytest.raises(ValueError, match="8 x 8 pixels are too small"):
        dis(*np.zeros((2, 8, 8, 3), np.uint8))


# fields


def test_units():
    flow = torch.ones(1, 2, 8, 4)  # one pixel of 4 columns, one of 8 rows
    expected = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1).expand(1, 2, 8, 4)
    assert torch.equal(to_contract(flow), expected)


def test_a_window_has_the_weights_of_its_gaussian():
    # two pixels, at -0.5 and 0.5; the point is on the first, the other at distance 1
    found = windows(torch.tensor([[[-0.5, 0.0]]]), 0.5, 1, 2).flatten()
    first = 1 / (1 + math.exp(-1))
    assert torch.allclose(found, torch.tensor([first, 1 - first]))
    flow = torch.tensor([[[[0.4, -0.2]], [[0.0, 1.0]]]])
    wanted = torch.tensor([0.4 * first - 0.2 * (1 - first), 1 - first])
    assert torch.allclose(sample(flow, torch.tensor([[[-0.5, 0.0]]]), 0.5).flatten(), wanted)


def test_windows_are_finite_anywhere_and_float32_in_half_precision():
    xy = torch.tensor([[[50.0, -80.0], [0.0, 0.0]]]).bfloat16()
    found = windows(xy, 1e-6, 4, 6)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=(-2, -1)), torch.ones(1, 2))
    assert found[0, 0, 0, 5] == 1  # the corner nearest to it


def test_sampling_a_constant_and_a_linear_flow():
    xy = torch.tensor([[[0.1, -0.3], [0.25, 0.0]]])
    still = torch.tensor([0.3, -0.7]).view(1, 2, 1, 1).expand(1, 2, 20, 30)
    assert torch.allclose(sample(still, xy, 0.01), torch.tensor([0.3, -0.7]).expand(1, 2, 2))
    linear = plane(40, 40).movedim(-1, 0)[None] * torch.tensor([0.5, -2.0]).view(1, 2, 1, 1)
    # the window is symmetric and ends far from the border
    assert torch.allclose(sample(linear, xy, 0.01), xy * torch.tensor([0.5, -2.0]), atol=1e-4)


# losses


def moved(points, others, grid=None):
    motion = None if grid is None else Motion(grid=grid)
    return Outputs(
        landmarks=Landmarks(xy=points), source_landmarks=Landmarks(xy=others), motion=motion
    )


def constant(x, y, height=6, width=8):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_points_that_follow_the_flow_cost_nothing_and_others_their_squared_distance():
    points = torch.tensor([[[0.0, 0.0], [0.4, -0.5]]])
    batch = Batch(flow=constant(0.2, -0.1))
    assert FlowPoints()(moved(points, points + torch.tensor([0.2, -0.1])), batch) < 1e-12
    # standing still: 0.2^2 + 0.1^2 for each
    assert float(FlowPoints(weight=3.0)(moved(points, points), batch)) == pytest.approx(0.15)


def test_points_are_drawn_along_the_flow_and_not_to_another_flow():
    points = torch.tensor([[[0.1, 0.2]]], requires_grad=True)
    others = torch.tensor([[[0.1, 0.5]]], requires_grad=True)
    flow = plane(16, 16).movedim(-1, 0)[None]  # z goes to 2 z
    FlowPoints()(moved(points, others), Batch(flow=flow)).backward()
    error = 2 * torch.tensor([0.1 + 0.1 - 0.1, 0.2 + 0.2 - 0.5])  # of p + F - p', F = p
    assert torch.allclose(points.grad[0, 0], error, atol=2e-3)  # not 2 error: F is no function of p
    assert torch.allclose(others.grad[0, 0], -error, atol=2e-3)


def test_points_glued_to_a_bone_cost_nothing_with_exact_flow():
    puppets = Puppets(clips=3)
    drawn = [bone.joint for bone in puppets._drawn]
    a, b = (puppets.keypoint_names.index(name) for name in ("left_knee", "left_ankle"))
    for clip in range(3):
        i = 32 * clip
        rows, columns = np.nonzero(puppets.parts(clip, 0)[1] == 1 + drawn.index("left_ankle"))
        at = np.stack((2 * columns + 1, 2 * rows + 1), axis=-1) / 64 - 1  # pixels of the shin
        there = carried(puppets.keypoints(i)[[a, b]], puppets.keypoints(i + 6)[[a, b]], at)
        points, others = (torch.tensor(p, dtype=torch.float32)[None] for p in (at, there))
        batch = Batch(flow=images_of(puppets.flow(i, i + 6)))
        assert np.abs(there - at).max() > 0.02
        one_pixel = FlowPoints(variance=1e-5)
        assert float(one_pixel(moved(points, others), batch)) < 1e-10
        assert float(one_pixel(moved(points, points), batch)) > 1e-4


def test_the_window_of_a_limb_sees_mostly_that_limb():
    # the default variance: points at the middle of limbs, which go 4 frames on, follow it
    puppets = Puppets(clips=20)
    edges = [edge for edge in puppets.edges if "knee" in puppets.keypoint_names[edge[1]]]
    still, follow = [], []
    for clip in range(20):
        here, there = (puppets.keypoints(32 * clip + t)[edges].mean(axis=1) for t in (0, 4))
        flow = images_of(puppets.flow(32 * clip, 32 * clip + 4))
        found = sample(flow, torch.from_numpy(here)[None], 0.01)[0].numpy()
        follow.append(np.square(here + found - there).sum(axis=-1))
        still.append(np.square(here - there).sum(axis=-1))
    assert np.mean(follow) < np.mean(still) / 2


def test_motion_that_agrees_with_the_flow_costs_nothing():
    points = torch.tensor([[[0.0, 0.1], [0.5, -0.5], [-0.3, 0.7]]])
    grid = (plane(6, 8) + torch.tensor([0.2, -0.1]))[None]
    outputs = moved(points, points, grid)
    assert FlowAgreement()(outputs, Batch(flow=constant(0.2, -0.1))) < 1e-6
    assert FlowAgreement()(outputs, Batch(flow=constant(0.2, -0.1, 24, 16))) < 1e-6  # resized
    # |0.2 - 0.1| + |-0.1 - 0| for each of three landmarks
    found = FlowAgreement(weight=2.0)(outputs, Batch(flow=constant(0.1, 0.0)))
    assert float(found) == pytest.approx(2 * 3 * 0.2, rel=1e-5)


def test_motion_counts_by_its_window():
    # 1 x 2 pixels at distance 1, wrong by 0.3 in the second only; the landmark is on the first
    grid = plane(1, 2)[None] + torch.tensor([[0.0, 0.0], [0.3, 0.0]])
    points = torch.tensor([[[-0.5, 0.0]]], requires_grad=True)
    grid.requires_grad_()
    found = FlowAgreement(variance=0.5)(
        moved(points, points, grid), Batch(flow=torch.zeros(1, 2, 1, 2))
    )
    share = math.exp(-1) / (1 + math.exp(-1))
    assert found.item() == pytest.approx(0.3 * share, rel=1e-5)
    found.backward()
    assert torch.allclose(grid.grad[0, 0, 1], torch.tensor([share, 0.0]))
    assert points.grad is None


def test_no_motion_is_what_the_sampler_leaves_in_place():
    points, image = torch.full((1, 1, 2), 0.8), torch.rand(1, 3, 5, 5)
    batch = Batch(flow=constant(0.0, 0.0, 5, 5))
    still, spread = plane(5, 5)[None], plane(5, 5, "corners")[None]
    assert torch.allclose(warp(image, still), image, atol=1e-6)
    assert not torch.allclose(warp(image, spread), image, atol=0.01)
    assert FlowAgreement()(moved(points, points, still), batch) < 1e-6
    assert FlowAgreement()(moved(points, points, spread), batch) > 0.01


def test_missing_parts_are_named():
    points = torch.zeros(1, 1, 2)
    with pytest.raises(MissingFieldError, match=r"Batch.flow is missing.*datasets/flow_pairs"):
        FlowPoints()(moved(points, points), Batch())
    with pytest.raises(MissingFieldError, match=r"Outputs.motion is missing.*motion_transfer"):
        FlowAgreement()(moved(points, points), Batch(flow=constant(0.0, 0.0)))
    with pytest.raises(MissingFieldError, match=r"source_landmarks is missing"):
        FlowPoints()(Outputs(landmarks=Landmarks(xy=points)), Batch(flow=constant(0.0, 0.0)))


def test_warmup_rises_in_training_only_and_is_resumed():
    warmup = Warmup(4)
    assert [float(warmup()) for _ in range(2)] == [0.25, 0.5]
    assert float(warmup.eval()()) == float(warmup()) == 0.5
    resumed = Warmup(4)
    resumed.load_state_dict(warmup.state_dict())
    assert [float(resumed()) for _ in range(4)] == [0.75, 1, 1, 1]
    assert float(Warmup(0)()) == 1
    loss = FlowPoints(warmup=10)
    outputs = moved(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
    found = [float(loss(outputs, Batch(flow=constant(0.0, 0.0)))) for _ in range(3)]
    assert found == pytest.approx([0.2, 0.4, 0.6])
    assert "warmup.done" in loss.state_dict()


# RAFT


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return raft_small(weights=None).eval()


@pytest.mark.parametrize(("build", "suffix"), [(raft_small, ".pth"), (raft_large, ".safetensors")])
def test_raft_is_torchvisions_with_the_weights_of_a_file(build, suffix, tmp_path):
    torch.manual_seed(2)
    net = build(weights=None)
    a, b = noise(1, 3, 128, 136), noise(1, 3, 128, 136, seed=1)
    with torch.no_grad():
        net(a, b, num_flow_updates=1)  # in training, so that statistics of batches are not 0 and 1
        expected = net.eval()(2 * a - 1, 2 * b - 1, num_flow_updates=2)[-1]
        file = tmp_path / f"raft{suffix}"
        (torch.save if suffix == ".pth" else save_file)(net.state_dict(), file)
        found = Raft(build.__name__, str(file), updates=2).train()(a, b)
    assert torch.allclose(found[:, 0], expected[:, 0] * 2 / 136, atol=1e-6)
    assert torch.allclose(found[:, 1], expected[:, 1] * 2 / 128, atol=1e-6)


def test_raft_takes_any_size_and_gives_flow_in_contract_units(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "raft.pth")
    raft = Raft("raft_small", str(tmp_path / "raft.pth"), updates=1)
    small = noise(1, 3, 40, 70)
    large = torch.nn.functional.interpolate(small, (128, 128), mode="bilinear")
    with torch.no_grad():
        found, wanted = raft(small, small.flip(-1)), raft(large, large.flip(-1))
    assert found.shape == (1, 2, 40, 70)
    # the same picture has the same flow, whatever its pixels; means do not depend on resizing
    means = (found.mean(dim=(-2, -1)), wanted.mean(dim=(-2, -1)))
    assert torch.allclose(*means, atol=0.02 * float(wanted.abs().max()))


def test_raft_is_frozen_and_in_no_state_dict_and_passes_gradients():
    before = torch.get_rng_state()
    raft = Raft("raft_large", "random", updates=1).train()
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(raft.parameters())
    assert not raft.state_dict()
    raft.load_state_dict({})
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(raft)  # as train.sync_batch_norm does
    held = [value.clone() for value in raft.buffers()]
    images = noise(1, 3, 128, 128).double().requires_grad_()
    found = raft.double()(images, images.flip(-1))
    assert found.dtype == torch.float64
    found.square().sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().max() > 0
    assert all(torch.equal(a, b) for a, b in zip(held, raft.buffers()))


def test_raft_says_what_is_wrong(net, tmp_path, monkeypatch):
    torch.save(net.state_dict(), tmp_path / "small.pth")
    with pytest.raises(ConfigError, match=r"small.pth: not raft_large weights .* Missing key"):
        Raft("raft_large", str(tmp_path / "small.pth"), updates=1)
    with pytest.raises(ConfigError, match=r"no RAFT weights at 'nothing.pth'. Set weights="):
        Raft("raft_small", "nothing.pth", updates=1)
    with pytest.raises(ConfigError, match="no flow network 'raft'; use one of raft_large, raft_sm"):
        Raft("raft", "random", updates=1)

    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(_api, "load_state_dict_from_url", offline)
    with pytest.raises(ConfigError, match=r"cannot download raft_small weights from https://.*pth"):
        FlowAgreement(weights="torchvision")


def test_agreement_by_raft_compares_what_it_sees_in_the_render(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "raft.pth")
    loss = FlowAgreement(weights=str(tmp_path / "raft.pth"), updates=2)
    assert [*loss.state_dict()] == ["warmup.done"]
    driving, source, render = (noise(1, 3, 128, 128, seed=s) for s in range(3))
    points = torch.tensor([[[0.0, 0.1], [0.5, -0.5]]])
    with torch.no_grad():
        flow, found = (
            net(2 * x - 1, 2 * source - 1, num_flow_updates=2)[-1] * 2 / 128
            for x in (driving, render)
        )
        window = windows(points, 0.01, 128, 128)
        expected = (window * (found - flow).abs().sum(dim=1, keepdim=True)).sum()
    batch = Batch(source=source, driving=driving, flow=flow)
    outputs = Outputs(landmarks=Landmarks(xy=points), render=driving)
    assert loss(outputs, batch) < 1e-6  # a perfect render
    render.requires_grad_()
    found = loss(Outputs(landmarks=Landmarks(xy=points), render=render), batch)
    assert torch.allclose(found, expected, rtol=1e-4)
    found.backward()
    assert render.grad.isfinite().all()
    assert render.grad.abs().max() > 0


# pairs


def test_pairs_have_the_flow_from_target_to_source():
    puppets = Puppets(clips=2, frames_per_clip=10)
    pairs = FlowPairs(frame_dataset=puppets, gaps=(1, 4))
    assert len(pairs) == 20
    images = [puppets.image(index) for index in range(20)]
    gaps = set()
    for index in range(20):
        for seed in range(6):
            item = pairs.sample(index, np.random.default_rng(seed))
            np.testing.assert_array_equal(item["target"], images[index])
            near = [o for o in range(20) if np.array_equal(item["source"], images[o])]
            t, others = index % 10, {index - o for o in near}
            # before it, and after it where the clip begins
            allowed = {1 if t >= 1 else -1, 4 if t >= 4 else -4}
            (gap,) = others & allowed
            np.testing.assert_array_equal(item["flow"], puppets.flow(index, index - gap))
            assert item["size"].tolist() == [len(images[0])] * 2  # drawn as shown
            gaps.add(gap)
            assert item["name"] == f"train/{index // 10:05d}/{t:06d}"
    assert gaps == {1, -1, 4, -4}
    assert pairs.edges == puppets.edges
    assert pairs.keypoint_names == puppets.keypoint_names
    np.testing.assert_array_equal(pairs.keypoints(13), puppets.keypoints(13))


def test_partners_by_hand():
    # clip of 5 frames, gap 3: 0 -> 3, 1 -> 4, 2 has none, 3 -> 0, 4 -> 1
    assert [partner(t, 5, 3) for t in range(5)] == [3, 4, None, 0, 1]


def test_pairs_estimate_flow_and_average_it():
    frames = StandIn(image_size=16, num_keypoints=2, length=3)
    pairs = FlowPairs(frame_dataset=frames, gaps=(1,), flow="dis", stride=4)
    item = pairs.sample(2, np.random.default_rng(0))
    flow = dis(frames.image(2), frames.image(1))
    assert item["flow"].shape == (4, 4, 2)
    np.testing.assert_allclose(item["flow"][1, 2], flow[4:8, 8:12].mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(shrink(flow, 2)[0, 1], flow[:2, 2:4].mean(axis=(0, 1)), rtol=1e-5)


class Shuffled(StandIn):
    """Frames that are not the items."""

    def __len__(self):
        return 2

    def clip_ranges(self):
        return [("long", range(5)), ("short", range(5, 8))]


def test_short_clips_are_left_out_and_unknown_annotations_too():
    pairs = FlowPairs(
        frame_dataset=Shuffled(image_size=16, num_keypoints=2), gaps=(2, 4), flow="dis"
    )
    assert len(pairs) == 5
    assert pairs.skipped_clips == ["short"]
    assert pairs.keypoints(0) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gaps": (0,)}, "gaps=(0,) must be 1 or more frames"),
        ({"gaps": ()}, "gaps=() must be 1 or more frames"),
        ({"gaps": (5,)}, "no clip has 10 frames. Use smaller gaps="),
        ({"stride": 3}, "the image side of 16 pixels must be a multiple of stride=3"),
        ({"flow": "exact"}, "StandIn does not know its exact flow. Set flow='dis'"),
    ],
)
def test_pairs_refuse(options, text):
    frames = StandIn(image_size=16, num_keypoints=2)
    with pytest.raises(ValueError) as caught:
        FlowPairs(frame_dataset=frames, **{"flow": "dis", **options})
    assert str(caught.value).startswith(f"datasets/flow_pairs: {text}")


# tools/prepare.py

CONFIG = '''"""Motion transfer with flow, tiny."""
image_size = 32
num_landmarks = 4
model = dict(
    type="pipelines/motion_transfer",
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=1,
                 width=4, max_width=8, depth=2, padding=3),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks),
    motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=2,
                width=4, max_width=8, depth=2),
    decoder=dict(type="decoders/occlusion_aware", width=4, max_width=8, downs=1, blocks=1),
)
losses = dict(
    agreement=dict(type="losses/flow_agreement"),
    points=dict(type="losses/flow_points"),
)
data = dict(
    train=dict(
        type="datasets/flow_pairs", gaps=(1, 3), flow="flow", stride=2,
        frame_dataset=dict(type="datasets/frames", root="clips", image_size=image_size)),
)
train = dict(iterations=2, batch_size=2, lr=1e-3)
'''
LENGTHS = {"a": 20, "b": 5, "c": 3}


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """The command, in a folder with a config and three clips of puppets."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(CONFIG)
    puppets = Puppets(image_size=32, clips=3)
    for clip, (name, length) in enumerate(LENGTHS.items()):
        Path(f"clips/{name}").mkdir(parents=True)
        for t in range(length):
            image = puppets.image(32 * clip + t)[..., ::-1]
            cv2.imwrite(f"clips/{name}/{t}.png", np.ascontiguousarray(image))

    def run(*words):
        return inside("prepare", "flow", "tiny.py", *words, monkeypatch=monkeypatch, capsys=capsys)

    return run


def pairs_of(folder="flow"):
    cfg = load_config("tiny.py", {"data.train.flow": folder})
    return registry.build(cfg["data"]["train"], "data.train", "datasets"), cfg


def test_prepared_flow_is_that_of_the_estimator_and_trains(prepare, tmp_path):
    with pytest.raises(ConfigError, match=r"no optical flow in 'flow'. Run keypoint-zoo"):
        pairs_of()
    done = prepare()
    assert done.returncode == 0, done.stderr
    first, last = done.stderr.splitlines()[0], done.stdout.strip()
    # 28 frames x 2 gaps x 16 x 16 x 2 numbers of 2 bytes
    assert first.startswith(
        "flow: 3 of 3 clips to do, 28 frames, gaps [1, 3], 16 x 16 displacements: 5.73e-05 GB"
    )
    assert last == "flow: the optical flow of 3 clips is complete"
    assert sorted(p.name for p in Path("flow").iterdir()) == [
        *(f"{clip:06d}.npy" for clip in range(3)),
        "index.json",
    ]
    kept, cfg = pairs_of()
    direct, _ = pairs_of("dis")
    assert len(kept) == 28
    for index in range(28):
        a, b = (pairs.sample(index, np.random.default_rng(index)) for pairs in (kept, direct))
        np.testing.assert_array_equal(a["source"], b["source"])
        assert a["flow"].dtype == np.float32
        np.testing.assert_allclose(a["flow"], b["flow"], rtol=1e-3, atol=1e-4)  # float16
    frame_1_of_c = np.load("flow/000002.npy")[1]  # gap 3 has no partner in a clip of 3
    assert frame_1_of_c[0].any()
    assert not frame_1_of_c[1].any()

    job = Job(cfg, tmp_path / "work")
    draws = Draws(kept, None, None, seed=0)
    losses = job.trainee.train()(**collate([draws[0], draws[1]]))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert next(job.trainee.pipeline.encoder.parameters()).grad.abs().max() > 0


def test_prepare_goes_on_where_it_was_stopped(prepare, monkeypatch):
    calls = []

    def interrupted(target, source):
        calls.append(1)
        if len(calls) > 2 * 20 + 4:  # in the second clip
            raise KeyboardInterrupt
        return dis(target, source)

    monkeypatch.setattr(components.data.flow, "dis", interrupted)
    done = prepare()
    assert done.returncode == 130
    assert done.stderr.endswith(
        "interrupted; complete clips are kept. Run the same command again to continue.\n"
    )
    assert sorted(p.name for p in Path("flow").iterdir()) == ["000000.npy", "index.json"]
    with pytest.raises(ConfigError, match=r"'flow' lacks the optical flow of 2 of 3 .* as 'b'"):
        pairs_of()
    before = Path("flow/000000.npy").stat().st_mtime_ns
    monkeypatch.setattr(components.data.flow, "dis", dis)
    done = prepare()
    assert done.returncode == 0
    assert done.stderr.startswith("flow: 2 of 3 clips to do, 8 frames")
    assert Path("flow/000000.npy").stat().st_mtime_ns == before
    prepare("--out", "whole")
    for clip in range(3):
        one, two = (np.load(f"{folder}/{clip:06d}.npy") for folder in ("flow", "whole"))
        np.testing.assert_array_equal(one, two)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_prepare_on_a_full_disk_ends_with_one_line_and_goes_on_later(prepare, tmp_path):
    """A clip of 20 frames needs 41 kB, those of 5 and 3 need less."""
    Path("flow").mkdir()
    Path("flow/.000001.0123abcd.part.npy").write_text("of a killed writer")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        done = prepare()
        Path("said").write_text(done.stderr)
        os._exit(done.returncode)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert Path("said").read_text().splitlines()[1:] == [
        "error: cannot write 'flow/000000.npy': File too large. The file system or `ulimit -f` "
        "allows no larger file; write elsewhere."
    ]
    assert [path.name for path in Path("flow").iterdir()] == ["index.json"]
    assert prepare().returncode == 0
    assert len(pairs_of()[0]) == 28


def test_prepare_without_enough_space_changes_nothing(prepare, monkeypatch):
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr("components.data.flow_cache.shutil.disk_usage", lambda path: usage)
    done = prepare("--out", "new/flow")
    assert done.returncode == 2
    assert "not enough disk space" in done.stderr
    assert not Path("new").exists()


def test_prepare_by_raft_gives_rafts_flow(prepare, net):
    torch.save(net.state_dict(), "raft.pth")
    words = ("--estimator", "raft_small", "--weights", "raft.pth")
    options = ("data.train.frame_dataset.include=('b',)", "data.train.gaps=(1,)")
    done = prepare(*words, "--device", "cpu", "--cfg-options", *options)
    assert done.returncode == 0, done.stderr
    puppets = Puppets(image_size=32, clips=3)
    a, b = (images_of(puppets.image(32 + t)) / 255 for t in (3, 2))
    with torch.no_grad():
        flow = Raft("raft_small", "raft.pth", updates=12)(a, b)[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(
        np.load("flow/000000.npy")[3, 0], shrink(flow, 2), rtol=2e-3, atol=2e-4
    )
    refused = prepare("--cfg-options", *options)
    assert_refused(refused, "in 'flow' is by raft_small", ", not by dis. Choose another --out")


def test_flow_of_other_frames_is_refused(prepare):
    assert prepare().returncode == 0

    def refused(key, value, text):
        cfg = load_config("tiny.py", {f"data.train.{key}": value})
        with pytest.raises(ConfigError) as caught:
            registry.build(cfg["data"]["train"], "data.train", "datasets")
        assert f"the optical flow in 'flow' is {text}" in str(caught.value)
        assert_refused(prepare("--cfg-options", f"data.train.{key}={value!r}"), text)

    refused("frame_dataset.exclude", ["c"], "of 3 clips, not 2")
    refused("frame_dataset.exclude", ["b"], "of clip 'b' of 5 frames, not 'c' of 3")
    refused("gaps", [1, 2], "of gaps [1, 3], not [1, 2]")
    refused("stride", 4, "of size [16, 16], not [8, 8]")
    refused("frame_dataset.crop", [8, 8, 8, 8], "of a first frame that looks different from")
    # fewer gaps than there are
    cfg = load_config("tiny.py", {"data.train.gaps": [1]})
    some = registry.build(cfg["data"]["train"], "data.train", "datasets")
    whole, _ = pairs_of("dis")
    flow = shrink(dis(whole.frame_dataset.image(7), whole.frame_dataset.image(6)), 2)
    found = some.sample(7, np.random.default_rng(0))["flow"]
    np.testing.assert_allclose(found, flow, rtol=1e-3, atol=1e-4)


def test_prepare_refuses_what_it_cannot_do(prepare, monkeypatch):
    assert_refused(
        prepare("--cfg-options", "data.train={'type': 'datasets/puppets'}"),
        "data.train is datasets/puppets, not datasets/flow_pairs",
    )
    for flow in ("dis", "exact"):
        done = prepare("--cfg-options", f"data.train.flow={flow}")
        assert_refused(done, f"data.train.flow is '{flow}', which needs no preparation. Pass --out")
    assert_refused(prepare("--weights", "raft.pth"), "dis has no weights")
    assert_refused(prepare("--estimator", "raft_small"), "needs --weights: torchvision, or a file")
    assert_refused(
        prepare("--estimator", "raft_small", "--weights", "raft.pth"), "no RAFT weights at 'raft.p"
    )
    Path("flow").mkdir()
    Path("flow/index.json").write_text(json.dumps([1]))
    assert_refused(prepare(), "'flow/index.json' is not an index of optical flow")
    Path("flow/index.json").unlink()
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(sys.modules["shutil"], "disk_usage", lambda path: usage)
    assert_refused(prepare(), "not enough disk space. Use a larger data.train.stride")


# configs


@pytest.mark.parametrize(
    ("base", "form", "added"),
    [
        ("fomm_puppets", "flow", ["flow_agreement"]),
        ("fomm_puppets", "flow_points", ["flow_points"]),
        ("fomm_puppets", "flow_features", ["flow_agreement", "landmark_features"]),
        ("fomm_vox", "flow", ["flow_agreement", "landmark_features"]),
        ("fomm_vox", "flow_points", ["flow_points"]),
    ],
)
def test_a_config_with_flow_is_its_base_plus_losses_of_lee_et_al(base, form, added):
    folder = Path(__file__).parents[1] / "configs"
    plain, flow = (load_config(folder / f"{name}.py") for name in (base, f"{base}_{form}"))
    more = [
        flow["losses"].pop(name) for name in list(flow["losses"]) if name not in plain["losses"]
    ]
    assert [loss["type"] for loss in more] == [f"losses/{name}" for name in added]
    assert flow["data"].pop("train")["type"] == "datasets/flow_pairs"
    plain["data"].pop("train")
    for cfg in (plain, flow):  # a flip in time would need the flow back
        transforms = cfg["data"]["transforms"]
        cfg["data"]["transforms"] = [t for t in transforms if t["type"] != "transforms/flip_pair"]
    assert flow == plain
