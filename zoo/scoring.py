"""Scoring any model, on its own data or on those of a config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.config import load_config
from registry.errors import ConfigError
from registry.evaluation import evaluate
from zoo import index
from zoo.model import architecture_of, best_device, load, open_run
from zoo.package import Package
from zoo.refs import parse

Config = str | Path | Mapping[str, Any]


def score(
    ref: str | Path,
    config: str | Path | None = None,
    *,
    data: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """Evaluate a model beside its baselines.

    Args:
        ref: any reference that :func:`zoo.load` accepts.
        config: whose data and metrics to use; None for the model's own: the config of the run, or
            the one that the package was trained with.
        data: another config, whose data are used instead; see ``registry.load_config``.
        options: dotted key -> value, applied to the config.
        device: where the model runs; None for a GPU if available.

    Returns:
        The rows of a metrics.json, see :func:`registry.evaluation.evaluate`. Their ``selection``
        is ``last`` or ``best`` for a run, otherwise the reference.

    Raises:
        ConfigError: the config is of another model, or its data are missing.
        ZooError: the model does not exist.
    """
    model = load(ref, device=device or best_device())
    reference = parse(ref)
    run = open_run(reference.value) if reference.kind == "run" else None
    source: Config
    given = dict(options or {})
    if config is not None:
        source = config
    elif run is not None:
        source = run.config
    else:
        source, own = _own(model, ref, bool(data), given)
        given = {**own, **given}
    cfg = load_config(source, given, data=data)
    mine = run.config if run is not None else _model_section(model.package)
    _check_same(architecture_of(mine), architecture_of(cfg), ref, config)
    selection = run.checkpoint.stem if run is not None else str(ref)
    return evaluate(model, cfg, selection=selection)


def _own(
    model: Any, ref: str | Path, has_data: bool, given: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """Return the shipped config that a package was trained with, and what to override in it."""
    entry, training = model.entry, model.package.config["training"]
    names = {e.config.name: e.config for e in index.entries().values() if e.config is not None}
    found = entry.config or names.get(str(training.get("config")))
    if found is None:
        raise ConfigError(
            f"{ref} does not name a shipped config. Give the config that it was trained with: "
            f"keypoint-zoo evaluate CONFIG --checkpoint {ref}"
        )
    options = dict(training.get("overrides") or entry.options)
    hidden = [key for key, value in options.items() if '"PATH"' in json.dumps(value)]
    needed = [key for key in hidden if key.startswith(("data.test", "data.fit"))]
    if needed and not has_data and needed[0] not in given:
        raise ConfigError(
            f"{ref} was measured on files whose path is not published. Give it with --cfg-options "
            f"{needed[0]}=PATH, or give another config with --data."
        )
    return found, {key: value for key, value in options.items() if key not in hidden}


def _model_section(package: Package) -> dict[str, Any]:
    """Return the architecture of a package as the ``model`` section of a config.

    The stored architecture itself lacks arguments that were added to the library later.
    """
    architecture = package.config["architecture"]
    return {"model": {"type": architecture["type"], **architecture["args"]}}


def _check_same(
    own: Mapping[str, Any], other: Mapping[str, Any], ref: str | Path, config: str | Path | None
) -> None:
    """Check that a config is of this model: otherwise its untrained network is not a baseline.

    Raises:
        ConfigError: they differ; the text names the first difference.
    """
    mine, theirs = (dict(_leaves(json.loads(json.dumps(node)))) for node in (own, other))
    for key in dict.fromkeys((*mine, *theirs)):
        here, there = mine.get(key, "nothing"), theirs.get(key, "nothing")
        if here != there:
            what = config or "its own config, with these options"
            advice = (
                "Leave the config out to use the model's own, or change" if config else "Change"
            )
            raise ConfigError(
                f"{ref} is not the model of {what}: {key.replace('args', 'model', 1)} is {here!r} "
                f"in the model and {there!r} in the config. {advice} that place with --cfg-options."
            )


def _leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{place}.{key}".lstrip("."))
    else:
        yield place, node
