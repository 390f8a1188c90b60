"""Turning the folder of a training run into a package, with its history and scores."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from registry import checkpoint, usual
from registry.build import resolve
from registry.config import load_config
from registry.docs import docstring
from registry.errors import ConfigError
from registry.evaluation import evaluate
from registry.job import load_pipeline
from registry.roles import ROLES
from zoo import folder, index, saving, schema

PICTURE = 100_000  # bytes of the card's picture
ROW = ("protocol", "metric", "unit", "value", "n", "crop", "higher_is_better")  # kept unchanged
INNER_TYPE = "frame_dataset.type"  # for a data set of clips
GENERATED = ("datasets/puppets", "datasets/standin")  # their pictures are free to publish


def package_run(
    work_dir: str | Path,
    dest: str | Path,
    *,
    name: str | None = None,
    checkpoint_name: str = "last.pth",
    dtype: torch.dtype | None = None,
    metrics: str | Path | None = None,
    picture: str | Path | None = None,
    hardware: str | None = None,
    commit: str | None = None,
    repo_id: str | None = None,
    overwrite: bool = False,
    **licence: Any,
) -> Path:
    """Write a checkpoint of a finished run as a package, with its scores and history.

    Args:
        work_dir: folder of a finished run: config.json, last.pth, and if present metrics.json,
            scalars.jsonl, log.txt, held_out.gif and panels.
        dest: the package.
        name: of the entry; default: that of ``repo_id``, else of the folder, with hyphens instead
            of underscores.
        checkpoint_name: its weights: "last.pth", or "best.pth", chosen on the validation set.
        dtype: numbers are rounded to it. The rounded model is evaluated again, which needs the
            config's data, unless ``metrics`` has its scores.
        metrics: scores of these weights, as written by keypoint-zoo evaluate --json.
        picture: PNG for the card; default: a picture of the run if its test data are generated,
            since photographs may not be free to publish.
        hardware, commit: what it was trained on, and the library's commit; default: the current
            ones.
        repo_id, overwrite, **licence: as for ``zoo.save``.

    Raises:
        ConfigError: the run is not finished, or its scores cannot be read.
        ZooError: the package cannot be published.
        FileExistsError: ``dest`` exists.
    """
    work_dir, dest = Path(work_dir), Path(dest).absolute()
    folder.check_free(dest, overwrite)
    cfg = load_config(work_dir / "config.json")
    last, chosen = work_dir / "last.pth", work_dir / checkpoint_name
    iteration = int(checkpoint.load(last).get("iteration", 0))
    if iteration < cfg["train"]["iterations"]:
        raise ConfigError(
            f"{last} is at iteration {iteration} of {cfg['train']['iterations']}. Finish the run "
            f"first: keypoint-zoo train {work_dir}/config.json --work-dir {work_dir} --resume"
        )
    name = name or (repo_id or work_dir.resolve().name).split("/")[-1].replace("_", "-")
    schema.check_name(name, "name")
    known = index.entries()
    entry = known.get(name) or known.get(work_dir.resolve().name.replace("_", "-"))
    if metrics and not Path(metrics).is_file():
        raise ConfigError(
            f"there are no scores '{metrics}'. Write them: keypoint-zoo evaluate {work_dir} --json "
            "FILE."
        )
    model = load_pipeline(cfg, chosen)
    for value in model.state_dict().values():
        if dtype is not None and value.is_floating_point():  # the numbers that a package stores
            value.copy_(value.to(dtype))
    rows, date = _scores(model, cfg, chosen, metrics, dtype is not None or chosen != last)
    config = entry.config if entry is not None else None
    overrides = _overrides(cfg, config) if config is not None else None
    dataset = entry.dataset if entry is not None else ""
    test = _data(cfg, "test", overrides, dataset)
    source = _data(cfg, "train" if cfg["data"].get("train") else "prior", overrides, dataset)
    command = _command(f"hf:{repo_id}" if repo_id else name, config, overrides)
    shared = {"library": schema.LIBRARY, "command": command, "date": f"{date:%Y-%m-%d}"}
    shared["task"] = model.task
    try:
        evaluation = [{**_result(row, *_measured(row, cfg, test)), **shared} for row in rows]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{metrics or work_dir / 'metrics.json'} does not hold the rows of a metrics.json "
            f"({error!r}). Write them again: keypoint-zoo evaluate {work_dir} --json FILE."
        ) from error
    init = cfg["train"].get("init", {}).values()
    training = {
        "dataset": source["id"],
        "split": source["split"],
        "steps": int(checkpoint.load(chosen).get("iteration", 0)),
        "selection": chosen.stem,
        "seed": cfg["train"].get("seed", 0),
        "hardware": hardware or _hardware(work_dir / "log.txt"),
        "seconds": _seconds(work_dir / "scalars.jsonl"),
        "config": config.name if config is not None else None,
        "overrides": overrides,
        "base": ", ".join(sorted({origin.partition(":")[0] for origin in init})) or None,
        "commit": commit or _commit(),
    }
    return saving.save(
        model,
        dest,
        name=name,
        cfg=cfg,
        evaluation=evaluation,
        training={key: value for key, value in training.items() if value not in (None, {})},
        usual=usual.read(work_dir / "usual.json"),
        dtype=dtype,
        pictures=_pictures(work_dir, picture, cfg),
        repo_id=repo_id,
        overwrite=overwrite,
        **licence,
    )


def _scores(
    model: Any, cfg: Mapping[str, Any], chosen: Path, metrics: str | Path | None, changed: bool
) -> tuple[Sequence[Mapping[str, Any]], datetime]:
    """Return the rows of a metrics.json of these weights, and when they were measured.

    ``changed``: the run's own scores are not those of these weights.
    """
    file = Path(metrics) if metrics else chosen.parent / "metrics.json"
    if changed and metrics is None and cfg.get("evaluate"):
        return evaluate(model, cfg, selection=chosen.stem), datetime.now(timezone.utc)
    if not file.is_file():
        return (), datetime.now(timezone.utc)
    if metrics is None and file.stat().st_mtime < chosen.stat().st_mtime:
        raise ConfigError(
            f"{file} is older than {chosen}, so it may be of other weights. Run keypoint-zoo "
            f"evaluate {chosen} --json FILE, then give --metrics FILE."
        )
    measured = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
    try:
        return json.loads(file.read_text("utf-8")), measured
    except ValueError as error:
        raise ConfigError(
            f"{file} is not valid JSON: {error}. Write it again with keypoint-zoo evaluate."
        ) from error


def _measured(
    row: Mapping[str, Any], cfg: Mapping[str, Any], test: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the metric of a row, and id and split of its data, which may differ from the run's.

    Args:
        row: of a metrics.json; older ones do not state their data.
        cfg: of the run.
        test: id and split of the run's own test data.
    """
    of = row.get("of")
    if of is None:
        return cfg["evaluate"]["metrics"][row["protocol"]], test
    own = (cfg["data"].get("test") or {}).get("frame_dataset", cfg["data"].get("test") or {})
    if (own.get("type"), own.get("split")) == (of["data"]["type"], of["data"]["split"]):
        return of["metric"], test
    return of["metric"], {"id": of["data"]["type"].split("/")[-1], "split": of["data"]["split"]}


