"""What is trained, and one training step: pipeline, losses and optimizer as mmengine sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from registry.config import Train
from registry.contract import Batch
from registry.errors import ConfigError
from registry.loading import to_batch


class _AsItIs(nn.Module):
    """The preprocessor that mmengine's wrapper calls; ours is inside ``Trainee.forward``."""

    def forward(self, data: Any, training: bool = False) -> Any:
        return data


class Trainee(BaseModel):  # type: ignore[misc]
    """Pipeline and losses in one module, which is wrapped, optimized and saved.

    Args:
        pipeline: Batch -> Outputs.
        losses: name -> (Outputs, Batch) -> scalar.
        transforms: batch transforms.
    """

    def __init__(
        self, pipeline: nn.Module, losses: Mapping[str, nn.Module], transforms: Any
    ) -> None:
        super().__init__(data_preprocessor=_AsItIs())
        self.pipeline = pipeline
        self.losses = nn.ModuleDict(losses)
        self.transforms = transforms

    def forward(self, mode: str = "loss", **arrays: Any) -> dict[str, Tensor]:
        """Return the losses of one collated batch, and errors that are shown but not minimised.

        These are ``pixel_error``, the mean absolute difference between render and target, colours
        in [0, 1]; and ``undivided_NAME`` for a loss that is divided by its own running mean.
        """
        device = next(self.pipeline.parameters()).device
        with torch.autocast(device.type, enabled=False):  # bfloat16 splines are off by a pixel
            batch: Batch = to_batch(arrays, device, self.transforms)
        outputs = self.pipeline(batch)
        with torch.autocast(device.type, enabled=False):
            found = {f"loss_{name}": loss(outputs, batch) for name, loss in self.losses.items()}
            render, target = outputs.render, batch.target
            if render is not None and target is not None and render.shape == target.shape:
                found["pixel_error"] = (render.detach().to(target) - target).abs().mean()
        for name, loss in self.losses.items():
            if (error := getattr(loss, "undivided", None)) is not None:
                found[f"undivided_{name}"] = error
        return found

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Forward, sum, backward, step, as in mmengine's distributed wrapper."""
        with optim_wrapper.optim_context(self):
            losses = self(**data)
        total, log = self.parse_losses(losses)
        optim_wrapper.update_params(total)
        return log

    def parse_losses(self, found: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the losses, and everything that is shown.

        Raises:
            FloatingPointError: one of them is not finite; the weights are unchanged.
        Source: lee eq 5
        """
        losses = {name: value for name, value in found.items() if name.startswith("loss_")}
        finite = torch.stack([value.detach() for value in losses.values()]).isfinite()
        if not bool(finite.all()):
            bad = [name for name, ok in zip(losses, finite.tolist()) if not ok]
            raise FloatingPointError(
                f"{', '.join(bad)} is not finite. The last checkpoint is from before this step. "
                "Lower train.lr, set train.clip, or check the inputs of that loss."
            )
        total = torch.stack(list(losses.values())).sum()
        return total, {**{k: v.detach() for k, v in found.items()}, "loss": total.detach()}

    def init_weights(self) -> None:
        """Do nothing: components initialise themselves."""


class Stepper(OptimWrapper):  # type: ignore[misc]
    """Adam's step after clipping, and bfloat16 autocast on any device.

    Args:
        optimizer: Adam.
        clip: maximum gradient norm; None for no clipping.
        amp: autocast.
        clip_each: clip each tensor instead of each parameter group.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        clip: float | None,
        amp: bool,
        clip_each: bool = False,
    ) -> None:
        super().__init__(optimizer)
        self.clip, self.amp, self.clip_each = clip, amp, clip_each

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16, enabled=self.amp):
            yield

    def step(self, **kwargs: Any) -> None:
        """Clip the gradient norms, then step.

        Raises:
            FloatingPointError: a gradient is not finite; the weights are unchanged.
        """
        for group in self.optimizer.param_groups:
            found = [p for p in group["params"] if p.grad is not None]
            parts = [[p] for p in found] if self.clip_each else [found]
            limit = self.clip or float("inf")
            norms = [nn.utils.clip_grad_norm_(part, limit) for part in parts]
            if not math.isfinite(sum(norms)):
                raise FloatingPointError(
                    f"the gradient of '{group.get('name', 'the model')}' is not finite. The last "
                    "checkpoint is from before this step. Lower train.lr or set train.clip."
                )
        self.optimizer.step(**kwargs)


def make_optimizer(pipeline: Any, settings: Train) -> torch.optim.Optimizer:
    """Return Adam with the parameter groups of the pipeline.

    Raises:
        ConfigError: ``train.groups`` names an unknown group, or Adam refuses a value.
    """
    groups = pipeline.parameter_groups()
    for name in settings.groups:
        if name not in groups:
            raise ConfigError(
                f"train.groups: '{name}' must be one of the groups {', '.join(groups)}."
            )
    parameters = []
    for name, params in groups.items():
        changes = settings.groups.get(name, {})
        rate = changes.get("lr", settings.lr)
        parameters.append({"params": params, "name": name, "initial_lr": rate, **changes})
    betas = (settings.betas[0], settings.betas[1])
    try:
        return torch.optim.Adam(
            parameters, lr=settings.lr, betas=betas, weight_decay=settings.weight_decay
        )
    except ValueError as error:
        raise ConfigError(f"train: {error}.") from error
