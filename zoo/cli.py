"""The command ``keypoint-zoo``: every answer as text, or with --json as one JSON document.

Answers go to stdout; progress, notices and errors to stderr. Nothing heavy is imported before a
subcommand needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from zoo.card import ORIGINS, number
from zoo.errors import FAILED, OK, USAGE, ZooError
from zoo.index import Entry

if TYPE_CHECKING:
    from zoo.sources import Info

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells call what SIGINT and SIGPIPE end
REF = "a name of the zoo, hf:owner/name[@revision], or a path"
EXIT_CODES = """\
exit status:
  0  fine                4    no network, or offline and not in the cache
  1  a check failed      5    the Hub refuses this account
  2  usage error: words, 6    needs another version, a plugin, or other weights
     files or values     130  interrupted
  3  no such entry       141  broken pipe"""


class Answer(NamedTuple):
    """What a subcommand has to say: for programs, for people, and its exit status."""

    document: Any
    lines: Sequence[str]
    code: int = OK


class UsageError(ValueError):
    """Words that make no command."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: its words; those of the process without.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _notice(f"warning: {message}")
            # a former name, which Python would only mention to its developers
            warnings.filterwarnings("default", "'.*' is now called", DeprecationWarning)
            options = vars(_parser().parse_args(words))
            run, _ = options.pop("run"), options.pop("json")
            answer: Answer = run(**options)
    except SystemExit as stop:  # --help and --version, which have printed already
        return _written("", int(stop.code or OK))
    except KeyboardInterrupt as error:
        answer = _failed(error, "interrupted", INTERRUPTED)
    except ZooError as error:
        answer = _failed(error, str(error), error.exit_code)
    except (OSError, ValueError) as error:
        answer = _failed(error, str(error), USAGE)
    text = "\n".join(answer.lines)
    if "--json" in words:  # also where the other words were not understood
        text = json.dumps(_plain(answer.document), indent=2, allow_nan=False)
    return _written(f"{text}\n" if text else "", answer.code)


def _failed(error: BaseException, message: str, code: int) -> Answer:
    message = " ".join(message.split())
    _notice(f"error: {message}")
    what = {"class": type(error).__name__, "message": message, "exit_code": code}
    return Answer({"error": what}, (), code)


def _written(text: str, code: int) -> int:
    """Write the answer; return its status, or another if it could not be written."""
    out = sys.stdout
    if out is None:  # closed from the start
        return code
    try:
        encoding = out.encoding or "utf-8"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except OSError as error:
        # what is left in the buffer must not be tried again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        _notice(f"error: the answer cannot be written: {error}")
        return USAGE
    return code


def _notice(text: str, *, passing: bool = False) -> None:
    """Write a line to stderr; a passing one on terminals only, where the next takes its place."""
    err = sys.stderr
    if err is None:
        return
    with contextlib.suppress(OSError):
        terminal = err.isatty()
        if terminal or not passing:
            err.write(("\r\x1b[K" if terminal else "") + text + ("" if passing else "\n"))
            err.flush()


def _list(pattern: Sequence[str], exclude: Sequence[str] | None, **filters: Any) -> Answer:
    from zoo.listing import list_entries

    found = list_entries(pattern or "*", exclude=exclude or (), **filters)
    if not found:
        _notice("no entry passes these filters")
        return Answer([], ())
    rows: list[Sequence[str]] = [("name", "task", "dataset", "weights", "licence", "result")]
    for entry in found:
        first = [f"{row['protocol']} {_score(row)}" for row in entry.results[:1]]
        own = (entry.name, entry.task, entry.dataset, entry.weights, entry.license or "")
        rows.append((*own, *(first or [""])))
    return Answer(found, _table(rows))


