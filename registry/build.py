"""Build a tree of components from a tree of dicts, children first; every error names its place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from registry.errors import ConfigError, did_you_mean
from registry.roles import ROLES, Role


def build(cfg: Any, path: str = "model", slot: Any = None) -> Any:
    """Build what a config node describes.

    A dict with a ``type`` becomes an object of that registered class: its other entries are built
    first and passed by keyword. Other dicts, lists and tuples are built entry by entry. Everything
    else is returned unchanged.

    Args:
        cfg: a config node: dict, list, number, string ...
        path: where the node is in the config, for error messages.
        slot: what is expected there: the name of a role, a protocol of :mod:`registry.protocols`,
            or the annotation of an argument; None allows anything.

    Raises:
        ConfigError: unknown name, wrong role, unknown or missing argument, failing constructor.
    """
    if isinstance(cfg, Mapping) and "type" in cfg:
        cls = resolve(cfg["type"], path, slot)
        given = {key: value for key, value in cfg.items() if key != "type"}
        check_arguments(cls, given, path, cfg["type"])
        check_numbers(cls, given, path, cfg["type"])
        slots = slots_of(cls)
        built = {
            key: build(value, f"{path}.{key}", slots.get(key, Free)) for key, value in given.items()
        }
        try:
            return cls(**built)
        except Exception as error:
            kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
            text = str(error).removeprefix(f"{cfg['type']}: ")
            kind = kind if text == str(error) else ""  # the message already names the part
            raise ConfigError(f"{path}: {cfg['type']}: {kind}{text}") from error
    if isinstance(cfg, Mapping):
        return {key: build(value, f"{path}.{key}", slot) for key, value in cfg.items()}
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(build(value, f"{path}[{i}]", slot) for i, value in enumerate(cfg))
    return cfg


def build_model(cfg: Mapping[str, Any], *, to_fill: bool = False) -> Any:
    """Build the pipeline of a resolved config with fresh weights.

    Args:
        cfg: resolved config.
        to_fill: weights will be loaded afterwards, so parts that normally start from pretrained
            weights (``fetches_weights``) are built without them.
    """
    return build(unfetched(cfg["model"]) if to_fill else cfg["model"], "model", "pipelines")


def unfetched(node: Any) -> Any:
    """Return a config node whose parts start from random weights, not from fetched ones."""
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [unfetched(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    copy = {key: unfetched(value) for key, value in node.items()}
    if "type" in copy and getattr(resolve(copy["type"], "config"), "fetches_weights", False):
        copy["weights"] = "random"
    return copy


class Free:
    """The slot of an argument that does not take a component."""


def slots_of(cls: Any) -> dict[str, tuple[type, ...]]:
    """Return the protocols that each argument of ``cls`` accepts, read from its annotation.

    ``Encoder | None``, ``Sequence[Transform]`` and ``Mapping[str, Loss]`` are understood.
    """
    found = {key: tuple(_protocols(hint)) for key, hint in hints_of(cls).items()}
    return {key: protocols for key, protocols in found.items() if protocols}


def _protocols(hint: Any) -> list[type]:
    from registry.protocols import role_of

    if role_of(hint):
        return [hint]
    if get_origin(hint) is Literal:
        return []
    return [found for part in get_args(hint) for found in _protocols(part)]


@cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Return the constructor's annotations; empty if some name exists for type checkers only."""
    try:
        return get_type_hints(cls.__init__)
    except NameError:
        return {}


