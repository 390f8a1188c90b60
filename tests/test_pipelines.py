"""What users call on a pipeline, and that it learns what it should from two images."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import registry
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


def factorized(**changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build({**FACTORIZED, **changes}, "model").eval()


FACTORIZED = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4)),
    bottleneck=dict(type="bottlenecks/gaussian"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=32),
    appearance_encoder=dict(
        type="encoders/part_appearance",
        num_landmarks=3,
        features=8,
        out_channels=5,
        widths=(4,),
        reduction="sum",
    ),
    decoder=dict(type="decoders/spade", num_landmarks=3, appearance_channels=5, width=2),
    compositor=dict(
        type="compositors/mask_blend",
        num_landmarks=3,
        first=2,
        mask_widths=(4, 4, 4),
        background_widths=(4, 4, 4),
    ),
)
ADDED = dict(type="compositors/add", first=2, background_widths=(4, 4, 4))


@pytest.mark.parametrize("compositor", [FACTORIZED["compositor"], ADDED, None])
def test_factorized_model_and_its_ablations_pass_the_component_tests(compositor):
    registry.check("pipelines/reconstruction", **{**FACTORIZED, "compositor": compositor})


def test_factorized_forward_gives_landmarks_layers_and_their_blend():
    source, driving = images(2), images(4)[2:]
    out = factorized()(Batch(source=source, driving=driving, target=driving))
    for landmarks in (out.landmarks, out.source_landmarks):
        assert landmarks.xy.shape == (2, 3, 2)
        assert (landmarks.xy.abs() < 1).all()  # of an untrained network
        assert torch.allclose(landmarks.prob.sum(dim=(2, 3)), torch.ones(2, 3))
    assert out.pose_image is None
    assert out.drawn.shape == (2, 3, 32, 32)
    layers = out.layers
    assert layers.mask.shape == (2, 1, 32, 32)
    assert ((layers.mask > 0) & (layers.mask < 1)).all()
    blend = layers.mask * layers.foreground + (1 - layers.mask) * layers.background
    assert torch.equal(out.render, blend)
    plain = factorized(compositor=None)(Batch(source=source, driving=driving, target=driving))
    assert plain.layers is None
    # the same seed builds the same decoder: without a compositor, the foreground is the image
    assert torch.allclose(plain.render, layers.foreground, atol=1e-6)
    added = factorized(compositor=ADDED)(Batch(source=source, driving=driving, target=driving))
    total = (2 * added.layers.foreground - 1) + (2 * added.layers.background - 1)
    assert torch.allclose(2 * added.render - 1, total, atol=1e-5)
    assert added.layers.mask is None


def test_factorized_background_is_the_sources_and_the_mask_the_drivings():
    pipeline = factorized()
    source, driving = images(2), images(4)[2:]
    drawn = pipeline.predict(driving).drawn
    first, second = pipeline.compose(source, drawn), pipeline.compose(source, drawn.flip(0))
    assert torch.equal(first.layers.background, second.layers.background)
    other = pipeline.compose(source.flip(0), drawn)
    assert torch.allclose(first.layers.mask, other.layers.mask, atol=1e-6)
    assert not torch.allclose(first.layers.background, other.layers.background, atol=1e-3)
    # the appearance of the other source colours the foreground too
    assert not torch.equal(first.layers.foreground, other.layers.foreground)


def test_factorized_edit_reconstruct_and_transfer():
    pipeline = factorized()
    source, driving = images(2), images(4)[2:]
    out = pipeline(Batch(source=source, driving=driving, target=driving))
    assert torch.allclose(pipeline.reconstruct(source, driving), out.render, atol=1e-5)
    found = pipeline.predict(driving).landmarks
    assert torch.equal(pipeline.edit(source, found), pipeline.reconstruct(source, driving))
    wider = pipeline.edit(source, replace(found, cov=2 * found.cov))
    moved = pipeline.edit(source, replace(found, xy=found.xy + 0.2))
    assert wider.shape == moved.shape == (2, 3, 32, 32)
    assert not torch.allclose(wider, out.render, atol=1e-4)
    assert not torch.allclose(moved, out.render, atol=1e-4)
    clip = pipeline.transfer(source[0], images(5))
    assert clip.shape == (5, 3, 32, 32)
    single = pipeline.reconstruct(source[:1], images(5)[4:])
    assert torch.allclose(clip[4:], single, atol=1e-3)  # other convolution kernels, untrained


def test_factorized_is_one_group_of_parameters_that_all_start_alike():
    pipeline = factorized()
    groups = pipeline.parameter_groups()
    assert list(groups) == ["generator"]
    assert len(groups["generator"]) == len(list(pipeline.parameters()))
    for name, parameter in pipeline.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0.1).all(), name
        else:  # Xavier: uniform on [-a, a], a^2 = 6 / (fan in + fan out)
            out, inputs, height, width = parameter.shape
            bound = (6 / ((out + inputs) * height * width)) ** 0.5
            assert parameter.abs().max() <= bound, name
            # 64 numbers and more: none beyond three quarters of it has a chance of 0.75^64
            assert parameter.numel() < 64 or parameter.abs().max() > 0.75 * bound, name


def test_factorized_model_can_be_copied_after_a_training_step():
    """EMA and evaluation copy it; the normalised weights must not be in the way."""
    pipeline = factorized().train()
    image = images()
    pipeline(Batch(source=image, driving=image, target=image)).render.sum().backward()
    pipeline.eval()
    twin = copy.deepcopy(pipeline)
    assert torch.equal(twin.reconstruct(image, image), pipeline.reconstruct(image, image))


def test_factorized_learns_two_images():
    """Thirty steps on two images with one background and an object in two places."""
    pipeline = factorized().train()
    image = images()[:1].expand(2, 3, 32, 32) * 0.5
    image = image.clone()
    image[:, :, 8:20, 10:14] = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    image[1, :, 8:20] = image[1, :, 8:20].roll(8, dims=-1)
    batch = Batch(source=image.flip(0), driving=image, target=image)
    adam = torch.optim.Adam(pipeline.parameters(), lr=5e-3)
    errors = []
    for _ in range(30):
        error = (pipeline(batch).render - image).square().mean()
        adam.zero_grad()
        error.backward()
        adam.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] / 3


def test_panel_shows_a_pose_image_and_layers_only_where_there_are_some():
    from components.drawing import panel

    image = images()
    batch = Batch(source=image, driving=image, target=image)
    shown = image[0].permute(1, 2, 0).numpy()
    widths = []
    for pipeline in (tiny(), factorized()):
        size = image.shape[-1]
        picture = panel(batch, pipeline.infer(batch), ())
        side = (160 // size) * size
        assert picture.shape[0] == 24 + 2 * side
        widths.append(picture.shape[1] // side)
        for titles in np.split(picture[:24], widths[-1], axis=1):
            assert (titles < 100).any()  # dark letters
            assert (titles[:, :2] == 255).all()  # that fit their column
        cell = picture[24 : 24 + side, side : 2 * side]  # the first driving image
        assert np.abs(cell[:: side // size, :: side // size] / 255.0 - shown).max() < 0.01
    assert widths == [6, 8]  # a pose image; mask, foreground and background
