"""From images of any size to the input of a model, and landmarks back to the images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from components.data.fit import check_crop, fit_image, to_pixels
from components.data.video import read_image
from registry.contract import brief
from registry.loading import spread
from registry.usual import CHECKED, warn_of

KINDS = "paths of images, PIL images, or NumPy arrays (H, W, 3) uint8 RGB, one or a list"
SLACK = 0.1  # how far a batch may exceed [0, 1]: decoders and resizing overshoot


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """Images ready for a model."""

    images: Tensor  # (N, 3, S, S) in [0, 1]
    affines: NDArray[np.float64]  # (N, 2, 3): pixels of the originals to contract coordinates

    __repr__ = brief

    def to_original(self, xy: Tensor) -> NDArray[np.float32]:
        """Return landmarks in pixels of the original images, pixel centres at integers.

        Shapes:
            (N, K, 2) in [-1, 1] -> (N, K, 2)

        Raises:
            ValueError: the landmarks are not of these images.
        """
        found = xy.detach().float().cpu().numpy()
        if len(found) != len(self.affines) or found.ndim != 3:
            raise ValueError(
                f"landmarks of {len(self.affines)} images must be ({len(self.affines)}, K, 2), not "
                f"{found.shape}: each image has its own mapping."
            )
        return np.stack([to_pixels(one, affine) for one, affine in zip(found, self.affines)])


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How images of any size become the input of a model."""

    image_size: int  # side of the model's square images
    fit: str = "stretch"  # or "pad", "crop"
    crop: tuple[int, int, int, int] | None = None  # left, top, width, height, cut out first
    # of the model when it was loaded; change them by dataclasses.replace
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def __call__(self, images: Any) -> Prepared:
        """Resize one image, or several.

        Args:
            images: a photograph, or a list of photographs of any size: a path (str or Path), a PIL
                image, or (H, W, 3) uint8 RGB.

        Raises:
            ValueError: ``images`` is something else.
            OSError: a file cannot be read as an image.
        """
        one = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) < 4
        if not one and not isinstance(images, (Iterable, np.ndarray)):
            raise ValueError(f"{type(images).__name__} is not an image. Give {KINDS}.")
        several = [_pixels(image) for image in ([images] if one else images)]
        if not several:
            raise ValueError("there are no images to prepare. Give at least one.")
        fitted = [self.fitted(image) for image in several]
        pixels = torch.from_numpy(np.stack([image for image, _ in fitted])).to(self.device)
        tensor = pixels.permute(0, 3, 1, 2).float() / 255
        return Prepared(tensor.to(self.dtype), np.stack([affine for _, affine in fitted]))

    def fitted(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Return one image (H, W, 3) as (S, S, 3), both uint8 RGB, and its affine (2, 3).

        Raises:
            ValueError: the model's crop goes beyond this image.
        """
        check_crop(self.crop, (image.shape[1], image.shape[0]), "the model's preprocess.crop")
        return fit_image(image, self.image_size, self.fit, self.crop)


class Predict:
    """``model.predict`` of a loaded model: finds the landmarks of images of any kind.

    It takes a photograph or a list of photographs (paths, PIL images, (H, W, 3) uint8 RGB), the
    result of ``model.preprocess``, or a float batch (B, 3, S, S) RGB in [0, 1] of the model's size
    S. Landmarks are (x, y) in [-1, 1] of the network's input. For pixels of the photographs, keep
    the result of ``model.preprocess``: its ``to_original`` maps landmarks back.

    Of photographs and results of ``model.preprocess``, at most 16 are compared with the training
    images; if they look unlike those, there is a warning (``model.usual = None`` turns it off, and
    saves its time). Tensors are not checked; use ``model.usual.remarks`` for them.

    Args:
        model: a pipeline with ``preprocess``, whose class's ``predict`` takes only such batches.

    Raises:
        ValueError, OSError: the input is of another kind; the text says what to do.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, images: Any) -> Any:
        """Return the Outputs of images, with ``landmarks``."""
        model = self.model
        ready = images_of(model, images)
        if model.usual is not None and not isinstance(images, Tensor):
            warn_of(model.usual.remarks(model, ready[spread(len(ready), CHECKED)]))
        return type(model).predict(model, ready)


def images_of(model: Any, images: Any) -> Tensor:
    """Return images of any kind as input of a model, see :class:`Predict`.

    Shapes:
        N photographs, or (N, 3, S, S) in [0, 1] -> (N, 3, S, S) of the model's device and dtype

    Raises:
        ValueError, OSError: they are of another kind.
    """
    at: Tensor = next(model.parameters())
    if isinstance(images, Tensor):
        if not torch.compiler.is_compiling():  # while compiling, its values are unknown
            _check_batch(images, model.preprocess.image_size)
        return images.to(at.device, at.dtype)
    ready: Prepared = images if isinstance(images, Prepared) else model.preprocess(images)
    _check_batch(ready.images, model.preprocess.image_size)
    return ready.images.to(at.device, at.dtype)


def _check_batch(images: Tensor, size: int) -> None:
    """Check that a batch has the model's size and values in [0, 1], with slack for renders."""
    wanted = f"(B, 3, {size}, {size}) floats in [0, 1]"
    given = f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
    if not images.is_floating_point():
        advice = "Divide by 255, or give NumPy arrays (H, W, 3) uint8 of any size."
    elif tuple(images.shape) == (3, size, size):
        advice = "Add the batch axis: images[None]."
    elif images.ndim != 4 or images.shape[1] != 3:
        last = images.ndim == 4 and images.shape[3] == 3
        advice = "Move the channels: images.permute(0, 3, 1, 2)." if last else f"Give {KINDS}."
    elif tuple(images.shape[2:]) != (size, size):
        advice = "Use model.preprocess for photographs of any size."
    elif not len(images):
        advice = "The batch is empty."
    else:
        low, high = (value.item() for value in images.detach().aminmax())
        if low >= -SLACK and high <= 1 + SLACK:
            return
        given += f" from {low:.3g} to {high:.3g}"
        if high > 2 and low >= 0:
            advice = "Divide by 255."
        elif -1 - SLACK <= low < 0 and high <= 1 + SLACK:
            advice = "Convert [-1, 1] to [0, 1]: (images + 1) / 2."
        else:
            advice = "Undo the normalisation (mean and std), and remove NaN, if any."
    raise ValueError(f"predict takes {wanted} as a tensor, not {given}. {advice}")


def _pixels(image: Any) -> NDArray[np.uint8]:
    """Return one photograph as (H, W, 3) uint8 RGB."""
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, Image.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{type(image).__name__} is not an image. Give {KINDS}.")
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    if image.ndim == 2 and image.dtype == np.uint8:
        advice = "Repeat its channel: np.repeat(image[..., None], 3, axis=2)."
    elif image.ndim == 3 and image.shape[2] == 4:
        advice = "Drop the alpha channel: image[..., :3]."
    elif image.dtype.kind == "f" and image.ndim == 3 and image.shape[2] == 3:
        advice = (
            "Convert it to 0 ... 255: (255 * image).round().astype(np.uint8), if it is in [0, 1]."
        )
    else:
        advice = "Pass tensors in [0, 1] of the model's own size directly to predict()."
    shown = f"{image.shape} {image.dtype}"
    raise ValueError(f"an image must be (H, W, 3) uint8 RGB, not {shown}. {advice}")
