"""Bounds within which a model that a package describes is built, and tried on one image.

Before each call into torch, the size of its result is worked out from its arguments: memory beyond
the bounds is never requested. Unlike meta tensors, this needs no import of seconds, and the values
are real.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zoo.errors import IntegrityError

MAX_TENSORS = 1 << 14  # of one model's construction: parameters and buffers
MAX_CALLS = 1 << 15  # of one prediction; today's make below 2,000
EXPENSIVE = 1 << 24  # multiply-adds of a convolution that the trial computes at one place only
PER_MULTIPLY = 1 / 32  # as work, relative to writing a number


class Bounds(TorchFunctionMode):
    """Stops this thread's calls into torch before they exceed a bound.

    Args:
        text: of the error.
        each: numbers that one call may make.
        total: numbers that all calls together may make.
        trial: only shapes matter: expensive convolutions are computed at one place, whose value
            stands for all. Otherwise, for construction, only tensors made from nothing count.
    """

    def __init__(self, text: str, each: int, total: int, *, trial: bool) -> None:
        super().__init__()
        self.text, self.each, self.total, self.trial = text, each, float(total), trial
        self.calls, self.live = MAX_CALLS if trial else MAX_TENSORS, 2 * each
        self.alive: dict[int, Any] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        if given and not self.trial:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        numbers, work = _made(name, given, args, kwargs), 0.0
        if self.trial:
            work = _multiplied(name, numbers, given) * PER_MULTIPLY
            if name in CONVOLUTIONS and work > EXPENSIVE * PER_MULTIPLY:
                work = 0.0
                func = _at_one_place
        self.calls, self.total = self.calls - 1, self.total - max(numbers, work)
        if min(self.calls, self.total, self.each - numbers, self.live) < 0:
            raise IntegrityError(self.text)
        made = func(*args, **kwargs)
        if self.trial and isinstance(made, Tensor):
            self._watch(made)
        return made

    def _watch(self, made: Tensor) -> None:
        """Count a result's memory until it is freed."""
        numbers = min(made.numel(), made.untyped_storage().nbytes() // made.element_size())

        def freed(_: Any, key: int = id(made)) -> None:
            if self.alive.pop(key, None) is not None:
                self.live += numbers

        if id(made) not in self.alive:
            self.alive[id(made)] = weakref.ref(made, freed)
            self.live -= numbers


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, (tuple, list)):
        for value in node:
            yield from _tensors(value)
    elif isinstance(node, dict):
        yield from _tensors(list(node.values()))


def _made(name: str, given: Sequence[Tensor], args: Any, kwargs: Any) -> int:
    """Return how many numbers a call makes at most; wrong calls are left to fail by themselves."""
    if rule := RULES.get(name.strip("_")):
        try:
            return int(rule(*args, **kwargs))
        except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
            pass
    try:  # as most functions do
        return math.prod(_broadcast(*(one.shape for one in given)))
    except RuntimeError:
        return max((one.numel() for one in given), default=0)


def _multiplied(name: str, numbers: int, given: Sequence[Tensor]) -> float:
    """Return about how many multiply-adds a product takes; 0 for other functions."""
    if len(given) < 2 or not given[0].ndim or not given[1].ndim:
        return 0
    if name in CONVOLUTIONS:
        return numbers * given[1].numel() / max(len(given[1]), 1)
    return numbers * given[0].shape[-1] if name.strip("_") in PRODUCTS else 0


