"""Reading TensorFlow checkpoints: of a real one, of ones written here byte by byte, of bad ones."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from registry.errors import ConfigError
from tests.golden_file import GOLDEN
from zoo.convert import imm
from zoo.convert.tensorflow_checkpoint import MAX_INDEX, masked_crc32c, read

REAL = GOLDEN / "imm_tensorflow.ckpt"


# a writer of its own: nothing below comes from the reader


def crc32c(data: bytes) -> int:
    """By long division, bit by bit; https://www.rfc-editor.org/rfc/rfc3720 appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    turned = (crc >> 15) | ((crc & 0x7FFF) << 17)
    return struct.pack("<I", (turned + 0xA282EAD8) % 2**32)


def varint(value: int) -> bytes:
    found = bytearray()
    while value >= 128:
        found.append(value % 128 + 128)
        value //= 128
    return bytes([*found, value])


def block(pairs: list[tuple[bytes, bytes]], every: int = 2, kind: int = 0) -> bytes:
    """A block whose keys are whole at every second entry, with its type and checksum."""
    content, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % every == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        last = key
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    content += bytes([kind])
    return content + masked(content)


def table(pairs: list[tuple[bytes, bytes]], per_block: int = 3, kind: int = 0) -> bytes:
    """Data blocks, the empty block about blocks, the index block, the footer."""
    data, handles = b"", []
    for i in range(0, len(pairs), per_block):
        one = block(pairs[i : i + per_block], kind=kind)
        handles.append((pairs[i : i + per_block][-1][0], varint(len(data)) + varint(len(one) - 5)))
        data += one
    about = block([])
    places = varint(len(data)) + varint(len(about) - 5)
    data += about
    index = block(handles, every=1)
    places += varint(len(data)) + varint(len(index) - 5)
    return data + index + places.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(8 * number) + varint(value)
    return varint(8 * number + 2) + varint(len(value)) + value


def entry(array: np.ndarray, at: int, **changes: object) -> bytes:
    """A BundleEntryProto; fields of value 0 are left out, as protocol buffers do."""
    stated = {
        **{"dtype": 1, "shape": array.shape, "shard": 0, "offset": at, "size": array.nbytes},
        **{"checksum": masked(array.tobytes()), "more": b""},
        **changes,
    }
    shape = b"".join(field(2, field(1, side)) for side in stated["shape"])
    numbers = ((3, "shard"), (4, "offset"), (5, "size"))
    return (
        field(1, stated["dtype"])
        + field(2, shape)
        + b"".join(field(number, stated[key]) for number, key in numbers if stated[key])
        + varint(8 * 6 + 5)
        + stated["checksum"]
        + stated["more"]
    )


HEADER = field(1, 1) + field(3, field(1, 1))  # one file, little-endian, version 1
ARRAYS = {
    "model/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model/ab": np.float32(7).reshape(()),
    "model/abc": np.linspace(0, 1, 4, dtype=np.float32),
    "model/b": np.zeros((3, 0), np.float32),
    "other": np.full(5, 9, np.float32),
}


def pairs_of(**changes: object) -> list[tuple[bytes, bytes]]:
    """Keys and values of ARRAYS; ``changes`` to the entry of model/ab."""
    pairs, offset = [(b"", HEADER)], 0
    for name, array in ARRAYS.items():
        own = changes if name == "model/ab" else {}
        pairs.append((name.encode(), entry(array, offset, **own)))
        offset += array.nbytes
    return pairs


def write(folder: Path, index: bytes | None = None, data: bytes | None = None) -> Path:
    content = b"".join(array.tobytes() for array in ARRAYS.values())
    (folder / "m.ckpt.index").write_bytes(table(pairs_of()) if index is None else index)
    name = "m.ckpt.data-00000-of-00001"
    (folder / name).write_bytes(content if data is None else data)
    return folder / "m.ckpt"


def below_model(name: str) -> bool:
    return name.startswith("model/")


def same(found: dict[str, np.ndarray]) -> bool:
    wanted = {name: array for name, array in ARRAYS.items() if below_model(name)}
    return found.keys() == wanted.keys() and all(
        found[k].shape == wanted[k].shape and np.array_equal(found[k], wanted[k]) for k in wanted
    )


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, below_model)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------------- reading


