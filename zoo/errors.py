"""Every error of the zoo: the first line says what, why and what to do; the cause is chained."""

from __future__ import annotations

from typing import Any

MAX_TEXT = 2000  # characters of a message
OK, FAILED, USAGE, NOT_FOUND, NETWORK, ACCESS, INCOMPATIBLE = range(7)


class ZooError(Exception):
    """Base class of all errors of the zoo.

    Attributes:
        exit_code: what the console script returns for it.
    """

    exit_code = FAILED

    def __init_subclass__(cls, code: int | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.exit_code = cls.exit_code if code is None else code

    def __str__(self) -> str:
        # KeyError would print quotes; an entry's own words could hold terminal codes, and no end
        text = str(self.args[0]) if self.args else ""
        plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: MAX_TEXT + 1])
        return plain if len(text) <= MAX_TEXT else f"{plain} ... ({len(text)} characters)"


class UnknownEntryError(ZooError, KeyError, code=NOT_FOUND):
    """No entry, repository, folder or revision of that name."""


class AmbiguousReferenceError(ZooError, ValueError, code=USAGE):
    """A reference that could mean two things, or nothing."""


class RunError(ZooError, ValueError, code=USAGE):
    """A run was given where only its package will do."""


class NoWeightsError(ZooError, FileNotFoundError, code=NOT_FOUND):
    """The entry is known, but nobody has published weights for it."""


class NotCachedError(ZooError, FileNotFoundError, code=NETWORK):
    """Offline, and the entry is not in the cache."""


class IncompleteEntryError(ZooError, FileNotFoundError):
    """Files of the package are missing."""


class HubUnreachableError(ZooError, ConnectionError, code=NETWORK):
    """The Hub does not answer, or answers with an error of its own."""


class IntegrityError(ZooError):
    """Something in the package is not what its manifest, or its own description, says."""


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
    """There are only pickled weights, which are never loaded."""


class PublishConflictError(ZooError):
    """The repository changed since the publication began."""


class PublishRefusedError(ZooError, ValueError, code=USAGE):
    """The package is not fit to be published: licence, names, numbers or leftovers."""
