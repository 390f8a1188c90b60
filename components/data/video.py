"""Read and write images, videos and animated GIFs as (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import struct
import tempfile
import warnings
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from components.data.stated import END, incomplete, seconds
from registry.atomic import replacing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".gif")

_AGAIN = "Copy or download it again, or move it away."
_BROKEN = f"'{{}}' cannot be decoded as an image. {_AGAIN}"

# what Pillow raises for damaged files
_DAMAGED = (
    *(OSError, EOFError, ValueError, LookupError, ArithmeticError, SyntaxError, struct.error),
    *(zlib.error, Image.DecompressionBombError),
)

Frame = NDArray[np.uint8]

# Captures opened before a fork. FFmpeg's threads do not survive it, and releasing the capture in
# the child would wait for them forever: the child keeps it here and opens its own.
_inherited: list[Any] = []


def natural(path: str | os.PathLike[str]) -> list[tuple[bool, int | str]]:
    """Return a sort key under which frame 10 follows frame 9, zero-padded or not."""
    return [
        (not word.isdecimal(), int(word) if word.isdecimal() else word)
        for word in re.split(r"(\d+)", str(path))
        if word
    ]


def _checked(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder. Pass one of its files.")
    if not path.is_file():
        if path.exists():  # reading it could wait forever
            raise OSError(f"'{path}' is a pipe or a device. Copy its content to a file.")
        raise FileNotFoundError(f"no file '{path}'. Check the path.")
    try:
        with path.open("rb") as file:  # OpenCV would not say that it may not be read
            first = file.read(1)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    if not first:
        raise OSError(f"'{path}' is empty (0 bytes). {_AGAIN}")
    return path


@contextlib.contextmanager
def plain_name(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a name under which OpenCV and FFmpeg open a file, which may be yet to be written.

    They take UTF-8, and crash on what is not; and they see protocols in names with a colon.
    """
    path = Path(path).absolute()
    try:
        name = os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"link{path.suffix if path.suffix.isascii() else ''}")
            link.symlink_to(path)
            yield str(link)
    else:
        yield name


