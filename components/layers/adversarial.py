"""What lets a critic and its generator train in one backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from registry.contract import CriticScores, Judgement


def frozen_call(module: nn.Module, *args: Any) -> Any:
    """Call ``module`` so that gradients pass through it to its inputs but not to its weights.

    Buffers (batch statistics, spectral-norm vectors) are updated as in an ordinary call.
    """
    if not torch.is_grad_enabled():  # nothing to hide; and torch.jit.trace needs a plain call
        return module(*args)
    return functional_call(module, {k: p.detach() for k, p in module.named_parameters()}, args)


def critic_scores(
    critic: nn.Module, fake: Tensor, real: Tensor, *condition: Tensor, replay: History | None = None
) -> CriticScores:
    """Score a generated and a real batch for both players at once.

    Args:
        critic: image, then conditions, to a tuple of scores or a Judgement.
        fake: generated batch, with its graph.
        real: real batch.
        condition: further inputs of the critic, the same for both; the critic's own scores send
            no gradient to them.
        replay: a pool of earlier fakes that the critic's own fake scores are drawn from.

    Shapes:
        fake, real (B, C, H, W)
    """
    old = fake.detach() if replay is None else replay(fake.detach())
    fixed = [value.detach() for value in condition]
    generator = frozen_call(critic, fake, *condition)
    if not isinstance(generator, Judgement):
        return CriticScores(
            generator=generator, fake=critic(old, *fixed), real=critic(real.detach(), *fixed)
        )
    # in this order: spectral normalisation makes one step per call
    wanted = frozen_call(critic, real, *condition)
    return CriticScores(
        generator=generator.scores,
        generator_features=generator.features,
        real_features=wanted.features,
        fake=critic(old, *fixed).scores,
        real=critic(real.detach(), *fixed).scores,
    )


class History(nn.Module):
    """A pool of earlier fakes; half of what the critic sees comes from it once it is full.

    The pool is part of the state dict, so a resumed run continues with it.

    Args:
        size: images kept; 50 in CycleGAN and KeypointGAN. Must be at least the batch size.
        shape: (C, H, W) of one image.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    Source: keypointgan sec F.1
    Differs: the images of one batch are exchanged together, with distinct slots, instead of one
        after another
    """

    def __init__(self, *, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("pool", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, fake: Tensor) -> Tensor:
        batch, size, filled = len(fake), len(self.pool), int(self.filled)
        if batch > size:
            raise ValueError(
                f"a history of {size} images needs batches of at most {size}, got {batch}."
            )
        new = min(batch, size - filled)
        self.pool[filled : filled + new] = fake[:new].to(self.pool.dtype)
        self.filled += new
        # drawn on the CPU: the checkpoint restores that generator on every device
        slots = torch.randperm(filled or 1)[: batch - new].to(fake.device)
        swap = (torch.rand(batch - new) < 0.5).to(fake.device)
        late = fake[new:]
        replayed = torch.where(swap[:, None, None, None], self.pool[slots].to(fake.dtype), late)
        self.pool[slots[swap]] = late[swap].to(self.pool.dtype)
        return torch.cat((fake[:new], replayed))
