"""Checkpoints of a training run: plain types, written atomically, read without running any code."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from registry.atomic import replacing
from registry.errors import ConfigError


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write ``state`` atomically: ``path`` holds either the old or the whole new checkpoint."""
    with replacing(path, sync=True) as temporary, temporary.open("wb") as file:
        torch.save(dict(state), file)


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save` onto the CPU.

    Raises:
        ConfigError: the file does not exist or is not a checkpoint of this library.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"there is no checkpoint '{path}'. Train first: keypoint-zoo train CONFIG --work-dir "
            f"{path.parent}"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path} cannot be read safely, so it is not loaded: {reason}") from error
    if not isinstance(state, dict) or "model" not in state:
        raise ConfigError(f"{path} is not a checkpoint of keypoint-zoo: it has no 'model'.")
    return state


def weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline's state dict, with averaged weights if the run kept them."""
    if state.get("ema"):
        return dict(state["ema"])
    prefix = "pipeline."
    return {k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)}


def load_part(module: nn.Module, state: Mapping[str, Any], part: str, where: str) -> None:
    """Load the weights of one part of a trained pipeline, strictly.

    Args:
        module: the part to load into.
        state: a loaded checkpoint.
        part: its name in that checkpoint's pipeline; ``pipeline`` for all of it.
        where: what errors call it.

    Raises:
        ConfigError: names or shapes differ.
    """
    prefix = "" if part == "pipeline" else f"{part}."
    own = {k.removeprefix(prefix): v for k, v in weights(state).items() if k.startswith(prefix)}
    wanted = module.state_dict()
    problems = [f"missing {k}" for k in wanted if k not in own]
    problems += [f"unexpected {k}" for k in own if k not in wanted]
    problems += [
        f"{k} is {tuple(own[k].shape)}, needs {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in own and own[k].shape != v.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigError(
            f"{where}: the weights do not fit the model: {'; '.join(problems[:3])}{more}."
        )
    module.load_state_dict(own)


def random_state() -> dict[str, Any]:
    """Return the state of every random generator that training may use, as plain types."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": list(random.getstate()),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
