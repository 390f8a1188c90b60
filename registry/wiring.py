"""Checks before training that the parts of a config fit together; errors name the place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from registry.contract import Batch, Outputs, producer
from registry.errors import ConfigError

# what a pipeline fills only if the batch has poses of the prior
NEEDS_PRIOR = {"prior_drawn", "prior_landmarks", "redrawn", "prior_cycle", "pose_critic"}


def check_losses(pipeline: Any, losses: Mapping[str, Any], batch: Set[str]) -> None:
    """Check that every field that a loss reads is filled.

    Args:
        pipeline: with ``fills``.
        losses: by name, with ``reads``.
        batch: fields that the training batches have.

    Raises:
        ConfigError: one is not; the text names the loss, the field and what produces it.
    """
    filled = pipeline.fills if "poses" in batch else pipeline.fills - NEEDS_PRIOR
    _check("losses", losses, filled, batch)


def check_metrics(pipeline: Any, metrics: Mapping[str, Any]) -> None:
    """Check that every field that a metric reads is inferred.

    Raises:
        ConfigError: a metric reads what the pipeline does not infer.
    """
    _check("evaluate.metrics", metrics, pipeline.infers, None)


def training_fields(dataset: Any, transforms: Iterable[Any], prior: Any) -> set[str]:
    """Return the fields that training batches will have, from the first item of the data set."""
    found = {"poses"} if prior is not None else set()
    if dataset is not None:
        import numpy as np

        found |= set(dataset.sample(0, np.random.default_rng(0)))
        if "target" in found:
            found |= {"driving"}
    return found.union(*(transform.fills for transform in transforms))


def _check(
    section: str, parts: Mapping[str, Any], filled: Set[str], batch: Set[str] | None
) -> None:
    for name, part in parts.items():
        for field in part.reads:
            owner, _, own = field.partition(".")
            if owner == "batch":
                if batch is None or own in batch:
                    continue
                what, by = f"Batch.{own}", producer(Batch, own) or "a data set or a transform"
            else:
                if not filled.isdisjoint(field.split("|")):
                    continue
                what, by = f"Outputs.{field}", _producer_of(owner, own)
            raise ConfigError(
                f"{section}.{name}: {type(part).__name__} reads {what}, which this config does not "
                f"fill; it is produced by {by}. Add that component to the config, or remove "
                f"'{section}.{name}'."
            )


def _producer_of(owner: str, own: str) -> str:
    """Return what produces a field of Outputs, or a part of one."""
    from registry import contract

    inner = {
        "landmarks": contract.Landmarks,
        "layers": contract.Layers,
        "motion": contract.Motion,
    }.get(owner)
    if own == "features":
        return "a critic that exposes its features, such as critics/feature_patch"
    by = producer(inner, own) if inner is not None and own else producer(Outputs, owner)
    return by or "another pipeline"
