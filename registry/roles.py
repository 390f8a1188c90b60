"""One table of names per role; a name is the path of the file that defines it.

``type="encoders/hourglass"`` is ``components/encoders/hourglass.py``. Looking up a name imports
that file; names with a third part (``encoders/acme/convnext``) come from plugins. The tables are
flat mmengine registries: no parents, no scope switching, no dotted import paths.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from typing import Any

from mmengine.registry import Registry

from registry import plugins
from registry.errors import ConfigError, did_you_mean


class Role(Registry):  # type: ignore[misc]
    """The table of one role, filled lazily from ``components/<role>/`` and from plugins.

    Args:
        folder: role name; also the folder below ``components`` and the first part of every name.
    """

    def __init__(self, folder: str) -> None:
        # a fixed scope keeps mmengine's scope machinery out of every look-up; registry/build.py
        # sets the builder
        super().__init__(folder, build_func=_unbuilt, scope="mmengine")

    def names(self) -> list[str]:
        """Return all known names, sorted, without importing any component."""
        plugged = plugins.component_names(self.name)
        return sorted({*self.built_in(), *plugged, *self.module_dict})

    def built_in(self) -> list[str]:
        """Return the names of this library."""
        package = importlib.util.find_spec(f"components.{self.name}")
        files = pkgutil.iter_modules(package.submodule_search_locations) if package else ()
        return [f"{self.name}/{file.name}" for file in files if file.name[0] != "_"]

    def get(self, key: str) -> Any:
        """Return the class registered under ``key``.

        Raises:
            ConfigError: the name is unknown, its file registers another, or its plugin is broken.
        """
        if key not in self.module_dict:
            if key not in self.names():
                other = [role.name for role in ROLES.values() if key in role.names()]
                if other:
                    raise ConfigError(f"'{key}' is one of {other[0]}, not of {self.name}.")
                raise ConfigError(
                    f"there is no {self.singular} '{key}'.{did_you_mean(key, self.names())}"
                )
            if key.count("/") == 1:
                importlib.import_module(f"components.{key.replace('/', '.')}")
            else:
                try:
                    plugins.load_component(key)
                except ConfigError:
                    self.module_dict.pop(key, None)  # it came so far before it failed
                    raise
        if key not in self.module_dict:
            owners = [plugins.distribution(entry) for entry in plugins.provided(key)]
            whose = f" of the plugin {owners[0]}" if owners else ""
            raise ConfigError(
                f"the file of '{key}'{whose} does not register that name. Put it into the "
                "decorator."
            )
        if not isinstance(self.module_dict[key], type):
            raise ConfigError(
                f"'{key}' is registered, but {self.module_dict[key]!r} is not a class."
            )
        return self.module_dict[key]

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        """Register a class, and give it the optional attributes of its role that it lacks.

        Raises:
            ConfigError: it is not a class, or takes the name of one of our components.
        """
        from registry.protocols import defaults_of

        if not isinstance(module, type):
            what = getattr(module, "__qualname__", repr(module))
            raise ConfigError(f"'{what}' cannot be registered: it is not a class.")
        for name in [module_name] if isinstance(module_name, str) else module_name or ():
            own = f"components.{name.replace('/', '.')}"
            if module.__module__ != own and name in self.built_in():
                raise ConfigError(
                    f"'{name}' cannot be registered by {module.__module__}: it is {own}."
                )
        super()._register_module(module, module_name, force)
        for name, value in defaults_of(self.name).items():
            if not hasattr(module, name):
                setattr(module, name, value)

    @property
    def singular(self) -> str:
        """The singular of the role's name: ``encoder``."""
        return "loss" if self.name == "losses" else str(self.name).removesuffix("s")


def _unbuilt(cfg: Any, *, registry: Role) -> Any:
    raise RuntimeError("import registry first; registry/build.py builds.")


ENCODERS = Role("encoders")
BOTTLENECKS = Role("bottlenecks")
RASTERIZERS = Role("rasterizers")
DECODERS = Role("decoders")
COMPOSITORS = Role("compositors")
MOTIONS = Role("motions")
LOSSES = Role("losses")
PRIORS = Role("priors")
CRITICS = Role("critics")
PREDICTORS = Role("predictors")
PIPELINES = Role("pipelines")
DATASETS = Role("datasets")
TRANSFORMS = Role("transforms")
WARPS = Role("warps")
METRICS = Role("metrics")
HOOKS = Role("hooks")

ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        *(ENCODERS, BOTTLENECKS, RASTERIZERS, DECODERS, COMPOSITORS, MOTIONS, LOSSES, PRIORS),
        *(CRITICS, PREDICTORS, PIPELINES, DATASETS, TRANSFORMS, WARPS, METRICS, HOOKS),
    )
}
