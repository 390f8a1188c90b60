"""The tests that every registered component must pass; plugin authors run them on their own names::

    registry.check("encoders/acme/convnext", width=8)

A component is called with the example inputs of its role, from registry/testing/examples.py. Their
sizes follow the constructor's arguments ``image_size``, ``num_landmarks``, ``edges``,
``in_channels``, ``appearance_channels`` and ``features``, its own or those of a nested part. A
component that needs other inputs has a method ``example`` that makes them. Only the form of hooks
is checked.
"""

from __future__ import annotations

import inspect
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from registry.build import build, fault, resolve
from registry.contract import (
    Batch,
    CriticScores,
    Encoding,
    Judgement,
    Landmarks,
    Layers,
    MissingFieldError,
    Motion,
    Outputs,
)
from registry.docs import docstring
from registry.protocols import PROTOCOLS, ImageDataset, MotionDecoder
from registry.testing.examples import BATCH, Example

NO_SHAPES = ("pipelines", "hooks", "datasets", "metrics", "losses")
NO_SOURCE = ("datasets", "transforms", "warps", "metrics", "hooks")


class Report(NamedTuple):
    """The checks that passed; prints as ``encoders/unet: ok, 6 checks: form, ...``."""

    name: str
    checks: tuple[str, ...]

    def __repr__(self) -> str:
        count = f"{len(self.checks)} check{'s' if len(self.checks) > 1 else ''}"
        return f"{self.name}: ok, {count}: {', '.join(self.checks)}"


# the steps that a check has passed so far
_passed: ContextVar[list[str]] = ContextVar("passed")


def check(name: str, /, **arguments: Any) -> Report:
    """Run the component tests on one registered name.

    A network must return what its role promises, also for images that are not square unless it has
    an ``image_size``; leave its inputs unchanged; pass finite gradients to them and to every
    trained parameter; return equal outputs after saving and loading; work in float64 and under
    bfloat16 autocast. The target of a data set must depend on the index alone, unless it sets
    ``random_target = True``; each item of a transform must depend on its own seed. A metric must
    return a row of ``metrics.json``.

    Args:
        name: ``encoders/stem``, ``encoders/acme/convnext``.
        arguments: of its constructor, as in a config; parts are dicts with a ``type``.

    Returns:
        The checks that it passed.

    Raises:
        AssertionError: a test failed; the text says which.
        ConfigError: the name is unknown, or it cannot be built from ``arguments``.
    """
    role = name.split("/")[0]
    cls = resolve(name, "check")
    check_form(name, cls)
    _passed.set(passed := ["form"])
    node = {"type": name, **arguments}
    with torch.random.fork_rng(devices=[]):
        if role in NETWORKS:
            _check_network(node, role)
        elif role in OTHERS:
            torch.manual_seed(0)
            part = build(node, name, role)
            with _step(name, "an example"):
                OTHERS[role](part, name)
    return Report(name, tuple(passed))


def check_form(name: str, cls: Any) -> None:
    """Check what can be seen without building: names, constructor, docstring.

    Raises:
        AssertionError: one of them is wrong.
    """
    role, *_, last = name.split("/")
    built_in = name.count("/") == 1
    _require(
        cls.__name__.lower() == last.replace("_", "").lower(),
        f"{name}: the class {cls.__name__} must be named '{last}' in CapWords",
    )
    if built_in:
        place = f"components.{role}.{last}"
        _require(cls.__module__ == place, f"{name}: it is in {cls.__module__}, not in {place}")
    faults = [fault(cls, protocol) for protocol in PROTOCOLS[role]]
    _require(not all(faults), f"{name}: {faults[0]}; see registry/protocols.py")
    own = cls.__init__ is not nn.Module.__init__
    for parameter in inspect.signature(cls).parameters.values() if own else ():
        _require(
            parameter.kind is parameter.KEYWORD_ONLY,
            f"{name}: argument '{parameter}' must be named and keyword-only; put a * before it",
        )
        _require(
            not re.search(r"\b([Dd]ict|\w*Mapping|Config(Dict)?)\b", str(parameter.annotation)),
            f"{name}: argument '{parameter}' is a config; take finished parts and numbers",
        )
    doc = docstring(cls)
    summary = " ".join(doc.split("\n\n")[0].split())
    _require(
        summary.endswith(".") and not re.search(r"[.!?] [A-Z]", summary),
        f"{name}: the docstring must begin with one sentence and a blank line, not {summary!r}",
    )
    if role not in NO_SHAPES:
        _require(bool(re.search(r"^Shapes:", doc, re.M)), f"{name}: its docstring has no 'Shapes:'")
    if role not in NO_SOURCE and built_in:
        _require(
            bool(re.search(r"^Source: \w+ \w+ \S", doc, re.M)),
            f"{name}: its docstring has no line such as 'Source: paper eq 1; paper fig 2'",
        )