def _info(ref: str) -> Answer:
    from zoo.schema import read_json
    from zoo.sources import info

    found = info(ref)
    results = list(found.entry.results)
    if found.path is not None:  # with those that the paper or others report
        results = read_json(found.path / "evaluation.json", ref)["results"]
    lines = [f"{found.entry.name}: {found.entry.summary}".removesuffix(": "), ""]
    lines += _table([(key, value) for key, value in _facts(found) if value], cut=False)
    for origin, title in ORIGINS.items():
        rows = _table(_score_rows([row for row in results if row["origin"] == origin]), indent=2)
        if origin == "reported-by-paper":
            rows += _table(_paper_rows(found.entry.paper_results), indent=2)
        if rows:
            lines += ["", f"{title}:", *(f"  {line}" for line in rows)]
    return Answer({**_plain(found), "results": results}, lines)


def _facts(found: Info) -> Iterator[tuple[str, str]]:
    """Yield what is known of an entry besides its numbers, as name and value."""
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
    flops = f"{found.flops:,} of one prediction{at}" if found.flops is not None else "not counted"
    yield "FLOPs", flops
    yield "landmarks", f"{keypoints['count']} {keypoints['semantics']}"
    at = f"hf:{entry.repo_id}@{found.commit}, " if found.commit else ""
    yield "where", f"{at}{found.path}"
    yield "digest", str(found.digest)
    yield "size", _bytes(sum(found.files.values()))
    yield from ((f"  {file}", _bytes(size)) for file, size in found.files.items())
    claimed = {origin["component"]: origin["distribution"] for origin in config["plugins"]}
    for name in found.missing:
        yield "missing", f"{name}, which the entry claims to be in '{claimed[name]}'"


def _pull(ref: str, dry_run: bool, **options: Any) -> Answer:
    from zoo.sources import pull

    found = pull(ref, dry_run=dry_run, **options)
    lines = _table([(file, _bytes(size)) for file, size in found.files.items()])
    total = _bytes(sum(found.files.values()))
    if dry_run:
        commit = f", commit {found.commit}" if found.commit else ""
        return Answer(found, [*lines, f"{total}{commit}; nothing was fetched"])
    return Answer(found, [*lines, f"{total} checked: {found.path}"])


def _push(folder: str, repo: str, dry_run: bool, **options: Any) -> Answer:
    from zoo.hub import push

    repo_id = repo.removeprefix("hf:")
    done = push(folder, repo_id, dry_run=dry_run, announce=_notice, **options)
    lines = _table([(file, _bytes(size)) for file, size in done.files.items()])
    said = "would be published" if dry_run else "published"
    state = said if done.changed else "is the same there already; nothing to send"
    return Answer(done, [*lines, f"{done.url} ({done.visibility}): {state}"])


def _verify(ref: str, **options: Any) -> Answer:
    from zoo.verifying import verify

    report = verify(ref, **options)
    lines = [f"{name} differs by {value:.3g}" for name, value in report.differences.items()]
    lines += [f"problem: {problem}" for problem in report.problems]
    if report.ok:
        lines.append(f"{ref}: {report.checked} files as they must be, digest {report.digest}")
    return Answer(report, lines, OK if report.ok else FAILED)


def _doctor(fix: bool) -> Answer:
    from zoo.sources import doctor

    found = doctor(fix=fix)
    left = doctor() if fix and found else found
    lines = [line if line in left else f"{line} (removed)" for line in found]
    answer = {"findings": found, "left": left}
    return Answer(answer, lines or ["nothing is broken or left over"], FAILED if left else OK)


def _card(folder: str, write: bool) -> Answer:
    from zoo import card, package, schema
    from zoo.folder import write_folder

    found = package.open_package(folder.removeprefix("dir:"), weights=write, edited="README.md")
    old = (found.root / "README.md").read_text()
    text = card.render(
        found.config,
        found.evaluation,
        license=schema.licence_of(old) or "",
        human=card.human_part(old),
        pictures=sorted(file for file in found.manifest["files"] if file.startswith("assets/")),
    )
    if write:
        files: dict[str, Any] = {path: found.root / path for path in found.manifest["files"]}
        write_folder(found.root, {**files, "README.md": text.encode()}, overwrite=True)
    return Answer({"card": text}, text.splitlines())


