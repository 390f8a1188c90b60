"""The convolutions of VGG16 and VGG19, and loading their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from registry.errors import ConfigError

Backbone = Literal["vgg16", "vgg19"]
Weights = dict[str, tuple[Tensor, Tensor]]


def _numbered(*depths: int) -> dict[str, tuple[int, int]]:
    """Number the layers of blocks with these numbers of convolutions, each ending in a pooling."""
    found, index = {}, 0
    for block, depth in enumerate(depths, start=1):
        for i in range(1, depth + 1):
            found[f"conv{block}_{i}"] = (index, min(2 ** (block - 1), 8))
            index += 2  # convolution, ReLU
        index += 1
    return found


# name -> (torchvision's index in ``features``, multiple of the first width)
CONVS: dict[Backbone, dict[str, tuple[int, int]]] = {
    "vgg16": _numbered(2, 2, 3, 3, 3),
    "vgg19": _numbered(2, 2, 4, 4, 4),
}


def load_weights(
    source: Path | str,
    convs: Sequence[str],
    width: int,
    backbone: Backbone = "vgg19",
    channels: int = 3,
) -> Weights:
    """Return kernel and bias of the named convolutions.

    Args:
        source: ``torchvision``, ``random``, or a file.
        convs: names, from conv1_1 on without gaps.
        width: channels of conv1_1; must be 64 unless filters are random.
        backbone: ``vgg16`` or ``vgg19``.
        channels: channels of the input image.

    Raises:
        ConfigError: the weights are unavailable or do not fit.
    """
    if source == "random":
        return _random(convs, width, backbone, channels)
    if width != 64:
        raise ConfigError(
            f"{backbone.upper()} weights have width 64, not {width}; another width needs "
            "weights='random'."
        )
    found = _read(source, convs, backbone)
    given = found[convs[0]][0].shape[1] if convs else channels
    if given != channels:
        raise ConfigError(
            f"{source}: the first convolution takes {given} channels, but input_range gives it "
            f"{channels}. Use input_range='grey' for the colourisation network and only for it."
        )
    return found


def _read(source: Path | str, convs: Sequence[str], backbone: Backbone) -> Weights:
    if source == "torchvision":
        return _by_index(_download(backbone), convs, "torchvision", backbone)
    assert isinstance(source, Path)
    if not source.is_file():
        raise ConfigError(
            f"no {backbone.upper()} weights at '{source}'. Set weights= to 'torchvision' or the "
            f"path of a downloaded {backbone} .pth, .safetensors or "
            f"imagenet-vgg-verydeep-{backbone[3:]}.mat."
        )
    if source.suffix == ".mat":
        return _from_matconvnet(source, convs)
    if source.suffix == ".safetensors":
        from safetensors.torch import load_file

        return _by_index(load_file(source), convs, str(source), backbone)
    state = torch.load(source, map_location="cpu", weights_only=True)
    return _by_index(state, convs, str(source), backbone)


def _download(backbone: Backbone) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights

    weights = get_model_weights(backbone)["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise ConfigError(
            f"cannot download {backbone.upper()} weights from {weights.url}: {error}. Download "
            "that file elsewhere and pass its path as weights=."
        ) from error


def _by_index(
    state: dict[str, Tensor], convs: Sequence[str], where: str, backbone: Backbone
) -> Weights:
    found = {}
    for name in convs:
        index, _ = CONVS[backbone][name]
        try:
            found[name] = (state[f"features.{index}.weight"], state[f"features.{index}.bias"])
        except KeyError as error:
            raise ConfigError(
                f"{where}: not {backbone.upper()} weights with torchvision's names: no {error}."
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
        raise ConfigError(f"{path}: not a MatConvNet VGG: no layer {missing[0]}.")
    return found


def _random(convs: Sequence[str], width: int, backbone: Backbone, channels: int) -> Weights:
    """Return He-scaled filters from a fixed seed, the same in every run and process."""
    generator = torch.Generator().manual_seed(19)
    found, inputs = {}, channels
    for name in convs:
        outputs = CONVS[backbone][name][1] * width
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        found[name] = (kernel, torch.zeros(outputs))
        inputs = outputs
    return found
