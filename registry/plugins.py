"""Third-party components, found by entry point and imported when one of their names is built.

A distribution lists its components in its ``pyproject.toml``, name = class::

    [project.entry-points."keypoint_zoo.components"]
    "encoders/acme/convnext" = "acme_keypoints.convnext:ConvNext"

and decorates the class with ``@ENCODERS.register_module("encoders/acme/convnext")``. Code that is
not installed is named in a config instead: ``plugins = ["my_module"]``.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from registry.errors import ConfigError, one_line

GROUP = "keypoint_zoo.components"


@cache
def _components() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    try:
        entries = list(entry_points(group=GROUP))
    except Exception as error:  # broken metadata of a distribution; our own names still work
        warnings.warn(f"plugins cannot be listed: {one_line(error)}", stacklevel=2)
        return found
    for entry in entries:
        same = found.setdefault(entry.name, [])
        # one distribution seen twice on sys.path is one plugin
        if all(distribution(entry) != distribution(other) for other in same):
            same.append(entry)
    return found


def distribution(entry: EntryPoint) -> str:
    """Return ``name version`` of the distribution an entry point belongs to."""
    return " ".join(_origin(entry) or ("an unknown distribution",))


def _origin(entry: EntryPoint) -> tuple[str, str] | None:
    try:
        return (
            (entry.dist.name, str(entry.dist.version)) if entry.dist and entry.dist.name else None
        )
    except Exception:  # its metadata cannot be read
        return None


def target(entry: EntryPoint) -> tuple[str, str]:
    """Return the module and the attribute that an entry point names.

    Raises:
        ConfigError: it does not name any.
    """
    found = EntryPoint.pattern.match(entry.value)
    if found is None:
        raise ConfigError(f"its entry point '{entry.value}' must have the form 'module:Class'.")
    return found["module"], found["attr"] or ""


def plugin_of(name: str) -> tuple[str, str] | None:
    """Return distribution and version of the plugin that provides ``name``, if any."""
    found = _components().get(name, [])
    return _origin(found[0]) if found else None


def provided(name: str) -> list[EntryPoint]:
    """Return the entry points that provide ``name``, without importing; several are an error."""
    return _components().get(name, [])


def ignored(roles: Iterable[str]) -> list[str]:
    """Return a line for every plugin name that does not belong to a role."""
    return [
        f"'{name}' of the plugin {distribution(found[0])} is ignored: plugin names must be "
        "<role>/<prefix>/<name>, such as 'encoders/acme/convnext'."
        for name, found in _components().items()
        if name.count("/") < 2 or name.split("/")[0] not in roles
    ]


def component_names(role: str) -> list[str]:
    """Return the plugin names of one role without importing any plugin.

    Names without a plugin's prefix (``encoders/convnext``) are reserved for this library and are
    not listed.
    """
    return [name for name in _components() if name.split("/")[0] == role and name.count("/") >= 2]


def load_component(name: str) -> None:
    """Import the plugin that provides ``name``, which registers it.

    Raises:
        ConfigError: its import fails, or two distributions provide the name.
    """
    entries = _components()[name]
    if len(entries) > 1:
        owners = " and ".join(sorted(distribution(entry) for entry in entries))
        raise ConfigError(f"'{name}' is provided by {owners}. Uninstall one of them.")
    entry = entries[0]
    source = f"'{name}' comes from the plugin {distribution(entry)}, which cannot be imported"
    with foreign(
        f"{source} ({entry.value})", "Fix or uninstall that plugin; all other names work."
    ):
        target(entry)
        entry.load()


def file_of(module: str) -> Path | None:
    """Return the file of a module, without importing it or its parents; None if not found."""
    first, *further = module.split(".")
    spec = find_spec(first)
    for part in further:
        if spec is None or spec.submodule_search_locations is None:
            return None
        first = f"{first}.{part}"
        spec = PathFinder.find_spec(first, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec is not None and spec.origin else None


def import_local(modules: Sequence[str], saved: Iterable[Path] = ()) -> None:
    """Import the modules that a config names in ``plugins``.

    Args:
        modules: their names.
        saved: folders of saved configs. A folder of a run may come from anywhere, so no code in it
            is imported.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    if isinstance(modules, str) or not all(isinstance(module, str) for module in modules):
        raise ConfigError(f"plugins must be a list of module names, not {modules!r}.")
    for module in modules:
        if module in sys.modules:
            continue
        what = f"plugins: cannot import '{module}'"
        advice = "Run from the folder that contains it, or add that folder to PYTHONPATH."
        words = module.split(".")
        with foreign(what, advice):
            found = [file_of(".".join(words[:end])) for end in range(1, len(words) + 1)]
        for file in filter(None, found):
            if any(
                folder.resolve() in (*file.parents, *file.resolve().parents) for folder in saved
            ):
                raise ConfigError(
                    f"{what}: {file} lies in the folder of a saved config, from which no code is "
                    "imported. If you trust it, move it out of that folder."
                )
        with foreign(what, advice):
            importlib.import_module(module)


@contextmanager
def foreign(what: str, advice: str = "") -> Iterator[None]:
    """Run code of others; what it prints goes to stderr, and warning filters stay as they were.

    Args:
        what: beginning of the message if it fails.
        advice: end of the message.

    Raises:
        ConfigError: it raised anything but a KeyboardInterrupt, which includes ``exit()``.
    """
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        end = f". {advice}" if advice else ""
        raise ConfigError(f"{what}: {one_line(error)}{end}") from error