def _convert(source: str, file: str, out: str, license_text: str | None, **options: Any) -> Answer:
    from zoo.convert import convert

    text = Path(license_text).read_text() if license_text else None
    made = convert(source, file, out, license_text=text, **options)
    return Answer({"path": made}, [str(made)])


def _export(ref: str, out: str, format: Any, images: Sequence[str], **options: Any) -> Answer:
    from components.data.video import read_image
    from zoo.exporting import export
    from zoo.model import load

    model, batch = load(ref), None
    if images:
        if getattr(model, "preprocess", None) is None:
            raise ValueError(f"{ref} takes no images; leave out --images.")
        batch = model.preprocess([read_image(file) for file in images]).images
    done = export(model, out, format, images=batch, **options)
    apart = ", ".join(f"{name} {value:.2g}" for name, value in done.differences.items())
    line = f"{done.path}: {', '.join(done.inputs)} -> {', '.join(done.outputs)}"
    return Answer(done, [line, f"largest difference from the model: {apart}"])


def _predict(**options: Any) -> Answer:
    from zoo.prediction import predict

    done = []
    for one in predict(**options, counted=partial(_notice, passing=True)):
        _notice(f"{one.table}: {one.frames} frames, {one.landmarks} landmarks")
        done.append(one)
    return Answer(done, ())


