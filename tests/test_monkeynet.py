"""Monkey-Net's parts, states of six numbers and image to video: values by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from components.data.state_cache import fingerprint
from components.ops.gaussians import draw_gaussians
from components.ops.grid import plane
from components.ops.states import NUMBERS, constant_velocity, from_states, to_states
from registry import ConfigError, build
from registry.contract import Batch, Landmarks, MissingFieldError, Motion, Outputs
from zoo.convert.monkeynet import convert, load

SIZES = dict(width=4, max_width=8, depth=2)


def part(name: str, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return build(dict(type=name, **arguments))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def points(*xy: tuple[float, float], variance: float = 0.01) -> Landmarks:
    """One image's landmarks."""
    found = torch.tensor(xy)[None]
    return Landmarks(xy=found, cov=variance * torch.eye(2).expand(1, len(xy), 2, 2))


def transfer(**arguments: object) -> nn.Module:
    """A tiny Monkey-Net for images of 16 pixels."""
    model = dict(
        type="pipelines/motion_transfer",
        encoder=dict(type="encoders/monkeynet", num_landmarks=3, **SIZES),
        bottleneck=dict(type="bottlenecks/monkeynet"),
        motion=dict(type="motions/monkeynet", num_landmarks=3, **SIZES),
        decoder=dict(type="decoders/monkeynet", num_landmarks=3, blocks=1, **SIZES),
        rasterizer=dict(
            type="rasterizers/gaussian", image_size=16, kernel="exponential", normaliser=100.0
        ),
        image_critic=dict(type="critics/feature_patch", widths=(4,), num_landmarks=3),
    )
    return part(**{"name": model.pop("type"), **model, **arguments})


# drawing and reading


def test_a_drawn_landmark_is_half_the_distance_in_the_exponent_and_divided():
    # the centre of pixel (10, 8) of 16 is at (5/16, 1/16)
    found = part(
        "rasterizers/gaussian", image_size=16, kernel="exponential", scale=2.0, normaliser=100.0
    )(points((1 / 16, 1 / 16), variance=0.0625))
    assert found[0, 0, 8, 8].item() == pytest.approx(0.01)
    assert found[0, 0, 8, 10].item() == pytest.approx(math.exp(-0.5) / 100)


def test_maps_may_be_divided_by_their_sum():
    landmarks = points((0.5, 0.0), (-0.3, 0.2))
    arguments = dict(image_size=16, kernel="exponential", scale=2.0)
    plain = part("rasterizers/gaussian", **arguments)(landmarks)
    found = part("rasterizers/gaussian", normaliser="sum", **arguments)(landmarks)
    torch.testing.assert_close(found, plain / plain.sum(dim=(2, 3), keepdim=True))
    far = replace(landmarks, xy=landmarks.xy + 1000)
    assert not part("rasterizers/gaussian", normaliser="sum", **arguments)(far).any()


def test_covariance_is_as_the_sum_over_pixels_says():
    logits = noise(1, 1, 5, 7).double()
    found = part("bottlenecks/monkeynet", floor=0.0, grid="corners")(logits)
    prob = (logits / 0.1).exp()
    prob = prob / prob.sum() + 1e-7
    z = plane(5, 7, "corners", logits)
    mean = (prob[0, 0, ..., None] * z).sum(dim=(0, 1))
    off = z - mean
    wanted = (prob[0, 0, ..., None, None] * off[..., :, None] * off[..., None, :]).sum(dim=(0, 1))
    torch.testing.assert_close(found.xy[0, 0], mean)
    torch.testing.assert_close(found.cov[0, 0], wanted)