def test_checksums():
    """The values of RFC 3720, appendix B.4, and those of long division."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes([255] * 32)) == 0x62A8AB43
    draw = np.random.RandomState(0)
    for size in (0, 1, 31, 32, 511, 512, 513, 1024, 5000):
        data = draw.bytes(size)
        assert struct.pack("<I", masked_crc32c(data)) == masked(data), size


@pytest.mark.parametrize("per_block", [1, 2, 100])
@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_a_written_checkpoint(per_block, ending, tmp_path):
    path = write(tmp_path, table(pairs_of(), per_block))
    assert same(read(f"{path}{ending}", below_model))
    assert read(path, "other".__eq__)["other"].tolist() == [9.0] * 5


def test_tensors_in_two_files(tmp_path):
    pairs = [(b"", field(1, 2)), *pairs_of(shard=1, offset=0)[1:]]
    path = write(tmp_path, table(pairs))
    data = tmp_path / "m.ckpt.data-00000-of-00001"
    data.rename(tmp_path / "m.ckpt.data-00000-of-00002")
    assert "cannot read 'model/ab': it is in file 1 of 2, which is missing." in refused(path)
    (tmp_path / "m.ckpt.data-00001-of-00002").write_bytes(ARRAYS["model/ab"].tobytes())
    assert same(read(path, below_model))


def test_a_checkpoint_that_tensorflow_wrote():
    """Its shapes, and that its many other variables are not touched."""
    names: list[str] = []

    def wanted(name: str) -> bool:
        names.append(name)
        return name == "global_step"

    assert read(REAL, wanted) == {"global_step": np.float32(4000)}
    assert "model/renderer/conv_8/conv_8/b/Adam_1" in names
    assert "SelfSupReconstructionLoss/vgg16/conv1_1/biases" in names
    found = imm.load(REAL)
    # per trunk 8 convolutions and norms with a count of batches; heads of two tensors each
    assert len(found) == 2 * 8 * 7 + 2 + 7 * 7 + 2
    assert found["encoder.layers.0.weight"].shape == (1, 3, 7, 7)
    assert found["decoder.climb.24.weight"].shape == (9, 1, 3, 3)
    kernel = read(REAL, lambda name: name == "model/renderer/conv_1/conv_1/w")
    assert found["decoder.climb.0.weight"][5, 4, 2, 1] == next(iter(kernel.values()))[2, 1, 4, 5]
    assert all(value.is_contiguous() for value in found.values())


# -------------------------------------------------------------------------------------- refusing


def test_an_index_cut_off_anywhere(tmp_path):
    index = table(pairs_of())
    for size in range(len(index)):
        path = write(tmp_path, index[:size])
        assert "is not an index of a TensorFlow checkpoint, or is damaged" in refused(path)


def test_an_index_with_a_bit_of_any_byte_flipped(tmp_path):
    """Refused, or read to the same numbers: no checksum covers the footer's unused parts."""
    index, unnoticed = table(pairs_of()), []
    for at in range(len(index)):
        damaged = bytearray(index)
        damaged[at] ^= 1 << at % 8
        path = write(tmp_path, bytes(damaged))
        try:
            found = read(path, below_model)
        except ConfigError:
            continue
        assert same(found)
        unnoticed.append(at)
    footer = len(index) - 48
    about = index[:footer].rfind(block([]))  # the block about blocks, which nobody reads
    assert all(at >= footer or about <= at < about + len(block([])) for at in unnoticed)


def test_data_with_any_bit_flipped_or_cut_off(tmp_path):
    data = b"".join(array.tobytes() for array in ARRAYS.values())
    below = sum(array.nbytes for name, array in ARRAYS.items() if below_model(name))
    for at in range(8 * below):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        assert "its checksum is wrong. Copy or download it again." in refused(
            write(tmp_path, data=bytes(damaged))
        )
    for size in range(below):
        assert re.search(
            "the file is truncated|tensors overlap", refused(write(tmp_path, data=data[:size]))
        )


