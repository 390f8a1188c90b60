"""Official checkpoints of the first order motion model -> weights of pipelines/motion_transfer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from zoo.convert.official import Rules, State, read, rename_all

NETWORKS = ("kp_detector", "generator")  # and "discriminator", in most files

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
        r"discs\.1\.down_blocks\.(\d+)\.conv\.": r"image_critic.convs.\1.",
        r"discs\.1\.down_blocks\.(\d+)\.norm\.": r"image_critic.norms.\1.",
        r"discs\.1\.conv\.": "image_critic.last.",
    },
}


def convert(states: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Rename all; the heads for logits and matrices become one. See :func:`official.rename_all`."""
    ours = rename_all(states, RULES, NETWORKS)
    for kind in ("weight", "bias"):
        heads = [ours.pop(key) for key in (f"kp.{kind}", f"jacobian.{kind}") if key in ours]
        if heads:
            ours[f"encoder.head.{kind}"] = torch.cat(heads)
    return ours


def load(path: str | Path) -> State:
    """Read an official ``.pth.tar`` and convert it; raises as :func:`official.read`."""
    return convert(read(path, NETWORKS))
