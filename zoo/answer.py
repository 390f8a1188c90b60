"""The output of a command: its answer on stdout, progress and notices on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zoo.card import number
from zoo.errors import OK, printable
from zoo.index import Entry

INTERRUPTED, BROKEN_PIPE = 130, 141  # the statuses that shells report for SIGINT and SIGPIPE
REF = (
    "the name of a zoo entry, hf:owner/name[@revision], the folder of a run or package, or a "
    "checkpoint (.pth)"
)


class Answer(NamedTuple):
    """The answer of a command: for programs, for people, and its exit status."""

    document: Any
    lines: Sequence[str]
    code: int = OK


class UsageError(ValueError):
    """The words of the command line are not a valid command."""


def notice(text: str, *, passing: bool = False) -> None:
    """Write a line to stderr; a passing one only on terminals, where the next line replaces it."""
    err = sys.stderr
    if err is None:
        return
    with contextlib.suppress(OSError):
        terminal = err.isatty()
        if terminal or not passing:
            err.write(("\r\x1b[K" if terminal else "") + printable(text) + "\n" * (not passing))
            err.flush()


def table(rows: Sequence[Sequence[str]], *, indent: int = 0, cut: bool = True) -> list[str]:
    """Return aligned lines, cut to the width of a terminal unless ``cut`` is false."""
    if not rows:
        return []
    cells = [["".join(c if c.isprintable() else " " for c in cell) for cell in r] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells]
    if not cut or sys.stdout is None or not sys.stdout.isatty():
        return lines
    return [line[: max(shutil.get_terminal_size().columns - indent, 1)] for line in lines]


def size_of(count: int) -> str:
    """Return a number of bytes in MB or kB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def score_of(row: Mapping[str, Any]) -> str:
    """Return the value of a result and its unit."""
    return f"{number(row['value'])} {row['unit']}".rstrip()


def plain(value: Any) -> Any:
    """Return a value as plain JSON types; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Entry):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
