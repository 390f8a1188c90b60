"""What users call on a pipeline, and that it learns what it should from two images."""

from __future__ import annotations

import pytest
import torch

from registry import build
from registry.contract import Batch, Landmarks, MissingFieldError
from tests.runs import CONFIG


def tiny(**changes: object) -> torch.nn.Module:
    namespace: dict = {}
    code = CONFIG.partition("losses = ")[0]
    exec(code, namespace)
    torch.manual_seed(0)
    pipeline = build({**namespace["model"], **changes}, "model").eval()
    for layer in pipeline.modules():
        if isinstance(layer, torch.nn.Conv2d):  # untrained statistics would let every signal vanish
            torch.nn.init.kaiming_normal_(layer.weight)
    return pipeline


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_reconstruct_is_an_edit_with_the_driving_landmarks():
    pipeline = tiny()
    source, driving = images(2), images(4)[2:]
    found = pipeline.predict(driving).landmarks
    assert torch.equal(pipeline.reconstruct(source, driving), pipeline.edit(source, found))


def test_edit_changes_the_image_where_a_landmark_moved_and_not_the_appearance():
    pipeline = tiny()
    image = images(1)
    found = pipeline.predict(image).landmarks
    moved = found.xy.clone()
    moved[0, 0] += 0.4
    before, after = pipeline.edit(image, found), pipeline.edit(image, Landmarks(xy=moved))
    assert after.shape == (1, 3, 32, 32)
    assert not torch.equal(before, after)
    # the appearance is the source's alone: another source gives another image for the same pose
    assert not torch.equal(after, pipeline.edit(images(2)[1:], Landmarks(xy=moved)))


def test_transfer_animates_one_image_by_every_frame():
    pipeline = tiny()
    frames = images(5)
    clip = pipeline.transfer(images(6)[5], frames)
    assert clip.shape == (5, 3, 32, 32)
    assert torch.allclose(clip[3:4], pipeline.reconstruct(images(6)[5:], frames[3:4]), atol=1e-5)


def test_front_back_correction_uses_the_reference_only_at_test_time():
    stem = dict(type="encoders/stem", takes="pose_image", width=2, norm="instance", out_channels=15)
    reference = dict(type="bottlenecks/skeleton_regressor", encoder=stem)
    pipeline = tiny(reference_bottleneck=reference, flip_pairs=((3, 4), (5, 6)))
    image = images()
    batch = Batch(source=image, driving=image, target=image)
    plain, corrected = pipeline(batch).landmarks.xy, pipeline.predict(image).landmarks.xy
    read = pipeline.reference_bottleneck(pipeline.rasterizer(Landmarks(xy=plain))).xy
    for i in range(2):
        swapped = plain[i, [0, 1, 2, 4, 3, 6, 5, *range(7, 15)]]
        sided = [3, 4, 5, 6]
        nearer = (swapped - read[i])[sided].norm(dim=-1).mean() < (plain[i] - read[i])[sided].norm(
            dim=-1
        ).mean()
        assert torch.equal(corrected[i], swapped if nearer else plain[i])
    trained = [p for group in pipeline.parameter_groups().values() for p in group]
    frozen = set(map(id, pipeline.reference_bottleneck.parameters()))
    assert not frozen & set(map(id, trained))


def test_cyclegan_decodes_the_pose_image_itself():
    pipeline = tiny(through_bottleneck=False)
    image = images()
    out = pipeline(Batch(source=image, driving=image, target=image))
    assert out.drawn is out.pose_image
    # and so does the picture of it: not what the landmarks would draw, which it never learned from
    shown = pipeline.reconstruct(image, image)
    assert torch.allclose(shown, out.render, atol=1e-5)


def test_missing_image_is_named_with_who_produces_it():
    with pytest.raises(MissingFieldError, match=r"Batch\.source is missing.*data\.train"):
        tiny()(Batch(driving=images()))


def test_learns_two_images():
    """Sixty steps on two fixed images with fixed poses: reconstruction drops to a third."""
    pipeline = tiny().train()
    image = images() * 0.5
    image[:, :, 8:20, 10:14] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    image[1] = image[1].roll(8, dims=-1)
    batch = Batch(source=image.flip(0), driving=image, target=image)
    generator = pipeline.parameter_groups()["generator"]
    adam = torch.optim.Adam(generator, lr=5e-3)
    errors = []
    for _ in range(60):
        error = (pipeline(batch).render - image).square().mean()
        adam.zero_grad()
        error.backward()
        adam.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] / 3
