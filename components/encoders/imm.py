"""IMM's encoder: the image encoder and, with one more convolution, the pose encoder."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.tensorflow import init_truncated, tf_conv_norm_relu
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/imm")
class Imm(nn.Module):
    """Image to a map at an eighth of its size: features, or one map of logits per landmark.

    Args:
        num_landmarks: K for the pose encoder; None for the features of the image encoder.
        width: channels of the first level; 32 in the paper.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, H/8, W/8), or (B, 8 width, H/8, W/8)
    Range:
        input [0, 1], mapped to 0..255 inside; logits linear, features non-negative
    Source: imm sec 3
    Differs: none, down to TensorFlow's padding; ``encoders/stem`` is KeypointGAN's version of it
    """

    def __init__(self, *, num_landmarks: int | None = None, width: int = 32) -> None:
        super().__init__()
        layers = [*tf_conv_norm_relu(3, width, kernel=7), *tf_conv_norm_relu(width, width)]
        for c in (width, 2 * width, 4 * width):
            layers += tf_conv_norm_relu(c, 2 * c, stride=2)
            layers += tf_conv_norm_relu(2 * c, 2 * c)
        if num_landmarks is not None:
            layers.append(nn.Conv2d(8 * width, num_landmarks, 1))
        self.layers = nn.Sequential(*layers)
        init_truncated(self)

    def forward(self, image: Tensor) -> Encoding:
        return Encoding(maps=self.layers(255 * image))
