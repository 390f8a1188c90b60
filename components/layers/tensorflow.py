"""Layers as TensorFlow 1 computes them, for parity with IMM's code and checkpoints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def tf_conv_norm_relu(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1
) -> list[nn.Module]:
    """Return convolution with bias, batch norm, ReLU.

    For a strided convolution on an even side, ``SAME`` padding puts the odd pixel at the end, while
    ``padding=1`` puts it at the start; the norm is that of ``tf.layers``: decay 0.99, epsilon 1e-3.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H / stride, W / stride); H and W even
    Source: imm sec 3
    """
    layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    padding = 0 if stride == 2 else kernel // 2
    layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding))
    return [*layers, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01), nn.ReLU()]


class TfUpsample2(nn.Module):
    """Bilinear x2 of ``tf.image.resize_images``: output pixel i is at input pixel i / 2.

    Shapes:
        (B, C, H, W) -> (B, C, 2 H, 2 W)
    """

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, 1, 0, 1), mode="replicate")
        size = (2 * height + 1, 2 * width + 1)  # H + 1 pixels in steps of one half
        x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        return x[..., :-1, :-1]


def init_truncated(module: nn.Module, std: float = 0.01) -> None:
    """Draw convolution weights from a normal distribution cut at two deviations; biases are zero.

    Source: imm sec 4
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