def test_a_thin_covariance_grows_as_a_whole():
    # two pixels of equal mass: a line without width but for the 1e-7 of every cell
    logits = torch.full((1, 2, 16, 16), -100.0)
    logits[0, 0, 3, [4, 12]] = 0.0
    logits[0, 1] = 0.0  # spread over the whole image: wide enough
    thin = part("bottlenecks/monkeynet", floor=0.0)(logits).cov[0]
    found = part("bottlenecks/monkeynet", floor=0.001)(logits).cov[0]
    least = torch.linalg.eigvalsh(thin)[:, 0]
    assert least[0] < 1e-4 < 0.1 < least[1]
    torch.testing.assert_close(found[0], thin[0] * 0.001 / least[0], rtol=1e-3, atol=0)
    assert torch.equal(found[1], thin[1])


def test_the_detector_sees_every_other_pixel():
    image = noise(2, 3, 32, 48)
    whole = part("encoders/monkeynet", num_landmarks=3, **SIZES).eval()
    small = part("encoders/monkeynet", num_landmarks=3, stride=2, **SIZES).eval()
    small.load_state_dict(whole.state_dict())
    torch.testing.assert_close(small(image), whole(image[:, :, ::2, ::2]))


# motion


def test_at_first_every_pixel_moves_by_the_same_share_of_the_shifts():
    motion = part("motions/monkeynet", num_landmarks=2, **SIZES)
    driving, own = points((0.0, 0.0), (0.5, 0.5)), points((0.1, 0.2), (0.3, 0.5))
    found = motion(noise(1, 3, 16, 16), driving, own)
    background, each = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    weights = torch.tensor([background, each, each])[None, :, None, None].expand(1, 3, 16, 16)
    torch.testing.assert_close(found.weights, weights)
    shift = each * torch.tensor([0.1 - 0.2, 0.2])
    torch.testing.assert_close(found.grid, plane(16, 16)[None] + shift)
    assert found.visibility is None
    wanted = [
        draw_gaussians(side.xy, 2 * side.cov, 16, 16, "exponential") for side in (driving, own)
    ]
    torch.testing.assert_close(found.drawn, (wanted[0] - wanted[1]) / 100)


def test_motion_is_made_at_the_reduced_size():
    motion = part("motions/monkeynet", num_landmarks=1, stride=4, **SIZES)
    found = motion(noise(1, 3, 32, 16), points((0.0, 0.0)), points((0.5, 0.0)))
    assert found.grid.shape == (1, 8, 4, 2)
    assert found.drawn.shape == (1, 1, 8, 4)


def test_motion_needs_covariances():
    motion = part("motions/monkeynet", num_landmarks=1, **SIZES)
    bare = Landmarks(xy=torch.zeros(1, 1, 2))
    with pytest.raises(MissingFieldError, match=r"cov is missing.*bottlenecks/monkeynet"):
        motion(noise(1, 3, 8, 8), bare, bare)


def shifted(size: int, pixels: float) -> Motion:
    """Every pixel comes from ``pixels`` to its right."""
    grid = plane(size, size)[None] + torch.tensor([2 * pixels / size, 0.0])
    return Motion(grid=grid, drawn=torch.zeros(1, 3, size, size))


def test_the_source_is_moved_and_nothing_painted():
    decoder, image = part("decoders/monkeynet", num_landmarks=3, **SIZES), noise(1, 3, 16, 16)
    found = decoder.deform(image, shifted(16, 2))
    torch.testing.assert_close(found[..., :-2], image[..., 2:])
    assert not found[..., -2:].any()
    torch.testing.assert_close(decoder.deform(image, shifted(16, 0)), image)


def test_motion_is_brought_to_the_size_of_the_image():
    # of 4 x 4 motions each is that of a block of 4 pixels, or of its middle
    image, motion = noise(1, 3, 16, 16), shifted(4, 0)
    blocks = part("decoders/monkeynet", num_landmarks=3, **SIZES).deform(image, motion)
    # the centre of a block lies between its four inner pixels
    middle = image.unflatten(2, (4, 4)).unflatten(4, (4, 4))[:, :, :, 1:3, :, 1:3].mean(dim=(3, 5))
    wanted = middle.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(blocks, wanted)
    smooth = part("decoders/monkeynet", num_landmarks=3, resize="bilinear", **SIZES)
    found = smooth.deform(image, motion)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2])


