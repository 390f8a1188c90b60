"""From images of any size to what a model takes, and landmarks back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.data.fit import fit_image, to_pixels


@dataclass(frozen=True, slots=True)
class Prepared:
    """Images as a model takes them."""

    images: Tensor  # (N, 3, S, S) in [0, 1]
    affines: NDArray[np.float64]  # (N, 2, 3): pixels of the originals to contract coordinates

    def to_original(self, xy: Tensor) -> NDArray[np.float32]:
        """Return landmarks in pixels of the original images, pixel centres at integers.

        Shapes:
            (N, K, 2) in [-1, 1] -> (N, K, 2)

        Raises:
            ValueError: landmarks of other images than these.
        """
        found = xy.detach().float().cpu().numpy()
        if len(found) != len(self.affines) or found.ndim != 3:
            raise ValueError(
                f"landmarks of {len(self.affines)} images are ({len(self.affines)}, K, 2), not "
                f"{found.shape}; each image has its own way back."
            )
        return np.stack([to_pixels(one, affine) for one, affine in zip(found, self.affines)])


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How images of any size become what a model takes."""

    image_size: int  # side of the model's square images
    fit: str = "stretch"  # or "pad", "crop"
    crop: tuple[int, int, int, int] | None = None  # left, top, width, height, cut out first
    # those of the model when it was loaded; dataclasses.replace makes others
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def __call__(self, images: Any) -> Prepared:
        """Resize one image, or several.

        Args:
            images: (H, W, 3) uint8 RGB, or a sequence of such, each of its own size.

        Raises:
            ValueError: something else.
        """
        several = [images] if getattr(images, "ndim", 4) == 3 else list(images)
        for image in several:
            array = np.asarray(image)
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise ValueError(
                    f"an image must be (H, W, 3) uint8 RGB, not {array.shape} {array.dtype}. "
                    "Images in [0, 1] of the model's own size go to predict() as they are."
                )
        if not several:
            raise ValueError("no images to prepare.")
        fitted = [fit_image(np.asarray(i), self.image_size, self.fit, self.crop) for i in several]
        pixels = torch.from_numpy(np.stack([image for image, _ in fitted])).to(self.device)
        tensor = pixels.permute(0, 3, 1, 2).float() / 255
        return Prepared(tensor.to(self.dtype), np.stack([affine for _, affine in fitted]))
