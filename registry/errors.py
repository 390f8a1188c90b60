"""The SDK's only error class, and the suggestions that its messages end with."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class ConfigError(ValueError):
    """A config, a name or an argument is wrong; the text says what, where and what to do."""


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
