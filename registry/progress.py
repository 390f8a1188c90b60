"""The project's progress bar, and lines that do not disturb it; both on stderr."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
REFRESH = 1.0  # seconds between two updates of a bar on a terminal
LINES = 10.0  # seconds between two plain lines elsewhere


class _Lines:
    """What a bar writes to if stderr is not a terminal: each new state becomes a line."""

    def __init__(self) -> None:
        self.last = ""

    def write(self, text: str) -> None:
        text = text.replace("\x1b[A", "").strip()
        if text and text != self.last:
            sys.stderr.write(f"{text}\n")
            self.last = text

    def flush(self) -> None:
        sys.stderr.flush()


class Bar(tqdm):  # type: ignore[misc]
    """A tqdm bar that moves every second on a terminal and writes few lines elsewhere.

    Attributes:
        note: text shown first, such as the error of a training run.
    """

    monitor_interval = 0  # each update checks the clock, so tqdm's monitor thread is not needed

    def __init__(self, over: Any, what: str, unit: str, *, slow: bool, start: int) -> None:
        self.note, self.slow = "", slow
        counted = over is None or isinstance(over, int)
        total = over if counted else len(over) if hasattr(over, "__len__") else None
        terminal = sys.stderr.isatty()
        known = terminal and os.get_terminal_size(sys.stderr.fileno()).columns > 0
        of, left = ("", "") if total is None else ("/{total_fmt}", ", {remaining} left")
        scale = "|{bar}| " if terminal and total is not None else ""
        super().__init__(
            None if counted else over,
            what,
            total,
            initial=start,
            unit=unit,
            leave=None,  # a bar inside another one disappears when done
            file=sys.stderr if terminal else _Lines(),
            mininterval=REFRESH / 2 if terminal else LINES,
            miniters=1,
            dynamic_ncols=known,
            ncols=79 if terminal and not known else None,  # otherwise tqdm would draw nothing
            nrows=24,
            delay=0 if terminal else 1,  # no line for what is done at once
            bar_format=f"{{desc}}: {{note}}{scale}{{n_fmt}}{of} {{unit}}, "
            f"{{pace}}, {{elapsed}}{left}",
        )
        self.stop = threading.Event()
        if terminal and not self.disable:
            threading.Thread(target=_tick, args=(weakref.ref(self), self.stop), daemon=True).start()

    @property
    def format_dict(self) -> dict[str, Any]:
        """The fields of ``bar_format``: those of tqdm, the note and the pace."""
        found = super().format_dict
        seconds = found["elapsed"] / max(self.n - self.initial, 1)
        rate = found["rate"] or (1 / seconds if self.n > self.initial and seconds else None)
        if rate is None:
            pace = f"? s/{self.unit}" if self.slow else f"? {self.unit}/s"
        else:
            pace = f"{1 / rate:.3g} s/{self.unit}" if self.slow else f"{rate:.3g} {self.unit}/s"
        return {**found, "pace": pace, "note": f"{self.note} " if self.note else ""}

    def close(self) -> None:
        """Show the last state and close the bar."""
        if hasattr(self, "stop"):
            self.stop.set()
        super().close()


def _tick(found: weakref.ref[Bar], stop: threading.Event) -> None:
    """Redraw a bar every second, even if no step ends in it, until it is closed or collected."""
    while not stop.wait(REFRESH) and (bar := found()) is not None:
        with bar.get_lock():
            if not stop.is_set():
                bar.refresh()
        del bar


def bar(
    over: Iterable[T] | int | None,
    what: str,
    unit: str = "frames",
    *,
    slow: bool = False,
    start: int = 0,
) -> Bar:
    """Return a progress bar on stderr: in place on a terminal, at most a line per 10 s elsewhere.

    It shows how much is done, the rate, the elapsed time and, if the total is known, the time left.
    If stderr is not a terminal, nothing is written for work that takes less than 10 s.

    Args:
        over: what to iterate over; or a number of steps, or None if unknown: then use the bar as a
            context manager and call ``update(steps)``.
        what: what is being done, such as ``reading``.
        unit: what is counted, in the plural.
        slow: show the rate in seconds per unit.
        start: number of steps done before.

    Example:
        >>> for image in bar(images, "drawing", "images"):  # doctest: +SKIP
        ...     draw(image)
        >>> with bar(None, "reading", "frames") as progress:  # doctest: +SKIP
        ...     progress.update(16)
    """
    return Bar(over, what, unit, slow=slow, start=start)


def counted(items: Iterable[T], total: int | None, what: str, unit: str = "frames") -> Iterator[T]:
    """Pass items on and show how many there were.

    Args:
        items: what comes, and is used, one after the other.
        total: how many there will be; None or 0 if that is not known.
        what: as for :func:`bar`.
        unit: as for :func:`bar`.
    """
    with bar(total or None, what, unit) as progress:
        for item in items:
            yield item
            progress.update()


def say(text: str) -> None:
    """Write a line to stderr, above the bars."""
    if sys.stderr.isatty():
        tqdm.write(f"\r\x1b[K{text}", file=sys.stderr)  # clears a temporary line, if any
    else:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
