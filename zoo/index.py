"""The index of models: rows of data, read without network, torch or numpy.

An index is a JSON file::

    {"format_version": 1,
     "entries": {"acme-net-bbc": {"task": "keypoint-detection",
                                  "architecture": "pipelines/reconstruction",
                                  "dataset": "bbc-pose", "summary": "One sentence.", ...},
                 "acme-net-bbc-20": {..., "config": "acme-net-bbc",
                                     "options": {"num_landmarks": 20}}},
     "aliases": {"acme-bbc": {"to": "acme-net-bbc", "until": "0.3"}}}

``ROW`` has all keys of a row. The weights are in ``package``, a folder below that of the file, or
on the Hub at ``repo_id``, ``commit`` and ``digest`` together; without either, they are not
published. ``summary`` defaults to the first line of the config.

A distribution adds its index by an entry point in its ``pyproject.toml``::

    [project.entry-points."keypoint_zoo.entries"]
    acme = "acme_keypoints:index"

which means the file ``index.json`` in its top-level package ``acme_keypoints``. The package is
found but never imported. The config ``configs/acme_net_bbc.py`` beside the index trains
``acme-net-bbc``, and builds it if there are no weights; ``acme-net-bbc-20`` uses the same config
with its ``options``.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zoo import schema
from zoo.errors import IntegrityError, PluginError, UnknownEntryError, ZooError, printable
from zoo.schema import NOTHING, NUMBER, TEXT

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

HERE = Path(__file__).resolve().parent
GROUP = "keypoint_zoo.entries"
OURS = "keypoint-zoo"

REPORTED = {  # a number in a paper
    **dict.fromkeys(("dataset", "metric", "unit", "setting", "source"), TEXT),
    **{"value": NUMBER, "recalled?": bool},
}
ROW = {
    **dict.fromkeys(("task", "architecture", "dataset"), TEXT),
    **dict.fromkeys(("summary?", "paper?", "data_licence?", "how?", "config?"), TEXT),
    **{"options?": {"*": object}, "paper_results?": [REPORTED], "converter?": (str, NOTHING)},
    **dict.fromkeys(("package?", "repo_id?", "commit?", "digest?", "license?"), TEXT),
}
ALIAS = {"to": TEXT, "until": TEXT}
INDEX = {"format_version": int, "entries": {"*": ROW}, "aliases?": {"*": ALIAS}}


class Entry(NamedTuple):  # importing dataclasses would make listing half as slow again
    """One model of the zoo."""

    name: str  # what zoo.load takes
    task: str  # one of zoo.schema.TASKS
    architecture: str  # the pipeline's registered name
    dataset: str  # short name of its training data
    summary: str  # one sentence
    paper: str = ""  # short citation
    data_licence: str = ""  # what the data may be used for
    paper_results: tuple[dict[str, Any], ...] = ()  # papers' numbers for this very model
    results: tuple[dict[str, Any], ...] = ()  # measured with this library
    license: str | None = None  # of the weights
    weights: Literal["bundled", "hub", "folder", "none"] = "none"  # where they are
    how: str = ""  # how to train it or get weights, in one sentence
    converter: str | None = None  # SOURCE of keypoint-zoo convert, if official checkpoints fit
    provider: str = OURS  # or a distribution with its version, or a registered file
    folder: Path | None = None  # of the package, if local
    config: Path | None = None  # the training config, if any
    options: Mapping[str, Any] = {}  # what to override in it
    repo_id: str | None = None  # of the package, if on the Hub
    commit: str | None = None
    digest: str | None = None

    def __repr__(self) -> str:
        """Return name, task, dataset and weights; ``_asdict()`` has all fields."""
        told = {"task": self.task, "dataset": self.dataset, "weights": self.weights}
        return f"Entry({self.name!r}, {', '.join(f'{k}={v!r}' for k, v in told.items())})"


class Index(NamedTuple):
    """The content of one index file; an alias is old name -> (new name, until)."""

    provider: str
    entries: dict[str, Entry]
    aliases: dict[str, tuple[str, str]]


_registered: dict[Path, Index] = {}


def entries() -> dict[str, Entry]:
    """Return all entries by name: ours, then those of plugins, then registered ones."""
    found: dict[str, Entry] = {}
    for index in _indices():
        found = index.entries | found
    return found


def find(name: str) -> Entry:
    """Return the entry of that name; a former name works with a ``DeprecationWarning``.

    Raises:
        UnknownEntryError: it does not exist; similar names are suggested.
    """
    known = entries()
    if name in known:
        return known[name]
    for index in _indices():
        if name in index.aliases:
            new, until = index.aliases[name]
            text = f"'{name}' is now called '{new}'; the old name will be removed in {until}."
            _warn(text, DeprecationWarning)
            return index.entries[new]
    import difflib

    plain = name[:99].lower().replace("_", "-")
    near = [plain] if plain in known else difflib.get_close_matches(plain, known, n=5)
    hint = f" Did you mean: {', '.join(near)}?" if near else ""
    broken = "".join(f" {problem}" for problem in _plugins()[1])
    raise UnknownEntryError(
        f"There is no zoo entry '{name[:99]}'.{hint} See `keypoint-zoo list` for all. For a Hub "
        f"repository write hf:owner/name, for a folder dir:path.{broken}"
    )


def is_known(name: str) -> bool:
    """Return whether ``name`` is the name, or a former name, of an entry."""
    return name in entries() or any(name in index.aliases for index in _indices())


def no_weights_text(entry: Entry) -> str:
    """Return the advice for a user who wants the weights of an entry without weights."""
    ways = [f"or take the untrained model: zoo.load('{entry.name}', pretrained=False)."]
    if entry.converter is not None:
        command = f"keypoint-zoo convert {entry.converter} FILE --config {entry.name}"
        ways.insert(0, f"convert the official checkpoint: {command} --license L --out DIR")
    if entry.config is not None:
        changed = [f"{key}={value}" for key, value in entry.options.items()]
        # a shipped config is given by name, that of a plugin by file
        config = entry.config.stem if entry.provider == OURS else str(entry.config)
        words = [config, *(["--cfg-options", *changed] if changed else [])]
        ways.insert(0, f"train it: keypoint-zoo train {shlex.join(words)}")
    elif entry.how:
        ways.insert(0, entry.how.rstrip("."))
    text = "; ".join(ways)
    data = f" Data: {entry.data_licence}." if entry.data_licence else ""
    return f"No weights of '{entry.name}' are published.{data} {text[0].upper()}{text[1:]}"


def problems() -> list[str]:
    """Return the problems of installed plugins' indices."""
    _, broken, hidden = _plugins()
    return broken + hidden