def _parser() -> argparse.ArgumentParser:
    from zoo.schema import LIBRARY

    look: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "epilog": EXIT_CODES,
        "allow_abbrev": False,
    }
    parser = _Parser(prog="keypoint-zoo", description="Finished keypoint models.", **look)
    parser.add_argument("--version", action="version", version=LIBRARY)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., Answer], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, **look)
        added.add_argument("--json", action="store_true", help="answer with one JSON document")
        added.set_defaults(run=run)
        return added

    one = command("list", _list, "What there is; globs and filters narrow it down.")
    one.add_argument("pattern", nargs="*", metavar="PATTERN", help="of names: 'fomm-*'")
    for name in ("exclude", "task", "dataset", "license", "architecture"):
        of = "names to leave out" if name == "exclude" else f"the {name}"
        text = f"a pattern of {of}; may be repeated"
        one.add_argument(f"--{name}", action="append", metavar="PATTERN", help=text)
    one.add_argument("--metric", help="only with such a result: 'regression<=5'")
    text = "ask the Hub instead of the index"
    one.add_argument(
        "--hub", action="store_const", dest="source", const="hub", default="index", help=text
    )
    text = "only what loads without network"
    one.add_argument("--cached", action="store_true", default=None, help=text)

    one = command("info", _info, "All about one entry: size, results, licence, place.")
    one.add_argument("ref", metavar="REF", help=REF)

    one = command("pull", _pull, "Fetch an entry completely and check it.")
    one.add_argument("ref", metavar="REF", help=REF)
    one.add_argument("--revision", help="branch, tag or commit")
    one.add_argument("--dest", metavar="DIR", help="copy it there")
    one.add_argument("--dry-run", action="store_true", help="only tell what would be fetched")
    one.add_argument("--force", action="store_true", help="fetch again what is in the cache")
    text = "only look into the cache"
    one.add_argument("--offline", action="store_true", default=None, help=text)

    one = command("push", _push, "Publish a package on the Hub, as one commit.")
    one.add_argument("folder", metavar="DIR", help="the package")
    one.add_argument("repo", metavar="OWNER/NAME", help="made if there is none")
    seen = one.add_mutually_exclusive_group()
    text = "of a new repository, the default"
    seen.add_argument("--private", action="store_true", default=None, help=text)
    text = "for everyone to see"
    seen.add_argument("--public", action="store_false", dest="private", default=None, help=text)
    one.add_argument("--tag", help="name the commit")
    one.add_argument("--branch", help="instead of main")
    one.add_argument(
        "--pr", action="store_true", dest="create_pr", help="open a pull request instead"
    )
    one.add_argument("--message", help="first line of the commit")
    one.add_argument("--dry-run", action="store_true", help="only tell what would be sent")

    one = command("verify", _verify, "Check every byte of an entry.")
    one.add_argument("ref", metavar="REF", help=REF)
    one.add_argument("--deep", action="store_true", help="also what it computes")
    one.add_argument("--against", choices=("manifest", "hub"), default="manifest")

    one = command("doctor", _doctor, "Look for what is broken or left over.")
    one.add_argument("--fix", action="store_true", help="remove what is left over")

    one = command("card", _card, "Render a package's card; nothing is sent.")
    one.add_argument("folder", metavar="DIR", help="the package")
    one.add_argument("--write", action="store_true", help="into the package, with edited notes")

    one = command("convert", _convert, "Turn an official checkpoint into a package.")
    one.add_argument("source", metavar="SOURCE", help="whose official code wrote the file")
    one.add_argument("file", metavar="FILE", help="the official checkpoint")
    one.add_argument("--out", required=True, metavar="DIR")
    one.add_argument("--config", help="a config, or an entry, of the same model")
    one.add_argument("--license", required=True, help="of these weights: apache-2.0, other ...")
    one.add_argument("--license-text", metavar="FILE", help="the licence itself")

    one = command("export", _export, "Write a model into a file that needs none of this library.")
    one.add_argument("ref", metavar="REF", help=f"{REF}: a package, a run, a .pth")
    one.add_argument("--format", required=True, choices=("onnx", "torch_export", "torchscript"))
    one.add_argument("--out", required=True, metavar="FILE", help=".onnx, .pt2 or .pt")
    one.add_argument("--part", choices=("detector", "renderer"), default="detector")
    one.add_argument("--images", nargs="+", metavar="FILE", help="also compared on these")

    one = command("predict", _predict, "Find landmarks in images, folders and videos.")
    one.add_argument("ref", metavar="REF", help=f"{REF}: a package, a run, a .pth")
    one.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video")
    one.add_argument("--out", required=True, metavar="DIR", help="drawings and CSV files go there")
    one.add_argument("--batch-size", type=int, default=16, metavar="N")
    return parser


def _table(rows: Sequence[Sequence[str]], *, indent: int = 0, cut: bool = True) -> list[str]:
    """Return aligned lines, on a terminal no wider than it."""
    if not rows:
        return []
    cells = [["".join(c if c.isprintable() else " " for c in cell) for cell in r] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells]
    if not cut or sys.stdout is None or not sys.stdout.isatty():
        return lines
    return [line[: max(shutil.get_terminal_size().columns - indent, 1)] for line in lines]


def _score_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a table of results, each beside its baselines."""
    if not results:
        return []
    baselines = list(dict.fromkeys(name for row in results for name in row["baselines"]))
    shown = [name.replace("_", " ") for name in baselines]
    rows = [["protocol", "metric", "value", "interval", *shown, "n", "data"]]
    for row in results:
        own = [row["protocol"], row["metric"], _score(row)]
        own.append(" to ".join(map(number, row["interval"] or ())))
        own += [*(number(row["baselines"].get(name)) for name in baselines), number(row["n"])]
        data = row["dataset"]
        rows.append([*own, " ".join(filter(None, (data["name"], data["split"])))])
    return rows


def _paper_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    last = ("dataset", "setting", "source")
    return [[row["metric"], _score(row), *(row[key] for key in last)] for row in results]


def _score(row: Mapping[str, Any]) -> str:
    return f"{number(row['value'])} {row['unit']}".rstrip()


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Entry):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