HUGE = 1 << 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(dtype=2), "cannot read 'model/ab': it is not float32"),
        (dict(more=field(7, b"")), "cannot read 'model/ab': it is stored in slices"),
        (dict(size=8), r"its shape \(\) does not match its 8 bytes"),
        (dict(shape=(2,)), r"its shape \(2,\) does not match its 4 bytes"),
        (dict(shape=(1,) * 9), "its shape .* does not match its 4 bytes"),
        (dict(shape=((1 << 64) - 1,)), "its shape .* does not match its 4 bytes"),
        (dict(offset=HUGE), "the file is truncated"),
        (dict(offset=0), "its checksum is wrong"),
        (dict(shard=1), "cannot read 'model/ab': it is in file 1 of 1, which is missing"),
        (dict(size=4 * HUGE, shape=(HUGE,)), "tensors overlap"),
        (dict(more=b"\x7f"), "is not an index .* a field has an unknown type"),
        (dict(more=varint(8 * 9 + 2) + b"\x09"), "is not an index .* a field is beyond its end"),
        (dict(more=b"\xff" * 12), "is not an index .* a number has no end"),
        (dict(more=field(2, 3)), "cannot read 'model/ab': a shape has an unknown type"),
    ],
)
def test_entries_that_are_not_read(changes, message, tmp_path):
    assert re.search(message, refused(write(tmp_path, table(pairs_of(**changes)))))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (pairs_of()[1:], "it has no header"),
        ([(b"", field(1, 1) + field(2, 1)), *pairs_of()[1:]], "its numbers are big-endian"),
        ([*pairs_of(), (b"a", b"")], "its keys are not in order"),
        ([*pairs_of(), (b"x" * 600, b"")], "an entry is beyond its block"),
        ([*pairs_of(), (b"\xff", b"")], "can't decode byte 0xff"),
    ],
)
def test_tables_that_are_not_read(pairs, message, tmp_path):
    assert message in refused(write(tmp_path, table(pairs)))


def test_a_table_that_names_one_block_twice(tmp_path):
    """As often as it likes it cannot: the keys would not ascend."""
    one = block(pairs_of())
    handle = varint(0) + varint(len(one) - 5)
    index = block([(b"a", handle), (b"b", handle)], every=1)
    places = varint(0) + varint(0) + varint(len(one)) + varint(len(index) - 5)
    ends = places.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    assert "its keys are not in order" in refused(write(tmp_path, one + index + ends))


def test_two_names_for_one_tensor(tmp_path):
    """Names are not a way to read a file more often than it is long."""
    at = sum(array.nbytes for array in ARRAYS.values()) - ARRAYS["other"].nbytes
    pairs = [(f"model/{i}".encode(), entry(ARRAYS["other"], at)) for i in range(10, 99)]
    assert "tensors overlap" in refused(write(tmp_path, table([(b"", HEADER), *pairs])))


def test_compressed_blocks_and_other_files(tmp_path):
    assert "it is compressed" in refused(write(tmp_path, table(pairs_of(), kind=1)))
    assert "does not end like a table" in refused(write(tmp_path, b"a page that says 404" * 9))
    path = write(tmp_path, bytes(MAX_INDEX + 1))
    assert f"m.ckpt.index is not a checkpoint's index: it has over {MAX_INDEX} bytes" in refused(
        path
    )
    (tmp_path / "m.ckpt.data-00000-of-00001").unlink()
    assert "has no .data-00000-of-00001 beside it" in refused(path)
    assert refused(tmp_path / "missing").startswith(
        f"there is no file '{tmp_path}/missing.index'. Give a"
    )


def test_variables_of_other_models(tmp_path):
    with pytest.raises(ConfigError, match=r"model: unexpected key 'a'\. The checkpoint is of an"):
        imm.load(write(tmp_path))
    pairs = [(b"", HEADER), (b"other", entry(ARRAYS["other"], 44))]
    with pytest.raises(ConfigError, match="has no variables below 'model/'"):
        imm.load(write(tmp_path, table(pairs)))
    for name in ("encoder/conv_1/conv_2/w", "renderer/conv_1/w", "renderer/conv_1/conv_1/wide"):
        with pytest.raises(ConfigError, match=f"model: unexpected key '{name}'"):
            imm.convert({name: torch.zeros(1)})


def test_a_real_checkpoint_damaged(tmp_path):
    """Every 250th byte of its data; the bytes of other variables are not looked at."""
    for file in GOLDEN.glob(f"{REAL.name}.*"):
        shutil.copy(file, tmp_path)
    data = tmp_path / f"{REAL.name}.data-00000-of-00001"
    content, seen = data.read_bytes(), 0
    for at in range(0, len(content), 250):
        data.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            imm.load(tmp_path / REAL.name)
        except ConfigError as error:
            assert "its checksum is wrong" in str(error)  # noqa: PT017
            seen += 1
    assert seen >= 0.95 * len(content) / 250
    data.write_bytes(content[:-1000])
    with pytest.raises(ConfigError, match="the file is truncated"):
        imm.load(tmp_path / REAL.name)
