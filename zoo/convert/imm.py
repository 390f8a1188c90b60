"""Official TensorFlow checkpoints of IMM -> weights of pipelines/reconstruction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from registry.errors import ConfigError
from zoo.convert import tensorflow_checkpoint
from zoo.convert.official import Rules, State, rename

KINDS = {
    "w": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _trunk(scope: str, place: str) -> Rules:
    """Return the rule for a trunk's convolutions and the norms that follow them.

    The official code counts convolutions from 1; ours counts layers from 0: convolution, norm,
    ReLU, and another one after every second block.
    """

    def layer(match: re.Match[str]) -> str:
        before, kind = int(match[1]) - 1, match[2] or match[3]
        index = 3 * before + before // 2 + (kind not in ("w", "b"))
        return f"{place}.{index}.{KINDS[kind]}"

    names = "gamma|beta|moving_mean|moving_variance"
    return {rf"{scope}/conv_(\d+)/(?:conv_\1/(w|b)|batch_normalization/({names}))$": layer}


RULES: Rules = {
    **_trunk("image_encoder/encoder", "appearance_encoder.layers"),
    **_trunk("pose_encoder/encoder", "encoder.layers"),
    r"pose_encoder/conv_1/conv_1/(w|b)$": lambda m: f"encoder.layers.27.{KINDS[m[1]]}",
    **_trunk("renderer", "decoder.climb"),
}
SLOT = r".*/Adam(_1)?$"  # of the optimizer


def convert(variables: Mapping[str, Tensor]) -> State:
    """Rename the variables below the scope ``model/``; kernels become (out, in, height, width).

    Raises:
        ConfigError: a variable belongs to another model.
    """
    ours = rename(variables, RULES, "model")
    return {
        key: v.permute(3, 2, 0, 1).contiguous() if v.ndim == 4 else v for key, v in ours.items()
    }


files = tensorflow_checkpoint.files


def load(path: str | Path) -> State:
    """Read an official checkpoint, without TensorFlow, and convert it.

    Args:
        path: ``model.ckpt-NUMBER``, or one of the files that begin with it.

    Raises:
        ConfigError: a file cannot be read, or belongs to another model.
    """

    def wanted(name: str) -> bool:
        return name.startswith("model/") and not re.match(SLOT, name)

    arrays = tensorflow_checkpoint.read(path, wanted)
    if not arrays:
        raise ConfigError(
            f"{path} has no variables below 'model/'. The checkpoint is of another model."
        )
    found = {name.removeprefix("model/"): torch.from_numpy(a) for name, a in arrays.items()}
    return convert(found)
