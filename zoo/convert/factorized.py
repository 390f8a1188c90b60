"""Official checkpoints of the factorized model -> weights of pipelines/reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from registry.errors import ConfigError
from zoo.convert.official import Rules, State, is_state, rename, unpickle

UNET: Rules = {
    r"encoder_layers\.0\.0\.0\.": "blocks.0.0.",
    r"encoder_layers\.0\.1\.0\.": "blocks.0.3.",
    r"encoder_layers\.0\.2\.0\.0\.": "blocks.0.6.",
    r"encoder_layers\.0\.2\.1\.0\.": "blocks.0.9.",
    r"encoder_layers\.(\d+)\.0\.0\.": r"blocks.\1.0.",
    r"encoder_layers\.(\d+)\.1\.0\.": r"blocks.\1.3.",
    r"skip_convs\.(\d+)\.0\.": r"skips.\1.",
    r"decoder_layers\.0\.0\.": "bottom.0.",
    # the last stage is nested one level deeper, beside the output convolution
    r"decoder_layers\.\d+\.1\.": "head.",
    r"decoder_layers\.(\d+)\.(?:0\.)?0\.0\.": lambda m: f"before.{int(m[1]) - 1}.0.",
    r"decoder_layers\.(\d+)\.(?:0\.)?2\.0\.": lambda m: f"after.{int(m[1]) - 1}.0.",
}
SPADE_BLOCK: Rules = {
    r"(conv_[01s])\.": r"\1.",
    r"(norm_[01s])\.mlp_(shared|gamma|beta)\.(?:0\.)?": r"\1.\2.",
}
CONV: Rules = {r"(weight|bias)$": r"\1"}
DECODER: dict[str, tuple[str, Rules]] = {
    "fc": ("start", CONV),
    "head_0": ("head", SPADE_BLOCK),
    "G_middle_0": ("middle.0", SPADE_BLOCK),
    "G_middle_1": ("middle.1", SPADE_BLOCK),
    "up_0": ("climb.0", SPADE_BLOCK),
    "up_1": ("climb.1", SPADE_BLOCK),
    "up_4": ("climb.2", SPADE_BLOCK),
    "conv_img": ("last", CONV),
}
PARTS: dict[str, tuple[str, Rules]] = {
    "shape_encoder": ("encoder.net", UNET),
    "appearance_encoder": ("appearance_encoder.net", UNET),
    **{f"image_decoder.{name}": (f"decoder.{new}", r) for name, (new, r) in DECODER.items()},
    "bg_net": ("compositor.background_net", UNET),
    "fg_mask_net.0": ("compositor.mask_net", UNET),  # at low resolution, followed by upsampling
    "fg_mask_net": ("compositor.mask_net", UNET),
}
# the official code numbers the scales from the smallest
CRITIC: Rules = {r"layer([01])\.": lambda m: f"image_critic.scales.{1 - int(m[1])}."}


def convert(states: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Rename the state dict ``model``, with all networks, and ``discriminator`` if present.

    Raises:
        ConfigError: ``model`` is missing, or belongs to another model.
    """
    if "model" not in states:
        raise ConfigError(f"there is no 'model' among the state dicts {', '.join(states)}.")
    ours = rename(states.get("discriminator", {}), CRITIC, "discriminator")
    left = dict(states["model"])
    for part, (place, rules) in PARTS.items():
        keys = [key for key in left if key.startswith(f"{part}.")]
        own = {key.removeprefix(f"{part}."): left.pop(key) for key in keys}
        ours |= {f"{place}.{key}": value for key, value in rename(own, rules, part).items()}
    if left:
        raise ConfigError(
            f"model: unexpected key '{next(iter(left))}'. The checkpoint is of another model."
        )
    return ours


def load(path: str | Path) -> State:
    """Read an official checkpoint and convert it.

    The state dicts are recognised by their content, whatever the training script calls them, and
    with or without the prefix of a wrapper for several GPUs (``module.``).

    Raises:
        ConfigError: the file cannot be read, or belongs to another model.
    """
    found = unpickle(path, "a dictionary with the state dict of the model")
    candidates = [found, *(found.values() if isinstance(found, Mapping) else ())]
    states: dict[str, State] = {}
    for candidate in filter(is_state, candidates):
        state = {key.removeprefix("module."): value for key, value in candidate.items()}
        for name, first in (("model", "shape_encoder."), ("discriminator", "layer0.")):
            if name not in states and any(key.startswith(first) for key in state):
                states[name] = state
    if "model" not in states:
        raise ConfigError(
            f"{path} has no state dict with a 'shape_encoder'. The checkpoint is of another model."
        )
    return convert(states)
