"""Files that are old or new, never a part."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# of kill, and of a terminal that is closed; Windows has no second
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name if the block ends without error.

    A reader sees the old file or the whole new one, never a part of it. If the block is left by an
    error, by Ctrl-C, or by SIGTERM or SIGHUP that nobody else handles, the temporary file goes.

    Args:
        path: its folder is made if need be.
        sync: first wait until the content is on the disk, for what took long to make.
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
    """Let what would end the process at once end it by ``SystemExit``, so that it cleans up."""
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
    sys.exit(128 + number)  # as shells call what a signal ends
