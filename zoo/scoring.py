"""Scores of any model that the zoo can load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.config import load_config
from registry.errors import ConfigError
from registry.evaluation import evaluate
from zoo.model import architecture_of, open_model


def score(
    ref: str, config: str | None, *, data: str | None, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of an evaluation; see :func:`registry.evaluation.evaluate`."""
    from registry.job import load_pipeline

    if config is None:
        raise ConfigError("give a config")
    cfg = load_config(config, options)
    if Path(ref).suffix == ".pth":
        return evaluate(load_pipeline(cfg, ref), cfg, selection=Path(ref).stem)
    pipeline = open_model(ref)
    own = pipeline.package.config["architecture"] if pipeline.package else None
    if own != json.loads(json.dumps(architecture_of(cfg))):
        raise ConfigError(
            f"{ref} is not the model of this config, which the untrained baseline is made from."
        )
    return evaluate(pipeline, cfg, selection=ref)