def register_index(source: str | Path) -> None:
    """Add the entries of an index file for this process; a second call reads the file again.

    Raises:
        PluginError: it cannot be read, or one of its names is taken; nothing is added.
    """
    file = Path(os.path.abspath(source))
    try:
        index = _read_index(file, str(file))
    except (OSError, RuntimeError, ZooError) as error:
        raise PluginError(f"the index {file} cannot be read: {_reason(error)}") from error
    for other in _indices():
        for name in index.entries if other.provider != index.provider else ():
            if name in other.entries:
                raise PluginError(f"{file}: '{name}' is already an entry of {other.provider}.")
    _registered[file] = index


def _indices() -> list[Index]:
    return [_ours(), *_plugins()[0], *_registered.values()]


@cache
def _ours() -> Index:
    return _read_index(HERE / "index.json", OURS)


@cache
def _plugins() -> tuple[list[Index], list[str], list[str]]:
    """Return the indices of installed distributions, broken indices, and names that are hidden.

    Warns about each problem once.
    """
    found: list[Index] = []
    broken: list[str] = []
    hidden: list[str] = []
    try:
        points = sorted({(_dist(point), point.value) for point in _entry_points()})
    except Exception as error:  # broken metadata of a distribution; ours still work
        points = []
        broken.append(f"Plugins cannot be listed: {type(error).__name__}: {error}.")
    for provider, value in points:
        try:
            index = _read_index(_index_file(value), provider)
        except Exception as error:  # whatever the reason, all others work
            broken.append(
                f"The index of {provider} cannot be read, so its entries are missing: "
                f"{_reason(error)}"
            )
            continue
        for other in (_ours(), *found):
            if same := ", ".join(sorted(index.entries.keys() & other.entries.keys())):
                both = f"{other.provider} and {provider} both have {same}"
                hidden.append(f"{both}; that of {other.provider} is used.")
        found.append(index)
    for problem in (*broken, *hidden):
        _warn(f"keypoint-zoo: {problem}", UserWarning)
    return found, broken, hidden


def _entry_points() -> Iterable[EntryPoint]:
    """Return the entry points of our group.

    Importing ``importlib.metadata`` takes longer than the rest of a listing, so it is only done if
    some ``entry_points.txt`` on ``sys.path`` names the group.
    """
    for folder in sys.path:
        for file in Path(folder).glob("*-info/entry_points.txt"):
            with suppress(OSError, ZooError):
                if GROUP.encode() in schema.read_small(file, ""):
                    from importlib.metadata import entry_points

                    return entry_points(group=GROUP)
    return ()