def test_decoding_is_encoding_then_moving_every_level():
    decoder = part("decoders/monkeynet", num_landmarks=3, **SIZES).eval()
    image, motion = noise(1, 3, 16, 16), replace(shifted(16, 0), drawn=noise(1, 3, 16, 16))
    features = decoder.encode(image)
    assert [tuple(f.shape[1:]) for f in features] == [(3, 16, 16), (8, 8, 8), (8, 4, 4)]
    assert torch.equal(decoder(image, motion), decoder.decode(features, motion))
    still = replace(motion, drawn=torch.zeros(1, 3, 16, 16))
    assert not torch.equal(decoder(image, motion), decoder(image, still))
    with pytest.raises(MissingFieldError, match=r"Motion\.drawn is missing"):
        decoder(image, replace(motion, drawn=None))


# the pipeline


def test_both_images_share_their_batch_statistics_in_training():
    batch = Batch(source=noise(2, 3, 16, 16), driving=noise(2, 3, 16, 16, seed=1))
    bare = dict(image_critic=None, rasterizer=None)
    plain, joint = transfer(**bare), transfer(**bare, joint=True)
    assert plain.state_dict().keys() == joint.state_dict().keys()
    found = joint(batch)
    wanted = transfer()._landmarks(torch.cat((batch.source, batch.driving)))
    for name, landmarks in (("xy", found.source_landmarks), ("cov", found.source_landmarks)):
        torch.testing.assert_close(getattr(landmarks, name), getattr(wanted, name)[:2])
        torch.testing.assert_close(getattr(found.landmarks, name), getattr(wanted, name)[2:])
    assert not torch.allclose(plain(batch).landmarks.xy, found.landmarks.xy, atol=1e-5)
    # in evaluation there is nothing to share
    twin = transfer(**bare)
    twin.load_state_dict(joint.state_dict())
    torch.testing.assert_close(joint.eval()(batch).render, twin.eval()(batch).render)


@pytest.mark.parametrize("through_critic", [False, True])
def test_landmarks_learn_from_the_critic_where_they_should(through_critic):
    pipeline = transfer(through_critic=through_critic)
    driving = noise(2, 3, 16, 16, seed=1)
    batch = Batch(source=noise(2, 3, 16, 16), driving=driving, target=driving)
    scores = pipeline(batch).image_critic
    # the features of the real image depend on landmarks through the drawn maps alone
    features = scores.real_features[0].square().mean()
    assert features.requires_grad is through_critic
    if through_critic:
        features.backward()
        assert pipeline.encoder.head.weight.grad.any()
        assert all(p.grad is None for p in pipeline.image_critic.parameters())
    (scores.fake[0].mean() + scores.real[0].mean()).backward()
    assert all(p.grad is not None for p in pipeline.image_critic.parameters())
    assert pipeline.motion.head.weight.grad is None


# states and predictors

XY = torch.tensor([[0.5, -0.5]])
COV = torch.tensor([[[4.0, 2.0], [2.0, 10.0]]])  # L L^T with L = [[2, 0], [1, 3]]
AFFINE_MAP = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])


def test_states_by_hand():
    assert to_states(XY, COV).tolist() == [[0.5, -0.5, 2, 1, 3]]
    assert to_states(XY, COV, "covariance").tolist() == [[0.5, -0.5, 4, 2, 2, 10]]
    assert to_states(XY, AFFINE_MAP, "affine").tolist() == [[0.5, -0.5, 1, 2, 3, 4]]


@pytest.mark.parametrize(("kind", "matrix"), [("covariance", COV), ("affine", AFFINE_MAP)])
def test_states_become_what_they_were(kind, matrix):
    found = from_states(to_states(XY, matrix, kind), kind)
    assert torch.equal(found[0], XY)
    assert torch.equal(found[1], matrix)