def _result(row: Mapping[str, Any], node: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row of metrics.json into a row of evaluation.json."""
    baselines = {key: value if _finite(value) else None for key, value in row["baselines"].items()}
    return {
        **{key: row[key] for key in ROW},
        "dataset": {"id": data["id"], "name": data["id"], "split": data["split"]},
        "definition": _definition(node, row.get("extra", {})),
        "interval": row["interval"] if all(map(_finite, row["interval"])) else None,
        "baselines": baselines,
        "origin": "ours",
    }


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _definition(node: Mapping[str, Any], extra: Mapping[str, float]) -> str:
    """Return the first sentence of the metric's docstring, its arguments, and what was fitted."""
    doc = docstring(resolve(node["type"], "evaluate.metrics"))
    parts = [" ".join(doc.split("\n\n")[0].replace("``", "").split())]
    given = {key: value for key, value in node.items() if key != "type"}
    if given:
        parts.append(", ".join(f"{key} {_public(value)}" for key, value in given.items()) + ".")
    if "frames fitted on" in extra:
        parts.append(f"Fitted on {extra['frames fitted on']:.0f} annotated frames.")
    return " ".join(parts)


def _command(name: str, config: Path | None, overrides: Mapping[str, Any] | None) -> str:
    """Return the command that scores the published model, which knows its config and overrides.

    Only overrides with someone's paths, which are not published, must be given again.
    """
    words = ["keypoint-zoo", "evaluate", *([name] if config else ["CONFIG", "--checkpoint", name])]
    told = {k: v for k, v in (overrides or {}).items() if not k.startswith(("train.", "losses."))}
    hidden = {key: value for key, value in told.items() if '"PATH"' in json.dumps(value)}
    changed = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in hidden.items()]
    return shlex.join([*words, *(["--cfg-options", *changed] if changed else [])])


