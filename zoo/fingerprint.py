"""A model's fingerprint: a stored input, and the output of every stage for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.data.fit import fit_image
from registry.contract import Batch
from zoo.tensors import Buffer, read_header, read_tensors

TOLERANCE = 1e-3  # other processors and thread counts round differently
SAMPLES = 1024  # values that a fingerprint keeps of each stage, evenly spaced


def fingerprint(model: Any, stated: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any, int | None]:
    """Return an input with its outputs, the landmarks, and the FLOPs of one prediction.

    The input is two frames of a generated puppet and, to test ``stated``, the preprocessing of
    config.json, a picture of another shape. Of every stage's output, evenly spaced values are kept.
    """
    from torch.utils.flop_counter import FlopCounterMode

    image_size = stated["image_size"]
    inputs = _inputs(model, image_size or 64)
    outputs = {f"output.{k}": v for k, v in _stages(model, inputs).items()}
    landmarks = landmarks_of(model, image_size)
    flops = None
    if hasattr(model, "predict"):
        with FlopCounterMode(display=False) as counter:
            landmarks_of(model, image_size)
        flops = int(counter.get_total_flops())
    golden = {**{f"input.{k}": v for k, v in inputs.items()}, **outputs}
    if image_size is not None and stated.get("crop") is None and "poses" not in inputs:
        photo = next(iter(inputs.values())).flatten(0, -4)[0, :, :21, :29].permute(1, 2, 0)
        golden["photo"] = photo.contiguous()
        prepared, _ = fit_image(golden["photo"].numpy(), image_size, stated["fit"])
        channels_first = torch.from_numpy(prepared).permute(2, 0, 1)
        golden["output.preprocess"] = _samples(channels_first.float() / 255)
    return golden, landmarks, flops


def _samples(value: Tensor) -> Tensor:
    flat = value.detach().float().cpu().flatten()
    return flat[:: math.ceil(len(flat) / SAMPLES)].clone()


def _poses(model: Any) -> Tensor:
    """Return poses (1, K, 2) in [-0.8, 0.8], for a model that draws poses and sees no images."""
    count = len(model.rasterizer.edges())
    angles = 2.4 * np.arange(2 * count, dtype=np.float32).reshape(1, count, 2)
    return torch.from_numpy(0.8 * np.sin(angles))


def _inputs(model: Any, size: int) -> dict[str, Tensor]:
    if not hasattr(model, "predict"):
        return {"poses": _poses(model)}
    from components.datasets.puppets import Puppets

    length = max(model.frames, 2)
    puppets = Puppets(split="test", seed=5, clips=1, frames_per_clip=16 * length, image_size=size)
    frames = [puppets.image(16 * t) for t in range(length)]
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    if hasattr(model, "forecast"):
        return {"frames": images[None, : model.frames]}
    return {"source": images[:1], "driving": images[1:2]}


def _stages(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return samples, on the CPU, of everything that the model computes from stored inputs."""
    device = next(model.parameters()).device
    ready = {
        key: value.to(device).float() / (255 if value.dtype == torch.uint8 else 1)
        for key, value in inputs.items()
    }
    with torch.no_grad():
        if "poses" in ready:
            outputs = {"": model(Batch(poses=ready["poses"]))}
        elif "frames" in ready:
            first = ready["frames"][:, 0]
            outputs = {"": model.predict(first), "forecast": model.forecast(ready["frames"], 2)}
        else:
            batch = Batch(source=ready["source"], driving=ready["driving"])
            outputs = {"": model.infer(batch)}
    found: dict[str, Tensor] = {}
    for name, value in outputs.items():
        for place, tensor in _tensors(value, name):
            found[place] = _samples(tensor)
    return found


def _tensors(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            yield from _tensors(inner, f"{place}.{field.name}".lstrip("."))


def compare(model: Any, golden: Mapping[str, Tensor]) -> dict[str, float]:
    """Return, per stage of a stored fingerprint, the maximum difference of the model's output.

    Preprocessing is a stage of models that have ``preprocess``.
    """
    inputs = {k.removeprefix("input."): v for k, v in golden.items() if k.startswith("input.")}
    found, worst = _stages(model, inputs), {}
    prepare = getattr(model, "preprocess", None)
    if "photo" in golden and prepare is not None:
        found["preprocess"] = _samples(prepare(golden["photo"].numpy()).images)
    for key, expected in golden.items():
        stage = key.removeprefix("output.")
        if stage != key and (stage != "preprocess" or prepare is not None):
            same = stage in found and found[stage].shape == expected.shape
            worst[stage] = (found[stage] - expected).abs().max().item() if same else math.inf
    return worst


def read_golden(data: Buffer) -> tuple[dict[str, Tensor], float]:
    """Return the tensors of ``golden.safetensors`` and its tolerance, at most 0.1."""
    stored, metadata = read_header(data, "golden.safetensors")
    tolerance = min(float(metadata.get("tolerance", TOLERANCE)), 0.1)
    return read_tensors(data, stored), tolerance


def landmarks_of(model: Any, image_size: int | None) -> Any:
    """Return the landmarks of a grey image, or of drawn poses if the model sees no images."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad():
            if not hasattr(model, "predict"):
                return model(Batch(poses=_poses(model).to(device))).prior_landmarks
            size = image_size or 64
            return model.predict(torch.full((1, 3, size, size), 0.5, device=device)).landmarks
    finally:
        model.train(training)
