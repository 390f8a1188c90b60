"""The SDK: what a plugin, a tool or a notebook imports. Importing it does not load torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from registry.job import Job

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
    "train",
]


def train(
    cfg: Mapping[str, Any] | str | Path,
    work_dir: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    launcher: str = "none",
) -> Job:
    """Train, evaluate, draw and print the summary; see :func:`registry.runner.run`.

    Example:
        >>> job = train("keypointgan_puppets")  # doctest: +SKIP
        >>> job.rows[0]["value"], job.work_dir  # doctest: +SKIP
    """
    import sys

    from registry.runner import run

    job = run(cfg, work_dir, resume=resume, launcher=launcher)
    sys.stdout.write(f"{job.summary}\n" if job.summary else "")
    return job


def check(name: str, /, **arguments: Any) -> Any:
    """Run the component tests on one registered name and return those that it passed.

    See :func:`registry.testing.checks.check`.
    """
    from registry.testing.checks import check as run

    return run(name, **arguments)
