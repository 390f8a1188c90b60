"""Scores with their baselines: predict the training mean, and the same network untrained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry.build import build
from registry.config import build_model, section
from registry.contract import Landmarks, Outputs
from registry.errors import ConfigError
from registry.loading import frames_of, spread, to_batch


def score(
    pipeline: Any,
    dataset: Any,
    cfg: Mapping[str, Any],
    mean: torch.Tensor | None = None,
    mean_of: str = "data.train",
) -> dict[str, dict[str, Any]]:
    """Compute every metric of a config on a dataset.

    Args:
        pipeline: its ``predict`` is scored; None to score ``mean``.
        dataset: annotated frames.
        cfg: resolved config.
        mean: (J, 2) pose to predict everywhere instead of the pipeline's.
        mean_of: poses of ``data.prior`` have one point per landmark, others one per keypoint.

    Returns:
        Protocol name -> what the metric's ``compute`` returns: metric, unit, value, interval, n.
    """
    settings = section(cfg, "evaluate")
    metrics = build(dict(settings.metrics), "evaluate.metrics", "metrics")
    if not metrics:
        raise ConfigError("evaluate.metrics is empty; name at least one protocol.")
    device = torch.device("cpu") if pipeline is None else next(pipeline.parameters()).device
    was_training = pipeline is not None and pipeline.training
    if pipeline is not None:
        pipeline.eval()
    for arrays in frames_of(dataset, spread(len(dataset), settings.max_items), settings.batch_size):
        batch = to_batch(arrays, device)
        if mean is None:
            outputs = pipeline.predict(batch.driving)
        else:
            assert batch.driving is not None
            count = len(batch.driving)
            outputs = Outputs(landmarks=Landmarks(xy=mean.to(device).expand(count, -1, -1)))
        for metric in metrics.values():
            metric.update(outputs, batch, is_mean=mean is not None and mean_of == "data.train")
    if was_training:
        pipeline.train()
    return {name: metric.compute() for name, metric in metrics.items()}


def evaluate(pipeline: Any, cfg: Mapping[str, Any], selection: str) -> list[dict[str, Any]]:
    """Evaluate a trained pipeline on the test set beside both baselines.

    Args:
        pipeline: trained.
        cfg: resolved config.
        selection: how its checkpoint was chosen (``last``, ``best on val``).

    Returns:
        One row per protocol, as written to ``metrics.json``.
    """
    data, settings = section(cfg, "data"), section(cfg, "evaluate")
    if data.test is None:
        raise ConfigError("data.test is missing; evaluation needs annotated frames.")
    dataset = build(data.test, "data.test", "datasets")
    trained = score(pipeline, dataset, cfg)
    torch.manual_seed(section(cfg, "train").seed + 1)
    device = next(pipeline.parameters()).device
    untrained = score(build_model(cfg).to(device), dataset, cfg)
    mean, origin = mean_pose(cfg)
    average = score(None, dataset, cfg, mean, origin)
    return [
        {
            "protocol": name,
            **row,
            "baselines": {
                "predict_mean": average[name]["value"],
                "untrained": untrained[name]["value"],
            },
            "predict_mean_from": origin,
            "crop": settings.crop,
            "selection": selection,
        }
        for name, row in trained.items()
    ]


def mean_pose(cfg: Mapping[str, Any], limit: int = 4000) -> tuple[torch.Tensor, str]:
    """Return the mean annotated pose (J, 2) of the training set, else of the prior, and its origin.

    Raises:
        ConfigError: neither has annotation.
    """
    data = section(cfg, "data")
    for name in ("train", "prior"):
        if getattr(data, name) is None:
            continue
        dataset = build(getattr(data, name), f"data.{name}", "datasets")
        poses = [dataset.keypoints(i) for i in spread(len(dataset), limit)]
        poses = [pose for pose in poses if pose is not None]
        if poses:
            return torch.from_numpy(
                np.mean(poses, axis=0, dtype=np.float64)
            ).float(), f"data.{name}"
    raise ConfigError(
        "neither data.train nor data.prior has keypoints; the mean baseline needs some."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as an aligned text table: every score beside its two baselines."""
    head = [
        "protocol",
        "metric",
        "unit",
        "value",
        "95 % interval",
        "predict mean",
        "untrained",
        "n",
        "crop",
    ]
    body = [
        [
            row["protocol"],
            row["metric"],
            row["unit"],
            f"{row['value']:.3f}",
            f"{row['interval'][0]:.3f} .. {row['interval'][1]:.3f}",
            f"{row['baselines']['predict_mean']:.3f}",
            f"{row['baselines']['untrained']:.3f}",
            str(row["n"]),
            row["crop"],
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in [head, *body]]
    extra = {
        "macro": "mean of activity means",
        "oracle_flip": "oracle left/right",
        "oracle_flip_rate": "exchanged by the oracle",
    }
    for row in rows:
        found = [f"{text} {row[key]:.3f}" for key, text in extra.items() if key in row]
        if found:
            lines.append(f"{row['protocol']}: {', '.join(found)}")
    return "\n".join(lines)


def write_metrics(rows: list[dict[str, Any]], path: Path) -> None:
    """Write ``metrics.json`` atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(rows, indent=2) + "\n")
    temporary.replace(path)