def test_a_predicted_covariance_is_made_positive_definite():
    flat = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert torch.linalg.eigvalsh(from_states(flat, "covariance")[1].double()).min() > 0.9e-6


def test_after_one_state_nothing_changes():
    states = noise(2, 1, 3, 6)
    assert torch.equal(constant_velocity(states, 4), states.expand(-1, 4, -1, -1))


def test_the_published_gru_has_its_size():
    model = part("predictors/gru", num_landmarks=10, state="covariance")
    assert sum(p.numel() for p in model.parameters()) == 3_397_692
    assert NUMBERS[model.state] == 6


@pytest.mark.parametrize("state", ["cholesky", "covariance", "affine"])
def test_a_network_without_memory_predicts_its_bias(state):
    model = part("predictors/gru", num_landmarks=1, width=3, state=state)
    nn.init.zeros_(model.linear.weight)
    bias = torch.tensor([0.5, -1.0, 1.0, 2.0, 3.0, 4.0][: NUMBERS[state]])
    model.linear.bias.data.copy_(bias)
    found = model(noise(1, 1, 1, NUMBERS[state]), 2)
    wanted = [math.tanh(0.5), math.tanh(-1.0), *bias[2:].tolist()]
    if state == "covariance":
        # A = [[1, 2], [3, 4]]: A^T A = [[10, 14], [14, 20]]
        wanted[2:] = [10, 14, 14, 20]
    torch.testing.assert_close(found, torch.tensor(wanted).expand(1, 2, 1, -1))


def test_a_delayed_prediction_comes_one_zero_later():
    now = part("predictors/gru", num_landmarks=2, width=4, state="affine")
    late = part("predictors/gru", num_landmarks=2, width=4, state="affine", delay=1)
    states = noise(3, 4, 2, 6)
    # of states 2 to 4, which were seen later, then of 5 to 7
    found, prompt = late(states, 3), now(states, 4)
    assert found.shape == (3, 6, 2, 6)
    torch.testing.assert_close(found[:, :3], prompt[:, :3])
    torch.testing.assert_close(found[:, 3:], prompt[:, 4:])
    torch.testing.assert_close(late(states, 0), now(states, 0))


def test_state_loss_by_hand():
    true = torch.zeros(1, 2, 1, 6)
    predicted = torch.tensor([0.5, -0.1, 0.4, 0.0, 0.0, -0.8]).expand(1, 2, 1, 6)
    outputs = Outputs(states=predicted, true_states=true)
    assert part("losses/state", distance="l1")(outputs, Batch()).item() == pytest.approx(0.3 + 0.3)
    squares = (0.25 + 0.01 + 0.16 + 0.64) / 6
    assert part("losses/state")(outputs, Batch()).item() == pytest.approx(squares)


def test_state_error_reads_the_points_of_any_state():
    metric = build(dict(type="metrics/state_error"))
    true = torch.zeros(1, 2, 1, 6)
    true[..., 2:] = 9.0
    outputs = Outputs(states=torch.zeros(1, 2, 1, 6), true_states=true)
    batch = Batch(frames=noise(1, 3, 3, 8, 8), name=("clip/000000",))
    metric.update(outputs, batch)
    assert metric.compute()["value"] == 0


# image to video


def forecast(state: str, **image_pipeline: object) -> nn.Module:
    model = transfer(image_critic=None, rasterizer=None, **image_pipeline)
    predictor = part("predictors/gru", num_landmarks=3, width=4, state=state, delay=1)
    built = dict(image_pipeline=model, predictor=predictor, seen=1, steps=3)
    return build(dict(type="pipelines/forecast", **built), "model", "pipelines").eval()


AFFINE = dict(
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=3, stride=1, padding=3, **SIZES),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=3),
    motion=dict(type="motions/dense_motion", num_landmarks=3, stride=1, **SIZES),
    decoder=dict(type="decoders/occlusion_aware", width=4, downs=1, blocks=1),
)


