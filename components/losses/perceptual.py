"""Perceptual reconstruction: compare images by the features of a frozen VGG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.vgg import CONVS, Backbone, load_weights
from components.ops.antialias import reduce
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES

_INPUT = {
    # name -> (scale, mean, std) applied to an image in [0, 1]
    "imagenet": (1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": (255.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "signed": (2.0, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "grey": (1.0, (114.451 / 255,), (1.0,)),  # applied to the mean of the channels
}


@LOSSES.register_module("losses/perceptual")
class Perceptual(nn.Module):
    """weight * sum or mean over taps of w_tap * mean squared or absolute feature difference.

    Each is summed over a pyramid of reduced images, and multiplied by ``batch.weight``, if any.

    Args:
        weights: ``torchvision`` (downloads once), a file (torchvision's ``.pth`` or
            ``.safetensors``, or MatConvNet's ``imagenet-vgg-verydeep-19.mat``), or ``random``:
            fixed random filters for runs and tests without a download.
        backbone: ``vgg19`` or ``vgg16``.
        taps: ``input`` and convolutions (``conv1_2``) to compare.
        relu: apply ReLU after each convolution, also before reading a tap; the official KeypointGAN
            has no ReLU.
        tap_weights: one per tap; None divides each tap by its running mean instead, and averages;
            ``undivided`` is then the mean of all taps' errors before the division.
        running_start: first running means, one per tap; None starts with the first errors.
        input_range: what VGG is fed: ``imagenet`` mean and std, ``caffe`` 0..255 minus the mean,
            ``signed`` [-1, 1]; ``grey`` the mean of the channels minus 114.451 / 255 (the
            colourisation network of IMM), with ``input`` the colours 0..255.
        distance: ``l2`` squares the differences, ``l1`` (FOMM) takes absolute values.
        scales: scales of the pyramid; 1 is the image itself, 0.5 half its size.
        weight: factor; 10 in KeypointGAN, 6000 in IMM (its sum of six taps times 1000).
        width: channels of the first convolution, 64 in VGG; others only with random filters.

    Shapes:
        outputs.render and batch.target (B, 3, H, W) in [0, 1] -> scalar
    Raises:
        ConfigError: weights are unavailable; random ones are never a fallback.
    Source: keypointgan eq 4; factorized sec 3; imm sec 3; fomm sec 3.3
    Differs: the running mean has decay 0.99 and no gradient (as in the official KeypointGAN; IMM's
        gradient through it reduces each tap's by about 1 %); the official factorized code also
        zeroes the render where the target is exactly 0 in [-1, 1], which no 8-bit value is
    """

    reads = ("render", "batch.target")
    fetches_weights = True

    mean: Tensor
    std: Tensor
    tap_weights: Tensor | None
    running: Tensor
    started: Tensor
    undivided: Tensor | None = None

    def __init__(
        self,
        *,
        weights: str,
        backbone: Backbone = "vgg19",
        taps: Sequence[str] = ("input", "conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2"),
        relu: bool = False,
        tap_weights: Sequence[float] | None = None,
        running_start: Sequence[float] | None = None,
        input_range: Literal["imagenet", "caffe", "signed", "grey"] = "imagenet",
        distance: Literal["l2", "l1"] = "l2",
        scales: Sequence[float] = (1,),
        weight: float = 1.0,
        width: int = 64,
    ) -> None:
        super().__init__()
        convs = list(CONVS[backbone])
        for name, given in (("tap_weights", tap_weights), ("running_start", running_start)):
            if given is not None and len(given) != len(taps):
                raise ValueError(f"{len(taps)} taps but {len(given)} {name}; set one per tap.")
        unknown = set(taps) - {"input", *convs}
        if unknown:
            raise ValueError(
                f"no tap {sorted(unknown)[0]!r} in {backbone.upper()}; use input, "
                f"{', '.join(convs)}."
            )
        self.factors = [round(1 / scale) for scale in scales]
        if any(scale * factor != 1 for scale, factor in zip(scales, self.factors)):
            raise ValueError(f"scales must be 1, 1/2, 1/3, 1/4 and so on, not {tuple(scales)}.")
        self.taps, self.distance = list(taps), distance
        self.relu = relu
        self.weight = weight
        last = max((convs.index(tap) for tap in taps if tap != "input"), default=-1)
        self.convs = convs[: last + 1]
        scale, mean, std = _INPUT[input_range]
        self.scale, self.grey = scale, input_range == "grey"
        path = weights if weights in ("torchvision", "random") else Path(weights)
        # buffers outside the state dict: never trained, never saved, moved with the module
        found = load_weights(path, self.convs, width, backbone, channels=len(mean))
        for name, (kernel, bias) in found.items():
            self.register_buffer(f"{name}_kernel", kernel, persistent=False)
            self.register_buffer(f"{name}_bias", bias, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        fixed = None if tap_weights is None else torch.tensor(tap_weights, dtype=torch.float32)
        self.register_buffer("tap_weights", fixed, persistent=False)
        if fixed is None:
            first = torch.tensor(running_start or [0.0] * len(taps), dtype=torch.float32)
            self.register_buffer("running", first)
            self.register_buffer("started", torch.tensor(running_start is not None))

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        render = need(outputs, "render", "a pipeline with a decoder")
        target = need(batch, "target", "the training dataset (data.train)")
        return self.weight * self.compare(render, target, batch.weight)

    def compare(self, image: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss, without its factor, of two batches of images in [0, 1].

        Shapes:
            (B, 3, H, W), (B, 3, H, W), (B, 1, H, W) or None -> scalar
        """
        errors = torch.stack(
            [
                self.errors(reduce(image, factor), reduce(target, factor), weight)
                for factor in self.factors
            ]
        ).sum(dim=0)
        if self.tap_weights is not None:
            return (self.tap_weights * errors).sum()
        if self.training:
            self._update_running(errors.detach())
        self.undivided = errors.detach().mean()
        return (errors / (self.running + 1e-8)).mean()

    def errors(self, image: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean feature difference at each tap.

        Shapes:
            (B, 3, H, W), (B, 3, H, W), (B, 1, H, W) or None -> (taps,)
        """
        with torch.no_grad():
            wanted = self.features(target)
        return torch.stack(
            [
                mean_error(at_least_float32(a), at_least_float32(b), weight, self.distance)
                for a, b in zip(self.features(image), wanted)
            ]
        )

    @torch.no_grad()
    def _update_running(self, errors: Tensor) -> None:
        moved = 0.99 * self.running + 0.01 * errors
        self.running.copy_(torch.where(self.started, moved, errors))
        self.started.fill_(True)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the tapped features, in the order of ``taps``."""
        x = image.mean(dim=1, keepdim=True) if self.grey else image
        x = (self.scale * x - self.mean) / self.std
        found = {"input": 255 * image if self.grey else x}
        for name in self.convs:
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = F.conv2d(
                x, getattr(self, f"{name}_kernel"), getattr(self, f"{name}_bias"), padding=1
            )
            if self.relu:
                x = F.relu(x)
            found[name] = x
        return [found[tap] for tap in self.taps]


def mean_error(
    a: Tensor, b: Tensor, weight: Tensor | None, distance: Literal["l2", "l1"]
) -> Tensor:
    """Return the mean over all elements of weight * (a - b)^2, or of weight * |a - b|.

    Shapes:
        (B, C, h, w), (B, C, h, w), (B, 1, H, W) or None -> scalar
    """
    if weight is None:
        return F.mse_loss(a, b) if distance == "l2" else F.l1_loss(a, b)
    # nearest: every s-th pixel, as TensorFlow 1's bilinear resize does for an integer factor s
    weight = F.interpolate(at_least_float32(weight), a.shape[-2:], mode="nearest")
    error = (a - b).square() if distance == "l2" else (a - b).abs()
    return (weight * error).mean()
