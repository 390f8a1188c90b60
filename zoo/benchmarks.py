"""Speed measured side by side in one run: every variant once per round, then medians.

This way a machine whose speed drifts affects all variants alike. Compare only figures of one run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from components.motions.dense_motion import local_motions
from components.ops.segments import nearest_squared_distance, squared_distances
from components.ops.tps import Spline, control_grid
from components.ops.warp import warp
from registry import build, load_config
from registry.contract import Batch, Landmarks, Outputs
from zoo.model import construct, load
from zoo.package import open_package
from zoo.saving import save
from zoo.verifying import verify

Variants = dict[str, Callable[[], Any]]


def measure(rounds: int, device: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the title of each group of variants, and the median seconds of each variant."""
    torch.manual_seed(0)
    for title, variants in (
        ("skeleton of 16 limbs, 128 px, batch 16, forward and backward", skeletons(device, 16)),
        ("skeleton of 67 limbs, 128 px, batch 16, forward and backward", skeletons(device, 67)),
        ("thin-plate warp, 16 images of 128 px, 100 control points", splines(device)),
        (
            "KeypointGAN full size, 128 px, batch 4, training step",
            steps(device, "keypointgan_h36m"),
        ),
        ("factorized full size, 128 px, batch 4, training step", steps(device, "factorized_bbc")),
        ("FOMM full size, 128 px, batch 4, training step", steps(device, "fomm_vox")),
        ("11 motions of 16 images of 64 px, forward and backward", motions(device)),
        ("KeypointGAN full size, 128 px, batch 8, landmarks of images", predictions(device)),
        ("a fresh interpreter", interpreters()),
    ):
        yield title, compare(variants, rounds, device)
    with tempfile.TemporaryDirectory() as folder:
        title = "an entry of 200 MB from disk"
        yield title, compare(packages(Path(folder)), rounds, device)


