"""The SDK: what a plugin, a tool or a notebook imports. Importing it loads no torch."""

from typing import Any

from registry.build import build
from registry.config import load_config
from registry.errors import ConfigError
from registry.roles import (
    BOTTLENECKS,
    COMPOSITORS,
    CRITICS,
    DATASETS,
    DECODERS,
    ENCODERS,
    HOOKS,
    LOSSES,
    METRICS,
    MOTIONS,
    PIPELINES,
    PREDICTORS,
    PRIORS,
    RASTERIZERS,
    ROLES,
    TRANSFORMS,
    WARPS,
)

__all__ = [
    "BOTTLENECKS",
    "COMPOSITORS",
    "CRITICS",
    "DATASETS",
    "DECODERS",
    "ENCODERS",
    "HOOKS",
    "LOSSES",
    "METRICS",
    "MOTIONS",
    "PIPELINES",
    "PREDICTORS",
    "PRIORS",
    "RASTERIZERS",
    "ROLES",
    "TRANSFORMS",
    "WARPS",
    "ConfigError",
    "build",
    "check",
    "load_config",
]


def check(name: str, /, **arguments: Any) -> Any:
    """Run the component tests on one registered name and return which it passed.

    See :func:`registry.testing.checks.check`.
    """
    from registry.testing.checks import check as run

    return run(name, **arguments)