def read_image(path: str | os.PathLike[str]) -> Frame:
    """Read one image as (H, W, 3) RGB; its content decides the format, not its suffix.

    Of an animated WebP or PNG, this is the first frame.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file is empty, not an image, or cut short.
    """
    path = _checked(path)
    data = path.read_bytes()
    if not _is_whole(data):  # OpenCV would fill the rest with grey, or with noise
        try:
            with Image.open(path) as picture:
                picture.load()
        except _DAMAGED as error:
            raise OSError(f"'{path}' is damaged or cut short. {_AGAIN}") from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # image sizes that OpenCV refuses
        raise OSError(_BROKEN.format(path)) from error
    if image is None:
        raise OSError(_BROKEN.format(path))
    return cast(Frame, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _is_whole(data: bytes) -> bool:
    """Return whether a JPEG has its end, and a PNG all its sums; true for other formats."""
    if data.startswith(b"\xff\xd8"):  # an earlier mark may be that of its thumbnail
        return data.find(b"\xff\xd9", data.rfind(b"\xff\xda") + 2) >= 0
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return True
    if not any(data[16:20]) or not any(data[20:24]):  # of 0 pixels
        return False
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        # chunks in lower case, such as texts, need not be right
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != int.from_bytes(
            data[end : end + 4], "big"
        ):
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of an image as `read_image` returns it, from the header alone.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file is empty or not an image.
    """
    path = _checked(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap axes
    except Image.DecompressionBombError:  # Pillow's limit is lower than OpenCV's
        height, width = read_image(path).shape[:2]
        return width, height
    except _DAMAGED as error:
        raise OSError(_BROKEN.format(path)) from error
    return (height, width) if turned else (width, height)


class VideoReader:
    """Frames of a video file or animated GIF, in order by iteration or in any order by `read`.

    Headers can overstate the length, and seeking can land on a neighbouring frame. The first use of
    `len` or `read` therefore decodes the file once and keeps a checksum per frame; `read` compares,
    and decodes from the start if seeking was wrong. Every process opens the file itself, so an
    instance can be used in forked and in spawned data loader workers.

    If the file is damaged or cut short, its frames are those that could be read, and there is a
    warning when all of them have been.

    Args:
        path: the video file.

    Attributes:
        missing: how many frames could not be read, at least; known when all others have been.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file is empty, not a video, or has no frame that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _checked(path)
        self.missing = 0
        self._checksums: array[int] | None = None
        self._capture: Any = None
        self._pid = -1
        self._next = 0  # the frame that the open capture yields next
        self._seekable = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_capture": None}

    def __len__(self) -> int:
        return len(self._indexed())

    def __iter__(self) -> Iterator[Frame]:
        capture, checksums, times = self._open(), array("I"), array("d")
        while True:
            there, frame = capture.read()
            if not there:
                break
            checksums.append(_checksum(frame))
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not checksums:
            raise OSError(f"'{self.path}' has no frame that can be decoded. {_AGAIN}")
        if self._checksums is None:
            self._look_for_missing(times)
        self._checksums = checksums

    def _look_for_missing(self, times: array[float]) -> None:
        stated, read = self.stated_length, len(times)
        if incomplete(self.path, stated, self.fps, times):
            self.missing = max(stated - read, 1)
            frames = f"{read} of {stated}" if stated > read else f"only {read}"
            warnings.warn(
                f"'{self.path}' is damaged or cut short: {frames} frames could be read. If you "
                "can, copy or download it again.",
                stacklevel=3,
            )

    @property
    def fps(self) -> float:
        """Frames per second; 25 if the file does not say."""
        fps = self._open().get(cv2.CAP_PROP_FPS)
        return float(fps) if 0 < fps < 1000 else 25.0

    @property
    def stated_length(self) -> int:
        """Number of frames in the header, which may be wrong; 0 if the file does not say."""
        count = self._open().get(cv2.CAP_PROP_FRAME_COUNT)
        if not 0 < count < 2**31:
            return 0
        shown = round((seconds(self.path) or count) * self.fps)
        return shown if shown < count - END else int(count)  # an editor hid the others

    def read(self, index: int) -> Frame:
        """Return frame `index`, counted from 0.

        Raises:
            IndexError: the video does not have that frame.
        """
        checksums = self._indexed()
        if not 0 <= index < len(checksums):
            raise IndexError(f"'{self.path}' has frames 0 to {len(checksums) - 1}, not {index}.")
        if self._capture is None or self._pid != os.getpid():
            self._restart()
        if not 0 <= index - self._next < 16:  # decoding a few frames is cheaper than seeking
            if self._seekable:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
                self._next = index
            elif index < self._next:
                self._restart()
        while self._next < index and self._capture.grab():
            self._next += 1
        there, frame = self._capture.read()
        self._next += 1
        if there and _checksum(frame) == checksums[index]:
            return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not self._seekable:
            raise OSError(f"frame {index} of '{self.path}' changed since the file was first read.")
        self._seekable = False
        self._restart()
        return self.read(index)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._capture is not None and self._pid != os.getpid():
            _inherited.append(self._capture)
        self._capture = None

    def _indexed(self) -> array[int]:
        if self._checksums is None:
            for _ in self:
                pass
        assert self._checksums is not None
        return self._checksums

    def _open(self) -> Any:
        if _is_gif(self.path):
            return _Gif(self.path)
        capture = _capture(self.path)
        if not capture.isOpened():
            raise OSError(
                f"'{self.path}' cannot be opened as a video. Convert it, e.g. to H.264 .mp4, "
                "or move it away."
            )
        return capture

    def _restart(self) -> None:
        self.close()
        self._capture, self._pid, self._next = self._open(), os.getpid(), 0


class _Gif:
    """The part of ``cv2.VideoCapture`` that is used here; that loses frames without a delay."""

    def __init__(self, path: Path) -> None:
        self._data, self._next = path.read_bytes(), 0
        try:
            self._image = Image.open(io.BytesIO(self._data), formats=["GIF"])
        except _DAMAGED as error:
            raise OSError(_BROKEN.format(path)) from error

    def set(self, _: int, index: int) -> None:
        self._next = index

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_FPS:
            # of the graphic control extensions, in 1/100 s; without any, players take 1/10 s
            delays = re.findall(rb"!\xf9\x04.(..).\0", self._data, re.DOTALL)
            total = sum(int.from_bytes(delay, "little") for delay in delays)
            return 100 * len(delays) / total if total else 10.0
        with contextlib.suppress(*_DAMAGED):
            if what == cv2.CAP_PROP_FRAME_COUNT:
                return float(getattr(self._image, "n_frames", 1))
        return 0.0  # also the time of a frame, which is not needed

    def grab(self) -> bool:
        self._next += 1
        return True

    def read(self) -> tuple[bool, Any]:
        try:
            self._image.seek(self._next)
            frame = self._image.convert("RGBA")
        except _DAMAGED:
            return False, None
        white = Image.new("RGBA", frame.size, "white")  # what is transparent, as FFmpeg shows it
        rgb = np.asarray(Image.alpha_composite(white, frame).convert("RGB"))
        self._next += 1
        return True, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _capture(path: str | os.PathLike[str]) -> Any:
    with plain_name(path) as name:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


def _checksum(frame: Frame) -> int:
    return zlib.crc32(np.ascontiguousarray(frame[::8]).data)  # every 8th row tells frames apart


def frames_of(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """Yield the frames of an image, of a folder of images (in natural order) or of a video.

    Raises:
        FileNotFoundError: the path does not exist, or the folder contains no images.
        OSError: a file is empty or cannot be decoded.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if is_image(f)), key=natural)
        if not files:
            raise FileNotFoundError(f"no image in folder '{path}'. Pass images or a video.")
        yield from map(read_image, files)
        return
    with plain_name(_checked(path)) as name:
        is_picture = cv2.haveImageReader(name) and not _is_gif(path)
    if is_picture:
        yield read_image(path)
    else:
        yield from VideoReader(path)


def is_image(path: Path) -> bool:
    """Return whether a file is an image, judged by its name; hidden files are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Return whether a file is a video, judged by its name; hidden files are not."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _is_gif(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GIF8"


def write_video(path: str | os.PathLike[str], frames: Iterable[Frame], fps: float) -> None:
    """Write RGB frames as MPEG-4; an odd width or height loses its last column or row.

    Raises:
        ValueError: there are no frames, or they differ in size.
        OSError: the file cannot be written.
    """
    first, frames = _peek(path, frames)
    with replacing(path) as temporary, plain_name(temporary) as name:
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(name, fourcc, fps, (first.shape[1], first.shape[0]))
        if not writer.isOpened():
            if not os.access(Path(path).absolute().parent, os.W_OK):
                raise PermissionError(f"no permission to write to '{Path(path).parent}'.")
            raise OSError(f"cannot write a video to '{path}'. End its name in .mp4 or .avi.")
        count = 0
        try:
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
                count += 1
        finally:
            writer.release()
        check_video(temporary, count, path)


def check_video(written: Path, count: int, path: str | os.PathLike[str]) -> None:
    """Check a video that is to become ``path``: its writer says nothing of a full disk.

    Raises:
        OSError: it does not have ``count`` frames that can be decoded.
    """
    capture, found = _capture(written), 0
    while capture.isOpened() and capture.grab():
        found += 1
    if found != count:
        raise OSError(
            f"cannot write '{path}': {found} of {count} frames can be read back. Is the disk full?"
        )


def write_gif(path: str | os.PathLike[str], frames: Iterable[Frame], fps: float) -> None:
    """Write RGB frames as a GIF that loops forever.

    Raises:
        ValueError: there are no frames, or they differ in size.
    """
    _, frames = _peek(path, frames)
    with replacing(path) as temporary, temporary.open("wb") as file:
        # Pillow's own writer would hold all frames: write each at once, with its own colours
        for number, frame in enumerate(frames):
            image = Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE)
            if number == 0:
                file.writelines(GifImagePlugin.getheader(image, info={"loop": 0})[0])
            # in 1/100 s: rounded so that each frame's end, not its length, is right
            start, end = (round(100 * n / fps) for n in (number, number + 1))
            options: dict[str, Any] = {"include_color_table": True}
            options["duration"] = 10 * (end - start)
            file.writelines(GifImagePlugin.getdata(image, **options))
        file.write(b";")  # the end of a GIF


def _peek(path: str | os.PathLike[str], frames: Iterable[Frame]) -> tuple[Frame, Iterator[Frame]]:
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"no frames to write to '{path}'.")

    def checked() -> Iterator[Frame]:
        for frame in itertools.chain([first], frames):
            if frame.shape != first.shape:
                raise ValueError(
                    f"frames for '{path}' differ in shape: {first.shape} and {frame.shape}."
                )
            yield frame

    return first, checked()
