"""Reading the excerpts of the golden files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """One excerpt, of one or more files: tensors, tolerances, and the comparison.

    Attributes:
        read: what was read of it, by this or any other object of that name.
    """

    reads: ClassVar[dict[str, set[str]]] = {}

    def __init__(self, name: str) -> None:
        self.read = self.reads.setdefault(name, set())
        self.tensors: dict[str, torch.Tensor] = {}
        self.atol: dict[str, float] = {}
        self.step: dict[str, int] = {}
        self.size: dict[str, int] = {}
        for path in sorted(GOLDEN.glob(f"{name}.*safetensors")):
            with safe_open(path, "pt") as file:
                meta = file.metadata()
                self.tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self.atol |= json.loads(meta["atol"])
            self.step |= json.loads(meta["step"])
            self.size |= json.loads(meta["size"])
            for key, made in json.loads(meta["generated_weights"]).items():
                # the recipe of the golden README: NumPy's frozen legacy generator
                draw = np.random.RandomState(made["seed"]).standard_normal(np.prod(made["shape"]))
                array = (draw * made["std"]).astype(np.float32).reshape(made["shape"])
                self.tensors[f"weights/{key}"] = torch.from_numpy(array)

    def __getitem__(self, key: str) -> torch.Tensor:
        self.read.add(key)
        return self.tensors[key]

    def image(self, key: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return an input image in [0, 1]."""
        return self[f"input/{key}_u8"].to(dtype) / 255

    def weights(self, network: str, separator: str = "/") -> dict[str, torch.Tensor]:
        """Return the state dict of one official network, or of a part with ``separator="."``."""
        prefix = f"weights/{network}{separator}"
        found = {k.removeprefix(prefix): self[k] for k in self.tensors if k.startswith(prefix)}
        return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}

    def check(self, key: str, ours: torch.Tensor, slack: float = 0.0) -> None:
        """Compare with the stored elements, within the stated tolerance or ``slack``.

        Keys are below ``output/``; of ``output_train/`` and the like from that underscore on.
        """
        key = f"output{key}" if key.startswith("_") else f"output/{key}"
        stored = self[key].flatten()
        found = ours.detach().flatten()[:: self.step.get(key, 1)]
        assert found.numel() == stored.numel(), key
        error = (found.double() - stored.double()).abs().max().item()
        assert error <= max(self.atol[key], slack), f"{key}: {error:.3g} > {self.atol[key]:.3g}"


def require_all_read(
    request: pytest.FixtureRequest, *names: str, unread: Mapping[str, str]
) -> None:
    """Check, in the last test of a file, that its tests read every tensor of the excerpts.

    Args:
        request: of that test; it is skipped where only some tests of the file were asked for.
        names: of the excerpts.
        unread: ``excerpt/tensor`` -> why no test reads it, or which test elsewhere does.
    """
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter.stats.get("deselected") or any("::" in word for word in request.config.args):
        pytest.skip("not all tests of the file were run")
    left = {f"{name}/{key}" for name in names for key in Golden(name).tensors}
    left -= {f"{name}/{key}" for name in names for key in Golden.reads[name]}
    assert left == set(unread)


State = Mapping[str, torch.Tensor]


def official_names(
    convert: Callable[[Mapping[str, State]], State], states: Mapping[str, State]
) -> dict[str, tuple[str, str]]:
    """Return our names -> (network, official name), by converting numbers in place of weights."""
    every = [(network, key) for network, state in states.items() for key in state]
    numbered = {
        network: {key: torch.tensor(every.index((network, key))) for key in state}
        for network, state in states.items()
    }
    return {ours: every[int(number)] for ours, number in convert(numbered).items()}
