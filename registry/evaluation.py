"""Scores with their baselines: predict the training mean, and the same network untrained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry.build import build
from registry.config import build_model, section
from registry.contract import Batch, Landmarks, Outputs
from registry.errors import ConfigError
from registry.loading import Datasets, frames_of, spread, to_batch

Player = Callable[[Batch], Outputs]
Scores = dict[str, dict[str, Any]]


def build_metrics(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Build the metrics of a config by protocol name.

    Raises:
        ConfigError: there are none, or one is wrong.
    """
    metrics = build(dict(section(cfg, "evaluate").metrics), "evaluate.metrics", "metrics")
    if not metrics:
        raise ConfigError("evaluate.metrics is empty; name at least one protocol.")
    return metrics  # type: ignore[no-any-return]


def score(
    players: Mapping[str, Player],
    dataset: Any,
    cfg: Mapping[str, Any],
    device: torch.device,
    as_keypoints: str | None = None,
) -> dict[str, Scores]:
    """Score several predictors in one pass over a dataset.

    Args:
        players: name -> what it predicts for a batch.
        dataset: annotated frames.
        cfg: resolved config.
        device: of the predictors.
        as_keypoints: the player whose landmarks are keypoints already (a mean of annotation), so
            that a metric selects them as such.

    Returns:
        Player -> protocol -> what the metric's ``compute`` returns.
    """
    metrics = {player: build_metrics(cfg) for player in players}
    settings = section(cfg, "evaluate")
    chosen = spread(len(dataset), settings.max_items)
    workers = section(cfg, "data").workers
    for arrays in frames_of(dataset, chosen, settings.batch_size, workers):
        batch = to_batch(arrays, device)
        for player, predict in players.items():
            outputs = predict(batch)
            for metric in metrics[player].values():
                metric.update(outputs, batch, is_mean=player == as_keypoints)
    return {
        player: {name: metric.compute() for name, metric in own.items()}
        for player, own in metrics.items()
    }


def predictor(pipeline: Any) -> Player:
    """Return what a pipeline, set to evaluation mode, predicts for the driving images."""
    pipeline.eval()
    return lambda batch: pipeline.predict(batch.driving)


def evaluate(
    pipeline: Any, cfg: Mapping[str, Any], selection: str, datasets: Datasets | None = None
) -> list[dict[str, Any]]:
    """Evaluate a trained pipeline on the test set beside both baselines.

    Args:
        pipeline: trained; left in evaluation mode.
        cfg: resolved config.
        selection: how its checkpoint was chosen (``last``, ``best on val``).
        datasets: those of the run, if they are built already.

    Returns:
        One row per protocol, as written to ``metrics.json``.
    """
    datasets = datasets or Datasets(section(cfg, "data"))
    dataset = datasets("test")
    if dataset is None:
        raise ConfigError("data.test is missing; evaluation needs annotated frames.")
    device = next(pipeline.parameters()).device
    torch.manual_seed(section(cfg, "train").seed + 1)
    untrained = build_model(cfg).to(device)
    mean, origin = mean_pose(datasets)

    def predict_mean(batch: Batch) -> Outputs:
        assert batch.driving is not None
        xy = mean.to(device).expand(len(batch.driving), -1, -1)
        return Outputs(landmarks=Landmarks(xy=xy))

    players = {
        "trained": predictor(pipeline),
        "untrained": predictor(untrained),
        "mean": predict_mean,
    }
    found = score(
        players, dataset, cfg, device, as_keypoints="mean" if origin == "data.train" else None
    )
    return [
        {
            "protocol": name,
            **row,
            "baselines": {
                "predict_mean": found["mean"][name]["value"],
                "untrained": found["untrained"][name]["value"],
            },
            "predict_mean_from": origin,
            "crop": section(cfg, "evaluate").crop,
            "selection": selection,
        }
        for name, row in found["trained"].items()
    ]


def mean_pose(datasets: Datasets, limit: int = 4000) -> tuple[torch.Tensor, str]:
    """Return the mean annotated pose (J, 2) of the training set, else of the prior, and its origin.

    Raises:
        ConfigError: neither has annotation.
    """
    for name in ("train", "prior"):
        dataset = datasets(name)
        if dataset is None:
            continue
        poses = [dataset.keypoints(i) for i in spread(len(dataset), limit)]
        poses = [pose for pose in poses if pose is not None]
        if poses:
            mean = np.mean(poses, axis=0, dtype=np.float64)
            return torch.from_numpy(mean).float(), f"data.{name}"
    raise ConfigError(
        "neither data.train nor data.prior has keypoints; the mean baseline needs some."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as an aligned text table: every score beside its two baselines."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "protocol": lambda row: row["protocol"],
        "metric": lambda row: row["metric"],
        "unit": lambda row: row["unit"],
        "value": lambda row: f"{row['value']:.3f}",
        "95 % interval": lambda row: f"{row['interval'][0]:.3f} .. {row['interval'][1]:.3f}",
        "predict mean": lambda row: f"{row['baselines']['predict_mean']:.3f}",
        "untrained": lambda row: f"{row['baselines']['untrained']:.3f}",
        "n": lambda row: str(row["n"]),
        "crop": lambda row: row["crop"],
    }
    cells = [list(columns), *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells]
    for row in rows:
        lines += [f"{row['protocol']}: {text} {value:.3f}" for text, value in row["extra"].items()]
    if origins := {row["predict_mean_from"] for row in rows}:
        lines.append(f"predict mean: the mean pose of {', '.join(sorted(origins))}")
    return "\n".join(lines)


def write_metrics(rows: list[dict[str, Any]], path: Path) -> None:
    """Write ``metrics.json`` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(rows, indent=2) + "\n")
    temporary.replace(path)
