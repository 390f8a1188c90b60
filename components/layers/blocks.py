"""Convolution blocks shared by several networks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Norm = Literal["batch", "instance", "none"]


def norm_layer(norm: Norm, channels: int) -> list[nn.Module]:
    """Return the normalisation as a list of zero or one layers; instance norm has no parameters."""
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels)] if norm == "instance" else []


def conv_norm_relu(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, norm: Norm = "batch"
) -> list[nn.Module]:
    """Return convolution, normalisation, ReLU; with a bias unless batch norm follows.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)
    Source: keypointgan fig 17; keypointgan fig 18; keypointgan fig 19
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=norm != "batch")
    return [conv, *norm_layer(norm, outputs), nn.ReLU()]


def upsample2() -> nn.Upsample:
    """Return the bilinear x2 layer of every decoder, half-pixel centres."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw convolution weights from N(0, std), batch-norm scales from N(1, std); biases are zero.

    Source: keypointgan sec F.1
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def init_xavier(module: nn.Module, bias: float = 0.1) -> None:
    """Draw convolution weights from the Xavier uniform distribution; every bias is ``bias``.

    Source: factorized sec 4
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            with torch.no_grad():
                # a spectrally normalised weight must be set through its parametrisation
                original = getattr(layer, "parametrizations", None)
                weight = original.weight.original if original else layer.weight
                nn.init.xavier_uniform_(weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
