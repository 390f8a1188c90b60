"""The SDK's error classes, and the suggestions that their messages end with."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable


class ConfigError(ValueError):
    """A config, a name or an argument is wrong; the text says what, where and what to do."""


class RunError(RuntimeError):
    """A run cannot go on though its config is right: memory ran out, or a process died or hangs."""


OUT_OF_MEMORY = (
    "out of memory",  # CUDA
    "can't allocate memory",  # torch on the CPU
    "not enough memory",  # the same on other systems
    "Insufficient memory",  # OpenCV
    "Cannot allocate memory",  # the kernel, when a loader process is started
    "insufficient shared memory",  # a container's /dev/shm
)


def run_error(error: BaseException) -> RunError | None:
    """Return what to say instead of an error that the machine caused; None for any other.

    Args:
        error: caught in a training step or in a command.
    """
    text = str(error)
    if isinstance(error, RunError):
        return error
    if isinstance(error, RuntimeError) and (found := re.search(r"DataLoader worker \(pid.*", text)):
        return RunError(
            f"a loader process ended unexpectedly, as when memory runs out ({found[0].strip()}) "
            "Lower data.workers or batch_size, or set data.workers=0."
        )
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        first = next((line for line in reversed(text.strip().splitlines()) if line.strip()), "")
        if isinstance(error, (MemoryError, RuntimeError, OSError)) or "cv2" in repr(type(error)):
            reason = f" ({first.strip()[:200]})" if first else ""
            return RunError(
                f"memory ran out{reason}. Lower batch_size (of train or evaluate), data.workers "
                "or the size of the images."
            )
    return None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?``, a short list of the options, or '' if there are no options.

    Example:
        >>> did_you_mean("widht", ["width", "depth"])
        " Did you mean 'width'?"
    """
    known = sorted(set(options))
    # a shared role or folder does not make two names similar
    shared = os.path.commonprefix([word, *known]).rfind("/") + 1  # noqa: RUF071
    ends = [name[shared:] for name in known]
    close = difflib.get_close_matches(word[shared:], ends, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{word[:shared]}{close[0]}'?"
    return f" Known: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}." if known else ""


def one_line(error: BaseException) -> str:
    r"""Return an error's class and text in one line; of a ConfigError, the text alone.

    Example:
        >>> one_line(KeyError("a\nb"))
        "KeyError: 'a\\nb'"
    """
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # of another library
        text = ""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:2000]
    return text if isinstance(error, ConfigError) and text else f"{kind}: {text}".removesuffix(": ")
