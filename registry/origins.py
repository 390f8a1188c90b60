"""Which options of a run also hold for its origins, the configs whose weights it starts from.

``train.init`` names the origins: part of the model -> config, or ``config:part`` where the part has
another name there (``pipeline`` is the whole model). They are trained first, so an option must not
reach only one of the two runs. It applies to both where both have its place:

- a plain number (``image_size``) that both files assign;
- ``model.PART.x``, where PART starts from the origin: the same place of the part there, so
  ``model.image_pipeline.decoder.width`` of a forecast is ``model.decoder.width`` of its origin. If
  the origin refuses it, the option is refused;
- any other ``model.x`` and ``data.prior.x`` that lies in a component that both have at the same
  place and of the same type, as the rasterizer of a skeleton regressor; ``data.prior_size``, where
  the prior is such a component;
- the ``root`` of ``data.train``, or of the frames that it cuts clips from, if both have the same;
- ``train.seed``.

All else (iterations, batch size, losses, training and test data, parts that only one of them has)
belongs to the run at hand. What an option changed in a shared place is the same in both or refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from registry.errors import ConfigError

ROOTS = ("data.train.root", "data.train.frame_dataset.root")


def names(cfg: Mapping[str, Any]) -> list[str]:
    """Return the names of the configs that a config starts from, each once."""
    return list(dict.fromkeys(origin.partition(":")[0] for origin in _init(cfg).values()))


def shared_options(
    options: Mapping[str, Any], cfg: Mapping[str, Any], name: str, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that hold for an origin, under its own keys.

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
        origin_before, origin: its config without and with the options that hold for it.

    Raises:
        ConfigError: it is not.
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
                    f"{place} is {theirs!r}. Both must have the same."
                )


def _init(cfg: Mapping[str, Any]) -> Mapping[str, str]:
    return cfg["train"].get("init", {})  # type: ignore[no-any-return]


def _places(key: str, cfg: Mapping[str, Any], name: str, origin: Mapping[str, Any]) -> list[str]:
    """Return where a dotted place of a run is in its origin; nowhere if they do not share it."""
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
    """Return place and type of the innermost component that holds a dotted place, or is it."""
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