def _overrides(cfg: Mapping[str, Any], config: Path) -> dict[str, Any]:
    """Return the differences from the entry's config, as options that lead to this config."""
    base = {k: v for k, v in load_config(config).items() if not isinstance(v, dict)}
    plain = {key: cfg[key] for key, value in base.items() if cfg.get(key, value) != value}
    there = dict(_leaves(load_config(config, plain)))
    here = dict(_leaves(cfg))
    keys = [
        key
        for key in {**there, **here}  # options of the origins follow from the others
        if here.get(key) != there.get(key) and not key.startswith("origins.")
    ]
    return {**plain, **{key: _public(here.get(key)) for key in keys}}


def _leaves(node: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value


def _public(value: Any) -> Any:
    """Return a value with someone's file paths replaced by PATH."""
    if isinstance(value, (list, tuple)):
        return [_public(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    text = value if isinstance(value, str) and value.split("/")[0] not in ROLES else ""
    return "PATH" if "/" in text or "\\" in text else value


def _data(
    cfg: Mapping[str, Any], part: str, overrides: Mapping[str, Any] | None, dataset: str
) -> dict[str, Any]:
    """Return name and split of a data set: the entry's name, unless its type is overridden."""
    node = cfg["data"].get(part) or {}
    shown = node.get("frame_dataset", node)
    changed = any(f"data.{part}.{key}" in (overrides or {}) for key in ("type", INNER_TYPE))
    own = dataset if dataset and node and not changed else shown.get("type", "none").split("/")[-1]
    return {"id": own, "split": shown.get("split")}


def _hardware(log: Path) -> str:
    """Return the training device named in the log, without naming the machine."""
    text = log.read_text("utf-8", "replace") if log.is_file() else ""
    cuda = "parameters on cuda" in text
    if cuda and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}"
    return "GPU" if cuda else f"{os.cpu_count()} CPU cores ({platform.machine()})"


def _seconds(scalars: Path) -> int | None:
    """Return the total time of the iterations; None if the run did not record it."""
    total, before = 0.0, 0
    for line in scalars.read_text("utf-8", "replace").splitlines() if scalars.is_file() else ():
        record = json.loads(line)
        if "seconds_per_iteration" in record:
            total += record["seconds_per_iteration"] * (record["iteration"] - before)
            before = record["iteration"]
    return round(total) if before else None


def _commit() -> str | None:
    """Return the commit of the checkout that this library is in, if any."""
    root, options = index.HERE.parent, ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.CalledProcessError):  # no git, or another user's checkout
        if (root / ".git").exists():
            words = ["git", "-C", str(root), "describe", *options]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            return done.stdout.strip()
    return None


def _pictures(
    work_dir: Path, picture: str | Path | None, cfg: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the card's picture, file name -> PNG."""
    test = cfg["data"].get("test") or cfg["data"].get("train") or {}
    shown: list[str | Path] = [picture] if picture is not None else []
    if picture is None and test.get("frame_dataset", test).get("type") in GENERATED:
        if (work_dir / "held_out.gif").is_file():
            return {"preview.png": _small(_strip(work_dir / "held_out.gif"))}
        shown += sorted((work_dir / "panels").glob("*.png"))[-1:]
    for file in shown:
        with Image.open(file) as image:
            return {"preview.png": _small(image.convert("RGB"))}
    return {}


def _strip(animation: Path, count: int = 3) -> Image.Image:
    """Return some evenly spaced frames of an animation, stacked vertically."""
    with Image.open(animation) as gif:
        length = getattr(gif, "n_frames", 1)
        strip = Image.new("RGB", (gif.width, gif.height * count))
        for row in range(count):
            gif.seek(row * (length - 1) // max(count - 1, 1))
            strip.paste(gif.convert("RGB"), (0, row * gif.height))
    return strip


def _small(image: Image.Image) -> bytes:
    """Return a PNG, shrunk to at most ``PICTURE`` bytes."""
    while True:
        out = io.BytesIO()
        image.quantize(256).save(out, "PNG", optimize=True)
        if len(out.getvalue()) <= PICTURE:
            return out.getvalue()
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.BOX)
