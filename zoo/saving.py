"""Writing a model as a package."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from registry.usual import Usual
from zoo import card, describe, folder, package, schema
from zoo.errors import IntegrityError, PublishRefusedError, WeightsMismatchError
from zoo.fingerprint import TOLERANCE, compare, fingerprint, read_golden
from zoo.model import architecture_of, assemble, construct
from zoo.tensors import to_bytes


def save(
    model: Any,
    dest: str | Path,
    *,
    name: str,
    license: str,
    license_text: str | None = None,
    cfg: Mapping[str, Any] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    training: Mapping[str, Any] | None = None,
    usual: Usual | None = None,
    dtype: torch.dtype | None = None,
    pictures: Mapping[str, bytes] | None = None,
    notes: str = "",
    repo_id: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model as a package, atomically, and load it back before returning.

    Args:
        model: a pipeline; one from :func:`load` knows its config.
        dest: the folder.
        name: of the entry.
        license: of the weights, as the Hub spells it: ``apache-2.0``, ``cc-by-nc-4.0``, ``other``.
        license_text: its text; required for ``other``.
        cfg: the resolved training config that the model was built from.
        evaluation: results, rows of evaluation.json.
        training: facts about the run: dataset, steps, seed, hardware ...
        usual: what the training images look like to the model, from ``registry.usual``; default:
            that of a model from :func:`load`.
        dtype: stored numbers are rounded to it (``torch.float16`` halves the file); None keeps
            them. The fingerprint is that of the rounded model.
        pictures: file name -> PNG, shown on the card.
        notes: text for the notes of the card.
        repo_id: where it will be published: the card then says how to load it from there.
        overwrite: replace an existing package.

    Raises:
        PublishRefusedError: there is no licence, or the weights are not finite.
        IntegrityError: the saved package computes different outputs; nothing was written.
        FileExistsError: ``dest`` exists.
    """
    dest = Path(dest).absolute()
    schema.check_name(name, "name")
    schema.check_license(license, license_text is not None, f"'{name}'")
    folder.check_free(dest, overwrite)
    architecture, preprocess, keypoints = _described(model, cfg, name)
    with torch.random.fork_rng(devices=[]):
        twin = construct(architecture, name)
    state = _stored(model.state_dict(), twin.state_dict(), dtype, name)
    floats = {str(v.dtype).removeprefix("torch.") for v in state.values() if v.is_floating_point()}
    twin.load_state_dict(state)
    twin = twin.eval().to(memory_format=torch.channels_last)
    golden, landmarks, flops = fingerprint(twin, preprocess)
    own = copy.deepcopy(model).cpu().float().eval()
    own.load_state_dict(state, strict=False)  # rounded, as they are stored
    other = f"'{name}': rebuilt from its config, the model computes something else (give the cfg "
    own = own.to(memory_format=torch.channels_last)
    _require_same(own, golden, TOLERANCE, f"{other}that it was built with)")
    learned = {key: state[key].numel() for key, _ in twin.named_parameters()}
    args = architecture["args"].items()
    parts = {role: node for role, node in args if isinstance(node, Mapping) and "type" in node}

    def part(role: str, node: Mapping[str, Any]) -> dict[str, Any]:
        count = sum(n for key, n in learned.items() if key.startswith(f"{role}."))
        return {"type": node["type"], "prefix": f"{role}.", "parameters": count}

    stored = {
        "role": "inference",
        "tensors": len(state),
        "parameters": sum(learned.values()),
        "dtype": "+".join(sorted(floats)),
        "flops": flops,
    }
    config = {
        **{"format": schema.FORMAT, "format_version": schema.FORMAT_VERSION},
        **{"min_library": schema.LIBRARY, "name": name, "task": model.task},
        "architecture": architecture,
        "components": {role: part(role, node) for role, node in parts.items()},
        "plugins": describe.plugins_in({**architecture["args"], "type": architecture["type"]}),
        "preprocess": preprocess,
        "keypoints": keypoints,
        "coordinates": describe.coordinates_of(landmarks),
        "weights": {"model.safetensors": stored},
        "training": {**(training or {}), "library": schema.LIBRARY},
    }
    table = {"format_version": schema.FORMAT_VERSION, "results": [dict(row) for row in evaluation]}
    schema.check_evaluation(json.loads(json.dumps(table)), f"'{name}'")
    usual = usual or getattr(model, "usual", None)
    if usual is not None:
        config["usual"] = asdict(usual)
    written = schema.pretty(config)
    assets = {f"assets/{file}": data for file, data in (pictures or {}).items()}
    old = dest / "README.md"
    if old.is_file() and not notes:
        notes = card.human_part(old.read_text("utf-8", "replace"))
    text = card.render(
        config,
        table,
        license=license,
        repo_id=repo_id,
        human=notes,
        pictures=sorted(assets),
        folder=dest,
    )
    metadata = {"config_sha256": hashlib.sha256(written).hexdigest()}
    files = {
        "config.json": written,
        "evaluation.json": schema.pretty(table),
        "README.md": text.encode(),
        "model.safetensors": to_bytes(state, metadata),
        "golden.safetensors": to_bytes(golden, {"tolerance": str(TOLERANCE)}),
        **assets,
    }
    if license_text:
        files["LICENSE"] = license_text.encode()
    _prove(files, name)
    folder.write_folder(dest, files, overwrite=overwrite)
    return dest


def _require_same(model: Any, golden: Mapping[str, Tensor], limit: float, problem: str) -> None:
    for stage, difference in compare(model, golden).items():
        if not difference <= limit:
            raise IntegrityError(
                f"{problem}: {stage} differs by {difference:.3g}. Nothing was written."
            )


def _prove(files: Mapping[str, bytes], name: str) -> None:
    """Load the package from its files as users will, and compare every stage bit for bit."""
    with tempfile.TemporaryDirectory() as there:
        folder.write_folder(Path(there) / name, files)
        found = package.open_package(Path(there) / name)
        package.check_publishable(found)
        golden, _ = read_golden(found.golden)
        _require_same(assemble(found), golden, 0, f"'{name}' does not load back unchanged")


def _described(
    model: Any, cfg: Mapping[str, Any] | None, name: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return architecture, preprocess and keypoints."""
    if cfg is not None:
        return architecture_of(cfg), *describe.images_and_keypoints(model, cfg)
    known = getattr(model, "package", None)
    if known is None:
        raise PublishRefusedError(
            f"'{name}' does not know its config. Give cfg=, the resolved config that it was built "
            "from."
        )
    return known.config["architecture"], known.config["preprocess"], known.config["keypoints"]


def _stored(
    own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], dtype: torch.dtype | None, name: str
) -> dict[str, Tensor]:
    """Return the tensors needed for inference, rounded to ``dtype``, each with its own memory."""
    state = {}
    for key, twin in wanted.items():
        if key not in own or own[key].shape != twin.shape:
            raise WeightsMismatchError(
                f"'{name}': '{key}' of the model does not match its cfg. Give the cfg that it was "
                "built with."
            )
        value = own[key].detach().cpu()
        if value.is_floating_point():
            if not bool(value.isfinite().all()):
                raise PublishRefusedError(f"'{name}': the weights of '{key}' are not all finite.")
            value = value.to(dtype or value.dtype)
            if not bool(value.isfinite().all()):
                raise PublishRefusedError(f"'{name}': '{key}' is too large for {dtype}.")
        state[key] = value.contiguous().clone()
    return state
