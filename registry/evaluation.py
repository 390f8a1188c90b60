"""Scores beside their baselines, the untrained network and competitors.

``registry.protocols.Metric`` says what a metric must and may have. It is built once per evaluation.
Each player gets a copy of it; the copies share networks that are attributes of the metric. One
more copy scores the metric's own guess. The competitors of keypoint metrics run once for all
metrics that name the same class.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from registry.atomic import replacing
from registry.build import build, build_model
from registry.config import section
from registry.contract import Batch
from registry.errors import ConfigError
from registry.loading import Datasets, frames_of, spread, to_batch
from registry.progress import bar

if TYPE_CHECKING:
    from registry.protocols import Metric, Player

    Metrics = dict[str, Metric]

RIDGE = "with ridge"  # extra figure of a metric, compared with competitors that use a ridge


def build_metrics(cfg: Mapping[str, Any]) -> Metrics:
    """Build the metrics of a config, by protocol name.

    Raises:
        ConfigError: the config has no metrics, or one cannot be built.
    """
    metrics = build(dict(section(cfg, "evaluate").metrics), "evaluate.metrics", "metrics")
    if not metrics:
        raise ConfigError("evaluate.metrics is empty. Add at least one protocol.")
    return metrics  # type: ignore[no-any-return]


def score(
    players: Mapping[str, Player],
    metrics: Metrics,
    datasets: Datasets,
    split: str,
    cfg: Mapping[str, Any],
    device: torch.device,
    guesses: Metrics | None = None,
    competitors: Sequence[Any] = (),
) -> dict[str, Metrics]:
    """Score several players in one pass over a data set, after a pass over ``data.fit`` if needed.

    Args:
        players: name -> what it predicts for a batch.
        metrics: of the config; not changed.
        datasets: of the config.
        split: the one to score.
        cfg: resolved config.
        device: of the players.
        guesses: filled with copies of the metrics that have scored the metric's own guess.
        competitors: these see all batches too.

    Returns:
        Player -> protocol -> a copy of the metric that has seen the split.
    """
    found = {player: {name: fresh(m) for name, m in metrics.items()} for player in players}
    first = next(iter(found.values()))
    fits = any(metric.fits for metric in metrics.values())
    if fits or (competitors and datasets("fit") is not None):
        for batch in _batches("fit", datasets, cfg, section(cfg, "evaluate").fit_items, device):
            for competitor in competitors:
                competitor.fit(batch)
            unseen = replace(batch, source=None)  # without appearance, nothing is rendered
            for player, predict in players.items() if fits else ():
                outputs = predict(unseen)
                for metric in found[player].values():
                    if metric.fits:
                        metric.fit(outputs, unseen)
    for batch in _batches(split, datasets, cfg, section(cfg, "evaluate").max_items, device):
        for competitor in competitors:
            competitor.update(batch)
        for player, predict in players.items():
            outputs = predict(batch)
            for metric in found[player].values():
                metric.update(outputs, batch)
        if guesses is not None:
            for name, metric in first.items():
                if (guess := metric.guess(batch)) is not None:
                    guesses.setdefault(name, fresh(metrics[name])).update(guess, batch)
    return found


def fresh(metric: Any) -> Any:
    """Copy a metric, sharing its networks."""
    return copy.deepcopy(
        metric, {id(v): v for v in vars(metric).values() if isinstance(v, nn.Module)}
    )


def _batches(
    name: str,
    datasets: Datasets,
    cfg: Mapping[str, Any],
    limit: int | None,
    device: torch.device,
) -> Iterator[Batch]:
    dataset, workers = datasets(name), section(cfg, "data").workers
    chosen = spread(len(dataset), limit)
    with bar(len(chosen), f"evaluating on data.{name}") as shown:
        for arrays in frames_of(dataset, chosen, section(cfg, "evaluate").batch_size, workers):
            yield to_batch(arrays, device)
            shown.update(len(next(iter(arrays.values()))))


def applicable(
    metrics: Metrics, datasets: Datasets, split: str = "test"
) -> tuple[Metrics, list[str]]:
    """Return the metrics for which there is data, and a line on those that are left out.

    Without the split, all are left out; without ``data.fit``, those that fit a regressor or a mean
    on annotated frames, which must not be frames of the split.
    """
    if datasets(split) is None:
        return {}, [f"no scores: {datasets.absence(split)}"]
    left = [name for name, m in metrics.items() if m.fits and datasets("fit") is None]
    notes = [f"no {', '.join(left)}: {datasets.absence('fit')}"] if left else []
    return {name: metric for name, metric in metrics.items() if name not in left}, notes


def predictor(pipeline: Any, metrics: Metrics) -> Player:
    """Return the prediction function of a pipeline; it renders only if a metric needs images.

    The pipeline is set to evaluation mode.
    """
    pipeline.eval()
    read = {field.partition(".")[0] for metric in metrics.values() for field in metric.reads}
    if read - {"landmarks"}:
        return pipeline.infer  # type: ignore[no-any-return]
    return lambda batch: pipeline.predict(batch.driving)


def evaluate(
    pipeline: Any, cfg: Mapping[str, Any], selection: str, datasets: Datasets | None = None
) -> list[dict[str, Any]]:
    """Evaluate a trained pipeline on the test set beside its baselines.

    These are the guesses of the metrics, the competitors of keypoint metrics, the untrained
    pipeline, and those that the pipeline itself names in ``baselines``, whose extra figures are in
    ``baseline_extra``. A competitor that does not apply has None; ``baseline_notes`` says why, and
    holds other remarks.

    Args:
        pipeline: trained; left in evaluation mode.
        cfg: resolved config.
        selection: how its checkpoint was chosen (``last``, ``best on val``).
        datasets: those of the run, if already built.

    Returns:
        One row per protocol, as written to ``metrics.json``. ``of`` says what was measured: the
        metric as configured, and type and split of the test data. ``left_out`` names the
        protocols without data, and why.

    Raises:
        ConfigError: there is no data for any protocol.
    """
    datasets = datasets or Datasets(section(cfg, "data"))
    metrics, left_out = applicable(build_metrics(cfg), datasets)
    if not metrics:
        raise ConfigError(f"nothing to evaluate: {'; '.join(left_out)}.")
    device = next(pipeline.parameters()).device
    torch.manual_seed(section(cfg, "train").seed + 1)
    untrained = build_model(cfg).to(device)
    own = pipeline.baselines(untrained)
    players = {"untrained": predictor(untrained, metrics), **own}
    kinds = dict.fromkeys(m.competitors for m in metrics.values() if m.competitors)
    competitors = {kind: kind() for kind in kinds}
    guesses: Metrics = {}
    found = score(
        {"trained": predictor(pipeline, metrics), **players},
        metrics, datasets, "test", cfg, device, guesses, list(competitors.values()),
    )  # fmt: skip
    predictions = {kind: competitor.predict() for kind, competitor in competitors.items()}
    tested = section(cfg, "data").test
    tested = tested.get("frame_dataset", tested)
    tested = {"type": tested["type"], "split": tested.get("split")}
    rows = []
    for name, metric in found.pop("trained").items():
        results = {player: copies[name].compute() for player, copies in found.items()}
        row = {"protocol": name, **metric.compute()}
        baselines: dict[str, float | None] = {}
        remarks: dict[str, str] = {}
        if name in guesses:
            baselines[metric.baseline] = guesses[name].compute()["value"]
        if metric.competitors:
            baselines, remarks = _compete(metric, predictions[metric.competitors], datasets)
        row["baselines"] = baselines | {player: r["value"] for player, r in results.items()}
        if remarks:
            row["baseline_notes"] = remarks
        if own:
            row["baseline_extra"] = {player: r.get("extra", {}) for player, r in results.items()}
        for player, result in results.items():  # compare like with like
            if RIDGE in result.get("extra", {}):
                row["extra"][f"{player} {RIDGE}"] = result["extra"][RIDGE]
        if left_out:
            row["left_out"] = left_out
        row["higher_is_better"] = metric.higher_is_better
        row["of"] = {"metric": section(cfg, "evaluate").metrics[name], "data": tested}
        rows.append(row | {"crop": section(cfg, "evaluate").crop, "selection": selection})
    return rows


def _compete(
    metric: Any, predictions: Mapping[str, tuple[Any, str]], datasets: Datasets
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the scores of competitors, and remarks on them."""
    values: dict[str, float | None] = {}
    remarks: dict[str, str] = {}
    for name, (points, remark) in predictions.items():
        of_landmarks = False
        if points is None and name == "predict_mean":  # it needs no images
            points, origin = mean_pose(datasets)
            of_landmarks = origin == "data.prior"
            remark = (
                f"the mean of {origin}" if origin else "no data set of the config has keypoints"
            )
        value = math.nan if points is None else metric.score(points, of_landmarks)
        if points is not None and math.isnan(value):
            remark = "a scored keypoint is not annotated in any frame of data.fit"
        values[name] = None if math.isnan(value) else value
        if remark:
            remarks[name] = remark
    return values, remarks


