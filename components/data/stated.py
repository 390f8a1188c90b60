"""What video files state about themselves, to notice that frames are missing.

The number of frames in a header is not enough: honest files have fewer. An editor hides frames of
an .mp4 with an edit list, an .avi repeats frames by empty entries, the sound of an .mkv lasts
longer than its pictures, and frames of varying duration are counted as if it were constant.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

END = 2  # frames: decoders keep back one or two at the end of some files
HOLE = 5.5  # in frame periods: cameras that cannot keep up leave out a few frames
SOUND = 1.0  # seconds by which the sound of a Matroska file may outlast its pictures
_UNKNOWN = (0, 2**32 - 1)  # sizes in the .avi of a program that could not go back
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_SOUND_TRACK = re.compile(rb"\x86[\x80-\xff]A_[A-Z]")  # Matroska's element CodecID


def cut_short(path: Path) -> bool:
    """Return whether a .avi, .mp4, .mov, .mkv, .webm or .gif does not reach its own end."""
    with path.open("rb") as file:
        head = file.read(4096)
        size = path.stat().st_size
        if head[:4] == b"GIF8":
            file.seek(max(size - 4096, 0))
            return not file.read().rstrip(b"\0").endswith(b";")
        if head[:4] == b"RIFF":
            return _riff_end(file, size) > size + 1  # the last byte may be padding
        if head[:4] == _EBML:
            return _segment_end(head) > size
        return any(end > size for _, _, end in _boxes(file, size))


def seconds(path: Path) -> float | None:
    """Return the playing time that an .mp4 or .mov states, without what an editor hid."""
    with path.open("rb") as file:
        for kind, start, end in _boxes(file, path.stat().st_size):
            if kind == b"moov":
                file.seek(start)
                _, found, header = file.read(end - start).partition(b"mvhd")
                where, form = (20, ">IQ") if header[:1] == b"\1" else (12, ">II")
                if found and len(header) >= where + struct.calcsize(form):
                    scale, length = struct.unpack_from(form, header, where)
                    return length / scale if scale and length else None
    return None


def incomplete(path: Path, stated: int, fps: float, times: Sequence[float]) -> bool:
    """Return whether frames are missing of those that a video states.

    Args:
        path: the file.
        stated: its number of frames, 0 if unknown.
        fps: frames per second.
        times: when each decoded frame is shown, in milliseconds.
    """
    with path.open("rb") as file:
        head = file.read(2**16)
    is_gif = head[:4] == b"GIF8"  # its frames are counted, not stated
    if cut_short(path) and (is_gif or not stated or len(times) < stated):
        return True  # else it lacks only an index
    sound = head[:4] == _EBML and _SOUND_TRACK.search(head)
    slack = max(END, fps * SOUND) if sound else 0 if is_gif else END
    if stated - len(times) <= slack:
        return False
    steps = np.diff(times) * fps / 1000  # in frame periods
    if max(len(times), max(times) * fps / 1000 + 1) < stated - slack:
        return True  # it ends early
    regular = np.abs(steps - np.round(steps)) < 0.1
    return bool(regular.mean() > 0.9 and steps.max() > HOLE)


def _riff_end(file: BinaryIO, size: int) -> int:
    """Return where the last RIFF list ends: large files have several."""
    end = 0
    while end < size:
        file.seek(end)
        kind, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if kind != b"RIFF" or length in _UNKNOWN:
            break
        end += 8 + length + length % 2
    return end


def _segment_end(head: bytes) -> int:
    """Return where the segment of a Matroska file ends; 0 if it does not say."""
    try:
        length, at = _number(head, 4)
        if length is None or head[at + length : at + length + 4] != _SEGMENT:
            return 0
        length, at = _number(head, at + length + 4)
    except IndexError:
        return 0
    return 0 if length is None else at + length


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """Return Matroska's variable-length number, None for unknown, and where it ends."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & (most := 2 ** (7 * length) - 1)
    return None if value == most else value, at + length


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the outermost boxes of an .mp4 or .mov; none of other files."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16).ljust(16, b"\0")
        length, kind, long = struct.unpack(">I4sQ", head)
        if not at and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return
        skipped = 16 if length == 1 else 8
        length = {0: size - at, 1: long}.get(length, length)
        if length < skipped:
            return
        yield kind, at + skipped, at + length
        at += length
