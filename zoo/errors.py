"""The errors of the zoo: the text says what, why and what to do; the cause is chained."""

from __future__ import annotations

from typing import Any

MAX_TEXT = 2000  # characters of a message
OK, FAILED, USAGE, NOT_FOUND, NETWORK, ACCESS, INCOMPATIBLE, PARTIAL = range(8)


def printable(text: str) -> str:
    r"""Return a text in which characters that could change what a terminal shows are escaped.

    Example:
        >>> printable("\x1b[2J")
        '\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ZooError(Exception):
    """Base class of all errors of the zoo.

    Attributes:
        exit_code: exit status of the command for this error.
    """

    exit_code = FAILED

    def __init_subclass__(cls, code: int | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.exit_code = cls.exit_code if code is None else code

    def __str__(self) -> str:
        # KeyError would add quotes; an entry's text could be endless or contain terminal codes
        text = str(self.args[0]) if self.args else ""
        plain = printable(text[: MAX_TEXT + 1])
        return plain if len(text) <= MAX_TEXT else f"{plain} ... ({len(text)} characters)"


class UnknownEntryError(ZooError, KeyError, code=NOT_FOUND):
    """There is no entry, repository, folder or revision of that name."""


class AmbiguousReferenceError(ZooError, ValueError, code=USAGE):
    """A reference that could mean two things, or nothing."""


class NotAPackageError(ZooError, ValueError, code=USAGE):
    """A run was given where a package is needed."""


class NoWeightsError(ZooError, FileNotFoundError, code=NOT_FOUND):
    """The entry is known, but no weights have been published for it."""


class NotCachedError(ZooError, FileNotFoundError, code=NETWORK):
    """Offline, and the entry is not in the cache."""


class IncompleteEntryError(ZooError, FileNotFoundError):
    """Files of the package are missing."""


class HubUnreachableError(ZooError, ConnectionError, code=NETWORK):
    """The Hub does not respond, or responds with a server error."""


class IntegrityError(ZooError):
    """Something in the package does not match its manifest or description."""


class MissingArchitectureError(ZooError, code=INCOMPATIBLE):
    """The entry needs a component that is not installed."""


class PluginError(ZooError, code=INCOMPATIBLE):
    """The plugin that provides a component, or an index, cannot be read."""


class WeightsMismatchError(ZooError, code=INCOMPATIBLE):
    """The weights do not fit the architecture."""


class FormatTooNewError(ZooError, code=INCOMPATIBLE):
    """The package was written by a later version of this library."""


class AccessError(ZooError, PermissionError, code=ACCESS):
    """The Hub refuses this account."""


class UnsafeWeightsError(ZooError, code=INCOMPATIBLE):
    """The repository or folder has only pickled weights, which are never loaded."""


class PublishConflictError(ZooError):
    """The repository has changed since publishing began."""


class PublishRefusedError(ZooError, ValueError, code=USAGE):
    """The package cannot be published: licence, names, numbers or leftovers."""
