"""How close one image is to another; images in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, for a peak of 1.

    Shapes:
        (B, 3, H, W), (B, 3, H, W) -> (B,)
    Range:
        infinite for equal images
    """
    return -10 * (image.double() - target.double()).square().mean(dim=(1, 2, 3)).log10()


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity of each image, with the settings of Wang et al. 2004.

    A Gaussian window of 11 x 11 and sigma 1.5 that stays inside the image, K1 = 0.01, K2 = 0.03,
    a range of 1, and the mean over positions and channels.

    Shapes:
        (B, 3, H, W), (B, 3, H, W), sides of at least 11 -> (B,)
    Range:
        [-1, 1], 1 for equal images
    """
    x, y = image.double(), target.double()  # a variance is a small difference of large numbers
    offset = x.new_tensor(range(-5, 6))
    window = (-offset.square() / (2 * 1.5**2)).softmax(dim=0)
    mean = torch.cat((x, y, x * x, y * y, x * y), dim=1)
    channels = mean.shape[1]
    for shape in ((1, 1, 11, 1), (1, 1, 1, 11)):
        mean = F.conv2d(mean, window.view(shape).expand(channels, *shape[1:]), groups=channels)
    x1, y1, xx, yy, xy = mean.chunk(5, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * x1 * y1 + c1) / (x1 * x1 + y1 * y1 + c1)
    structure = (2 * (xy - x1 * y1) + c2) / (xx - x1 * x1 + yy - y1 * y1 + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))
