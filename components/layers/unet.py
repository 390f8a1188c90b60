"""The U-Net of the factorized model: strided encoder, decoder joined to it by addition."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import conv_norm_relu


class AdditiveUNet(nn.Module):
    """Encoder blocks that halve the map, decoder stages that double it, skips added after a 1x1.

    Args:
        inputs: input channels.
        first: width f of the first block (f, 2f, 4f, 4f); 0 for twice the input channels.
        downs: encoder blocks, each halving the map and, after the first, doubling the channels.
        widths: channels of the decoder stages after the first 1x1, which keeps the deepest width.
        outputs: channels of the last 1x1 convolution.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H / 2^(downs - len(widths)), ...)
    Source: factorized sec 3
    Differs: as in the official code, it downsamples by stride, joins skips by addition, also at the
        deepest level, and upsamples with corner-aligned bilinear interpolation
    """

    def __init__(
        self, *, inputs: int, first: int, downs: int, widths: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        f = first or 2 * inputs
        blocks = [
            [
                *conv_norm_relu(inputs, f, norm="instance"),
                *conv_norm_relu(f, 2 * f, norm="instance"),
                *conv_norm_relu(2 * f, 4 * f, stride=2, norm="instance"),
                *conv_norm_relu(4 * f, 4 * f, norm="instance"),
            ]
        ]
        sizes = [4 * f]
        for _ in range(downs - 1):
            c = sizes[-1]
            down = conv_norm_relu(c, 2 * c, stride=2, norm="instance")
            blocks.append([*down, *conv_norm_relu(2 * c, 2 * c, norm="instance")])
            sizes.append(2 * c)
        self.blocks = nn.ModuleList(nn.Sequential(*block) for block in blocks)
        self.features = sizes[0]
        deepest = sizes[-1]
        current = [deepest, *widths]
        self.bottom = nn.Sequential(*conv_norm_relu(deepest, deepest, kernel=1, norm="instance"))
        self.skips = nn.ModuleList(
            nn.Conv2d(size, width, 1) for size, width in zip(reversed(sizes), current[:-1])
        )
        self.before = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(a, b, norm="instance")) for a, b in zip(current, widths)
        )
        self.after = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(b, b, norm="instance")) for b in widths
        )
        self.head = nn.Conv2d(current[-1], outputs, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the first block's features."""
        found = []
        for block in self.blocks:
            image = block(image)
            found.append(image)
        x = self.bottom(found[-1])
        for skip, before, after, feature in zip(
            self.skips, self.before, self.after, reversed(found)
        ):
            x = before(x + F.relu(skip(feature)))
            x = after(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        return self.head(x), found[0]
