"""One backward pass for both players equals the official code's alternating loop, to the bit."""

from __future__ import annotations

import copy

import pytest
import torch

from components.layers.history import History
from components.steps.adversarial import critic_scores, frozen_call
from registry import ConfigError, build
from registry.contract import Judgement

STEPS = 20


def networks() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    generator = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 1, 1),
    )
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 4, 2, 1),
        torch.nn.BatchNorm2d(4),
        torch.nn.LeakyReLU(0.2),
        torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(4, 1, 4, 2, 1)),
    )
    return generator, critic


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.rand(4, 3, 16, 16, generator=rng), torch.rand(4, 1, 16, 16, generator=rng))
        for _ in range(STEPS)
    ]


def alternating() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Two optimizers, as CycleGAN and its descendants do it, both gradients at the same weights."""
    generator, critic = networks()
    adam = [torch.optim.Adam(n.parameters(), 1e-3, betas=(0.5, 0.999)) for n in (generator, critic)]
    for image, real in batches():
        fake = generator(image)
        critic.requires_grad_(False)
        adam[0].zero_grad()
        (critic(fake) - 1).square().mean().backward()
        critic.requires_grad_(True)
        adam[1].zero_grad()
        fake_score, real_score = critic(fake.detach()), critic(real)
        (((real_score - 1).square().mean() + fake_score.square().mean()) / 2).backward()
        for network, optimizer in zip((generator, critic), adam):
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            optimizer.step()
    return generator, critic


def joint() -> tuple[torch.nn.Module, torch.nn.Module]:
    generator, critic = networks()
    groups = [list(n.parameters()) for n in (generator, critic)]
    adam = torch.optim.Adam([{"params": g} for g in groups], 1e-3, betas=(0.5, 0.999))
    for image, real in batches():
        scores = critic_scores(LambdaCritic(critic), generator(image), real)
        loss = (scores.generator[0] - 1).square().mean()
        loss = loss + ((scores.real[0] - 1).square().mean() + scores.fake[0].square().mean()) / 2
        adam.zero_grad()
        loss.backward()
        for group in groups:
            torch.nn.utils.clip_grad_norm_(group, 0.1)
        adam.step()
    return generator, critic


class LambdaCritic(torch.nn.Module):
    """Judge at one scale, as critics do."""

    def __init__(self, critic: torch.nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, image: torch.Tensor) -> Judgement:
        return Judgement(scores=(self.critic(image),))


def test_joint_step_equals_the_alternating_loop_to_the_last_bit():
    for ours, theirs in zip(joint(), alternating()):
        for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
            assert torch.equal(a, b), name


def test_frozen_call_reaches_the_input_and_not_the_weights():
    _, critic = networks()
    image = torch.rand(2, 1, 16, 16, requires_grad=True)
    frozen_call(critic, image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_reconstruction_leaves_an_apart_bottleneck_alone():
    """KeypointGAN's regressor learns from its own losses only; the encoder from all the others."""
    stem = dict(type="encoders/stem", takes="pose_image", out_channels=4, width=2)
    node = dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/image_to_skeleton", width=2),
        bottleneck=dict(type="bottlenecks/skeleton_regressor", encoder=dict(stem, norm="instance")),
        bottleneck_apart=True,
        rasterizer=dict(type="rasterizers/skeleton", edges=((0, 1), (2, 3)), image_size=32),
        appearance_encoder=dict(type="encoders/stem", width=2, out_channels=16),
        decoder=dict(
            type="decoders/conditional",
            pose_encoder=dict(stem, out_channels=16),
            appearance_channels=16,
            width=2,
        ),
    )
    from registry.contract import Batch

    torch.manual_seed(0)
    pipeline = build(node)
    image = torch.rand(2, 3, 32, 32)
    batch = Batch(source=image, driving=image, target=image, poses=torch.rand(2, 4, 2))
    out = pipeline(batch)
    out.render.square().mean().backward()
    assert all(p.grad is None for p in pipeline.bottleneck.parameters())
    assert all(p.grad is not None for p in pipeline.encoder.parameters())
    pipeline.zero_grad()
    out = pipeline(batch)
    regressor = (out.redrawn - out.pose_image.detach()).square().mean()
    (regressor + (out.prior_landmarks.xy - batch.poses).square().mean()).backward()
    assert all(p.grad is not None for p in pipeline.bottleneck.parameters())
    assert all(p.grad is None for p in pipeline.encoder.parameters())


