"""Official checkpoints of the first order motion model -> weights of pipelines/motion_transfer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from registry.errors import ConfigError
from zoo.convert.official import Rules, State, read, rename_all

NETWORKS = ("kp_detector", "generator")  # and "discriminator", in most files


def _critic(scale: str) -> str:
    """Return our name of a scale's critic; scales are 1, 0-5, 0-25 ... (names cannot have dots)."""
    scales = [str(0.5**i).replace(".", "-") for i in range(1, 8)]
    if scale not in ("1", *scales):
        raise ConfigError(
            f"discriminator: scale {scale.replace('-', '.')} must be one of 1, 0.5, 0.25 and so on."
        )
    return "image_critic" if scale == "1" else f"image_critic.further.{scales.index(scale)}"


RULES: dict[str, Rules] = {
    "kp_detector": {
        r"predictor\.encoder\.down_blocks\.": "encoder.hourglass.downs.",
        r"predictor\.decoder\.up_blocks\.": "encoder.hourglass.ups.",
        r"(kp|jacobian)\.": r"\1.",
        r"down\.": None,  # the Gaussian of the reduction
    },
    "generator": {
        r"dense_motion_network\.hourglass\.encoder\.down_blocks\.": "motion.hourglass.downs.",
        r"dense_motion_network\.hourglass\.decoder\.up_blocks\.": "motion.hourglass.ups.",
        r"dense_motion_network\.(mask|occlusion)\.": r"motion.\1.",
        r"dense_motion_network\.down\.": None,
        r"first\.conv\.": "decoder.first.",
        r"first\.norm\.": "decoder.norm.",
        r"down_blocks\.": "decoder.downs.",
        r"bottleneck\.r(\d+)\.": r"decoder.blocks.\1.",
        r"up_blocks\.": "decoder.ups.",
        r"final\.": "decoder.last.",
    },
    "discriminator": {
        r"discs\.([\d-]+)\.down_blocks\.(\d+)\.(conv|norm)\.": lambda key: (
            f"{_critic(key[1])}.{key[3]}s.{key[2]}."
        ),
        r"discs\.([\d-]+)\.conv\.": lambda key: f"{_critic(key[1])}.last.",
    },
}


def convert(states: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Rename all; merges the heads for logits and matrices. See :func:`official.rename_all`."""
    ours = rename_all(states, RULES, NETWORKS)
    for kind in ("weight", "bias"):
        heads = [ours.pop(key) for key in (f"kp.{kind}", f"jacobian.{kind}") if key in ours]
        if heads:
            ours[f"encoder.head.{kind}"] = torch.cat(heads)
    return ours


def load(path: str | Path) -> State:
    """Read an official ``.pth.tar`` and convert it; raises like :func:`official.read`."""
    return convert(read(path, NETWORKS))
