"""Whether an entry is what it was when it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch

from zoo import sources
from zoo.errors import IntegrityError, ZooError
from zoo.fingerprint import compare, tolerance_of
from zoo.model import assemble


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`verify` found.

    Attributes:
        ok: no problem.
        digest: of the package; empty if it could not be opened.
        problems: one line each.
        checked: number of files.
        differences: with ``deep``, stage -> greatest difference from the stored output.
    """

    ok: bool
    digest: str
    problems: list[str]
    checked: int
    differences: dict[str, float]


def verify(
    ref: str | Path,
    *,
    against: str = "manifest",
    deep: bool = False,
    revision: str | None = None,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
) -> Report:
    """Check every byte of an entry, and with ``deep`` that it still computes what it did.

    Args:
        ref: as for ``zoo.load``.
        against: "manifest", or "hub": also compare with what the Hub lists for that commit.
        deep: build it, load it strictly, and compare the outputs on the stored input.
        revision, offline, cache_dir, token: as for ``zoo.load``.

    Raises:
        ZooError: there is no such entry, or it cannot be fetched. Damage is reported, not raised.
    """
    if against not in ("manifest", "hub"):
        raise ValueError(f"against is 'manifest' or 'hub', not {against!r}.")
    try:
        found = sources.locate(
            ref, revision=revision, offline=offline, cache_dir=cache_dir, token=token
        )
    except IntegrityError as error:
        return Report(False, "", [str(error)], 0, {})
    problems: list[str] = []
    differences: dict[str, float] = {}
    if against == "hub":
        from zoo import hub

        if found.repo_id is None or found.commit is None:
            problems.append(f"{ref} does not come from the Hub.")
        else:
            problems += hub.verify_remote(found.repo_id, found.commit, found.package, token)
    if deep:
        data = (found.package.root / "golden.safetensors").read_bytes()
        try:
            tolerance = tolerance_of(data)
            differences = compare(assemble(found.package), safetensors.torch.load(data))
            if not any("landmarks" in stage for stage in differences):
                problems.append("golden.safetensors stores no landmarks to compare with.")
        except ZooError as error:
            problems.append(str(error))
        except Exception as error:  # whatever running what it describes may raise
            problems.append(str(IntegrityError(f"it cannot run: {type(error).__name__}: {error}")))
        else:
            problems += [
                f"{stage} differs by {value:.3g} from what was stored (allowed {tolerance:g}): "
                "architecture or preprocessing has changed."
                for stage, value in differences.items()
                if not value <= tolerance
            ]
    checked = len(found.package.manifest["files"]) + 1
    return Report(not problems, found.package.digest, problems, checked, differences)