def _dist(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _index_file(value: str) -> Path:
    """Return the file of ``package:index`` without importing the package."""
    found = re.fullmatch(r"(\w+):(\w+)", value)
    if found is None:
        raise PluginError(f"its entry point '{value}' must have the form 'package:index'.")
    spec = find_spec(found[1])
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise PluginError(f"there is no package '{found[1]}'.")
    return Path(folders[0], f"{found[2]}.json")


def _read_index(file: Path, provider: str) -> Index:
    """Read and check an index file.

    Raises:
        OSError: the file cannot be read.
        IntegrityError, FormatTooNewError: it is not a valid index.
    """
    content = schema.read_json(file, str(file.parent))
    schema.check_version(content, str(file))
    schema.conform(content, INDEX, file.name)
    _check_printable(content, file.name)
    found = {name: _entry(name, row, file, provider) for name, row in content["entries"].items()}
    aliases = {old: (row["to"], row["until"]) for old, row in content.get("aliases", {}).items()}
    for old, (new, _) in aliases.items():
        if new not in found or old in found:
            raise IntegrityError(
                f"{file.name}: the alias '{old}' is the name of an entry, or does not lead to one."
            )
    return Index(provider, found, aliases)


def _entry(name: str, row: Mapping[str, Any], file: Path, provider: str) -> Entry:
    where = f"{file.name}: {name}"
    schema.check_name(name, where)
    if row["task"] not in schema.TASKS:
        raise IntegrityError(
            f"{where}: task {row['task']!r} must be one of {', '.join(schema.TASKS)}."
        )
    attributes = {key: value for key, value in row.items() if key not in ("package", "config")}
    attributes["paper_results"] = tuple(row.get("paper_results", ()))
    if "package" in row:
        inside = PurePosixPath(row["package"])
        if inside.is_absolute() or ".." in inside.parts or "\\" in row["package"]:
            raise IntegrityError(f"{where}: package must be a folder below the index's folder.")
        folder = file.parent / inside
        attributes |= {"weights": "bundled", "folder": folder}
        attributes["results"] = _measured(folder, provider)
    elif "repo_id" in row:
        attributes["weights"] = "hub"
    else:
        attributes["license"] = None
    if "repo_id" in row or "commit" in row:
        commit, digest = row.get("commit", ""), row.get("digest", "")
        pinned = re.fullmatch("[0-9a-f]{40}", commit) and re.fullmatch("[0-9a-f]{64}", digest)
        if "package" in row or not pinned or not schema.is_repo_id(row.get("repo_id", "")):
            raise IntegrityError(
                f"{where}: a package on the Hub needs repo_id, commit (40 digits) and digest (64 "
                "digits), and must not have a folder."
            )
    base = row.get("config", name)
    schema.check_name(base, f"{where}: config")
    # configs are Python: those beside a merely registered index are not read
    config, line = _config(base, file.parent) if provider != str(file) else (None, "")
    attributes.setdefault("summary", line)
    if not attributes["summary"]:
        raise IntegrityError(f"{where}: the summary is missing, and there is no config with one.")
    return Entry(name=name, provider=provider, config=config, **attributes)


def _config(name: str, folder: Path) -> tuple[Path | None, str]:
    """Return the config beside its index (ours, in a checkout: one level up) and its first line."""
    if folder == HERE and not (HERE / "configs").is_dir():
        folder = HERE.parent
    file = folder / "configs" / f"{name.replace('-', '_')}.py"
    with suppress(OSError):
        line = schema.read_small(file, name).decode("utf-8", "replace").partition("\n")[0]
        return file, line.strip().strip('"') if line.startswith('"""') else ""
    return None, ""


def _measured(folder: Path, provider: str) -> tuple[dict[str, Any], ...]:
    """Return our results in a package; empty, with a warning, if they are not valid."""
    try:
        evaluation = schema.read_json(folder / "evaluation.json", folder.name, inside=folder)
        schema.check_evaluation(evaluation, folder.name)
    except (OSError, RuntimeError, ZooError) as error:  # RuntimeError: links in a circle
        if not isinstance(error, FileNotFoundError):  # else there is no package: loading says so
            _warn(f"keypoint-zoo: the index of {provider}: {_reason(error)}", UserWarning)
        return ()
    return tuple(row for row in evaluation["results"] if row["origin"] == "ours")


def _check_printable(node: Any, where: str) -> None:
    """Refuse texts that could change what a terminal shows, or that no file can be called."""
    if isinstance(node, str) and not node.isprintable():
        raise IntegrityError(f"{where}: {node[:60]!r} has characters that cannot be printed.")
    pairs = dict(enumerate(node)) if isinstance(node, (list, tuple)) else node
    for key, value in pairs.items() if isinstance(pairs, Mapping) else ():
        _check_printable(str(key), where)
        _check_printable(value, f"{where}: {key}")


def _reason(error: Exception) -> str:
    return f"there is no {error.filename}." if isinstance(error, FileNotFoundError) else str(error)


def _warn(text: str, category: type[Warning]) -> None:
    """Warn at the caller's line outside this package: only such warnings are shown by default."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "zoo":
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(text), category, stacklevel=level)
