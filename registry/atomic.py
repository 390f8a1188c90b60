"""Atomic writes: a file is either the old one or the whole new one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# sent by kill, and by a terminal that is closed; Windows has no SIGHUP
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it is renamed to ``path`` if the block succeeds.

    A reader sees the old file or the whole new one, never a part of it. The temporary file is
    deleted if the block ends with an error, Ctrl-C, or a SIGTERM or SIGHUP without other handler.

    Args:
        path: the file to write; its folder is created if needed.
        sync: wait until the content is on the disk before renaming, for what took long to compute.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with _unwinding():
        try:
            yield temporary
            if sync:
                with temporary.open("r+b") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Turn signals that would kill the process into ``SystemExit``, so that it cleans up."""
    main = threading.current_thread() is threading.main_thread()
    found = [end for end in ENDS if main and signal.getsignal(end) is signal.SIG_DFL]
    for end in found:
        signal.signal(end, _leave)
    try:
        yield
    finally:
        for end in found:
            signal.signal(end, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # the exit status that shells report for a signal