@pytest.mark.parametrize(
    ("state", "model", "field", "numbers"),
    [("cholesky", {}, "cov", 5), ("covariance", {}, "cov", 6), ("affine", AFFINE, "affine", 6)],
)
def test_a_video_from_one_frame(state, model, field, numbers):
    pipeline = forecast(state, **model)
    frames = noise(2, 4, 3, 16, 16)
    found = pipeline.infer(Batch(frames=frames))
    assert found.states.shape == found.true_states.shape == (2, 3, 3, numbers)
    assert found.frames.shape == (2, 3, 3, 16, 16)
    image = pipeline.image_pipeline
    read = [image.predict(frames[:, t]).landmarks for t in range(4)]
    seen = [to_states(points.xy, getattr(points, field), state) for points in read]
    torch.testing.assert_close(found.true_states, torch.stack(seen[1:], dim=1))
    predicted = pipeline.predictor(seen[0][:, None], 3)
    torch.testing.assert_close(found.states, predicted)
    path = [from_states(predicted[:, t], state) for t in range(3)]
    path = [Landmarks(xy=xy, **{field: matrix}) for xy, matrix in path]
    wanted = image.animate(frames[:, 0], path)
    torch.testing.assert_close(found.frames, torch.stack(wanted, dim=1).clamp(0, 1))
    torch.testing.assert_close(pipeline.forecast(frames[:, :1], 3), found.frames)
    copied = pipeline.baselines(pipeline)["constant_velocity"](Batch(frames=frames))
    assert torch.equal(copied.states, seen[0][:, None].expand(-1, 3, -1, -1))
    trained = pipeline.train()(Batch(frames=frames))
    torch.testing.assert_close(trained.states, predicted)


def test_a_state_of_what_the_landmarks_lack_is_refused():
    with pytest.raises(ValueError, match=r"no affine maps.*bottlenecks/affine"):
        forecast("affine").read(noise(1, 1, 3, 16, 16))


def test_cached_states_are_of_one_kind():
    state = forecast("cholesky").image_pipeline.state_dict()
    assert fingerprint(state, "cholesky") == fingerprint(state, "cholesky")
    assert fingerprint(state, "cholesky") != fingerprint(state, "covariance")


# official checkpoints


def checkpoint() -> dict[str, dict[str, Tensor]]:
    """One entry of each kind."""
    down = "dense_motion_module.hourglass.encoder.down_blocks.0"
    return {
        "kp_detector": {"predictor.decoder.conv.weight": noise(5, 11, 1, 3, 3)},
        "generator": {
            f"{down}.conv.weight": noise(16, 24, 1, 3, 3),
            f"{down}.norm.running_mean": noise(16),
            "refinement_module.r1.norm2.bias": noise(16),
        },
        "optimizer_generator": {},
    }


def test_kernels_over_one_frame_lose_it(tmp_path):
    states = checkpoint()
    torch.save({**states, "epoch": 3}, tmp_path / "checkpoint.pth.tar")
    found = load(tmp_path / "checkpoint.pth.tar")
    assert found.keys() == {
        "encoder.head.weight",
        "motion.hourglass.downs.0.conv.weight",
        "motion.hourglass.downs.0.norm.running_mean",
        "motion.hourglass.downs.0.norm.num_batches_tracked",  # not in the oldest files
        "decoder.refine.1.norm2.bias",
    }
    kernel = states["kp_detector"]["predictor.decoder.conv.weight"]
    assert torch.equal(found["encoder.head.weight"], kernel[:, :, 0])


def test_the_checkpoint_of_another_model_is_refused():
    states = checkpoint()
    del states["generator"]
    with pytest.raises(ConfigError, match="no 'generator' among the state dicts kp_detector"):
        convert(states)
    states = checkpoint()
    states["kp_detector"]["kp.weight"] = noise(1)
    with pytest.raises(ConfigError, match=r"kp_detector: unexpected key 'kp\.weight'"):
        convert(states)
