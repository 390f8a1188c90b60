"""Describe an entry: size, results, licence, location."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.answer import REF, Answer, plain, score_of, size_of, table
from zoo.card import ORIGINS, number

if TYPE_CHECKING:
    from zoo.sources import Info


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)


def run(ref: str) -> Answer:
    """Answer the command."""
    from zoo.schema import read_json
    from zoo.sources import info

    found = info(ref)
    results = list(found.entry.results)
    if found.path is not None:  # including those reported by the paper or others
        results = read_json(found.path / "evaluation.json", ref)["results"]
    lines = [f"{found.entry.name}: {found.entry.summary}".removesuffix(": "), ""]
    lines += table([(key, value) for key, value in _facts(found) if value], cut=False)
    for origin, title in ORIGINS.items():
        rows = table(_score_rows([row for row in results if row["origin"] == origin]), indent=2)
        if origin == "reported-by-paper":
            rows += table(_paper_rows(found.entry.paper_results), indent=2)
        if rows:
            lines += ["", f"{title}:", *(f"  {line}" for line in rows)]
    return Answer({**plain(found), "results": results}, lines)


def _facts(found: Info) -> Iterator[tuple[str, str]]:
    """Yield what is known about an entry besides its results, as name and value."""
    entry, config = found.entry, found.config
    licence = f" ({entry.data_licence})" if entry.data_licence else ""
    yield "task", entry.task
    yield "architecture", entry.architecture
    yield "data", f"{entry.dataset}{licence}"
    yield "paper", entry.paper
    yield "provider", entry.provider
    yield "licence", f"{entry.license or 'none stated'}, of the weights" if config else ""
    yield "weights", "" if config else "none published"
    yield "how", entry.how
    official = f"keypoint-zoo convert {entry.converter} FILE --config {entry.name}"
    yield "convert", f"{official} --license L --out DIR" if entry.converter else ""
    options = ", ".join(f"{key}={value}" for key, value in entry.options.items())
    yield "config", f"{entry.config or ''}{f' with {options}' if options else ''}"
    if config is None:
        return
    stated, size = config["weights"]["model.safetensors"], config["preprocess"]["image_size"]
    keypoints = config["keypoints"]
    yield "parameters", f"{stated['parameters']:,} ({stated['dtype']})"
    at = f" at {size} x {size} pixels" if size else ""
    flops = f"{found.flops:,} per prediction{at}" if found.flops is not None else "not counted"
    yield "FLOPs", flops
    yield "landmarks", f"{keypoints['count']} {keypoints['semantics']}"
    at = f"hf:{entry.repo_id}@{found.commit}, " if found.commit else ""
    yield "where", f"{at}{found.path}"
    yield "digest", str(found.digest)
    yield "size", size_of(sum(found.files.values()))
    yield from ((f"  {file}", size_of(size)) for file, size in found.files.items())
    claimed = {origin["component"]: origin["distribution"] for origin in config["plugins"]}
    for name in found.missing:
        yield "missing", f"{name}, which is in '{claimed[name]}' according to the entry"


def _score_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of a table of results, each beside its baselines."""
    if not results:
        return []
    baselines = list(dict.fromkeys(name for row in results for name in row["baselines"]))
    shown = [name.replace("_", " ") for name in baselines]
    rows = [["protocol", "metric", "value", "interval", *shown, "n", "data"]]
    for row in results:
        own = [row["protocol"], row["metric"], score_of(row)]
        own.append(" to ".join(map(number, row["interval"] or ())))
        own += [*(number(row["baselines"].get(name)) for name in baselines), number(row["n"])]
        data = row["dataset"]
        rows.append([*own, " ".join(filter(None, (data["name"], data["split"])))])
    return rows


def _paper_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    last = ("dataset", "setting", "source")
    return [[row["metric"], score_of(row), *(row[key] for key in last)] for row in results]
