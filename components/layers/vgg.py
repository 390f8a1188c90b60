"""The sixteen convolutions of VGG19 and where their weights come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from registry.errors import ConfigError

# name -> (torchvision's index in ``features``, multiple of the first width)
CONVS: dict[str, tuple[int, int]] = {
    **{"conv1_1": (0, 1), "conv1_2": (2, 1), "conv2_1": (5, 2), "conv2_2": (7, 2)},
    **{"conv3_1": (10, 4), "conv3_2": (12, 4), "conv3_3": (14, 4), "conv3_4": (16, 4)},
    **{"conv4_1": (19, 8), "conv4_2": (21, 8), "conv4_3": (23, 8), "conv4_4": (25, 8)},
    **{"conv5_1": (28, 8), "conv5_2": (30, 8), "conv5_3": (32, 8), "conv5_4": (34, 8)},
}

Weights = dict[str, tuple[Tensor, Tensor]]


def load_weights(
    source: Path | Literal["torchvision", "random"], convs: Sequence[str], width: int
) -> Weights:
    """Return kernel and bias of the named convolutions.

    Args:
        source: ``torchvision``, ``random``, or a file.
        convs: names, from conv1_1 on without gaps.
        width: channels of conv1_1; other than 64 only for random filters.

    Raises:
        ConfigError: the weights cannot be had or do not fit.
    """
    if source == "random":
        return _random(convs, width)
    if width != 64:
        raise ConfigError(
            f"VGG19 weights have width 64, not {width}; only weights='random' may differ."
        )
    if source == "torchvision":
        return _by_index(_download(), convs, "torchvision")
    assert isinstance(source, Path)
    if not source.is_file():
        raise ConfigError(
            f"no VGG19 weights at '{source}'. Give weights='torchvision', or the path of a "
            "downloaded vgg19 .pth, .safetensors or imagenet-vgg-verydeep-19.mat."
        )
    if source.suffix == ".mat":
        return _from_matconvnet(source, convs)
    if source.suffix == ".safetensors":
        from safetensors.torch import load_file

        return _by_index(load_file(source), convs, str(source))
    return _by_index(torch.load(source, map_location="cpu", weights_only=True), convs, str(source))


def _download() -> dict[str, Tensor]:
    from torchvision.models import VGG19_Weights

    weights = VGG19_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise ConfigError(
            f"cannot download VGG19 weights from {weights.url}: {error}. Download that file "
            "elsewhere and pass its path as weights=."
        ) from error


def _by_index(state: dict[str, Tensor], convs: Sequence[str], where: str) -> Weights:
    found = {}
    for name in convs:
        index, _ = CONVS[name]
        try:
            found[name] = (state[f"features.{index}.weight"], state[f"features.{index}.bias"])
        except KeyError as error:
            raise ConfigError(
                f"{where}: not VGG19 weights as torchvision names them: no {error}."
            ) from error
    return found


def _from_matconvnet(path: Path, convs: Sequence[str]) -> Weights:
    from scipy.io import loadmat

    layers = loadmat(path, squeeze_me=True, struct_as_record=False)["layers"]
    found = {}
    for layer in layers:
        if layer.name in convs:
            kernel, bias = layer.weights
            # MatConvNet stores (height, width, in, out)
            found[layer.name] = (
                torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)),
                torch.from_numpy(np.ascontiguousarray(bias.reshape(-1), np.float32)),
            )
    missing = [name for name in convs if name not in found]
    if missing:
        raise ConfigError(f"{path}: not a MatConvNet VGG19: no layer {missing[0]}.")
    return found


def _random(convs: Sequence[str], width: int) -> Weights:
    """Return He-scaled filters from a fixed seed, the same in every run and process."""
    generator = torch.Generator().manual_seed(19)
    found, inputs = {}, 3
    for name in convs:
        outputs = CONVS[name][1] * width
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        found[name] = (kernel, torch.zeros(outputs))
        inputs = outputs
    return found