def _broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _ints(node: Any) -> Iterator[int]:
    if isinstance(node, int):
        yield int(node)
    elif isinstance(node, (tuple, list)):
        for value in node:
            yield from _ints(value)


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return (
        tuple(value) * (count // len(value))
        if isinstance(value, (tuple, list))
        else (value,) * count
    )


def _sized(*size: Any, **more: Any) -> int:
    return math.prod(_ints([size, more.get("size", ())]))


def _new(self: Tensor, *size: Any, **more: Any) -> int:
    return _sized(*size, **more)


def _first(size: Any, *_: Any, **__: Any) -> int:
    return math.prod(_ints((size,)))


def _drawn(*args: Any, size: Any = None, **_: Any) -> int:
    """Of randint and normal, whose other integers are values."""
    return math.prod(_ints(size or next(one for one in args if isinstance(one, (tuple, list)))))


def _arange(*ends: float, start: float = 0, end: float = 0, step: float = 1, **_: Any) -> int:
    first, last, by = (*((0,) if len(ends) == 1 else ()), *ends, *(start, end, step))[:3]
    count: int = math.ceil(abs((last - first) / (by if len(ends) == 3 else step)))
    return count


def _linspace(start: Any, end: Any, steps: int, *_: Any, **__: Any) -> int:
    return steps


def _eye(n: int, m: int | None = None, **_: Any) -> int:
    return n * (n if m is None else m)


def _interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any
) -> int:
    sides = input.shape[2:]
    wanted = _each(size, len(sides))
    if size is None:
        factors = _each(scale_factor, len(sides))
        wanted = tuple(math.ceil(side * factor) for side, factor in zip(sides, factors))
    return int(math.prod(input.shape[:2]) * math.prod(wanted))


