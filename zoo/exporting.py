"""Exporting models to files that work without this library, and comparing them with the model."""

from __future__ import annotations

import copy
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from registry.atomic import replacing
from registry.errors import did_you_mean
from zoo.errors import INCOMPATIBLE, IntegrityError, ZooError
from zoo.folder import staging

Format = Literal["onnx", "torch_export", "torchscript"]
Part = Literal["detector", "renderer"]
Batch = tuple[Tensor, ...]  # the inputs of a part, or its outputs

PARTS = {"detector": "predict", "renderer": "reconstruct"}  # part -> its method
FIELDS = ("xy", "cov", "affine", "score")  # of landmarks, which a detector returns
NOTE = "keypoint-zoo.json"  # the description inside the file
BATCHES = (1, 3)  # compared; traced with another size, so that hard-coded sizes are found
TRACED = 2
# Landmarks: 1/2000 of the image's side, far below what the papers' metrics resolve. Images: 2.5 of
# 255 grey levels, since on a busy background such a small shift changes a pixel that much.
# Measured differences are at least 30 times smaller; those of wrong exports are as large as the
# values.
TOLERANCE = {"detector": 1e-3, "renderer": 1e-2}


class ExportError(ZooError, ValueError):
    """The model or this installation cannot do what was requested."""

    exit_code = INCOMPATIBLE


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported file."""

    path: Path
    differences: dict[str, float]  # output -> maximum absolute difference on any image compared
    inputs: tuple[str, ...]  # names, in order
    outputs: tuple[str, ...]


class Detector(nn.Module):
    """Images (B, 3, S, S) in [0, 1] -> fields of their landmarks: xy (B, K, 2), cov, affine ..."""

    inputs = ("images",)

    def __init__(self, pipeline: Any, outputs: Sequence[str]) -> None:
        super().__init__()
        self.pipeline, self.outputs = pipeline, tuple(outputs)

    def forward(self, images: Tensor) -> Batch:
        found = self.pipeline.predict(images).landmarks
        return tuple(getattr(found, name) for name in self.outputs)


class Renderer(nn.Module):
    """The appearance of one image in the pose of another, all (B, 3, S, S) in [0, 1]."""

    inputs = ("source", "driving")
    outputs = ("render",)

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.pipeline = pipeline

    def forward(self, source: Tensor, driving: Tensor) -> Batch:
        return (self.pipeline.reconstruct(source, driving),)


def export(
    model: Any,
    out: str | Path,
    format: Format,
    *,
    part: Part = "detector",
    images: Tensor | None = None,
) -> Exported:
    """Write a model to one file, read the file back and compare it with the model.

    The file takes batches of any size, of square images of the model's size, and computes on the
    CPU in float32 (``torch.export.passes.move_to_device_pass`` moves a .pt2). It describes its
    inputs and outputs in the metadata or extra file ``keypoint-zoo.json``.

    Args:
        model: a pipeline, as ``zoo.load`` returns it; it is not changed.
        out: the file, ``.onnx``, ``.pt2`` or ``.pt``; replaced only if the new file passes.
        format: ``onnx`` (tried with torch 2.13 and 2.15; 2.6 is too old for today's onnxscript),
            ``torch_export`` or ``torchscript``.
        part: ``detector``: images -> xy, and cov, affine and score if the landmarks have them;
            ``renderer``: source, driving -> render.
        images: (N, 3, S, S) in [0, 1] to compare on, besides random ones; None for generated
            puppets. They also set the size for a model without ``preprocess``.

    Raises:
        ExportError: the model has no such part, the format lacks its operations, the images have
            another size, or an optional dependency is missing.
        IntegrityError: the file does not compute what the model does.
    """
    out = Path(out)
    write, read = _tools(format, out)
    method = PARTS.get(part)
    if method is None:
        raise ExportError(f"there is no part '{part}'.{did_you_mean(part, PARTS)}")
    if not hasattr(model, method):
        raise ExportError(f"{type(model).__name__} has no {part}: it lacks a method {method}().")
    size = _size(model, images)
    pictures = _puppets(size) if images is None else images.detach().float().cpu()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        net = _net(model, part, pictures)
        note = {
            **{"part": part, "inputs": net.inputs, "outputs": net.outputs, "image_size": size},
            **{"range": [0, 1], "keypoints": getattr(model, "keypoints", None)},
        }
        batches = _inputs(net.inputs, pictures, random)
        expected = _called_only(net, batches)
        shape = (TRACED, 3, size, size)  # separate tensors: one used twice is traced as one input
        example = tuple(torch.rand(shape, generator=random) for _ in net.inputs)
        # a temporary folder beside it: whatever an exporter leaves there is removed
        with staging(out) as folder, replacing(out) as whole:
            draft = folder / out.name
            try:
                write(net, example, draft, json.dumps(note))
            except Exception as error:  # exporters raise all kinds of errors
                raise ExportError(
                    f"{type(model).__name__}'s {part} cannot be exported as {format} by torch "
                    f"{torch.__version__}: {_line(error)}"
                ) from error
            differences = _compare(net.outputs, read(draft), batches, expected)
            worst = max(differences, key=lambda name: _rank(differences[name]))
            if not differences[worst] <= TOLERANCE[part]:
                raise IntegrityError(
                    f"{out.name} does not compute what the model does: {worst} differs by "
                    f"{differences[worst]:.2g}, more than {TOLERANCE[part]:g}. Nothing was written."
                )
            draft.replace(whole)
    return Exported(out, differences, net.inputs, net.outputs)


def features(model: Any, images: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return the intermediate maps of a model's keypoint encoder.

    Args:
        model: a pipeline, as ``zoo.load`` returns it.
        images: (B, 3, S, S) in [0, 1].
        names: modules of the encoder, as in ``named_modules``; None for its direct children, with
            lists and sequences of layers replaced by their members.

    Returns:
        Copies of the outputs of these modules, in the order of their calls, and finally ``pose``,
        the input of the bottleneck. A module's second call is ``name@2``, the first of several
        tensors ``name[0]``; gradients flow through them.

    Raises:
        ExportError: the model has no encoder, or the encoder has no module of that name.
    """
    encoder = getattr(getattr(model, "image_pipeline", model), "encoder", None)
    if encoder is None:
        raise ExportError(f"{type(model).__name__} has no encoder, and so no features.")
    known = {name: module for name, module in encoder.named_modules() if name}
    for name in names or ():
        if name not in known:
            raise ExportError(f"the encoder has no module '{name}'.{did_you_mean(name, known)}")
    wanted = [] if names is None else list(names)
    for name, module in encoder.named_children() if names is None else ():
        listed = isinstance(module, (nn.ModuleList, nn.Sequential))
        inner = [f"{name}.{key}" for key, _ in module.named_children()]
        wanted += inner if listed else [name]
    maps: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(name: str, output: Any) -> None:
        calls[name] += 1
        place = name if calls[name] == 1 else f"{name}@{calls[name]}"
        if isinstance(output, Tensor):
            maps[place] = output.clone()
        elif isinstance(output, (list, tuple)):
            maps.update({f"{place}[{i}]": part.clone() for i, part in enumerate(output)})

    hooks = [
        known[name].register_forward_hook(lambda _, args, output, name=name: keep(name, output))
        for name in dict.fromkeys(wanted)
    ]
    try:
        found = encoder(images)
    finally:
        for handle in hooks:
            handle.remove()
    maps["pose"] = found.maps
    return maps


def _net(model: Any, part: str, pictures: Tensor) -> Any:
    """Return a copy of the model as a network from tensors to tensors."""
    pipeline = copy.deepcopy(model).float().cpu().requires_grad_(False)
    vars(pipeline).pop("predict", None)  # the class's method takes only tensors: can be traced
    pipeline.to(memory_format=torch.contiguous_format)  # the only one torch.export.save supports
    if part == "renderer":
        return Renderer(pipeline).eval()
    found = pipeline.eval().predict(pictures[:1]).landmarks
    fields = [name for name in FIELDS if getattr(found, name) is not None]
    return Detector(pipeline, fields).eval()


def _size(model: Any, images: Tensor | None) -> int:
    """Return the side of the model's images; ``images``, if any, must have it."""
    side = getattr(getattr(model, "preprocess", None), "image_size", None)
    if images is not None:
        shape, side = tuple(images.shape), side or images.shape[-1]
        if not shape[0] or shape[1:] != (3, side, side) or not images.is_floating_point():
            raise ExportError(
                f"images must be (N, 3, {side}, {side}) in [0, 1], not {shape} {images.dtype}. "
                "Pass them through model.preprocess."
            )
    if side is None:
        raise ExportError("the model does not state the size of its images. Give images=.")
    return int(side)


def _puppets(size: int) -> Tensor:
    from components.datasets.puppets import Puppets

    frames = Puppets(split="test", clips=max(BATCHES), frames_per_clip=2, image_size=size)
    images = np.stack([frames.image(2 * i) for i in range(max(BATCHES))])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _inputs(names: Sequence[str], pictures: Tensor, random: torch.Generator) -> list[Batch]:
    """Return inputs of each batch size: noise, and the pictures, each driven by the next one."""
    batches: list[Batch] = []
    for count in BATCHES:
        shape = (len(names), count, *pictures.shape[1:])
        batches.append(tuple(torch.rand(shape, generator=random)))
        for start in range(0, len(pictures), count):
            own = range(start, start + count)
            turned = ([(k + i) % len(pictures) for k in own] for i in range(len(names)))
            batches.append(tuple(pictures[order] for order in turned))
    return batches


def _called_only(net: Any, batches: Sequence[Batch]) -> list[Batch]:
    """Return the outputs, and remove every part of ``net`` that was not called for them."""
    called: set[nn.Module] = set()
    hooks = [m.register_forward_hook(lambda m, *_: called.add(m)) for m in net.modules()]
    outputs = [net(*batch) for batch in batches]
    for handle in hooks:
        handle.remove()

    def prune(module: nn.Module) -> None:
        for name, child in module.named_children():
            if not called.intersection(child.modules()):
                setattr(module, name, None)
            elif child not in called:  # a pipeline whose method was called
                prune(child)

    prune(net.pipeline)
    return outputs


def _compare(
    names: Sequence[str],
    exported: Callable[..., Sequence[Tensor]],
    batches: Sequence[Batch],
    expected: Sequence[Batch],
) -> dict[str, float]:
    """Return the maximum difference of each output; infinite if the shapes differ."""
    worst = dict.fromkeys(names, 0.0)
    for batch, outputs in zip(batches, expected, strict=True):
        try:
            found = list(exported(*batch))
        except Exception as error:  # runtimes raise all kinds, mostly for a hard-coded batch size
            raise IntegrityError(
                f"the exported file fails on a batch of {len(batch[0])}: {_line(error)}"
            ) from error
        for name, a, b in zip(names, found, outputs, strict=True):
            apart = (a - b).abs().max().item() if a.shape == b.shape else float("inf")
            worst[name] = max(worst[name], apart, key=_rank)
    return worst


def _line(error: Exception) -> str:
    """Return the first line of an error, without colours; its cause has the rest."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: " + re.sub(r"\x1b\[\d*m", "", first)


def _rank(difference: float) -> tuple[bool, float]:
    return difference != difference, difference  # NaN is the worst of all


def _tools(format: str, out: Path) -> tuple[Callable[..., None], Callable[..., Any]]:
    """Return the functions that write and read a format."""
    known: dict[str, Any] = {
        "onnx": (".onnx", _write_onnx, _read_onnx),
        "torch_export": (".pt2", _write_torch_export, lambda f: torch.export.load(f).module()),
        "torchscript": (".pt", _write_torchscript, _read_torchscript),
    }
    if format not in known:
        raise ValueError(f"there is no format '{format}'.{did_you_mean(format, known)}")
    suffix, write, read = known[format]
    if out.suffix != suffix:
        raise ValueError(f"{out}: a file of format {format} must end with {suffix}.")
    lacking = [m for m in ("onnx", "onnxscript", "onnxruntime") if find_spec(m) is None]
    if format == "onnx" and lacking:
        raise ExportError(
            f"the format onnx needs {', '.join(lacking)}. Run pip install 'keypoint-zoo[onnx]'."
        )
    return write, read


def _program(net: Any, example: Batch) -> tuple[torch.export.ExportedProgram, Any]:
    """Return the network as one graph, and the free sizes of its inputs."""
    batch = torch.export.Dim("batch", max=2**31 - 1)  # torch 2.6 fails without bounds
    free = tuple({0: batch} for _ in example)
    return torch.export.export(net, example, dynamic_shapes=free, strict=False), free


def _write_torch_export(net: Any, example: Batch, file: Path, note: str) -> None:
    whole = BytesIO()  # not the file: torch ends the process if the disk is full
    torch.export.save(_program(net, example)[0], whole, extra_files={NOTE: note})
    file.write_bytes(whole.getvalue())


def _write_onnx(net: Any, example: Batch, file: Path, note: str) -> None:
    program, free = _program(net, example)
    with warnings.catch_warnings():
        # torch 2.13's exporter triggers its own deprecation warning
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")
        found = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=net.inputs,
            output_names=net.outputs,
            dynamic_shapes=free,  # for the name of the axis
        )
    assert found is not None
    found.model.metadata_props[NOTE] = note
    found.save(file, external_data=False)


def _read_onnx(file: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*batch: Tensor) -> list[Tensor]:
        arrays = dict(zip(names, (images.numpy() for images in batch), strict=True))
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return run


def _write_torchscript(net: Any, example: Batch, file: Path, note: str) -> None:
    with _torchscript():
        traced: Any = torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
        whole = BytesIO()  # not the file: torch ends the process if the disk is full
        torch.jit.save(traced, whole, _extra_files={NOTE: note})
    file.write_bytes(whole.getvalue())


def _read_torchscript(file: Path) -> Any:
    with _torchscript():
        return torch.jit.load(file)  # type: ignore[no-untyped-call]


@contextmanager
def _torchscript() -> Iterator[None]:
    """Suppress TorchScript's deprecation warning: the user has chosen it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.[a-z_]*` is deprecated")
        # the comparison finds values that tracing has hard-coded
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
