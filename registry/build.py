"""Build a tree of components from a tree of dicts, children first; every error names its place."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from registry.errors import ConfigError, did_you_mean, one_line
from registry.kinds import check_arguments, hints_of
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
        slots = slots_of(cls)
        built = {
            key: build(value, f"{path}.{key}", slots.get(key, Free)) for key, value in given.items()
        }
        try:
            return cls(**built)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's constructor may even call exit()
            said = one_line(error)
            kind, named, text = said.partition(f"{cfg['type']}: ")
            # the message may already name the part
            text = text if named and kind in ("", f"{type(error).__name__}: ") else said
            raise ConfigError(f"{path}: {cfg['type']}: {text}") from error
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

    Raises:
        ConfigError: as of :func:`build`; or its weights would take more than half the memory.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Refuses what does not fit before it is allocated: the system would kill the process."""

        left = _memory() // 8  # numbers of 4 bytes

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if args and isinstance(args[0], (list, tuple)):
                sizes = [side for side in args[0] if isinstance(side, int)]
                self.left -= math.prod(sizes) if len(sizes) == len(args[0]) else 0
            if self.left < 0:
                raise ConfigError("its weights take more than half the memory. Make it smaller")
            return func(*args, **(kwargs or {}))

    with Bounded():  # type: ignore[no-untyped-call]
        return build(unfetched(cfg["model"]) if to_fill else cfg["model"], "model", "pipelines")


def _memory() -> int:
    """Return the bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 2**36


def unfetched(node: Any, path: str = "model") -> Any:
    """Return a config node whose parts start from random weights, not from fetched ones."""
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [unfetched(value, f"{path}[{i}]") for i, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    copy = {key: unfetched(value, f"{path}.{key}") for key, value in node.items()}
    if "type" in copy and getattr(resolve(copy["type"], path), "fetches_weights", False):
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
    from registry.protocols import PROTOCOLS, role_of

    if isinstance(slot, str):
        return [(slot, protocol) for protocol in PROTOCOLS[slot]]
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


def _build_registered(cfg: dict[str, Any], *, registry: Role, path: str | None = None) -> Any:
    return build(cfg, path or registry.singular, registry.name)


for _role in ROLES.values():
    _role.build_func = _build_registered