def _pad(input: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> int:
    shape = list(input.shape)
    for i in range(len(pad) // 2):
        shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return math.prod(shape)


def _repeat(input: Tensor, *counts: Any, **more: Any) -> int:
    return input.numel() * math.prod(_ints([counts, *more.values()]))


def _repeat_each(input: Tensor, repeats: Any, *_: Any, **__: Any) -> int:
    return input.numel() * (repeats if isinstance(repeats, int) else int(repeats.max()))


def _matmul(input: Tensor, other: Tensor, **_: Any) -> int:
    rows, columns = input.shape[-2:-1], other.shape[-1:] if other.ndim > 1 else ()
    return math.prod((*_broadcast(input.shape[:-2], other.shape[:-2]), *rows, *columns))


def _linear(input: Tensor, weight: Tensor, *_: Any) -> int:
    return math.prod(input.shape[:-1]) * len(weight)


def _einsum(equation: str, *given: Any) -> int:
    left, _, right = equation.replace(" ", "").partition("->")
    operands = list(_tensors(given))
    sides = {k: n for word, one in zip(left.split(","), operands) for k, n in zip(word, one.shape)}
    return math.prod(sides[letter] for letter in right)


def _outer(input: Tensor, other: Tensor) -> int:
    return input.numel() * other.numel()


def _cdist(x1: Tensor, x2: Tensor, *_: Any, **__: Any) -> int:
    return math.prod(x1.shape[:-1]) * x2.shape[-2]


def _one_hot(input: Tensor, num_classes: int = -1) -> int:
    return input.numel() * (int(input.max()) + 1 if num_classes < 0 else num_classes)


def _sampled(input: Tensor, grid: Tensor, *_: Any, **__: Any) -> int:
    return math.prod((*input.shape[:2], *grid.shape[1:-1]))


def _affine_grid(theta: Tensor, size: Sequence[int], *_: Any, **__: Any) -> int:
    return len(theta) * math.prod(size[2:]) * len(size[2:])


def _joined(tensors: Any, *_: Any, **__: Any) -> int:
    return sum(one.numel() for one in tensors)


def _taken(input: Tensor, dim: int, index: Tensor, *_: Any, **__: Any) -> int:
    return input.numel() // max(input.shape[dim], 1) * index.numel()


def _gathered(input: Tensor, dim: int, index: Tensor, **_: Any) -> int:
    return index.numel()


def _indexed(input: Tensor, index: Any) -> int:
    if isinstance(index, Tensor) and index.dtype != torch.bool:
        return index.numel() * math.prod(input.shape[1:])
    return max([input.numel(), *(one.numel() for one in _tensors(index))])


def _embedded(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return input.numel() * weight.shape[1]


def _pooled(input: Tensor, output_size: Any, *_: Any, **__: Any) -> int:
    return math.prod(input.shape[:2]) * math.prod(
        side if wanted is None else wanted
        for side, wanted in zip(input.shape[2:], _each(output_size, input.ndim - 2))
    )


def _diagonal(input: Tensor, *_: Any, **__: Any) -> int:
    return input.numel() * input.shape[-1]


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> int:
    return math.prod(_output(input, weight, stride, padding, dilation))


def _output(input: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any) -> list[int]:
    """Return the shape of a convolution's result."""
    sides = input.shape[2:]
    steps, holes = _each(stride, len(sides)), _each(dilation, len(sides))
    if padding == "same":
        return [len(input), len(weight), *sides]
    edges = _each(0 if padding == "valid" else padding, len(sides))
    return [
        *(len(input), len(weight)),
        *(
            max((side + 2 * edge - hole * (kernel - 1) - 1) // step + 1, 0)
            for side, edge, hole, kernel, step in zip(sides, edges, holes, weight.shape[2:], steps)
        ),
    ]


def _spread(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> int:
    """Of a transposed convolution."""
    sides = [
        (side - 1) * step - 2 * edge + hole * (kernel - 1) + more + 1
        for side, step, edge, hole, kernel, more in zip(
            input.shape[2:],
            *(_each(some, input.ndim - 2) for some in (stride, padding, dilation)),
            weight.shape[2:],
            _each(output_padding, input.ndim - 2),
        )
    ]
    return int(len(input) * weight.shape[1] * groups * math.prod(max(n, 0) for n in sides))


def _at_one_place(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Return a convolution's result with the value of its middle everywhere."""
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[weight.ndim - 3]
    if min([0, *_ints([padding])]) < 0 or min([1, *_ints([stride, dilation])]) < 1:
        return convolve(input, weight, bias, stride, padding, dilation, groups)  # which refuses it
    shape, holes = (
        _output(input, weight, stride, padding, dilation),
        _each(dilation, input.ndim - 2),
    )
    for axis, (hole, kernel) in enumerate(zip(holes, weight.shape[2:]), start=2):
        extent = hole * (kernel - 1) + 1
        edge = max(extent - input.shape[axis], 0)  # a kernel larger than the image
        sides = [0, 0] * (input.ndim - 1 - axis) + [0, edge]
        input = functional.pad(input, sides) if edge else input
        input = input.narrow(axis, (input.shape[axis] - extent) // 2, extent)
    return convolve(input, weight, bias, 1, 0, dilation, groups).expand(shape).contiguous()


CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
PRODUCTS = ("matmul", "rmatmul", "mm", "bmm", "linear", "einsum", "cdist")
# functions whose results may be larger than what they are given
RULES: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("zeros", "ones", "empty", "rand", "randn"), _sized),
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty"), _new),
    **{"full": _first, "new_full": lambda self, size, *_, **__: _first(size)},
    **{"randint": _drawn, "normal": _drawn, "randperm": _first, "arange": _arange, "eye": _eye},
    **dict.fromkeys(("linspace", "logspace"), _linspace),
    **dict.fromkeys(("interpolate", "upsample"), _interpolate),
    **{"pad": _pad, "repeat": _repeat, "tile": _repeat, "repeat_interleave": _repeat_each},
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    **{"linear": _linear, "einsum": _einsum, "cdist": _cdist},
    **dict.fromkeys(("outer", "ger", "kron"), _outer),
    **{"one_hot": _one_hot, "grid_sample": _sampled, "affine_grid": _affine_grid},
    **dict.fromkeys(("cat", "concat", "stack", "hstack", "vstack", "dstack"), _joined),
    **{"index_select": _taken, "gather": _gathered, "getitem": _indexed, "embedding": _embedded},
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _pooled),
    **dict.fromkeys(("diag", "diag_embed"), _diagonal),
    **dict.fromkeys(CONVOLUTIONS, _convolved),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _spread),
}
