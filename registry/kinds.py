"""Whether values have the kinds that annotations ask for: sections of a config, and constructors.

This one place knows what a config may hold at a place: the annotation there, and ``LIMITS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from registry.errors import ConfigError, did_you_mean

Part: TypeAlias = Annotated[Mapping[str, Any], "component"]  # in a config: a dict with a type

LARGEST = 2**62  # of any number in a config: beyond it, seeds and indices overflow
DEEPEST = 50  # dicts and lists inside each other
MANY = 2**16
# Smallest and largest value of arguments of these names; counts of components may also be 0 if they
# default to 0. The upper limits are beyond what fits into memory, and keep mistakes from hanging.
LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("num_landmarks", "width", "max_width", "in_channels"), (1, MANY)),
    **dict.fromkeys(("out_channels", "hidden", "first", "stride", "seen", "length"), (1, MANY)),
    **dict.fromkeys(("frames_per_clip", "batch_size"), (1, MANY)),
    **dict.fromkeys(("depth", "blocks"), (1, 99)),
    **dict.fromkeys(("downs", "scales", "group_blocks", "workers"), (0, 999)),
    **dict.fromkeys(("iterations", "clips", "prior_size", "max_items", "fit_items"), (1, 10**9)),
    "betas": (0, 0.999999),
    **dict.fromkeys(("temperature", "variance"), (1e-6, LARGEST)),
    "ema": (0, 1),
    "image_size": (1, 8192),  # larger images fail in OpenCV or run out of memory
}


def hints_of(cls: Any) -> dict[str, Any]:
    """Return the constructor's annotations; empty if some name exists for type checkers only."""
    try:
        return get_type_hints(cls.__init__, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def arguments_of(cls: Any) -> dict[str, Parameter] | None:
    """Return the keyword arguments of ``cls``; None if it accepts any (``**kwargs``)."""
    parameters = signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return dict(parameters)


def check_arguments(cls: Any, given: Mapping[str, Any], path: str, name: str = "") -> None:
    """Check names and values of arguments against the signature of ``cls``; nothing is built.

    Args:
        cls: a component or, without a name, a section of the config.
        given: the arguments.
        path: where they are in the config.
        name: registered name of a component.

    Raises:
        ConfigError: an argument is unknown, a required one is missing, or a value has the wrong
            kind or is out of range.
    """
    known, what = arguments_of(cls), name or f"the section '{path}'"
    for key in given:
        if known is not None and key not in known:
            raise ConfigError(f"{path}: {what} has no argument '{key}'.{did_you_mean(key, known)}")
    for key, hint in hints_of(cls).items():
        if key not in given or (name and isinstance(given[key], Mapping) and "type" in given[key]):
            continue  # a component is checked when it is built
        low, high = LIMITS.get(key, (-LARGEST if name else 0, LARGEST))
        if name and low == 1 and signature(cls).parameters[key].default == 0:
            low = 0
        place = f"{path}.{key}" if path else key
        check(given[key], hint, place, f" of {name}" if name else "", (low, high))
    missing = [k for k, p in (known or {}).items() if p.default is p.empty and k not in given]
    if missing:
        raise ConfigError(f"{path}: {what} needs {', '.join(repr(key) for key in missing)}.")


def check(value: Any, hint: Any, place: str, of: str, limits: tuple[float, float]) -> None:
    """Check a value, and what is inside it, against an annotation.

    Args:
        value: of a config, or a part that is already built.
        hint: the annotation.
        place: where the value is.
        of: what has the argument: `` of encoders/unet``.
        limits: smallest and largest number.

    Raises:
        ConfigError: it has another kind, or is a number out of range.
    """

    def inside(value: Any, hint: Any, key: str) -> None:
        check(value, hint, place + key, of, limits)

    outer, inner = get_origin(hint) or hint, get_args(hint)
    low, high = limits
    if outer in (Union, UnionType):
        faults = []
        for part in inner:
            try:
                return inside(value, part, "")
            except ConfigError as error:
                if _has_form(value, part):
                    faults.append(error)
        if len(faults) == 1:  # of all that it may be, it is nearest to this
            raise faults[0]
    elif not _has_form(value, hint):
        pass
    elif (kind := _section(hint)) is not None:
        return check_arguments(kind, value, place)
    elif outer is Mapping:
        for key, part in value.items():
            inside(part, inner[1], f".{key}")
        return None
    elif outer is tuple and inner[-1:] != (...,):
        if len(value) == len(inner):
            for i, part in enumerate(value):
                inside(part, inner[i], f"[{i}]")
            return None
    elif outer in (Sequence, tuple, list):
        for i, part in enumerate(value):
            inside(part, inner[0] if inner else Any, f"[{i}]")
        return None
    elif outer not in (int, float) or low <= value <= high:
        return None
    else:
        limit = f"at least {low}" if value < low else f"at most {high}"
        end = f" of {limit}, not {_shown(value)}."
        raise ConfigError(f"{place}{of} must be {_words(hint)}{end}")
    least = f" of at least {low}" if low in (0, 1) else ""
    numbers = (_words(part) + least * (part is int) for part in _alternatives(hint))
    wanted = " or ".join(dict.fromkeys(numbers))
    values = [str(v) for part in _alternatives(hint) for v in _literals(part)]
    meant = did_you_mean(value, values) if isinstance(value, str) and values else ""
    meant = meant if "Did you mean" in meant else ""  # the others have been listed
    raise ConfigError(f"{place}{of} must be {wanted}, not {_shown(value)}.{meant}")


def _has_form(value: Any, hint: Any) -> bool:
    """Return whether a value has the kind of an annotation, whatever is inside it."""
    from registry.protocols import role_of

    outer = get_origin(hint) or hint
    if outer is Mapping or _section(hint):
        return isinstance(value, Mapping)
    if outer is Annotated or role_of(outer):
        return "type" in value if isinstance(value, Mapping) else not _is_plain(value)
    if outer is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if outer in (Sequence, tuple, list):
        return isinstance(value, (list, tuple))
    if outer in (int, float):
        kinds = (int, float) if outer is float else int
        return isinstance(value, kinds) and not isinstance(value, bool) and value == value
    if outer in (bool, str, NoneType):
        return isinstance(value, outer)
    return True  # another annotation of a plugin: its constructor decides


def _section(hint: Any) -> Any:
    """Return the dataclass that describes a section, also ``Annotated[..., dataclass]``."""
    kind = hint.__metadata__[0] if get_origin(hint) is Annotated else hint
    return kind if is_dataclass(kind) else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple))