def test_history_returns_fakes_until_full_and_then_swaps_about_half():
    torch.manual_seed(0)
    history = History(size=8, shape=(1, 1, 1))
    first = torch.arange(8.0).view(8, 1, 1, 1)
    assert torch.equal(history(first), first)
    swapped = 0
    for step in range(1, 101):
        held = set(history.pool.flatten().tolist())
        fresh = torch.arange(8.0).view(8, 1, 1, 1) + 8 * step
        out = history(fresh).flatten().tolist()
        old = [v for v in out if v not in set(fresh.flatten().tolist())]
        assert set(old) <= held
        # what came out is gone, what it was exchanged for is in
        now = set(history.pool.flatten().tolist())
        assert now == (held - set(old)) | (set(fresh.flatten().tolist()) - set(out))
        swapped += len(old)
    assert 0.42 < swapped / 800 < 0.58


def test_history_is_part_of_the_state():
    torch.manual_seed(0)
    history = History(size=4, shape=(1, 2, 2))
    history(torch.rand(3, 1, 2, 2))
    twin = History(size=4, shape=(1, 2, 2))
    twin.load_state_dict(copy.deepcopy(history.state_dict()))
    torch.manual_seed(1)
    a = history(torch.ones(3, 1, 2, 2))
    torch.manual_seed(1)
    assert torch.equal(a, twin(torch.ones(3, 1, 2, 2)))


class Sum(torch.nn.Module):
    """A critic whose score shows what it was given: image + 100 * condition."""

    def forward(self, image: torch.Tensor, condition: torch.Tensor) -> Judgement:
        return Judgement(scores=(image + 100 * condition,))


def test_a_replayed_fake_keeps_its_condition():
    torch.manual_seed(0)
    history, seen = History(size=4, shape=(2, 1, 1)), []
    for step in range(1, 9):
        fake = torch.arange(4.0).view(4, 1, 1, 1) + 4 * step  # its condition is the same number
        scores = critic_scores(Sum(), fake, -fake, fake, replay=history)
        assert torch.equal(scores.generator[0], 101 * fake)
        assert torch.equal(scores.real[0], 99 * fake)
        old = scores.fake[0] / 101
        assert torch.equal(old, old.round())
        seen += old[old < 4 * step].tolist()
    assert seen  # some were replayed
    assert len(set(seen)) == len(seen)  # each once at most


def test_the_image_critic_of_prior_poses_has_a_pool():
    stem = dict(type="encoders/stem", takes="pose_image", out_channels=4, width=2)
    node = dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/image_to_skeleton", width=2),
        bottleneck=dict(type="bottlenecks/skeleton_regressor", encoder=stem),
        rasterizer=dict(type="rasterizers/skeleton", edges=((0, 1), (2, 3)), image_size=64),
        appearance_encoder=dict(type="encoders/stem", width=2, out_channels=16),
        decoder=dict(
            type="decoders/conditional",
            pose_encoder=dict(stem, out_channels=16),
            appearance_channels=16,
            width=2,
        ),
        prior_image_critic=dict(type="critics/conditional_image", width=2, image_size=64),
    )
    from registry.contract import Batch

    random = torch.Generator().manual_seed(0)
    image, poses = torch.rand(2, 3, 64, 64, generator=random), torch.rand(2, 4, 2, generator=random)
    batch = Batch(source=image, driving=image, target=image, poses=poses)
    outputs = []
    for extra in ({}, {"prior_image_history": 4, "prior_image_side": 64}):
        torch.manual_seed(0)
        pipeline = build({**node, **extra})
        outputs.append([pipeline(batch).image_critic.fake[0] for _ in range(4)])
    assert pipeline.prior_image_history.pool.shape == (4, 6, 64, 64)
    assert int(pipeline.prior_image_history.filled) == 4
    assert torch.equal(pipeline.prior_image_history.pool[:2, 3:], image)
    # the first two batches fill it and go through as they are
    assert all(map(torch.equal, outputs[0][:2], outputs[1][:2]))
    assert build(node).prior_image_history is None
    with pytest.raises(
        ConfigError, match="prior_image_history stores images: set prior_image_side"
    ):
        build({**node, "prior_image_history": 4})
