"""How sure landmarks are: by hand, by plain NumPy, and against true errors of bundled models."""

import numpy as np
import pytest
import torch

import zoo
from components.datasets.puppets import Puppets
from components.ops.gaussians import moments
from components.ops.score import LEAST, WINDOW, agreement, concentration
from components.ops.soft_argmax import separable_moments
from registry.build import build


def ranks(values):
    return np.argsort(np.argsort(values))


def test_concentration_by_hand():
    # all in one place; half at -0.5, half at 0.5; the same everywhere; more spread than that
    variance = torch.tensor([0.0, 0.25, 2 / 3, 2.0])
    expected = [1, 1 - 0.5 / (2 / 3) ** 0.5, LEAST, LEAST]
    assert concentration(variance).tolist() == pytest.approx(expected, abs=1e-6)
    assert concentration(torch.tensor(-1e-9)) == 1  # rounding


def test_an_even_map_is_not_sure_and_a_pixel_is():
    prob = torch.zeros(1, 2, 64, 64)
    prob[0, 0], prob[0, 1, 10, 20] = 1 / 64**2, 1
    cov = moments(prob)[1]
    score = concentration(cov.diagonal(dim1=-2, dim2=-1).sum(-1))[0]
    assert score[0] < 1e-3
    assert score[1] == pytest.approx(1, abs=1e-3)


def test_variance_of_separable_maps():
    logits = 3 * torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    found = separable_moments(logits.double().requires_grad_())[1]
    assert not found.requires_grad
    for axis, size in ((2, 8), (3, 6)):  # the axis that is averaged away, the one that is left
        weights = np.exp(logits.double().numpy().mean(axis))
        weights /= weights.sum(-1, keepdims=True)
        place = (2 * np.arange(size) + 1) / size - 1
        mean = (weights * place).sum(-1)
        found = found - torch.from_numpy((weights * (place - mean[..., None]) ** 2).sum(-1))
    assert found.abs().max() < 1e-12


def test_agreement_is_a_mean_around_the_point():
    random = torch.Generator().manual_seed(1)
    pose, drawn = 2 * torch.rand(2, 2, 1, 20, 24, generator=random).double() - 1
    xy = torch.tensor([[[0.3, -0.2], [-0.7, 0.9]], [[0.0, 0.0], [0.5, 0.5]]]).double()
    found = agreement(xy.clone().requires_grad_(), pose, drawn)
    assert not found.requires_grad
    for b in range(2):
        for k in range(2):
            total = share = 0.0
            for i in range(20):
                for j in range(24):
                    away = ((2 * j + 1) / 24 - 1, (2 * i + 1) / 20 - 1) - xy[b, k].numpy()
                    weight = np.exp(-(away**2).sum() / (2 * WINDOW**2))
                    apart = abs(float(pose[b, 0, i, j] - drawn[b, 0, i, j]))
                    total, share = total + weight * min(apart, 1), share + weight
            assert float(found[b, k]) == pytest.approx(1 - total / share, abs=1e-9)


def test_agreement_at_its_ends():
    drawn = torch.full((1, 1, 32, 32), -1.0)
    xy = torch.tensor([[[0.5, 0.5], [-0.5, -0.5]]])
    assert agreement(xy, drawn, drawn)[0].tolist() == [1, 1]
    pose = drawn.clone()
    pose[..., 16:, 16:] = 1  # a limb that nobody drew, around the first point only
    found = agreement(xy, pose, drawn)[0]
    assert found[0] == pytest.approx(LEAST, abs=1e-3)
    assert found[0] > 0  # 0 means that a point was not found
    assert found[1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("type_", ["affine", "gaussian", "monkeynet", "separable"])
def test_bottlenecks_score_without_a_gradient(type_):
    node = {"type": f"bottlenecks/{type_}", **({"num_landmarks": 3} if type_ == "affine" else {})}
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    logits[0, 0] = 0
    logits[0, 0, 4, 4] = 200  # sure
    logits[0, 1] = 0  # not at all
    found = build(node, "bottleneck", "bottlenecks")(logits.requires_grad_())
    assert found.score.shape == (2, 3)
    assert not found.score.requires_grad
    assert found.xy.requires_grad
    assert found.score[0, 0] > 0.95
    assert found.score[0, 1] < 0.01
    assert found.score.min() > 0
    assert found.score.max() <= 1


NAMES = ["keypointgan-puppets", "factorized-puppets", "fomm-puppets", "forecast-puppets"]


@pytest.fixture(scope="module")
def puppets():
    """96 frames of figures no model has seen, and their joints."""
    data = Puppets(split="test", seed=12, clips=48, frames_per_clip=8)
    shown = [8 * (i // 2) + 5 * (i % 2) for i in range(96)]
    images = np.stack([data.image(i) for i in shown])
    joints = [data.sample(i, np.random.default_rng(0))["keypoints"] for i in shown]
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, np.stack(joints)


@pytest.mark.parametrize("name", NAMES)
def test_models_are_surer_of_what_they_know_than_of_noise(name, puppets):
    model = zoo.load(name)
    known = model.predict(puppets[0]).landmarks.score
    noise = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert known.shape == (96, model.keypoints["count"])
    assert known.min() > 0
    assert known.max() <= 1
    unknown = model.predict(noise).landmarks.score
    assert unknown.mean(dim=1).max() < known.mean(dim=1).quantile(0.05)


def test_scores_of_named_joints_follow_the_true_errors(puppets):
    """Spearman's correlation, of images and of points; the window was chosen on another seed."""
    images, joints = puppets
    landmarks = zoo.load("keypointgan-puppets").predict(images).landmarks
    errors = np.linalg.norm(landmarks.xy.numpy() - joints, axis=-1)
    scores = landmarks.score.numpy()
    of_images = np.corrcoef(ranks(scores.mean(1)), ranks(-errors.mean(1)))[0, 1]
    of_points = np.mean(
        [np.corrcoef(ranks(s), ranks(-e))[0, 1] for s, e in zip(scores.T, errors.T)]
    )
    assert of_images > 0.4
    assert of_points > 0.2
