"""Safetensors files: a reader of their header, and a writer whose bytes are reproducible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from mmap import mmap
from typing import TYPE_CHECKING, NamedTuple

from zoo.errors import IntegrityError
from zoo.schema import TEXT, canonical, conform, parse_json

if TYPE_CHECKING:
    from torch import Tensor

Buffer = bytearray | mmap  # writable bytes

DTYPES = {  # in the file -> in torch (and numpy, except bfloat16), and bytes
    **{"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2)},
    **{"I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1)},
    **{"BF16": ("bfloat16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1)},
}
ROW = {"dtype": TEXT, "shape": [int], "data_offsets": [int]}
MAX_HEADER = 8 << 20  # bytes; the safetensors library allows 100 MB


class Stored(NamedTuple):
    """A tensor in a file: its dtype there, its shape, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(data: Buffer, where: str) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return the tensors of a file in the order of their bytes, and its metadata.

    Raises:
        IntegrityError: it is not a safetensors file, or its tensors do not fill it exactly.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise IntegrityError(f"{where}: not a safetensors file; pickled weights are never loaded.")
    start = 8 + length
    header = parse_json(bytes(data[8:start]).rstrip(b" "), f"{where}: header", MAX_HEADER)
    conform(header, {"*": {"*": object}}, where)
    metadata = header.pop("__metadata__", {})
    conform(metadata, {"*": TEXT}, where)
    for key, row in header.items():
        conform(row, ROW, f"{where}: {key[:80]!r}")
    end, found = 0, {}
    for key, row in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, begin = row["dtype"], row["shape"], end
        known = dtype in DTYPES and len(shape) <= 8 and all(0 <= n < 1 << 40 for n in shape)
        end += DTYPES[dtype][1] * math.prod(shape) if known else 0
        if not known or row["data_offsets"] != [begin, end]:
            raise IntegrityError(f"{where}: {key[:80]!r} has a wrong type, shape or offset.")
        found[key] = Stored(dtype, tuple(shape), start + begin, start + end)
    if start + end != len(data):
        raise IntegrityError(f"{where}: it is {len(data) - start - end} bytes too long.")
    return found, metadata


def read_tensors(data: Buffer, stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Return the tensors of a file whose header has been read; they share its memory."""
    import torch

    found = {}
    for key, one in stored.items():
        dtype, count = getattr(torch, DTYPES[one.dtype][0]), math.prod(one.shape)
        flat = torch.empty(0, dtype=dtype)
        if count:
            flat = torch.frombuffer(data, dtype=dtype, count=count, offset=one.begin)
        found[key] = flat.reshape(one.shape)
    return found


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a file; unlike the library, always the same for the same content."""
    import torch

    names = {name: dtype for dtype, (name, _) in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    pieces, end = [], 0
    # large number types first, like the library, so that all are aligned
    for key, value in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        pieces.append(flat.numpy().tobytes())
        begin, end = end, end + len(pieces[-1])
        dtype = names[str(value.dtype).removeprefix("torch.")]
        header[key] = dict(zip(ROW, (dtype, list(value.shape), [begin, end])))
    text = canonical(header)
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *pieces))
