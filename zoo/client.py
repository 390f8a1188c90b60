"""The Hub's client, with its errors turned into ours.

The token is passed on to the client and never appears in a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import huggingface_hub as hf
from huggingface_hub import constants
from huggingface_hub import errors as client
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]
from huggingface_hub.utils.tqdm import are_progress_bars_disabled as hidden_already
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from zoo.errors import (
    AccessError,
    HubUnreachableError,
    IntegrityError,
    PublishConflictError,
    PublishRefusedError,
    UnknownEntryError,
    ZooError,
)
from zoo.package import MAX_FILES, PATTERNS

MAX_ANSWER = 16 << 20  # bytes of an answer other than a file
MAX_SECONDS = 60.0  # that reading such an answer may take


def of_package(path: str) -> bool:
    """Return whether a package may have a file of that name."""
    return any(fnmatchcase(path, pattern) for pattern in PATTERNS)


def list_tree(repo_id: str, commit: str, token: str | None) -> dict[str, Any]:
    """List the files of a commit: path -> the client's description.

    Raises:
        IntegrityError: there are too many files, or paths that lead out of the folder.
    """
    with asking(repo_id, commit, token, listing=True):
        listed = hf.list_repo_tree(repo_id, recursive=True, revision=commit, token=token)
        # folders count too, so that an endless listing ends
        rows = list(itertools.islice(listed, 4 * MAX_FILES + 1))
        files: dict[str, Any] = {row.path: row for row in rows if hasattr(row, "blob_id")}
        for path, row in files.items():
            if not isinstance(path, str) or not isinstance(row.size, int):
                raise foreign(f"it lists the file {path!r:.60} with the size {row.size!r:.20}")
    if len(files) > MAX_FILES or len(rows) > 4 * MAX_FILES:
        raise IntegrityError(
            f"{repo_id} at {commit[:8]} has too many files: at most {MAX_FILES} are allowed. "
            "Nothing was fetched."
        )
    for path in files:
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise IntegrityError(
                f"{repo_id} at {commit[:8]} lists {path!r:.100}, which leads out of its folder. "
                "Nothing was fetched; do not use this repository."
            )
    return files


def same(file: Any, data: bytes) -> bool:
    """Compare a listed file with a content: by sha256 if large, else by git's hash."""
    if file.size != len(data):
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == hashlib.sha256(data).hexdigest())
    return bool(file.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


@contextlib.contextmanager
def asking(
    repo_id: str,
    revision: str | None,
    token: str | None,
    *,
    most: int = MAX_ANSWER,
    listing: bool = False,
) -> Iterator[None]:
    """Turn errors of the client into ours, with the cause chained.

    Args:
        repo_id, revision, token: what is asked for, and by whom.
        most: bytes that one answer may have; answers that are not files also end after a time.
        listing: answers are lists; the client takes {} for an empty one.
    """
    try:
        with _bounded(most, listing):
            yield
    except ZooError:
        raise
    except Exception as error:
        ours = _translated(error, repo_id, revision, token)
        if ours is None:
            raise
        raise ours from error


@contextlib.contextmanager
def _bounded(most: int, listing: bool) -> Iterator[None]:
    """Stop answers that do not end, which the client would read into memory, or onto the disk."""

    def bound(response: Any) -> None:
        read, begun = response.iter_bytes, time.monotonic()

        def pieces(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            done = 0
            for piece in read(*args, **kwargs):
                if listing and not done and piece[:1] == b"{" and response.is_success:
                    raise foreign("an answer is not a list")
                done += len(piece)
                if done > most:
                    raise foreign(f"an answer has more than {most} bytes")
                if most == MAX_ANSWER and time.monotonic() - begun > MAX_SECONDS:
                    raise foreign(f"an answer takes more than {MAX_SECONDS:g} seconds")
                yield piece

        response.iter_bytes = pieces

    hooks = getattr(get_session(), "event_hooks", None)  # clients before 1.0 do not have them
    if hooks is None:
        yield
        return
    session = get_session()
    session.event_hooks = {**hooks, "response": [*hooks["response"], bound]}
    try:
        yield
    finally:
        left = [hook for hook in session.event_hooks["response"] if hook is not bound]
        session.event_hooks = {**session.event_hooks, "response": left}


def foreign(reason: str) -> HubUnreachableError:
    """Return the error for an answer that no Hub gives."""
    return HubUnreachableError(
        f"{constants.ENDPOINT} does not answer like a Hub: {reason}. Check HF_ENDPOINT and the "
        "proxy, or try again later."
    )


def origin(error: BaseException) -> BaseException:
    """Return the original error, which the client wraps in its own."""
    wrappers = (client.LocalEntryNotFoundError, RuntimeError)
    while isinstance(error, wrappers) and error.__cause__ is not None:
        error = error.__cause__
    return error


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status that caused a client error; None if there was no response."""
    response = getattr(error and origin(error), "response", None)
    return getattr(response, "status_code", None)


def _translated(
    error: BaseException, repo_id: str, revision: str | None, token: str | None
) -> ZooError | None:
    """Return our error for one of the client's, or None if it is not the client's."""
    error = origin(error)
    status, hub = status_of(error), constants.ENDPOINT
    if isinstance(error, client.GatedRepoError):
        return AccessError(
            f"{repo_id} is gated, and {_account(token)} does not have access. Request it at "
            f"{hub}/{repo_id}, then run `hf auth login`."
        )
    if isinstance(error, client.RepositoryNotFoundError):
        return UnknownEntryError(
            f"There is no repository {repo_id} on {hub}, or it is private and {_account(token)} "
            "does not have access. Check the name, or run `hf auth login`."
        )
    if isinstance(error, client.RevisionNotFoundError):
        return UnknownEntryError(
            f"{repo_id} has no revision '{revision}'. Choose one of its branches and tags: "
            f"{hub}/{repo_id}/tree/main."
        )
    if isinstance(error, client.OfflineModeIsEnabled):
        return HubUnreachableError("HF_HUB_OFFLINE=1 forbids requests to the Hub.")
    if status in (401, 403):
        return AccessError(
            f"{hub} refuses access to {repo_id} ({status}): {_account(token)} may not do this. Use "
            "another token: `hf auth login`."
        )
    if status == 412:
        return PublishConflictError(f"{repo_id} has changed in the meantime.")
    if status in (400, 413, 422):
        said = str(getattr(error, "server_message", None) or "no reason given").splitlines()[0]
        return PublishRefusedError(f"{hub} refuses this for {repo_id}: {said:.200}")
    if status is not None:
        return HubUnreachableError(f"{hub} answered with status {status}.")
    if isinstance(error, (ValueError, LookupError, TypeError, AttributeError)) and not isinstance(
        error, client.HFValidationError
    ):
        # of the client, reading an answer
        return foreign(f"the client cannot read its answer ({type(error).__name__})")
    library = type(error).__module__.partition(".")[0]
    lost = isinstance(error, (ConnectionError, TimeoutError, RuntimeError)) or (
        isinstance(error, OSError) and error.errno is None  # the client's, not the system's
    )
    if lost or library.startswith(("http", "requests", "urllib3", "huggingface_hub")):
        return HubUnreachableError(f"{hub} does not answer ({type(error).__name__}).")
    return None


def _account(token: str | None) -> str:
    """Return a description of the account; asking for its name may fail too."""
    if not (token or hf.get_token()):
        return "your machine (no token was found)"
    with contextlib.suppress(Exception):
        return f"your account '{hf.whoami(token)['name']}'"
    return "your token"


@contextlib.contextmanager
def bars(progress: bool | None) -> Iterator[None]:
    """Show or hide the client's progress bars; its environment variable has priority."""
    shown = sys.stderr.isatty() if progress is None else progress
    change = constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    hidden = change and not shown and not hidden_already()
    if hidden:
        disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            enable_progress_bars()
