"""Reading TensorFlow checkpoints (``.index`` and ``.data-*``) without TensorFlow.

The index is a LevelDB table: a footer points to an index block, which points to data blocks; a
block is a sorted list of keys, each stored without the prefix that it shares with the one before.
The values are protocol buffers: a header under the empty key, otherwise the place of a tensor's
bytes. Files may come from anyone, so every offset and size is checked against the file before use,
and every block and tensor that is read against its checksum.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.errors import ConfigError

MAGIC = 0xDB4775248B80FB57
MAX_INDEX = 1 << 20  # bytes; the index of a model with 500 variables has 30 kB
MAX_KEY = 512
MAX_RANK = 8
FLOAT32 = 1  # in the enumeration DataType
POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_TABLE = list(range(256))
for _ in range(8):
    _TABLE = [entry >> 1 ^ (entry & 1) * POLYNOMIAL for entry in _TABLE]


def read(path: str | Path, wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float32]]:
    """Return the variables of a checkpoint that are wanted.

    Args:
        path: ``model.ckpt-NUMBER``, or one of the files that begin with it.
        wanted: decides by a variable's name; the others are not read.

    Raises:
        ConfigError: files are missing, truncated or damaged, or hold something unsupported.
    """
    found = files(path)
    index = found.pop("index")
    if index.stat().st_size > MAX_INDEX:
        raise ConfigError(f"{index} is not a checkpoint's index: it has over {MAX_INDEX} bytes.")
    try:
        entries = dict(_entries(index.read_bytes()))
        shards = _shards(entries.pop(b"", None))
        chosen = {k.decode(): _fields(v) for k, v in entries.items() if wanted(k.decode())}
    except (ValueError, LookupError, struct.error) as error:
        raise ConfigError(
            f"{index} is not an index of a TensorFlow checkpoint, or is damaged: {error}. Copy or "
            "download it again."
        ) from error
    arrays: dict[str, NDArray[np.float32]] = {}
    room = sum(file.stat().st_size for file in found.values())
    for name, entry in chosen.items():
        try:
            shard = _number(entry, 3)
            file = found.get(f"data-{shard:05d}-of-{shards:05d}")
            if file is None:
                raise ValueError(f"it is in file {shard} of {shards}, which is missing")
            room -= _number(entry, 5)
            if room < 0:
                raise ValueError("tensors overlap")
            arrays[name] = _tensor(entry, file)
        except (ValueError, LookupError, struct.error) as error:
            raise ConfigError(
                f"{index}: cannot read '{name}': {error}. Copy or download it again."
            ) from error
    return arrays


def files(path: str | Path) -> dict[str, Path]:
    """Return the files of a checkpoint by their endings.

    Raises:
        ConfigError: there is no index, or no data file beside it.
    """
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    index = Path(f"{prefix}.index")
    if not index.is_file():
        raise ConfigError(
            f"there is no file '{index}'. Give a TensorFlow checkpoint: the path that its .index "
            "and its .data-00000-of-00001 begin with."
        )
    data = sorted(p for p in index.parent.iterdir() if p.name.startswith(f"{index.stem}.data-"))
    if not data:
        raise ConfigError(f"{index} has no .data-00000-of-00001 beside it. Copy that file too.")
    return {"index": index, **{file.name.removeprefix(f"{index.stem}."): file for file in data}}


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a table, whose keys must ascend."""
    if len(data) < 48 or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end like a table")
    _, at = _handle(data[-48:-8], 0)  # of the meta index block, which is not used
    where, _ = _handle(data[-48:-8], at)
    last: bytes | None = None
    for _, handle in _block(data, where):
        for key, value in _block(data, _handle(handle, 0)[0]):
            if last is not None and key <= last:
                raise ValueError("its keys are not in order")
            last = key
            yield key, value


def _block(data: bytes, where: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    offset, size = where
    if offset + size + 5 > len(data):
        raise ValueError("a block is beyond its end")
    content, kind = data[offset : offset + size], data[offset + size]
    (checksum,) = struct.unpack_from("<I", data, offset + size + 1)
    if masked_crc32c(data[offset : offset + size + 1]) != checksum:
        raise ValueError("the checksum of a block is wrong")
    if kind:
        raise ValueError("it is compressed, unlike TensorFlow's")
    (restarts,) = struct.unpack("<I", content[-4:])
    end = size - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(content, at)
        rest, at = _varint(content, at)
        length, at = _varint(content, at)
        stop = at + rest + length
        if shared > len(key) or shared + rest > MAX_KEY or stop > end:
            raise ValueError("an entry is beyond its block")
        key = key[:shared] + content[at : at + rest]
        yield key, content[at + rest : stop]
        at = stop
    if at != end:
        raise ValueError("a block is beyond its end")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number (at most 64 bits) that begins at this byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has no end")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _fields(data: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a protocol buffer: numbers, and bytes that are not parsed."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            if tag & 7 not in (1, 2, 5):
                raise ValueError("a field has an unknown type")
            length, at = _varint(data, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            if at + length > len(data):
                raise ValueError("a field is beyond its end")
            value, at = data[at : at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: dict[int, list[int | bytes]], key: int) -> int:
    """Return a field as a number; 0 if it is missing."""
    value = fields.get(key, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _shards(header: bytes | None) -> int:
    fields = _fields(header or b"")
    if header is None or _number(fields, 2):
        raise ValueError("its numbers are big-endian" if header else "it has no header")
    return _number(fields, 1)


def _tensor(entry: dict[int, list[int | bytes]], file: Path) -> NDArray[np.float32]:
    if _number(entry, 1) != FLOAT32:
        raise ValueError("it is not float32")
    if 7 in entry:
        raise ValueError("it is stored in slices")
    shape: list[int] = []
    for message in entry.get(2, []):
        for size in _fields(message).get(2, []) if isinstance(message, bytes) else [0]:
            if not isinstance(size, bytes):
                raise ValueError("a shape has an unknown type")
            shape.append(_number(_fields(size), 1))
    offset, size = _number(entry, 4), _number(entry, 5)
    if len(shape) > MAX_RANK or size != 4 * math.prod(shape):
        raise ValueError(f"its shape {tuple(shape)} does not match its {size} bytes")
    if offset + size > file.stat().st_size:
        raise ValueError("the file is truncated")
    with file.open("rb") as opened:
        opened.seek(offset)
        data = opened.read(size)
    if masked_crc32c(data) != _number(entry, 6):
        raise ValueError("its checksum is wrong")
    return np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of the bytes, rotated and offset as LevelDB stores it.

    Example:
        >>> hex(masked_crc32c(b"123456789"))  # the CRC itself is 0xe3069283
        '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:  # about ten million per second: a model's weights take seconds
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