def _alternatives(hint: Any) -> list[Any]:
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _literals(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _words(hint: Any) -> str:
    """Return a kind in words: what a value must be."""
    from registry.protocols import role_of

    outer, inner = get_origin(hint) or hint, get_args(hint)
    if outer is Mapping or _section(hint):
        return "a dict"
    if outer is Annotated or role_of(outer):
        role = role_of(outer)
        example = f" such as '{role}/...'" if role else ""
        return f"a component, a dict with a 'type'{example}"
    if outer is Literal:
        return f"{'one of ' if len(inner) > 1 else ''}{', '.join(map(repr, inner))}"
    if outer is tuple and inner[-1:] != (...,):
        return f"a list of {len(inner)}"
    plain = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
    return {**plain, NoneType: "none"}.get(outer, "a list")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # integers of thousands of digits
        return f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_tree(node: Any, place: str = "", depth: int = 0) -> None:
    """Check that a config holds only what JSON can: finite numbers, strings, lists, dicts, none.

    Raises:
        ConfigError: something else is in it, or it is too deep.
    """
    if depth > DEEPEST:
        raise ConfigError(f"{place[:60]}...: more than {DEEPEST} dicts and lists in each other.")
    if isinstance(node, Mapping):
        for key, value in node.items():
            if not isinstance(key, str):
                what = place or "the config"
                raise ConfigError(f"{what}: the key {_shown(key)} must be a string.")
            check_tree(value, f"{place}.{key}" if place else key, depth + 1)
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            check_tree(value, f"{place}[{i}]", depth + 1)
    elif isinstance(node, (int, float)) and not -LARGEST <= node <= LARGEST:  # NaN too
        raise ConfigError(f"{place} must be a number from -2**62 to 2**62, not {_shown(node)}.")
    elif isinstance(node, str):
        try:
            node.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{place}: {_shown(node)} is not valid Unicode.") from None
    elif not _is_plain(node):
        raise ConfigError(f"{place} must not be a {type(node).__name__}: JSON cannot hold it.")
