"""Training a critic and its generator in one backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from registry.contract import CriticScores, Judgement
from registry.protocols import Critic


def frozen_call(module: Callable[..., Any], *args: Any) -> Any:
    """Call ``module`` so that gradients pass through it to its inputs but not to its weights.

    Buffers (batch statistics, spectral-norm vectors) are updated as in an ordinary call.

    Args:
        module: an nn.Module, even if the protocol of its slot does not show it.
        args: its inputs.
    """
    if not torch.is_grad_enabled():  # nothing to hide; and torch.jit.trace needs a plain call
        return module(*args)
    net = cast(nn.Module, module)
    return functional_call(net, {k: p.detach() for k, p in net.named_parameters()}, args)


def critic_scores(
    critic: Critic,
    fake: Tensor,
    real: Tensor,
    *condition: Tensor,
    replay: Callable[[Tensor], Tensor] | None = None,
) -> CriticScores:
    """Score a generated and a real batch for both players at once.

    Args:
        critic: maps an image and conditions to a Judgement.
        fake: generated batch, with its graph.
        real: real batch.
        condition: further inputs of the critic, the same for both; they receive no gradient from
            the critic's own scores.
        replay: pool of earlier fakes, each with its conditions as further channels, used for the
            critic's own fake scores.

    Shapes:
        fake, real (B, C, H, W)
    """
    fixed = [value.detach() for value in condition]
    old = [fake.detach(), *fixed]
    if replay is not None:
        old = list(replay(torch.cat(old, dim=1)).split([value.shape[1] for value in old], dim=1))
    generator: Judgement = frozen_call(critic, fake, *condition)
    wanted: tuple[Tensor, ...] = ()
    if generator.features:
        # in this order: spectral normalisation makes one step per call
        wanted = frozen_call(critic, real, *condition).features
    return CriticScores(
        generator=generator.scores,
        generator_features=generator.features,
        real_features=wanted,
        fake=critic(*old).scores,
        real=critic(real.detach(), *fixed).scores,
    )
