"""Third-party components, found by entry point and imported when one of their names is built.

A distribution lists its components in its ``pyproject.toml``, name = class::

    [project.entry-points."keypoint_zoo.components"]
    "encoders/acme/convnext" = "acme_keypoints.convnext:ConvNext"

and decorates the class with ``@ENCODERS.register_module("encoders/acme/convnext")``. Code that is
not installed is named in a config instead: ``plugins = ["my_module"]``.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from registry.errors import ConfigError

GROUP = "keypoint_zoo.components"


@cache
def _components() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    try:
        entries = list(entry_points(group=GROUP))
    except Exception as error:  # broken metadata of a distribution; our own names still work
        warnings.warn(f"plugins cannot be listed: {type(error).__name__}: {error}", stacklevel=2)
        return found
    for entry in entries:
        same = found.setdefault(entry.name, [])
        # one distribution seen twice on sys.path is one plugin
        if all(distribution(entry) != distribution(other) for other in same):
            same.append(entry)
    return found


def distribution(entry: EntryPoint) -> str:
    """Return ``name version`` of the distribution an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def plugin_of(name: str) -> tuple[str, str] | None:
    """Return distribution and version of the plugin that provides ``name``, if any."""
    found = _components().get(name, [])
    if not found or found[0].dist is None:
        return None
    return found[0].dist.name, found[0].dist.version


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
    try:
        entries[0].load()
    except Exception as error:
        raise ConfigError(
            f"'{name}' comes from the plugin {distribution(entries[0])}, which cannot be imported "
            f"({entries[0].value}): {type(error).__name__}: {error}. Fix or uninstall that "
            "plugin; all other names work."
        ) from error


def import_local(modules: list[str]) -> None:
    """Import the modules that a config names in ``plugins``.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    if isinstance(modules, str) or not all(isinstance(module, str) for module in modules):
        raise ConfigError(f"plugins must be a list of module names, got {modules!r}.")
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise ConfigError(
                f"plugins: cannot import '{module}': {type(error).__name__}: {error}. Run from "
                "the folder that contains it, or add that folder to PYTHONPATH."
            ) from error
