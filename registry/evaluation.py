"""Scores with their baselines: predict the training mean, and the same network untrained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry.atomic import replacing
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
    datasets: Datasets,
    split: str,
    cfg: Mapping[str, Any],
    device: torch.device,
    means: Mapping[str, str] | None = None,
) -> dict[str, Scores]:
    """Score several predictors in one pass over a dataset, after one over ``data.fit`` if needed.

    Args:
        players: name -> what it predicts for a batch.
        datasets: of the config.
        split: the one to score.
        cfg: resolved config.
        device: of the predictors.
        means: the player that predicts a mean -> of what: ``data.train``, whose points are
            keypoints, or ``data.prior``, whose points are landmarks; a metric that fits has its
            own.

    Returns:
        Player -> protocol -> what the metric's ``compute`` returns.
    """
    metrics = {player: build_metrics(cfg) for player in players}
    settings = section(cfg, "evaluate")
    passes = [(split, settings.max_items)]
    if require_fit(next(iter(metrics.values())), datasets):
        passes.insert(0, ("fit", settings.fit_items))
    for name, limit in passes:
        dataset = datasets(name)
        chosen = spread(len(dataset), limit)
        workers = section(cfg, "data").workers
        for arrays in frames_of(dataset, chosen, settings.batch_size, workers):
            batch = to_batch(arrays, device)
            if name == "fit":
                batch = replace(batch, source=None)  # without appearance nothing is rendered
            for player, predict in players.items():
                outputs = predict(batch)
                for metric in metrics[player].values():
                    if name != "fit":
                        metric.update(outputs, batch, (means or {}).get(player))
                    elif hasattr(metric, "fit"):
                        metric.fit(outputs, batch)
    return {
        player: {name: metric.compute() for name, metric in own.items()}
        for player, own in metrics.items()
    }


def require_fit(metrics: Mapping[str, Any], datasets: Datasets) -> bool:
    """Tell whether a metric fits something; then ``data.fit`` must be there.

    Raises:
        ConfigError: it is not.
    """
    fits = [name for name, metric in metrics.items() if hasattr(metric, "fit")]
    if fits and datasets("fit") is None:
        raise ConfigError(
            f"data.fit is missing; evaluate.metrics.{fits[0]} fits a regressor or a mean on "
            "annotated frames, which must not be those of data.test."
        )
    return bool(fits)


def predictor(pipeline: Any, cfg: Mapping[str, Any]) -> Player:
    """Return what a pipeline, set to evaluation mode, predicts: images too if a metric asks."""
    pipeline.eval()
    asked = [getattr(metric, "needs_render", False) for metric in build_metrics(cfg).values()]
    if any(asked) or "frames" in pipeline.infers:
        return pipeline.infer  # type: ignore[no-any-return]
    return lambda batch: pipeline.predict(batch.driving)


def evaluate(
    pipeline: Any, cfg: Mapping[str, Any], selection: str, datasets: Datasets | None = None
) -> list[dict[str, Any]]:
    """Evaluate a trained pipeline on the test set beside its baselines.

    They are the mean pose and the untrained pipeline, unless the pipeline has
    ``baselines(untrained)``: name -> player. Then ``baseline_extra`` holds their further figures.

    Args:
        pipeline: trained; left in evaluation mode.
        cfg: resolved config.
        selection: how its checkpoint was chosen (``last``, ``best on val``).
        datasets: those of the run, if they are built already.

    Returns:
        One row per protocol, as written to ``metrics.json``.
    """
    datasets = datasets or Datasets(section(cfg, "data"))
    if datasets("test") is None:
        raise ConfigError("data.test is missing; evaluation needs annotated frames.")
    device = next(pipeline.parameters()).device
    torch.manual_seed(section(cfg, "train").seed + 1)
    untrained = build_model(cfg).to(device)
    own = pipeline.baselines(untrained)
    mean, origin = (None, "nothing") if own else mean_pose(datasets)

    def predict_mean(batch: Batch) -> Outputs:
        if mean is None or batch.driving is None:
            return Outputs()
        xy = mean.to(device).expand(len(batch.driving), -1, -1)
        return Outputs(landmarks=Landmarks(xy=xy))

    trained, rival = predictor(pipeline, cfg), predictor(untrained, cfg)
    baselines = own or {"mean": predict_mean, "untrained": rival}
    players = {"trained": trained, **baselines}
    found = score(players, datasets, "test", cfg, device, {"mean": origin})
    rows = []
    for name, metric in build_metrics(cfg).items():
        names = {"mean": getattr(metric, "baseline", "predict_mean")}
        further = {player: found[player][name].get("extra", {}) for player in baselines}
        rows.append(
            {
                "protocol": name,
                **found["trained"][name],
                "baselines": {
                    names.get(player, player): found[player][name]["value"] for player in baselines
                },
                **({"baseline_extra": further} if own else {}),
                "predict_mean_from": "data.fit" if hasattr(metric, "fit") else origin,
                "crop": section(cfg, "evaluate").crop,
                "selection": selection,
            }
        )
    return rows


def mean_pose(datasets: Datasets, limit: int = 4000) -> tuple[torch.Tensor | None, str]:
    """Return the mean annotated pose (J, 2) of the training set, else of the prior, and its origin.

    Without annotation in either it is None.
    """
    for name in ("train", "prior"):
        dataset = datasets(name)
        if dataset is None or not hasattr(dataset, "keypoints"):
            continue
        poses = [dataset.keypoints(i) for i in spread(len(dataset), limit)]
        poses = [pose for pose in poses if pose is not None]
        if poses:
            mean = np.mean(poses, axis=0, dtype=np.float64)
            return torch.from_numpy(mean).float(), f"data.{name}"
    return None, "nothing"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as an aligned text table: every score beside its baselines."""
    names = dict.fromkeys(name for row in rows for name in row["baselines"])
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "protocol": lambda row: row["protocol"],
        "metric": lambda row: row["metric"],
        "unit": lambda row: row["unit"],
        "value": lambda row: f"{row['value']:.3f}",
        "95 % interval": lambda row: f"{row['interval'][0]:.3f} .. {row['interval'][1]:.3f}",
        **{name.replace("_", " "): partial(_baseline, name) for name in names},
        "n": lambda row: str(row["n"]),
        "crop": lambda row: row["crop"],
    }
    cells = [list(columns), *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells]
    for row in rows:
        figures = [f"{text} {value:.3f}" for text, value in row["extra"].items()]
        if "baseline_extra" in row:  # one per time step, too many for lines of their own
            figures = [", ".join(figures)]
        lines += [f"{row['protocol']}: {text}" for text in figures]
    if origins := {r["predict_mean_from"] for r in rows if "predict_mean" in r["baselines"]}:
        lines.append(f"predict mean: the mean of {', '.join(sorted(origins))}")
    return "\n".join(lines)


def _baseline(name: str, row: dict[str, Any]) -> str:
    return f"{row['baselines'][name]:.3f}" if name in row["baselines"] else ""


def write_metrics(rows: list[dict[str, Any]], path: Path) -> None:
    """Write ``metrics.json`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n")
