"""A pool of earlier fakes, shown to a critic again."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class History(nn.Module):
    """A pool of earlier fakes; once it is full, half of the critic's fakes come from it.

    The pool is part of the state dict, so a resumed run continues with it.

    Args:
        size: number of images kept, at least the batch size; 50 in CycleGAN and KeypointGAN.
        shape: (C, H, W) of one image.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    Source: keypointgan sec F.1
    Differs: the images of a batch are exchanged together, with distinct slots, not one after
        another
    """

    pool: Tensor
    filled: Tensor

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
