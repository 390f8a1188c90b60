"""Listing the entries that match some filters; nothing heavy is imported."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, Literal

from zoo.index import Entry, entries

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    **{"<=": operator.le, ">=": operator.ge, "==": operator.eq},
    **{"<": operator.lt, ">": operator.gt},
}


def list_entries(
    pattern: str | Iterable[str] = "*",
    *,
    exclude: str | Iterable[str] = (),
    task: str | Iterable[str] | None = None,
    dataset: str | Iterable[str] | None = None,
    license: str | Iterable[str] | None = None,
    architecture: str | Iterable[str] | None = None,
    metric: str | tuple[str, str, float] | None = None,
    source: Literal["index", "hub"] = "index",
    cached: bool | None = None,
    sort: str = "name",
) -> list[Entry]:
    """Return the entries that match all filters; uses the network only with ``source="hub"``.

    Args:
        pattern: for the names; on the Hub for owner/name, or for the name alone. This and the next
            five are globs, or lists of globs of which one must match; case is ignored.
        exclude: for the names to leave out.
        task, dataset, license, architecture: for these attributes.
        metric: for our own results: ``("regression", "<=", 5)`` or ``"regression<=5"``, with the
            name of a protocol or of a metric; entries without such a result are left out.
        source: ``index`` for the entries of the installed indices, ``hub`` to ask the Hub.
        cached: True for entries that load without network, False for the others.
        sort: ``name`` (2 before 10), or a metric, best first and entries without it last.

    Raises:
        ValueError: ``metric``, ``source`` or ``sort`` is not valid.

    Example:
        >>> [entry.name for entry in list_entries("fomm-*", dataset="voxceleb*", exclude="*flow*")]
        ['fomm-vox', 'fomm-vox-adv']
    """
    if source == "hub":
        from zoo.hub import list_hub

        found = list_hub()
    elif source == "index":
        found = list(entries().values())
    else:
        raise ValueError(f"source must be 'index' or 'hub', not {source!r}.")

    def matches(value: str | None, globs: Sequence[str]) -> bool:
        return value is not None and any(fnmatchcase(value.lower(), w) for w in globs)

    def is_called(name: str, globs: Sequence[str]) -> bool:
        """Match a name; Hub names, hf:owner/name, also without the prefix and the owner."""
        return any(matches(n, globs) for n in {name, name.removeprefix("hf:"), name.split("/")[-1]})

    called, others = _globs(pattern), _globs(exclude)
    found = [e for e in found if is_called(e.name, called) and not is_called(e.name, others)]
    filters = {"task": task, "dataset": dataset, "license": license, "architecture": architecture}
    for key, wanted in filters.items():
        if wanted is not None:
            globs = _globs(wanted)
            found = [entry for entry in found if matches(getattr(entry, key), globs)]
    if metric is not None:
        name, compare, limit = _comparison(metric)
        found = [e for e in found if any(compare(r["value"], limit) for r in _results(e, name))]
    if cached is not None:
        found = [entry for entry in found if _is_cached(entry) == cached]
    found.sort(key=_natural)
    if sort != "name":
        if found and not any(_results(entry, sort) for entry in found):
            raise ValueError(f"sort: none of these entries has a result '{sort}'. Sort by 'name'.")
        found.sort(key=lambda entry: _rank(_results(entry, sort)))
    return found


def names(pattern: str | Iterable[str] = "*", **filters: Any) -> list[str]:
    """Return the names of the entries that match the filters of ``list``."""
    return [entry.name for entry in list_entries(pattern, **filters)]


def _globs(words: str | Iterable[str]) -> list[str]:
    return [word.lower() for word in ((words,) if isinstance(words, str) else words)]


def _comparison(metric: Any) -> tuple[str, Callable[[Any, Any], bool], float]:
    """Split ``regression<=5`` into name, comparison and limit."""
    parts = metric
    if isinstance(metric, str):
        found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|<|>)\s*(\S+)\s*", metric)
        parts = found.groups() if found else ()
    with suppress(ValueError, TypeError, KeyError):
        name, sign, limit = parts
        return str(name), COMPARE[sign], float(limit)
    raise ValueError(
        f"metric {metric!r} must be like 'regression<=5' or ('regression', '<=', 5), with one of "
        f"{' '.join(COMPARE)}."
    )


def _results(entry: Entry, name: str) -> list[dict[str, Any]]:
    """Return the results of an entry for a protocol or metric."""
    keys = ("protocol", "metric")
    return [row for row in entry.results if name.lower() in (row[key].lower() for key in keys)]


def _rank(results: Sequence[Mapping[str, Any]]) -> tuple[bool, float]:
    """Return a sort key: by the first result, best first; entries without results last."""
    if not results:
        return True, 0.0
    value = float(results[0]["value"])
    return False, -value if results[0]["higher_is_better"] else value


def _natural(entry: Entry) -> list[Any]:
    """Return a sort key that orders numbers in names by value."""
    parts = re.split(r"(\d+)", entry.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _is_cached(entry: Entry) -> bool:
    if entry.repo_id is None or entry.commit is None:
        return entry.folder is not None and (entry.folder / "manifest.json").is_file()
    from zoo.hub import is_cached

    return is_cached(entry.repo_id, entry.commit)