def mean_pose(datasets: Datasets, limit: int = 4000) -> tuple[NDArray[Any] | None, str]:
    """Return the mean annotated pose (J, 2) of the training set, else of the prior, and its origin.

    It is None if neither is annotated.
    """
    for name in ("train", "prior"):
        dataset = datasets(name)
        if dataset is not None:
            poses = [dataset.keypoints(i) for i in spread(len(dataset), limit)]
            poses = [pose for pose in poses if pose is not None]
            if poses:
                return np.asarray(np.mean(poses, axis=0, dtype=np.float64)), f"data.{name}"
    return None, ""


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as an aligned text table, every score beside its baselines.

    Below the table: means by activity, extra figures, why a competitor has no score, and which
    baselines beat the trained model.
    """
    values = [(name, value) for row in rows for name, value in row["baselines"].items()]
    names = dict.fromkeys(name for name, value in values if value is not None)
    ridges = dict.fromkeys(k for row in rows for k in row["extra"] if k.endswith(RIDGE))
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "protocol": lambda row: row["protocol"],
        "metric": lambda row: row["metric"],
        "unit": lambda row: row["unit"],
        "value": lambda row: f"{row['value']:.3f}",
        "95 % interval": lambda row: f"{row['interval'][0]:.3f} .. {row['interval'][1]:.3f}",
        **{key: partial(_extra, key) for key in ridges},
        **{_words(name): partial(_baseline, name) for name in names},
        "n": lambda row: str(row["n"]),
        "crop": lambda row: row["crop"],
    }
    lines = _aligned([list(columns), *([show(row) for show in columns.values()] for row in rows)])
    groups = {tuple(row["activities"]): None for row in rows if row.get("activities")}
    for group in groups:
        own = [row for row in rows if tuple(row.get("activities", ())) == group]
        cells = [[row["protocol"], *(f"{row['activities'][g]:.3f}" for g in group)] for row in own]
        lines += _aligned([["by activity", *group], *cells])
    for row in rows:
        others = ((text, value) for text, value in row["extra"].items() if text not in ridges)
        figures = [f"{text} {value:.3f}" for text, value in others]
        if "baseline_extra" in row:  # one per time step: too many for a line each
            figures = [", ".join(figures)]
        lines += [f"{row['protocol']}: {text}" for text in figures]
        remarks: dict[str, list[str]] = {}
        for name, text in row.get("baseline_notes", {}).items():
            remarks.setdefault(text, []).append(_words(name))
        lines += [f"{row['protocol']}: {', '.join(r)}: {text}" for text, r in remarks.items()]
        lines += _winners(row)
    lines += dict.fromkeys(text for row in rows for text in row.get("left_out", ()))
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells]


def _winners(row: Mapping[str, Any]) -> list[str]:
    """Return a line for each baseline that beats the trained model.

    A baseline with a ridge is compared with the model's landmarks with a ridge.
    """
    sign = 1 if row.get("higher_is_better") else -1
    ridge = row["extra"].get(RIDGE)
    model = "the trained model"
    rivals = [(name, value) for name, value in row["baselines"].items() if value is not None]
    rivals += [(key, value) for key, value in row["extra"].items() if key.endswith(f" {RIDGE}")]
    lines = []
    for name, value in rivals:
        alike = ridge is not None and "ridge" in name
        own, words = (ridge, f"{model} {RIDGE}") if alike else (row["value"], model)
        if sign * (value - own) > 0:
            lines.append(
                f"{row['protocol']}: {_words(name)} is better than {words} here: "
                f"{value:.3f} against {own:.3f}"
            )
    return lines


def _extra(key: str, row: dict[str, Any]) -> str:
    return f"{row['extra'][key]:.3f}" if key in row["extra"] else ""


def _baseline(name: str, row: dict[str, Any]) -> str:
    if name not in row["baselines"]:
        return ""
    value = row["baselines"][name]
    return "none" if value is None else f"{value:.3f}"


def write_metrics(rows: list[dict[str, Any]], path: Path) -> None:
    """Write ``metrics.json`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