def _require(fine: bool, text: str) -> None:
    if not fine:
        raise AssertionError(f"{text}.")


@contextmanager
def _step(name: str, what: str) -> Iterator[None]:
    """Make every error of a step an AssertionError that names the step."""
    try:
        yield
        _passed.get().append(what)
    except AssertionError as error:
        fault = str(error).removeprefix(f"{name}: ")
        raise AssertionError(f"{name}: {what}: {fault}") from error
    except Exception as error:
        raise AssertionError(f"{name}: {what}: {type(error).__name__}: {error}") from error


def _map(obj: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply ``function`` to every floating-point tensor in contract objects, tuples and dicts."""
    if isinstance(obj, Tensor):
        return function(obj) if obj.is_floating_point() else obj
    if is_dataclass(obj) and not isinstance(obj, type):
        return type(obj)(**{f.name: _map(getattr(obj, f.name), function) for f in fields(obj)})
    if isinstance(obj, (list, tuple)):
        return type(obj)(_map(value, function) for value in obj)
    if isinstance(obj, Mapping):
        return {key: _map(value, function) for key, value in obj.items()}
    return obj


def _tensors(obj: Any) -> list[Tensor]:
    """Return the tensors that :func:`_map` would change, in its order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map(obj, note)
    return found


def _same(first: Any, second: Any) -> bool:
    pairs = list(zip(_tensors(first), _tensors(second)))
    return len(pairs) == len(_tensors(second)) and all(torch.equal(a, b) for a, b in pairs)


class _Network(NamedTuple):
    """What a role promises, and how it is checked."""

    promise: str
    kept: Callable[[Any, Example, Any], bool]


def _is_map(output: Any, *_: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4


def _is_image(output: Any, example: Example, *_: Any) -> bool:
    return _is_map(output) and output.shape[1:] == (3, example.height, example.width)


def _is_composed(output: Any, example: Example, *_: Any) -> bool:
    fine = isinstance(output, tuple) and len(output) == 2
    return fine and _is_image(output[0], example) and isinstance(output[1], Layers)


def _is_a(kind: type) -> Callable[..., bool]:
    """Return a check that the output is of this class and has the fields named in ``fills``."""

    def kept(output: Any, example: Example, part: Any) -> bool:
        filled = part.fills if kind in (Encoding, Landmarks, Motion, Judgement) else ()
        return isinstance(output, kind) and all(_has(output, name) for name in filled)

    return kept


def _has(output: Any, name: str) -> bool:
    value = getattr(output, name)
    return value is not None and (not isinstance(value, tuple) or len(value) > 0)


NETWORKS: dict[str, _Network] = {
    "encoders": _Network("Encoding with what 'fills' names", _is_a(Encoding)),
    "bottlenecks": _Network("Landmarks with what 'fills' names", _is_a(Landmarks)),
    "rasterizers": _Network("a (B, C, H, W) drawing", _is_map),
    "decoders": _Network("(B, 3, H, W) images", _is_image),
    "motions": _Network("Motion with what 'fills' names", _is_a(Motion)),
    "compositors": _Network("(B, 3, H, W) images and Layers", _is_composed),
    "critics": _Network("Judgement with what 'fills' names", _is_a(Judgement)),
    "priors": _Network("CriticScores", _is_a(CriticScores)),
    "losses": _Network("a scalar", lambda o, e, p: isinstance(o, Tensor) and o.ndim == 0),
    "predictors": _Network(
        "(B, T + 1, K, S) states after two more steps",
        lambda o, e, p: isinstance(o, Tensor) and o.shape[1:] == (4, *e.states().shape[2:]),
    ),
    "pipelines": _Network("Outputs", _is_a(Outputs)),
}


def _check_network(node: Mapping[str, Any], role: str) -> None:
    name = node["type"]
    torch.manual_seed(0)
    part: nn.Module = build(node, name, role)
    promise, kept = NETWORKS[role]
    example = Example(node, part)
    inputs = example.of(role)

    def run(module: nn.Module, given: Any) -> Any:
        torch.manual_seed(1)
        output = module(*given)
        batched = replace(output, edges=None) if isinstance(output, Outputs) else output
        sizes = [tuple(tensor.shape) for tensor in _tensors(batched)]
        right = role == "losses" or all(size and size[0] == BATCH for size in sizes)
        _require(
            kept(output, example, part) and right and bool(sizes),
            f"{name}: it must return {promise} of {BATCH}, not {type(output).__name__} of {sizes}",
        )
        finite = all(bool(tensor.isfinite().all()) for tensor in _tensors(output))
        _require(finite, f"{name}: the output is not finite")
        return output

    before = _map(inputs, Tensor.clone)
    with _step(name, "forward"), torch.no_grad():
        run(part, inputs)
    if role == "decoders" and not fault(type(part), MotionDecoder):
        with _step(name, "encode, decode and deform"), torch.no_grad():
            _check_motion_decoder(part.eval(), *inputs)
            part.train()
    _require(_same(before, inputs), f"{name}: forward changes its inputs in place")
    with _step(name, "backward"):
        _check_gradients(name, part, inputs, run)
    with _step(name, "saving and loading"), torch.no_grad():
        file = io.BytesIO()
        torch.save(part.state_dict(), file)
        file.seek(0)
        torch.manual_seed(2)
        twin: nn.Module = build(node, name, role)
        twin.load_state_dict(torch.load(file, weights_only=True))
        equal = _same(run(part.eval(), inputs), run(twin.eval(), inputs))
        _require(equal, f"{name}: a saved and loaded copy returns a different output")
    with _step(name, "bfloat16 autocast"), torch.no_grad():
        # losses are computed outside autocast, from what networks returned inside it
        amp = role != "losses"
        low = inputs if amp else _map(inputs, lambda tensor: tensor.bfloat16())
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            run(part.train(), low)
    with _step(name, "float64"), torch.no_grad():
        output = run(part.double(), _map(inputs, lambda tensor: tensor.double()))
        types = {tensor.dtype for tensor in _tensors(output)} - {torch.float64}
        _require(not types, f"{name}: float64 in, {types} out")
    if role == "losses":
        _check_reads(name, part.float(), *inputs)
    if role == "pipelines":
        _check_pipeline(name, part.float(), inputs[0])


def _check_reads(name: str, loss: Any, outputs: Outputs, batch: Batch) -> None:
    """Check that a loss needs exactly the fields that its ``reads`` names."""
    places = [field.partition(".") for field in loss.reads]
    given: dict[str, Any] = {"batch": {}}
    for owner, _, own in places:
        if owner == "batch":
            given["batch"][own] = getattr(batch, own)
        elif own and owner in ("landmarks", "layers", "motion"):
            whole = given.get(owner) or getattr(outputs, owner)
            keep = {place[2] for place in places if place[0] == owner}
            spare = [f.name for f in fields(whole) if f.default is None and f.name not in keep]
            given[owner] = replace(whole, **dict.fromkeys(spare))
        else:
            given[owner] = getattr(outputs, owner)
    stripped = given.pop("batch")
    with _step(name, "what it reads (all of 'reads')"):
        loss(Outputs(**given), Batch(**stripped))
    for field in loss.reads:
        owner, _, own = field.partition(".")
        less, batch_less = dict(given), dict(stripped)
        if owner == "batch":
            del batch_less[own]
        else:
            del less[owner]
        try:
            loss(Outputs(**less), Batch(**batch_less))
        except MissingFieldError:
            continue
        raise AssertionError(f"{name}: 'reads' names {field}, but it works without that field.")


def _check_motion_decoder(part: Any, source: Tensor, motion: Motion) -> None:
    """Check the three steps that animation calls separately."""
    same = _same(part.decode(part.encode(source), motion), part(source, motion))
    _require(same, "decode(encode(source), motion) is not forward(source, motion)")
    shape = part.deform(source, motion).shape
    _require(shape == source.shape, f"deform(source, motion) must keep its shape, not {shape}")


def _check_gradients(
    name: str, part: nn.Module, inputs: Any, run: Callable[[nn.Module, Any], Any]
) -> None:
    leaves = _map(inputs, lambda tensor: tensor.clone().requires_grad_())
    outputs = [tensor for tensor in _tensors(run(part, leaves)) if tensor.requires_grad]
    _require(bool(outputs), f"{name}: the output has no gradient")
    # a random projection: plain sums vanish behind a normalisation
    random = torch.Generator().manual_seed(3)
    sums = [(out * torch.randn(out.shape, generator=random)).sum() for out in outputs]
    torch.autograd.backward(sums)
    found = [tensor.grad for tensor in _tensors(leaves) if tensor.grad is not None]
    _require(any(bool(grad.any()) for grad in found), f"{name}: no gradient reaches the inputs")
    for grad in found:
        _require(bool(grad.isfinite().all()), f"{name}: a gradient of the inputs is not finite")
    for key, parameter in part.named_parameters():
        if parameter.requires_grad:
            _require(parameter.grad is not None, f"{name}: no gradient reaches '{key}'")
            assert parameter.grad is not None
            finite = bool(parameter.grad.isfinite().all())
            _require(finite, f"{name}: the gradient of '{key}' is not finite")


def _filled(outputs: Outputs) -> set[str]:
    """Return the names of the fields that are set, such as ``landmarks`` and ``landmarks.prob``."""
    found = set()
    for field in fields(outputs):
        value = getattr(outputs, field.name)
        if value is None or field.name == "extra":
            continue
        found.add(field.name)
        if field.name in ("landmarks", "layers", "motion"):
            optional = [f.name for f in fields(value) if f.default is None]
            found |= {f"{field.name}.{own}" for own in optional if _has(value, own)}
        if isinstance(value, CriticScores) and value.generator_features:
            found.add(f"{field.name}.features")
    return found


def _check_pipeline(name: str, pipeline: Any, batch: Batch) -> None:
    found, said = _filled(pipeline(batch)), set(pipeline.fills)
    _require(
        found == said,
        f"{name}: 'fills' must name what forward fills; missing from it: {sorted(found - said)}, "
        f"not filled: {sorted(said - found)}",
    )
    with _step(name, "parameter_groups"):
        groups = pipeline.parameter_groups()
        grouped = [id(parameter) for group in groups.values() for parameter in group]
        for key, parameter in pipeline.named_parameters():
            wanted, count = int(parameter.requires_grad), grouped.count(id(parameter))
            _require(
                wanted == count, f"{name}: '{key}' is in {count} parameter groups, not in {wanted}"
            )
    if pipeline.infers:
        with _step(name, "predict"):
            found = pipeline.eval().predict(batch.driving)
            fine = isinstance(found, Outputs) and found.landmarks is not None
            _require(fine, f"{name}: predict must return Outputs with landmarks")
            again = pipeline.predict(_map(batch.driving, lambda images: images[:1]))
            close = torch.allclose(found.landmarks.xy[:1], again.landmarks.xy, atol=1e-4)
            _require(close, f"{name}: a prediction depends on the other images of the batch")


def _check_dataset(dataset: Any, name: str) -> None:
    count = len(dataset.keypoint_names)
    _require(len(dataset) > 0, f"{name}: it is empty")
    for field in ("edges", "flip_pairs"):
        pairs = [tuple(pair) for pair in getattr(dataset, field)]
        fine = all(len(pair) == 2 and 0 <= min(pair) <= max(pair) < count for pair in pairs)
        _require(fine, f"{name}: {field} must be pairs of positions below {count}, not {pairs}")
    sided = [side for pair in dataset.flip_pairs for side in pair]
    _require(len(sided) == len(set(sided)), f"{name}: a keypoint is in two flip_pairs")
    side = None
    for index in sorted({0, len(dataset) - 1}):
        points = dataset.keypoints(index)
        if points is not None:
            _is_array(name, "keypoints(index)", points, np.float32, (count, 2))
        if fault(type(dataset), ImageDataset):  # a pose prior
            continue
        item = dataset.sample(index, np.random.default_rng(0))
        images = ("frames",) if "frames" in item else ("target", "source")  # clips have the first
        side = side or len(item[images[0]][0])
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "frames": (np.uint8, (len(item.get("frames", ())), side, side, 3)),
            "target": (np.uint8, (side, side, 3)),
            "source": (np.uint8, (side, side, 3)),
            "mask": (np.uint8, (side, side)),
            "keypoints": (np.float32, (count, 2)),
            "visible": (np.float32, (count,)),
            "size": (np.float32, (2,)),
            "flow": (np.float32, (*np.shape(item.get("flow"))[:2], 2)),
        }
        for field, (dtype, shape) in shapes.items():
            if field in item or field in images:
                _is_array(name, f"sample(...)['{field}']", item[field], dtype, shape)
        named = isinstance(item["name"], str) and "/" in item["name"].strip("/")
        _require(named, f"{name}: a sample's name must be <clip>/<frame>, not {item['name']!r}")
        kept = {key: np.copy(value) for key, value in item.items()}
        for value in item.values():
            if isinstance(value, np.ndarray):
                value[...] = 1 - value
        for seed in (0, 1):
            again = dataset.sample(index, np.random.default_rng(seed))
            for field in kept:
                # another rng may move the window of a clip, and so change its name
                moves = "frames" in item or dataset.random_target
                fixed = seed == 0 or (field in ("target", "keypoints", "name") and not moves)
                _require(
                    not fixed or np.array_equal(kept[field], again[field]),
                    f"{name}: '{field}' of sample {index} changes between calls"
                    + (", with another rng" if seed else ""),
                )


def _is_array(name: str, what: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    fine = isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
    _require(
        fine and bool(np.isfinite(array).all()),
        f"{name}: {what} must be finite {np.dtype(dtype)} {shape}, not "
        f"{getattr(array, 'dtype', type(array))} {np.shape(array)}",
    )


def _check_transform(transform: Any, name: str) -> None:
    """Check a batch transform."""
    seeds, batch, copies = torch.arange(BATCH) + 7, Example({}, transform).batch(), transform.copies
    before = _map(batch, Tensor.clone)
    part = _map(batch, lambda tensor: tensor[1:])
    found = [transform(batch, seeds), transform(batch, seeds), transform(part, seeds[1:])]
    _require(_same(before, batch), f"{name}: it changes its batch in place")
    _require(isinstance(found[0], Batch), f"{name}: it must return a Batch")
    finite = all(bool(tensor.isfinite().all()) for tensor in _tensors(found[0]))
    _require(finite, f"{name}: what it returns is not finite")
    for field in ("source", "driving", "target"):
        image = getattr(found[0], field)
        fine = -1e-4 <= float(image.min()) <= float(image.max()) <= 1 + 1e-4
        same = image.shape == (copies * BATCH, *getattr(batch, field).shape[1:])
        _require(fine and same, f"{name}: '{field}' must keep its shape and range [0, 1]")
    without: dict[str, Any] = dict.fromkeys(transform.fills)
    bare = transform(replace(batch, **without), seeds)
    missing = [field for field in transform.fills if getattr(bare, field) is None]
    _require(not missing, f"{name}: 'fills' names {', '.join(missing)}, but it does not fill that")
    _check_seeded(found, copies, name)


def _check_warp(warp: Any, name: str) -> None:
    """Check a sampler of splines."""
    seeds, cpu = torch.arange(BATCH) + 7, torch.device("cpu")
    found = [warp(s, 1, cpu).grid(6, 8) for s in (seeds, seeds, seeds[1:])]
    shape = tuple(found[0].shape)
    _require(shape == (BATCH, 6, 8, 2), f"{name}: the grid is {shape}, not (B, H, W, 2)")
    _require(bool(found[0].isfinite().all()), f"{name}: the grid is not finite")
    _check_seeded(found, 1, name)


def _check_seeded(found: list[Any], copies: int, name: str) -> None:
    """Check that the results of three calls depend on each item's seed alone."""
    _require(_same(found[0], found[1]), f"{name}: equal seeds lead to different results")

    def without_first(tensor: Tensor) -> Tensor:
        return tensor.reshape(copies, BATCH, *tensor.shape[1:])[:, 1:].flatten(0, 1)

    alone = zip(_tensors(_map(found[0], without_first)), _tensors(found[2]))
    close = all(torch.allclose(a, b, atol=1e-5) for a, b in alone)
    _require(close, f"{name}: an item depends on more than its own seed")


def _check_metric(metric: Any, name: str) -> None:
    example = Example({"num_landmarks": 68}, metric)  # enough for any protocol's numbers
    for step in ("fit",) * metric.fits + ("update", "update"):
        outputs, batch = example.outputs(), example.batch()
        before = _map((outputs, batch), Tensor.clone)
        getattr(metric, step)(outputs, batch)
        _require(_same(before, (outputs, batch)), f"{name}: {step} changes its inputs in place")
    row = metric.compute()
    missing = {"metric", "unit", "value", "interval", "n"} - set(row)
    _require(not missing, f"{name}: compute must also return {', '.join(sorted(missing))}")
    json.dumps(row)
    low, high = row["interval"]
    _require(
        math.isfinite(row["value"]) and low <= high and 0 < row["n"] <= 2 * BATCH,
        f"{name}: compute must return a finite value, an interval and a count, not {row}",
    )


OTHERS: dict[str, Callable[[Any, str], None]] = {
    "datasets": _check_dataset,
    "transforms": _check_transform,
    "warps": _check_warp,
    "metrics": _check_metric,
}