def resolve(name: Any, path: str, slot: Any = None) -> Any:
    """Return the class registered as ``name``; only registered names are ever looked up.

    Args:
        name: ``role/name``.
        path: where it is in a config, for error messages.
        slot: as in :func:`build`.

    Raises:
        ConfigError: not a ``role/name`` string, an unknown name, or not what ``slot`` accepts.
    """
    if slot is Free:
        raise ConfigError(
            f"{path}: this argument does not take a component. To take one, annotate it with a "
            "protocol from registry.protocols, as in 'encoder: Encoder'."
        )
    wanted = _wanted(slot)
    if not isinstance(name, str) or "/" not in name:
        raise ConfigError(
            f"{path}: type {name!r} is not a registered name. Names look like "
            f"'{wanted[0][0] if wanted else 'encoders'}/...'; import paths are not accepted."
        )
    own = name.split("/")[0]
    if own not in ROLES:
        raise ConfigError(f"{path}: unknown role '{own}' in '{name}'.{did_you_mean(own, ROLES)}")
    roles = list(dict.fromkeys(role for role, _ in wanted))
    if roles and own not in roles:
        raise ConfigError(
            f"{path}: must be one of {' or '.join(roles)}, but '{name}' is one of {own}."
        )
    try:
        cls = ROLES[own].get(name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    protocols = [protocol for _, protocol in wanted if protocol is not None]
    faults = [fault(cls, protocol) for protocol in protocols]
    if protocols and all(faults):
        names = " or ".join(protocol.__name__ for protocol in protocols)
        raise ConfigError(f"{path}: '{name}' does not fit {names}: {faults[0]}.")
    return cls


def _wanted(slot: Any) -> list[tuple[str, Any]]:
    """Return the roles that a slot accepts, each with its protocol if it names one."""
    if slot is None:
        return []
    if isinstance(slot, str):
        return [(slot, None)]
    from registry.protocols import role_of

    protocols = slot if isinstance(slot, tuple) else (slot,)
    return [(str(role_of(protocol)), protocol) for protocol in protocols]


def fault(cls: Any, protocol: Any) -> str:
    """Return how ``cls`` departs from ``protocol``; '' if it conforms.

    It must have the protocol's methods, with arguments of the same names in the same order; extra
    arguments need a default.
    """
    from torch import nn

    from registry.protocols import methods_of

    for name, method in methods_of(protocol).items():
        # calling a network calls its forward
        own_name = "forward" if name == "__call__" and issubclass(cls, nn.Module) else name
        own = getattr(cls, own_name, None)
        wanted = list(inspect.signature(method).parameters)[1:]
        shown = f"{own_name}({', '.join(wanted)})"
        if own is None:
            return f"it has no {shown}"
        if name in ("__len__",):
            continue
        parameters = list(inspect.signature(own).parameters.values())[1:]
        given = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
        extra = [p.name for p in parameters[len(wanted) :] if p.default is p.empty and p.kind < 2]
        if given[: len(wanted)] != wanted or extra:
            return f"its {own_name}({', '.join(given)}) must be {shown}"
    return ""


def arguments_of(cls: Any) -> dict[str, inspect.Parameter] | None:
    """Return the keyword arguments of ``cls``; None if it accepts any (``**kwargs``)."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return dict(parameters)


def literals_of(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of ``cls`` annotated as ``Literal``, with the values they accept."""
    found = hints_of(cls).items()
    return {key: get_args(hint) for key, hint in found if get_origin(hint) is Literal}


def check_arguments(cls: Any, given: Mapping[str, Any], path: str, name: str) -> None:
    """Check argument names against the signature of ``cls`` before anything is built.

    Raises:
        ConfigError: an argument is unknown or a required one is missing.
    """
    known = arguments_of(cls)
    if known is None:
        return
    for key in given:
        if key not in known:
            raise ConfigError(f"{path}: {name} has no argument '{key}'.{did_you_mean(key, known)}")
    for key, allowed in literals_of(cls).items():
        if key in given and given[key] not in allowed:
            raise ConfigError(
                f"{path}.{key} of {name} must be one of {', '.join(map(repr, allowed))}, "
                f"not {given[key]!r}."
                f"{did_you_mean(str(given[key]), map(str, allowed))}"
            )
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise ConfigError(f"{path}: {name} needs {', '.join(repr(key) for key in missing)}.")


# arguments that are counts or sizes: at least 1, unless they default to 0
COUNTS = {
    *("num_landmarks", "image_size", "width", "max_width", "in_channels", "out_channels"),
    *("hidden", "first", "depth", "stride", "blocks"),
    *("clips", "frames_per_clip", "length", "seen"),
}


def check_numbers(cls: Any, given: Mapping[str, Any], path: str, name: str) -> None:
    """Check the values of arguments annotated ``int`` or ``float``, with or without ``| None``.

    Raises:
        ConfigError: a value is not a number, not an integer, or too small for a size or a count.
    """
    for key, hint in hints_of(cls).items():
        kinds = {*get_args(hint)} if get_origin(hint) in (Union, UnionType) else {hint}
        value = given.get(key)
        if value is None or isinstance(value, Mapping) or not kinds <= {int, float, NoneType}:
            continue
        counts = key in COUNTS and inspect.signature(cls).parameters[key].default != 0
        wanted = (int, float) if float in kinds else int
        fine = isinstance(value, wanted) and not isinstance(value, bool)
        if not fine or (counts and value < 1):
            what = "a number" if float in kinds else "an integer"
            minimum = " of at least 1" if counts else ""
            raise ConfigError(f"{path}.{key} of {name} must be {what}{minimum}, not {value!r}.")


def _build_registered(cfg: dict[str, Any], *, registry: Role, path: str | None = None) -> Any:
    return build(cfg, path or registry.singular, registry.name)


for _role in ROLES.values():
    _role.build_func = _build_registered
