"""Every error of the zoo: the first line says what, why and what to do; the cause is chained.

``exit_code`` is what the console script returns for it.
"""

from __future__ import annotations

MAX_TEXT = 2000  # characters of a message
OK, FAILED, USAGE, NOT_FOUND, NETWORK, ACCESS, INCOMPATIBLE = range(7)


class ZooError(Exception):
    """Base class of all errors of the zoo."""

    exit_code = FAILED

    def __str__(self) -> str:
        # KeyError would print quotes; an entry's own words could hold terminal codes, and no end
        text = str(self.args[0]) if self.args else ""
        plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: MAX_TEXT + 1])
        return plain if len(text) <= MAX_TEXT else f"{plain} ... ({len(text)} characters)"


class UnknownEntryError(ZooError, KeyError):
    """No entry, repository, folder or revision of that name."""

    exit_code = NOT_FOUND


class AmbiguousReferenceError(ZooError, ValueError):
    """A reference that could mean two things, or is none."""

    exit_code = USAGE


class NoWeightsError(ZooError, FileNotFoundError):
    """The entry is known, but nobody has published weights for it."""

    exit_code = NOT_FOUND


class NotCachedError(ZooError, FileNotFoundError):
    """Offline, and the entry is not in the cache."""

    exit_code = NETWORK


class IncompleteEntryError(ZooError, FileNotFoundError):
    """Files of the package are missing."""


class HubUnreachableError(ZooError, ConnectionError):
    """The Hub does not answer, or answers with an error of its own."""

    exit_code = NETWORK


class IntegrityError(ZooError):
    """Something in the package is not what its manifest, or its own description, says."""


class MissingArchitectureError(ZooError):
    """The entry needs a component that is not installed."""

    exit_code = INCOMPATIBLE


class PluginError(ZooError):
    """The plugin that provides a component, or an index, cannot be read."""

    exit_code = INCOMPATIBLE


class WeightsMismatchError(ZooError):
    """The weights do not fit the architecture."""

    exit_code = INCOMPATIBLE


class FormatTooNewError(ZooError):
    """The package was written by a later version of this library."""

    exit_code = INCOMPATIBLE


class AccessError(ZooError, PermissionError):
    """The Hub refuses this account."""

    exit_code = ACCESS


class UnsafeWeightsError(ZooError):
    """There are only pickled weights, which are never loaded."""

    exit_code = INCOMPATIBLE


class PublishConflictError(ZooError):
    """The repository changed since the publication began."""


class PublishRefusedError(ZooError, ValueError):
    """The package is not fit to be published: licence, names, numbers or leftovers."""

    exit_code = USAGE
