"""The colourisation VGG16 of IMM's loss -> the file that ``losses/perceptual`` reads.

The release is Larsson et al.'s ``vgg16.caffemodel.h5``: below ``data``, each convolution with its
kernel ``0`` and bias ``1``, and its batch norm ``batch_NAME`` with ``0`` the sum of means, ``1``
the sum of variances, and ``2`` the divisor of both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.layers.vgg import CONVS
from registry.errors import ConfigError
from zoo.convert.official import State

EPSILON = 1e-5


def load(path: str | Path) -> State:
    """Read the file, fold every norm into its convolution, and name them as torchvision does.

    Raises:
        ConfigError: h5py is not installed, or the file does not hold that network.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no file '{path}'. Give the release's vgg16.caffemodel.h5.")
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"reading {path} needs h5py: pip install h5py.") from error
    try:
        with h5py.File(path, "r") as file:
            found = _convolutions(file["data"])
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not the release's vgg16.caffemodel.h5: {error}. Download it again."
        ) from error
    return found


def _convolutions(data: Any) -> State:
    state: State = {}
    inputs = 1
    for name, (index, multiple) in CONVS["vgg16"].items():
        outputs = 64 * multiple
        kernel = _array(data[name], "0", (outputs, inputs, 3, 3))
        bias = _array(data[name], "1", (outputs,))
        if f"batch_{name}" in data:
            norm = data[f"batch_{name}"]
            (factor,) = _array(norm, "2", (1,))
            deviation = np.sqrt(EPSILON + _array(norm, "1", (outputs,)) / factor)
            kernel = kernel / deviation[:, None, None, None]
            bias = (bias - _array(norm, "0", (outputs,)) / factor) / deviation
        state[f"features.{index}.weight"] = torch.from_numpy(kernel.astype(np.float32))
        state[f"features.{index}.bias"] = torch.from_numpy(bias.astype(np.float32))
        inputs = outputs
    return state


def _array(group: Any, key: str, shape: tuple[int, ...]) -> Any:
    stored = group[key]
    if tuple(stored.shape) != shape:
        raise ValueError(f"'{stored.name}' is {tuple(stored.shape)}, not {shape}")
    return np.asarray(stored[()], np.float64)
