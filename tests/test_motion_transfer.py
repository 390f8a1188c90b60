"""The motion transfer pipeline and its blended decoder, on tiny networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from components.ops.grid import plane
from registry import build
from registry.contract import Batch, Motion

MODEL = dict(
    type="pipelines/motion_transfer",
    encoder=dict(
        type="encoders/keypoint_hourglass", num_landmarks=3, stride=2, width=4, depth=2, padding=3
    ),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=3, temperature=0.5),
    motion=dict(type="motions/dense_motion", num_landmarks=3, stride=2, width=4, depth=2),
    decoder=dict(type="decoders/occlusion_aware", width=4, downs=1, blocks=1, blend=True),
)


@pytest.fixture
def pipeline():
    torch.manual_seed(0)
    return build(MODEL, "model").eval()


@pytest.fixture
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def inner(images):
    """Without the border, where a grid of half the size ends before the image does."""
    return images[..., 2:-2, 2:-2]


def shown(visibility: float) -> Motion:
    still = plane(16, 16).expand(4, -1, -1, -1)
    return Motion(grid=still, visibility=torch.full((4, 1, 16, 16), visibility))


def test_a_blended_decoder_shows_the_moved_source_where_it_is_visible(pipeline, images):
    found = inner(pipeline.decoder(images, shown(1.0)))
    torch.testing.assert_close(found, inner(images), atol=1e-5, rtol=0)


def test_a_blended_decoder_paints_the_rest(pipeline, images):
    painted, half = (pipeline.decoder(images, shown(v)) for v in (0.0, 0.5))
    # nothing visible: no feature of the source is left, so every image is painted alike
    torch.testing.assert_close(painted, painted[:1].expand(4, -1, -1, -1))
    paint = inner(half) - inner(images) / 2  # half of it is the source
    assert paint.min() > 0
    assert paint.max() < 0.5


def test_a_blended_decoder_moves_the_image_itself(pipeline, images):
    left = plane(16, 16) + torch.tensor([2 * 4 / 32, 0.0])  # from 4 pixels to the right
    motion = replace(shown(1.0), grid=left.expand(4, -1, -1, -1))
    moved = pipeline.decoder(images, motion)
    found, wanted = moved[..., 2:-2, 2:26], images[..., 2:-2, 6:30]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_every_way_to_redraw_agrees(pipeline, images):
    source, driving = images[:1], images[1:]
    many = source.expand(3, -1, -1, -1)
    found = pipeline.infer(Batch(source=many, driving=driving))
    assert torch.equal(pipeline.reconstruct(many, driving), found.render)
    landmarks = pipeline.predict(driving).landmarks
    torch.testing.assert_close(landmarks.xy, found.landmarks.xy)
    torch.testing.assert_close(pipeline.edit(many, landmarks), found.render)
    torch.testing.assert_close(pipeline.transfer(source[0], driving), found.render)
    forward = pipeline(Batch(source=many, driving=driving, target=driving))
    torch.testing.assert_close(forward.render, found.render)


def test_relative_transfer_from_its_own_frame_is_absolute(pipeline, images):
    """The source is the driving video's own first frame: both kinds of transfer are the same."""
    first, later = images[0], images[1:]
    absolute, relative = pipeline.transfer(first, later), pipeline.transfer(first, later, first)
    torch.testing.assert_close(relative, absolute, atol=1e-4, rtol=0)


def test_an_image_whose_landmarks_stay_is_not_moved(pipeline, images):
    motion = pipeline.infer(Batch(source=images, driving=images)).motion
    still = plane(16, 16).expand(4, -1, -1, -1)
    torch.testing.assert_close(motion.grid, still, atol=1e-5, rtol=0)
    assert not motion.drawn.any()


def test_one_group_per_network(pipeline):
    groups = pipeline.parameter_groups()
    assert set(groups) == {"detector", "generator"}
    count = sum(parameter.numel() for group in groups.values() for parameter in group)
    assert count == sum(parameter.numel() for parameter in pipeline.parameters())
