"""Which options of a run also apply to its origins, the configs whose weights it starts from.

``train.init`` names the origins: part of the model -> config, or ``config:part`` if the part has
another name there (``pipeline`` is the whole model). They are trained first, so an option for what
both runs share must reach both. These options apply to both:

- a plain number (``image_size``) that both files assign;
- ``model.PART.x``, if PART starts from the origin: it changes the same part there, so
  ``model.image_pipeline.decoder.width`` of a forecast is ``model.decoder.width`` of its origin. If
  the origin refuses the option, it is refused;
- any other ``model.x`` and ``data.prior.x`` in a component that both have at the same place and of
  the same type, such as the rasterizer of a skeleton regressor; ``data.prior_size``, if the prior
  is such a component;
- the ``root`` of ``data.train``, or of the frames from which it cuts clips, if both have the same;
- ``train.seed``.

All other options (iterations, batch size, losses, training and test data, parts that only one of
them has) apply to this run only. An option that leaves a shared place different is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from registry.errors import ConfigError

ROOTS = ("data.train.root", "data.train.frame_dataset.root")


def names(cfg: Mapping[str, Any]) -> list[str]:
    """Return the names of the configs that a config starts from, without duplicates.

    Raises:
        ConfigError: one is not a plain name, so its folder would not be beside that of the run.
    """
    found = list(dict.fromkeys(origin.partition(":")[0] for origin in _init(cfg).values()))
    for name in found:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(f"train.init: {name!r} is not the name of a config.")
    return found


def shared_options(
    options: Mapping[str, Any], cfg: Mapping[str, Any], name: str, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that apply to an origin, under its own keys.

    Args:
        options: of the run that starts from it; dotted or plain key -> value.
        cfg: config of that run, without the options.
        name: of the origin in ``train.init``.
        origin: its config, without the options.
    """
    found: dict[str, Any] = {}
    for key, value in options.items():
        if "." not in key:
            places = [key] if key in origin and not isinstance(origin[key], Mapping) else []
        else:
            places = [key] if key == "train.seed" else _places(key, cfg, name, origin)
        found |= dict.fromkeys(places, value)
    return found


def require_agreement(
    before: Mapping[str, Any],
    cfg: Mapping[str, Any],
    name: str,
    origin_before: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> None:
    """Check that what the options changed in a shared place is the same in the origin.

    Args:
        before, cfg: config of the run without and with the options.
        name: of the origin in ``train.init``.
        origin_before, origin: its config without and with the options that apply to it.

    Raises:
        ConfigError: they differ.
    """
    nodes = (before, cfg, origin_before, origin)
    old, new, first_old, first = (dict(_leaves(node)) for node in nodes)
    for key in {**old, **new}:
        for place in _places(key, before, name, origin_before):
            ours, theirs = new.get(key), first.get(place)
            changed = ours != old.get(key) or theirs != first_old.get(place)
            if changed and ours != theirs:
                raise ConfigError(
                    f"--cfg-options: {key} is {ours!r}, but in {name}, which train.init names, "
                    f"{place} is {theirs!r}. Give both the same value."
                )


def _init(cfg: Mapping[str, Any]) -> Mapping[str, str]:
    found = cfg.get("train", {}).get("init")  # perhaps not yet checked
    pairs = found.items() if isinstance(found, Mapping) else ()
    return {part: origin for part, origin in pairs if isinstance(origin, str)}


def _places(key: str, cfg: Mapping[str, Any], name: str, origin: Mapping[str, Any]) -> list[str]:
    """Return where a dotted place of a run is in its origin; empty if they do not share it."""
    found = []
    for part, value in _init(cfg).items():
        config, _, source = value.partition(":")
        ours, theirs = (
            "model" if word == "pipeline" else f"model.{word}" for word in (part, source or part)
        )
        if config == name and f"{key}.".startswith(f"{ours}."):
            found.append(theirs + key.removeprefix(ours))
    if found:
        return found
    if key in ROOTS:
        return [place for place in ROOTS if _value(origin, place) == _value(cfg, key) is not None]
    inside = "data.prior" if key == "data.prior_size" else key
    if not f"{inside}.".startswith(("model.", "data.prior.")):
        return []
    holder = _component(cfg, inside)
    return [key] if holder is not None and holder == _component(origin, inside) else []


def _value(cfg: Mapping[str, Any], key: str) -> Any:
    return dict(_leaves(cfg)).get(key)


def _component(cfg: Mapping[str, Any], key: str) -> tuple[str, str] | None:
    """Return place and type of the innermost component at or around a dotted place."""
    node: Any = cfg
    found, place = None, ""
    for word in key.split("."):
        if isinstance(node, list) and word.isdigit() and int(word) < len(node):
            node = node[int(word)]
        elif isinstance(node, Mapping) and word in node:
            node = node[word]
        else:
            break
        place += f".{word}"
        if isinstance(node, Mapping) and "type" in node:
            found = (place, str(node["type"]))
    return found


def _leaves(node: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value
