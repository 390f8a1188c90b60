"""Losses of the factorized model's extras, by hand: its critic on KTH, and binary masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from registry import build
from registry.contract import Batch, CriticScores, Landmarks, Layers, MissingFieldError, Outputs

BATCH = Batch()


def scores(*values: float) -> tuple[Tensor, ...]:
    """One tensor per scale; the means over its elements are taken first."""
    return tuple(torch.full((2, 1, n, n), value) for n, value in enumerate(values, start=1))


OUTPUTS = Outputs(
    image_critic=CriticScores(
        generator=scores(3.0, 0.5), fake=scores(1.0, -2.0), real=scores(0.0, 3.0)
    )
)


@pytest.mark.parametrize(
    ("name", "reduction", "value"),
    [
        # (3 - 1)^2 and (0.5 - 1)^2
        ("adversarial", "sum", 4.25),
        ("adversarial", "mean", 2.125),
        # (1^2 + (0 - 1)^2) / 2 and ((-2)^2 + (3 - 1)^2) / 2
        ("critic", "sum", 5.0),
        ("critic", "mean", 2.5),
    ],
)
def test_least_squares_over_two_scales(name, reduction, value):
    loss = build(dict(type=f"losses/{name}", scores="image_critic", reduction=reduction))
    assert loss(OUTPUTS, BATCH).item() == pytest.approx(value)


def test_the_critic_of_the_official_code():
    """facts.md section 1.2: number of parameters, and the sizes of all layers."""
    with torch.device("meta"):
        critic = build(dict(type="critics/pix2pix"))
        found = critic(torch.empty(1, 3, 128, 128)).scores
        x, sides = torch.empty(1, 3, 128, 128), []
        for layer in critic.scales[0]:
            x = layer(x)
            if isinstance(layer, torch.nn.Conv2d):
                sides.append(x.shape[-1])
    assert [sum(p.numel() for p in s.parameters()) for s in critic.scales] == [2_764_737] * 2
    assert sides == [65, 33, 17, 18, 19]
    assert [tuple(score.shape) for score in found] == [(1, 1, 19, 19), (1, 1, 11, 11)]


def test_initial_weights_of_the_critic():
    critic = build(dict(type="critics/pix2pix", width=8))
    conv = critic.scales[1][2]
    assert (conv.bias == 0.1).all()
    # Xavier uniform: sqrt(6 / (inputs + outputs)), each times the 16 places of the kernel
    bound = math.sqrt(6 / (16 * (8 + 16)))
    assert 0.98 * bound < conv.weight.abs().max() <= bound


def of_mask(mask: Tensor) -> Outputs:
    image = torch.zeros(len(mask), 3, *mask.shape[-2:])
    return Outputs(layers=Layers(foreground=image, background=image, mask=mask))


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([0.5, 0.5], 1.0),
        ([0.25, 0.75], 2 - 0.75 * math.log2(3)),
        ([0.0, 1.0], 0.0),
        ([0.5, 1], 0.5),
    ],
)
def test_entropy_of_a_mask_in_bits(values, bits):
    loss = build(dict(type="losses/mask_entropy", weight=3.0))
    mask = torch.tensor(values).view(1, 1, 1, 2)
    assert loss(of_mask(mask), BATCH).item() == pytest.approx(3 * bits, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_entropy_has_a_slope_everywhere(dtype):
    mask = torch.tensor([0.0, 1.0, 0.25, 0.5], dtype=dtype).view(1, 1, 2, 2).requires_grad_()
    loss = build(dict(type="losses/mask_entropy"))(of_mask(mask), BATCH)
    loss.backward()
    # log2 ((1 - m) / m) of each of the 4 pixels, and 0 where it would be infinite
    assert mask.grad.flatten().tolist() == pytest.approx([0, 0, math.log2(3) / 4, 0], rel=1e-2)


def test_entropy_needs_a_mask():
    image = torch.zeros(1, 3, 4, 4)
    outputs = Outputs(layers=Layers(foreground=image, background=image))
    with pytest.raises(MissingFieldError, match=r"Layers\.mask is missing"):
        build(dict(type="losses/mask_entropy"))(outputs, BATCH)


def test_a_prior_of_other_points_than_the_model():
    loss = build({"type": "losses/prior_points"}, "l", "losses")
    read = Outputs(prior_landmarks=Landmarks(xy=torch.zeros(2, 4, 2)))
    assert loss(read, Batch(poses=torch.full((2, 4, 2), 0.5))) == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"have 6 points, but the model has 4. Set num"):
        loss(read, Batch(poses=torch.zeros(2, 6, 2)))