def compare(variants: Variants, rounds: int, device: str) -> dict[str, float]:
    """Return the median seconds of each variant, after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for measured in [False, *[True] * rounds]:
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if measured:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def skeletons(device: str, limbs: int) -> Variants:
    """Return ways to draw a skeleton."""
    points = torch.rand(16, limbs + 1, 2, device=device) * 2 - 1
    edges = [(i, i + 1) for i in range(limbs)]

    def run(distance: Callable[[Tensor], Any]) -> Callable[[], Any]:
        def step() -> None:
            xy = points.clone().requires_grad_()
            total: Any = torch.exp(-(distance(xy) + 1e-6).sqrt() / 0.04).sum()
            total.backward()

        return step

    return {
        "all limbs, then the largest": run(
            lambda xy: squared_distances(xy, edges, 128, 128).amin(dim=1)
        ),
        "nearest limb only (ours)": run(lambda xy: nearest_squared_distance(xy, edges, 128, 128)),
    }


def splines(device: str) -> Variants:
    """Return ways to warp a batch with splines."""
    images = torch.rand(16, 3, 128, 128, device=device)
    weight = 0.005 * torch.randn(16, 100, 2, device=device)
    affine = torch.eye(2, 3, device=device).repeat(16, 1, 1)
    control = control_grid(10).to(device).expand_as(weight)

    def one_by_one() -> None:
        for i in range(16):
            grid = Spline(control[:1], weight[i : i + 1], affine[i : i + 1]).grid(128, 128)
            warp(images[i : i + 1], grid)

    return {
        "one image at a time": one_by_one,
        "the whole batch (ours)": lambda: warp(
            images, Spline(control, weight, affine).grid(128, 128)
        ),
    }


def motions(device: str) -> Variants:
    """Return ways to warp a picture with several motions."""
    images = torch.rand(16, 3, 64, 64, device=device)
    points = [
        Landmarks(
            xy=torch.rand(16, 10, 2, device=device) * 2 - 1,
            affine=torch.eye(2, device=device) + 0.1 * torch.randn(16, 10, 2, 2, device=device),
        )
        for _ in range(2)
    ]

    def run(sample: Callable[[Tensor], Any]) -> Callable[[], Any]:
        def step() -> None:
            landmarks = replace(points[0], xy=points[0].xy.clone().requires_grad_())
            sample(local_motions(landmarks, points[1], 64, 64, "half_pixel")).sum().backward()

        return step

    def copied(grids: Tensor) -> Tensor:
        copies = images[:, None].expand(-1, 11, -1, -1, -1).flatten(0, 1)
        return warp(copies, grids.flatten(0, 1))

    return {
        "source copied 11 times": run(copied),
        "grids stacked in height (ours)": run(lambda grids: warp(images, grids.flatten(1, 2))),
    }


def published(
    device: str, layout: torch.memory_format, name: str
) -> tuple[Any, Callable[[Outputs], Any], Batch]:
    """Return pipeline, loss and batch of a full-size config."""
    cfg = load_config(name, {"losses.perceptual.weights": "random"})
    pipeline = build(cfg["model"], "model").to(device, memory_format=layout)
    losses: Any = nn.ModuleDict(build(cfg["losses"], "losses"))
    losses.to(device, memory_format=layout)
    image = torch.rand(4, 3, 128, 128, device=device).contiguous(memory_format=layout)
    poses = torch.rand(4, 32, 2, device=device) * 2 - 1
    batch = Batch(source=image, driving=image, target=image, poses=poses)
    for transform in cfg["data"].get("transforms", ()):
        if transform["type"] == "transforms/second_view":
            batch = build(transform, "transform")(batch, torch.arange(4, device=device))
    return pipeline, lambda outputs: sum(loss(outputs, batch) for loss in losses.values()), batch


def steps(device: str, name: str) -> Variants:
    """Return ways to take a training step."""

    def variant(layout: torch.memory_format, amp: bool) -> Callable[[], Any]:
        pipeline, total, batch = published(device, layout, name)
        groups = pipeline.parameter_groups().values()
        adam = torch.optim.Adam([{"params": list(group)} for group in groups], lr=2e-4)

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=amp):
                outputs = pipeline(batch)
            adam.zero_grad()
            total(outputs).backward()
            adam.step()

        return step

    return {
        "float32": variant(torch.contiguous_format, amp=False),
        "float32, channels last (default)": variant(torch.channels_last, amp=False),
        "bfloat16, channels last (train.amp)": variant(torch.channels_last, amp=True),
    }


def predictions(device: str) -> Variants:
    """Return ways to find landmarks."""

    def variant(layout: torch.memory_format, amp: bool) -> Callable[[], Any]:
        pipeline = published(device, layout, "keypointgan_h36m")[0].eval()
        image = torch.rand(8, 3, 128, 128, device=device).contiguous(memory_format=layout)

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=amp):
                pipeline.predict(image)

        return step

    return {
        "float32": variant(torch.contiguous_format, amp=False),
        "float32, channels last (default)": variant(torch.channels_last, amp=False),
        "bfloat16, channels last": variant(torch.channels_last, amp=True),
    }


def interpreters() -> Variants:
    """Return starting Python, listing the zoo, and a first prediction."""
    predict = (
        "import zoo, torch; model = zoo.load('factorized-puppets', offline=True); "
        "model.predict(torch.rand(1, 3, 64, 64))"
    )
    codes = {
        "nothing": "pass",
        "import zoo; zoo.list()": "import zoo; zoo.list()",
        "import torch": "import torch",
        "load a bundled entry, predict": predict,
    }
    return {name: partial(_interpret, code) for name, code in codes.items()}


def _interpret(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def packages(folder: Path) -> Variants:
    """Return loading a package, with and without its checks, and verifying it."""
    cfg = load_config("fomm_vox")
    # 50 million numbers
    cfg["model"]["encoder"]["max_width"] = cfg["model"]["motion"]["max_width"] = 1536
    model = build(cfg["model"]).eval()
    entry = save(model, folder / "large", name="large", license="apache-2.0", cfg=cfg)
    architecture = open_package(entry).config["architecture"]

    def unchecked() -> None:
        made = construct(architecture, "large")
        made.load_state_dict(safetensors.torch.load_file(entry / "model.safetensors"))
        made.eval().to(memory_format=torch.channels_last)

    size = (entry / "model.safetensors").stat().st_size / 1e6
    return {
        f"unchecked ({size:.0f} MB)": unchecked,
        "zoo.load": partial(load, entry),
        "zoo.verify": partial(verify, entry),
    }
