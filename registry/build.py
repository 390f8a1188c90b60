"""Build a tree of components from a tree of dicts: children first, every error with its place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from registry.errors import ConfigError, did_you_mean
from registry.roles import ROLES, slot_role


def build(cfg: Any, path: str = "model", role: str | None = None) -> Any:
    """Build what a config node describes.

    A dict with a ``type`` becomes an object of that registered class, its other entries built first
    and passed by keyword; other dicts, lists and tuples are built entry by entry; everything else
    is returned as it is.

    Args:
        cfg: a config node: dict, list, number, string ...
        path: where the node stands in the config, for error messages.
        role: the role that the node must have; None allows any.

    Raises:
        ConfigError: unknown name, wrong role, unknown or missing argument, failing constructor.
    """
    if isinstance(cfg, Mapping) and "type" in cfg:
        cls = resolve(cfg["type"], path, role)
        given = {key: value for key, value in cfg.items() if key != "type"}
        check_arguments(cls, given, path, cfg["type"])
        built = {key: build(value, f"{path}.{key}", slot_role(key)) for key, value in given.items()}
        try:
            return cls(**built)
        except Exception as error:
            kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
            raise ConfigError(f"{path}: {cfg['type']}: {kind}{error}") from error
    if isinstance(cfg, Mapping):
        return {key: build(value, f"{path}.{key}", role) for key, value in cfg.items()}
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(build(value, f"{path}[{i}]", role) for i, value in enumerate(cfg))
    return cfg


def resolve(name: Any, path: str, role: str | None = None) -> Any:
    """Return the class registered as ``name``; only registered names are ever looked up.

    Raises:
        ConfigError: not a ``role/name`` string, an unknown role or name, or not of ``role``.
    """
    if not isinstance(name, str) or "/" not in name:
        raise ConfigError(
            f"{path}: type {name!r} is not a registered name. Names look like "
            f"'{role or 'encoders'}/...'; import paths are never called."
        )
    own = name.split("/")[0]
    if own not in ROLES:
        raise ConfigError(f"{path}: unknown role '{own}' in '{name}'.{did_you_mean(own, ROLES)}")
    if role and own != role:
        raise ConfigError(f"{path}: needs one of {role}, but '{name}' is one of {own}.")
    try:
        return ROLES[own].get(name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def arguments_of(cls: Any) -> dict[str, inspect.Parameter] | None:
    """Return the keyword arguments that ``cls`` takes; None if it takes any (``**kwargs``)."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return dict(parameters)


def literals_of(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of ``cls`` that are annotated ``Literal``, with the values they take."""
    try:
        hints = get_type_hints(cls.__init__)
    except NameError:  # a name only type checkers import
        return {}
    return {key: get_args(hint) for key, hint in hints.items() if get_origin(hint) is Literal}


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
            raise ConfigError(
                f"{path}: {name} takes no argument '{key}'.{did_you_mean(key, known)}"
            )
    for key, allowed in literals_of(cls).items():
        if key in given and given[key] not in allowed:
            raise ConfigError(
                f"{path}.{key}: {name} takes {', '.join(map(repr, allowed))}, not {given[key]!r}."
                f"{did_you_mean(str(given[key]), map(str, allowed))}"
            )
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise ConfigError(f"{path}: {name} needs {', '.join(repr(key) for key in missing)}.")
