"""150 damaged, odd and hostile inputs to predict, animate and a short training.

Animated GIFs, videos, pictures, names, kinds of files, annotations. Frames are counted by what this
script wrote into a file, and in results without the library's reader: a video counts as processed
if every frame that was written has its row and its drawing; if not, the command must say so.

    python tests/attacks/inputs.py --seed 7 --out inputs.json
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cases
from cases import Case
from common import Outcome

MODEL, MOVER = "factorized-puppets", "fomm-puppets"
FRAMES = 24
Make = Callable[[Path], Any]

TRAINING = '''"""A short training on frames."""
image_size = 32
num_landmarks = 4
width = 4

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/imm", num_landmarks=num_landmarks, width=width),
    bottleneck=dict(type="bottlenecks/separable"),
    rasterizer=dict(
        type="rasterizers/gaussian", image_size=image_size, stride=8, kernel="exponential",
        variance=0.04),
    appearance_encoder=dict(type="encoders/imm", width=width),
    decoder=dict(
        type="decoders/imm", num_landmarks=num_landmarks, appearance_channels=8 * width,
        width=width, white=1.0),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=4, taps=("input", "conv1_2")),
)
data = dict(
    train=dict(type="datasets/frames", root="data/train", image_size=image_size),
    fit=dict(type="datasets/frames", root="data/labelled", annotations="data/labelled.csv",
             image_size=image_size, labelled_only=True, pair="same"),
    test=dict(type="datasets/frames", root="data/labelled", annotations="data/labelled.csv",
              image_size=image_size, labelled_only=True, pair="same"),
    optional=("fit", "test"),
)
train = dict(iterations=1, batch_size=2, lr=1e-3, panels_every=0, checkpoint_every=0)
evaluate = dict(metrics=dict(regression=dict(type="metrics/regression")))
'''


# --- making files -----------------------------------------------------------------------------


def frame(number: int, width: int = 64, height: int = 48, seed: int = 0) -> Any:
    """Return one frame (H, W, 3) uint8 RGB, unlike all others: a block moves over noise."""
    import numpy as np

    rng = np.random.default_rng([seed, number])
    pixels = rng.integers(0, 90, (height, width, 3), np.uint8)
    x, y = 3 * number % max(width - 12, 1), 2 * number % max(height - 12, 1)
    pixels[y : y + 12, x : x + 12] = (255, (37 * number) % 256, 10)
    return pixels


def picture(path: str | bytes | Path, **options: Any) -> None:
    """Write a picture; a name that is not UTF-8 is given as bytes."""
    from PIL import Image

    image = Image.fromarray(frame(0))
    suffix = os.fsdecode(path).rsplit(".", 1)[-1].lower()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    with open(path, "wb") as file:
        image.save(file, kind, **options)


def video(path: Path, code: str = "mp4v", frames: int = FRAMES) -> None:
    """Write a video with OpenCV; a name that OpenCV cannot take is given by renaming."""
    import cv2

    plain = Path(f"made{path.suffix}")
    writer = cv2.VideoWriter(str(plain), cv2.VideoWriter.fourcc(*code), 12, (64, 48))
    for number in range(frames):
        writer.write(frame(number)[..., ::-1].copy())
    writer.release()
    os.rename(plain, path)


def gif(path: Path, frames: int = FRAMES, **options: Any) -> None:
    """Write an animated GIF with Pillow."""
    from PIL import Image

    images = [Image.fromarray(frame(number)).quantize(64) for number in range(frames)]
    images[0].save(path, save_all=True, append_images=images[1:], **options)


def faststart(data: bytes) -> bytes:
    """Move the index of an MP4 to its beginning, so that a cut file can be opened."""
    boxes, at = {}, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        boxes[kind] = data[at : at + (size or len(data) - at)]
        at += size or len(data)
    moov = bytearray(boxes[b"moov"])
    place = moov.index(b"stco")
    (count,) = struct.unpack(">I", moov[place + 8 : place + 12])
    for i in range(count):
        where = place + 12 + 4 * i
        (offset,) = struct.unpack(">I", moov[where : where + 4])
        moov[where : where + 4] = struct.pack(">I", offset + len(moov))
    rest = b"".join(box for kind, box in boxes.items() if kind not in (b"ftyp", b"moov"))
    return boxes[b"ftyp"] + bytes(moov) + rest


def png(width: int, height: int, rows: int, bits: int = 8, colour: int = 2) -> bytes:
    """Return a PNG whose header may promise more rows than it has."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    packer, parts = zlib.compressobj(9), []
    for _ in range(rows):
        parts.append(packer.compress(row))
    body = b"".join(parts) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite a file."""
    path.write_bytes(change(path.read_bytes()))


def flipped(data: bytes, rng: random.Random, count: int, after: int = 0) -> bytes:
    """Return the data with some bits flipped."""
    out = bytearray(data)
    for _ in range(count):
        at = rng.randrange(8 * after, 8 * len(data))
        out[at // 8] ^= 1 << (at % 8)
    return bytes(out)


# --- counting what came out -------------------------------------------------------------------


def rows_of(folder: Path) -> int:
    """Return the rows of the only table below a folder."""
    (table,) = folder.rglob("*_landmarks.csv")
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return sum(1 for _ in csv.DictReader(file))


def frames_in(file: Path) -> int:
    """Return the frames of an MP4 by its index, of a GIF by Pillow."""
    if file.suffix == ".gif":
        from PIL import Image

        with Image.open(file) as image:
            return int(getattr(image, "n_frames", 1))
    data = file.read_bytes()
    place = data.index(b"stsz")
    return int(struct.unpack(">I", data[place + 12 : place + 16])[0])


def counted(frames: int, still: bool = False) -> Callable[[Path, Outcome], str | None]:
    """Return a check that ``predict`` gave a row, and a drawing, for every frame."""

    def check(folder: Path, _: Outcome) -> str | None:
        if (rows := rows_of(folder / "found")) != frames:
            return f"{rows} rows for {frames} frames"
        if still:
            drawn = len(list((folder / "found").rglob("*_landmarks.png")))
        else:
            (film,) = (folder / "found").rglob("*_landmarks.mp4")
            drawn = frames_in(film)
        return None if drawn == frames else f"{drawn} drawings for {frames} rows"

    return check


def animated(frames: int) -> Callable[[Path, Outcome], str | None]:
    """Return a check that ``animate`` made as many frames as the driving video has."""

    def check(folder: Path, _: Outcome) -> str | None:
        found = frames_in(folder / "moved.mp4")
        return None if found == frames else f"{found} frames, the result's rows, for {frames}"

    return check


def predict(
    kind: str, what: str, file: str, make: Make, expect: str, frames: int = 1, still: bool = True,
    **more: Any,
) -> Case:  # fmt: skip
    """Return a case of ``predict`` on one input."""
    more.setdefault("names", (Path(file).name[:20], "'"))
    words = ["predict", MODEL, file, "--out", "found"]
    more.setdefault("check", counted(frames, still))
    return Case(kind, f"{what}: predict", words, expect, make=make, **more)


def animate(
    kind: str, what: str, file: str, make: Make, expect: str, frames: int, **more: Any
) -> Case:
    """Return a case of ``animate``; an older result must survive a refusal."""

    def both(folder: Path) -> None:
        picture("source.png")
        Path("moved.mp4").write_bytes(b"an older result")
        make(folder)

    words = ["animate", MOVER, "source.png", file, "--out", "moved.mp4"]
    return Case(kind, f"{what}: animate", words, expect, make=both, check=animated(frames),
                names=(Path(file).name[:20],), kept=("moved.mp4",), **more)  # fmt: skip


def train(
    kind: str, what: str, make: Make, expect: str, said: str = "", names: Sequence[str] = (),
    absent: Sequence[str] = ("work",), **more: Any,
) -> Case:  # fmt: skip
    """Return a case of a short training; ``said``: a pattern that a success must say."""

    def both(folder: Path) -> None:
        Path("train.py").write_text(TRAINING)
        clips(4)
        make(folder)

    def check(_: Path, outcome: Outcome) -> str | None:
        text = outcome.stderr + outcome.stdout
        return None if re.search(said, text) else f"nothing said of lost rows: {said!r}"

    words = ["train", "train.py", "--work-dir", "work"]
    return Case(kind, f"{what}: train", words, expect, names=names, make=both,
                check=check if said else None, absent=absent, **more)  # fmt: skip


def clips(frames: int) -> None:
    """Write a clip to train on and three labelled pictures with their table."""
    Path("data/train/a").mkdir(parents=True)
    Path("data/labelled").mkdir(parents=True)
    for number in range(frames):
        picture(f"data/train/a/{number}.png")
    for number in range(3):
        picture(f"data/labelled/{number}.png")
    table("file,nose_x,nose_y,tail_x,tail_y\n0.png,1,2,3,4\n1.png,5,6,7,8\n2.png,9,1,2,3\n")


def table(text: str | bytes) -> None:
    """Write the table of the labelled pictures."""
    data = text if isinstance(text, bytes) else text.encode()
    Path("data/labelled.csv").write_bytes(data)


# --- the cases --------------------------------------------------------------------------------


def gifs(rng: random.Random) -> Iterator[Case]:
    options: dict[str, dict[str, Any]] = {
        "no delay": {}, "delay 0": {"duration": 0}, "delay 10 ms": {"duration": 10},
        "delay 20 ms": {"duration": 20},
        "irregular delays": {"duration": [rng.choice((0, 10, 30, 500)) for _ in range(9)]},
        "long delay": {"duration": 60_000},
        **{f"disposal {n}": {"duration": 40, "disposal": n} for n in (1, 2, 3)},
        "one loop": {"loop": 1, "duration": 50},
        "transparent": {"transparency": 0, "duration": 50, "disposal": 2},
    }  # fmt: skip
    for name, option in options.items():
        frames = 9 if name == "irregular delays" else rng.choice((2, 5, 7, 24))

        def make(_: Path, option: dict[str, Any] = option, frames: int = frames) -> None:
            gif(Path("a.gif"), frames, **option)

        call = animate if rng.random() < 0.4 else predict
        more = {} if call is animate else {"still": False}
        yield call("GIF", f"{name}, {frames} frames", "a.gif", make, "ok", frames, **more)
    for part in (0.3, 0.5, 0.8, 0.97):

        def cut(_: Path, part: float = part) -> None:
            gif(Path("a.gif"), duration=40)
            changed(Path("a.gif"), lambda data: data[: int(part * len(data))])

        yield predict("GIF", f"cut to {part:.0%}", "a.gif", cut, "either", FRAMES, still=False)
    for frames in (2, 5, 24):

        def plain(_: Path, frames: int = frames) -> None:
            """Remove the blocks that hold delay and disposal: the format does not require them."""
            gif(Path("a.gif"), frames)
            block = re.compile(rb"\x21\xf9\x04....\x00", re.DOTALL)
            changed(Path("a.gif"), lambda data: block.sub(b"", data))

        call = rng.choice((predict, animate))
        more = {} if call is animate else {"still": False}
        yield call(
            "GIF", f"no control blocks, {frames} frames", "a.gif", plain, "ok", frames, **more
        )
    yield predict(
        "GIF",
        "one frame",
        "a.gif",
        lambda _: gif(Path("a.gif"), 1),
        "ok",
        1,
        check=lambda f, o: None if rows_of(f / "found") == 1 else "not 1 rows",
    )
    yield predict("GIF", "header alone", "a.gif",
                  lambda _: Path("a.gif").write_bytes(b"GIF89a\x40\x00\x30\x00\x00\x00\x00;"),
                  "refuse", names=("a.gif",))  # fmt: skip

    def no_end(_: Path) -> None:
        gif(Path("a.gif"), duration=40)
        changed(Path("a.gif"), lambda data: data.rstrip(b";"))

    yield predict("GIF", "last byte missing", "a.gif", no_end, "either", FRAMES, still=False)


def videos(rng: random.Random) -> Iterator[Case]:
    kinds = ((".mp4", "mp4v"), (".avi", "MJPG"), (".avi", "XVID"), (".avi", "FFV1"),
             (".mkv", "mp4v"), (".mkv", "FFV1"), (".webm", "VP80"), (".webm", "VP90"),
             (".mov", "MJPG"))  # fmt: skip

    def made(suffix: str, code: str, change: Callable[[bytes], bytes] | None = None) -> Make:
        def make(_: Path) -> None:
            video(Path(f"a{suffix}"), code)
            if change is not None:
                changed(Path(f"a{suffix}"), change)

        return make

    for suffix, code in kinds:
        call = rng.choice((predict, animate))
        more = {} if call is animate else {"still": False}
        name = f"a{suffix}"
        yield call(
            "video", f"whole {suffix} {code}", name, made(suffix, code), "ok", FRAMES, **more
        )
        for _ in range(2):
            part = rng.uniform(0.2, 0.95)
            yield predict(
                "cut video", f"{suffix} {code} to {part:.0%}", name,
                made(suffix, code, lambda data, part=part: data[: int(part * len(data))]),
                "either", FRAMES, still=False)  # fmt: skip
        for count in (1, rng.choice((10, 60))):
            seed = rng.randrange(10**9)
            yield predict(
                "flipped video", f"{suffix} {code}, {count} bits", name,
                made(suffix, code, lambda data, c=count, s=seed:
                     flipped(data, random.Random(s), c, 400)),
                "either", FRAMES, still=False)  # fmt: skip
    for part in (0.3, 0.6, 0.9):
        yield predict(
            "cut video", f".mp4 with its index first to {part:.0%}", "a.mp4",
            made(".mp4", "mp4v", lambda data, part=part: faststart(data)[: int(part * len(data))]),
            "either", FRAMES, still=False)  # fmt: skip
        yield animate(
            "cut video", f".avi MJPG to {part:.0%}", "a.avi",
            made(".avi", "MJPG", lambda data, part=part: data[: int(part * len(data))]),
            "either", FRAMES)  # fmt: skip
    yield predict("video", "index first", "a.mp4", made(".mp4", "mp4v", faststart), "ok", FRAMES,
                  still=False)  # fmt: skip

    def says(number: int) -> Callable[[bytes], bytes]:
        def change(data: bytes) -> bytes:
            out = bytearray(data)
            for kind, at in ((b"avih", 24), (b"strh", 40)):
                place = out.index(kind) + at
                out[place : place + 4] = struct.pack("<I", number)
            return bytes(out)

        return change

    for number in (0, 3, 30, 1000, 2**31 - 1, 2**32 - 1):
        yield predict(
            "lying header",
            f".avi says {number}",
            "a.avi",
            made(".avi", "MJPG", says(number)),
            "either",
            FRAMES,
            still=False,
        )
    for name, change in {
        "half the rate": lambda d: d.replace(b"stts", b"stts", 1),
        "an endless duration": lambda d: d.replace(
            b"mvhd" + d[d.index(b"mvhd") + 4 : d.index(b"mvhd") + 24],
            b"mvhd" + d[d.index(b"mvhd") + 4 : d.index(b"mvhd") + 20] + b"\x7f\xff\xff\xff"),
        "a size of 65535": lambda d: d.replace(
            struct.pack(">HH", 64, 48), struct.pack(">HH", 65535, 65535)),
    }.items():  # fmt: skip
        yield predict("lying header", f".mp4 says {name}", "a.mp4", made(".mp4", "mp4v", change),
                      "either", FRAMES, still=False)  # fmt: skip
    for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG"), (".webm", "VP80")):

        def empty(_: Path, suffix: str = suffix, code: str = code) -> None:
            video(Path(f"a{suffix}"), code, 1)
            data = Path(f"a{suffix}").read_bytes()
            Path(f"a{suffix}").write_bytes(data[:200])

        yield predict("not a video", f"{suffix} without frames", f"a{suffix}", empty, "refuse",
                      names=(f"a{suffix}",))  # fmt: skip
    for name, content in {"text": b"not a video\n" * 50, "nothing": b"", "zeros": bytes(5000),
                          "noise": rng.randbytes(5000)}.items():  # fmt: skip
        yield predict("not a video", f"{name} in .mp4", "a.mp4",
                      lambda _, content=content: Path("a.mp4").write_bytes(content), "refuse",
                      names=("a.mp4",))  # fmt: skip
        yield animate("not a video", f"{name} in .avi", "a.avi",
                      lambda _, content=content: Path("a.avi").write_bytes(content), "refuse",
                      FRAMES)  # fmt: skip
    playlist = b"ffconcat version 1.0\nfile '/etc/passwd'\nfile 'made.avi'\n"
    yield predict("not a video", "a playlist in .mp4", "a.mp4",
                  lambda _: Path("a.mp4").write_bytes(playlist), "refuse")  # fmt: skip
    m3u = b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield predict("not a video", "HLS in .mkv", "a.mkv",
                  lambda _: Path("a.mkv").write_bytes(m3u), "refuse")  # fmt: skip

    def folder_of(_: Path) -> None:
        for number in range(3):
            clip = Path(f"data/train/v{number}.avi")
            video(clip, "MJPG")
            changed(clip, lambda data: data[: len(data) // 2])

    yield train("cut video", "three cut videos", folder_of, "partial", names=("v0", "v1", "v2"))


def pictures(rng: random.Random) -> Iterator[Case]:
    from PIL import Image

    def saved(name: str, change: Callable[[Any], Any] = lambda i: i, **options: Any) -> Make:
        def make(_: Path) -> None:
            change(Image.fromarray(frame(0))).save(name, **options)

        return make

    def pixels(*shape: int, kind: str = "uint8") -> Make:
        def make(_: Path) -> None:
            import numpy as np

            values = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
            Image.fromarray(values * (257 if kind == "uint16" else 1)).save("a.png")

        return make

    whole = {
        "grey": ("a.png", saved("a.png", lambda i: i.convert("L"))),
        "palette": ("a.png", saved("a.png", lambda i: i.quantize(16))),
        "alpha": ("a.png", saved("a.png", lambda i: i.convert("RGBA"))),
        "grey and alpha": ("a.png", saved("a.png", lambda i: i.convert("LA"))),
        "1 bit": ("a.png", saved("a.png", lambda i: i.convert("1"))),
        "16 bit": ("a.png", pixels(48, 64, kind="uint16")),
        "CMYK": ("a.jpg", saved("a.jpg", lambda i: i.convert("CMYK"))),
        "progressive": ("a.jpg", saved("a.jpg", progressive=True)),
        "WebP": ("a.webp", saved("a.webp")),
        "TIFF with LZW": ("a.tif", saved("a.tif", compression="tiff_lzw")),
        "float TIFF": ("a.tif", saved("a.tif", lambda i: i.convert("F"))),
        "BMP": ("a.bmp", saved("a.bmp")),
        "1 x 1": ("a.png", pixels(1, 1, 3)),
        "1 x 20000": ("a.png", pixels(20000, 1, 3)),
        "20000 x 1": ("a.png", pixels(1, 20000, 3)),
        "JPEG in .png": ("a.png", saved("a.png", format="JPEG")),
        "PNG in .jpg": ("a.jpg", saved("a.jpg", format="PNG")),
        "capital suffix": ("A.PNG", saved("A.PNG")),
    }
    for name, (file, make) in whole.items():
        doubt = name in ("float TIFF",)
        yield predict("picture", name, file, make, "either" if doubt else "ok")

    def sized(width: int, height: int) -> Callable[[Path, Outcome], str | None]:
        def check(folder: Path, _: Outcome) -> str | None:
            (found,) = (folder / "found").rglob("*_landmarks.csv")
            with found.open() as file:
                (row,) = csv.DictReader(file)
            right = (row["width"], row["height"]) == (str(width), str(height))
            return None if right else f"size {row['width']} x {row['height']}"

        return check

    for turn in (3, 6, 8):

        def turned(_: Path, turn: int = turn) -> None:
            exif = Image.Exif()
            exif[0x0112] = turn
            Image.fromarray(frame(0)).save("a.jpg", exif=exif)

        size = (64, 48) if turn < 5 else (48, 64)
        yield predict("picture", f"EXIF orientation {turn}", "a.jpg", turned, "ok",
                      check=sized(*size))  # fmt: skip
    for file in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp"):
        part = rng.uniform(0.3, 0.9)

        def cut(_: Path, file: str = file, part: float = part) -> None:
            picture(file)
            changed(Path(file), lambda data: data[: int(part * len(data))])

        yield predict("cut picture", f"{file} to {part:.0%}", file, cut, "partial")
        seed = rng.randrange(10**9)

        def flip(_: Path, file: str = file, seed: int = seed) -> None:
            picture(file)
            changed(Path(file), lambda data: flipped(data, random.Random(seed), 20, 60))

        yield predict("flipped picture", f"{file}, 20 bits", file, flip, "either")

    def one_bad(_: Path) -> None:
        os.mkdir("many")
        for number in range(6):
            picture(f"many/{number}.png")
        Path("many/3.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")

    yield predict("cut picture", "one of six in a folder", "many", one_bad, "partial",
                  names=("3.png",))  # fmt: skip
    yield train("cut picture", "one of the frames",
                lambda _: Path("data/train/a/2.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged"),
                "partial", names=("2.png",), absent=())  # fmt: skip
    bombs = {
        "header of 50000 x 50000": png(50000, 50000, 3),
        "header of 2^31 x 2^31": png(2**31 - 1, 1, 0)[:16] + b"\x7f\xff\xff\xff" * 2
        + png(1, 1, 1)[24:],
        "0 x 0": png(0, 0, 0),
        "30000 x 30000 of 1 bit": png(30000, 30000, 30000, 1, 0),
        "20000 x 20000 of 1 bit, cut": png(20000, 20000, 20000, 1, 0)[:-2000],
    }  # fmt: skip
    for name, content in bombs.items():
        make = lambda _, content=content: Path("a.png").write_bytes(content)  # noqa: E731
        expect = "either" if "30000" in name else "refuse"
        yield predict("bomb", name, "a.png", make, expect, names=("a.png",), memory=4, timeout=90)

        def among(_: Path, content: bytes = content) -> None:
            Path("data/train/a/1.png").write_bytes(content)

        if "of 1 bit" not in name:
            yield train("bomb", name, among, "partial", names=("1.png",), absent=(), memory=4)


def names(rng: random.Random) -> Iterator[Case]:
    odd: dict[str, bytes] = {
        "Latin-1": b"caf\xe9", "byte ff": b"\xffa", "cut UTF-8": b"a\xe2\x82",
        "overlong": b"a\xc0\xaf", "UTF-8": "größe-日本".encode(), "emoji": "🦊".encode(),
        "newline": b"a\nb", "escape codes": b"a\x1b[31mred\x07", "quotes": b"it's \"a\" `b` $(c)",
        "dash": b"-rf", "spaces": b"  a  b ", "percent": b"a%03d", "percent n": b"%s%n%d",
        "question mark": b"a?b*c", "colon": b"http:a", "pipe": b"a|b", "semicolon": b"a;b&c",
        "dots": b"a...b..c", "long": b"n" * 235, "right to left": "a\u202egnp.".encode(),
        "comma": b'a,"b",c', "carriage return": b"a\rb", "backslash": b"a\\b\\n",
        "concat": b"concat:a|b",
    }  # fmt: skip
    for name, stem in odd.items():
        for suffix in (b".png", rng.choice((b".mp4", b".avi"))):
            if suffix != b".png" and rng.random() < 0.3 and name not in ("Latin-1", "percent"):
                continue
            file = stem + suffix

            def make(_: Path, file: bytes = file) -> None:
                if file.endswith(b".png"):
                    picture(file)
                else:
                    text = os.fsdecode(file)
                    video(Path(text), "MJPG" if text.endswith("avi") else "mp4v")

            still = suffix == b".png"
            word = "./" + os.fsdecode(file) if file.startswith(b"-") else os.fsdecode(file)
            expect = "either" if name == "long" else "ok"
            yield predict("name", f"{name} {suffix.decode()}", word, make, expect,
                          1 if still else FRAMES, still, names=())  # fmt: skip
    for name in ("Latin-1", "UTF-8", "newline"):
        inside = os.fsdecode(odd[name])

        def folder(_: Path, inside: str = inside) -> None:
            os.mkdir(inside)
            for number in range(3):
                picture(f"{inside}/{number}.png")

        yield predict("name", f"folder {name}", inside, folder, "ok", 3, names=())

        def data(_: Path, inside: str = inside) -> None:
            os.rename("data/train/a", f"data/train/{inside}")
            video(Path(f"data/train/{inside}.avi"), "MJPG")

        yield train("name", f"clip and video {name}", data, "ok")
        yield animate(
            "name",
            f"driving {name}",
            f"{inside}.avi",
            lambda _, i=inside: video(Path(f"{i}.avi"), "MJPG"),
            "ok",
            FRAMES,
        )

    def latin_out(_: Path) -> None:
        picture("a.png")

    words = ["predict", MODEL, "a.png", "--out", os.fsdecode(b"caf\xe9")]
    yield Case("name", "results folder Latin-1: predict", words, "ok", make=latin_out,
               check=lambda f, o: None if list(f.glob("caf*/*.csv")) else "no table")  # fmt: skip


def kinds(rng: random.Random) -> Iterator[Case]:
    def in_folder(make: Callable[[], Any]) -> Make:
        def both(_: Path) -> None:
            os.mkdir("many")
            for number in range(3):
                picture(f"many/{number}.png")
            make()

        return both

    def listen(name: str) -> None:
        socket.socket(socket.AF_UNIX).bind(name)

    def loop(name: str) -> None:
        os.symlink(Path(name).name, name)

    for name, make in {
        "a loop of links": lambda n: loop(n),
        "a dangling link": lambda n: os.symlink("nothing", n),
        "a named pipe": lambda n: os.mkfifo(n),
        "a socket": listen,
        "a folder": lambda n: os.mkdir(n),
        "a link to /dev/zero": lambda n: os.symlink("/dev/zero", n),
        "a link to /dev/null": lambda n: os.symlink("/dev/null", n),
        "a link to /proc/self/mem": lambda n: os.symlink("/proc/self/mem", n),
        "an unreadable file": lambda n: (Path(n).write_bytes(b"x"), os.chmod(n, 0)),
    }.items():
        for file in ("a.png", "a.mp4"):
            yield predict("kind of file", f"{name} as {file}", file,
                          lambda _, make=make, file=file: make(file), "refuse",
                          names=(file,), timeout=20)  # fmt: skip
        yield predict("kind of file", f"{name} in a folder", "many",
                      in_folder(lambda make=make: make("many/x.png")),
                      "either", 3, names=("x.png", "many"), timeout=20)  # fmt: skip
        yield train("kind of file", f"{name} among the frames",
                    lambda _, make=make: make("data/train/a/x.png"),
                    "ok" if name == "a folder" else "either", names=("x.png",),
                    absent=(), timeout=30)  # fmt: skip
    for word in ("/dev/zero", "/dev/null", "/dev/stdin", "/", "/proc", "nothing", "", "~"):
        yield predict("kind of file", f"{word!r} itself", word, lambda _: None, "refuse",
                      names=(word or "'.'",), timeout=20)  # fmt: skip

    def up(_: Path) -> None:
        os.mkdir("many")
        picture("many/0.png")
        os.symlink("..", "many/up")
        os.symlink(".", "many/here")

    yield predict("kind of file", "a folder that contains itself", "many", up, "ok", 1)
    yield train("kind of file", "a root that contains itself",
                lambda _: os.symlink("../..", "data/train/up"), "either", names=("up",),
                timeout=60)  # fmt: skip


def annotations(rng: random.Random) -> Iterator[Case]:
    head, lines = "file,nose_x,nose_y,tail_x,tail_y", ["0.png,1,2,3,4", "1.png,5,6,7,8",
                                                      "2.png,9,1,2,3"]  # fmt: skip
    good = "\n".join((head, *lines, ""))

    def csv_case(name: str, text: str | bytes, expect: str, said: str = "") -> Case:
        return train("annotations", f"CSV: {name}", lambda _: table(text), expect, said,
                     ("labelled", "datasets/frames", "data.fit"))  # fmt: skip

    yield csv_case("right", good, "ok", "regression")
    for name, text in {
        "empty": "", "header alone": head + "\n", "no header": "\n".join(lines),
        "a column missing": good.replace(",tail_y", ",other"),
        "no file column": good.replace("file,", "picture,"),
        "a cell missing": good.replace("9,1,2,3", "9,1,2"),
        "a cell more": good.replace("9,1,2,3", "9,1,2,3,4"),
        "text for a number": good.replace("9,1", "nine,1"),
        "semicolons": good.replace(",", ";"),
        "tabs": good.replace(",", "\t"),
        "decimal commas": good.replace("9,1", '"9,5",1'),
        "a row twice": good + lines[0] + "\n",
        "a column twice": "\n".join(
            f"{row},{'nose_x' if i == 0 else '77'}" for i, row in enumerate((head, *lines))) + "\n",
        "names of other pictures": good.replace(".png", "x.png"),
        "open quote": good.replace("1.png", '"1.png'),
        "all NaN": re.sub(r",\d", ",nan", good),
        "infinite": good.replace("9,1", "inf,1"),
        "hexadecimal": good.replace("9,1", "0x9,1"),
    }.items():  # fmt: skip
        doubt = name in ("infinite", "all NaN")
        yield csv_case(name, text, "either" if doubt else "refuse")
    # names of any bytes are kept as they are
    yield csv_case("Latin-1", good.replace("tail", "größe").encode("latin-1"), "either")
    for name, data in {
        "UTF-16": good.encode("utf-16"),
        "NUL": good.replace("9", "\0").encode(), "a picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "a huge field": (head + "\n" + "0" * 200_000 + ".png,1,2,3,4\n").encode(),
    }.items():  # fmt: skip
        yield csv_case(name, data, "refuse")
    for name, text in {
        "UTF-8 mark": "\ufeff" + good, "Windows line ends": good.replace("\n", "\r\n"),
        "empty lines": good.replace("\n", "\n\n"), "one cell empty": good.replace("9,1", ",1"),
    }.items():  # fmt: skip
        yield csv_case(name, text, "ok", "regression")
    yield csv_case("rows of missing pictures", good + "7.png,1,2,3,4\n8.png,1,2,3,4\n", "either",
                   r"7\.png|8\.png|2 rows|2 of 5|3 of 5|rows")  # fmt: skip
    yield csv_case("points far outside", good.replace("9,1", "9000,-1e30"), "either")

    coco: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(3)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "keypoints": [1 + i, 2, 2, 3, 4 + i, 2]}
            for i in range(3)
        ],
        "categories": [{"id": 1, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}],
    }

    def coco_case(name: str, change: Any, expect: str = "refuse", said: str = "") -> Case:
        def make(_: Path) -> None:
            text = Path("train.py").read_text().replace("labelled.csv", "labelled.json")
            Path("train.py").write_text(text)
            content = change
            if callable(change):
                content = json.loads(json.dumps(coco))
                content = change(content) or content
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            Path("data/labelled.json").write_bytes(data)

        return train("annotations", f"COCO: {name}", make, expect, said,
                     ("labelled", "datasets/frames", "data.fit"))  # fmt: skip

    def at(*path: Any, value: Any) -> Callable[[Any], None]:
        def change(content: Any) -> None:
            *parents, last = path
            for key in parents:
                content = content[key]
            if value is KeyError:
                del content[last]
            else:
                content[last] = value

        return change

    first = ("annotations", 0)
    yield coco_case("right", lambda c: None, "ok", "regression")
    for name, change in {
        "not JSON": b"{", "empty": b"", "a list": [], "null": b"null", "an empty object": {},
        "UTF-16": json.dumps(coco).encode("utf-16"), "deep": b"[" * 100_000 + b"]" * 100_000,
        "no images": at("images", value=KeyError), "images null": at("images", value=None),
        "images an object": at("images", value={"a": 1}),
        "no categories": at("categories", value=KeyError),
        "categories empty": at("categories", value=[]),
        "annotations null": at("annotations", value=None),
        "annotations empty": at("annotations", value=[]),
        "annotation null": at(*first, value=None),
        "an unknown image": at(*first, "image_id", value=99),
        "image_id a list": at(*first, "image_id", value=[0]),
        "points not in threes": at(*first, "keypoints", value=[1, 2]),
        "all points not in threes": lambda c: [a.update(keypoints=[1, 2, 2, 3])
                                               for a in c["annotations"]] and None,
        "points texts": at(*first, "keypoints", value=["a", "b", "c", "d", "e", "f"]),
        "points null": at(*first, "keypoints", value=[None, 2, 2, 3, 4, 2]),
        "points nested": at(*first, "keypoints", value=[[1, 2, 2], [3, 4, 2]]),
        "points an object": at(*first, "keypoints", value={"a": 1}),
        "a file name null": at("images", 0, "file_name", value=None),
        "a file name a number": at("images", 0, "file_name", value=5),
        "no file name": at("images", 0, "file_name", value=KeyError),
        "an image twice": lambda c: c["annotations"].append(dict(c["annotations"][0])),
        "names of other pictures": lambda c: [i.update(file_name=f"x{i['file_name']}")
                                              for i in c["images"]] and None,
        "too few names": at("categories", 0, "keypoints", value=["nose"]),
        "names null": at("categories", 0, "keypoints", value=[None, None]),
        "a name twice": at("categories", 0, "keypoints", value=["nose", "nose"]),
        "limbs out of range": at("categories", 0, "skeleton", value=[[1, 99]]),
        "limbs texts": at("categories", 0, "skeleton", value=[["a", "b"]]),
        "limbs a number": at("categories", 0, "skeleton", value=5),
        "limbs of three": at("categories", 0, "skeleton", value=[[1, 2, 3]]),
        "width a text": at("images", 0, "width", value="wide"),
        "width null": at("images", 0, "width", value=None),
    }.items():  # fmt: skip
        yield coco_case(name, change)
    for name, change in {
        "NaN": at(*first, "keypoints", value=[float("nan"), 2, 2, 3, 4, 2]),
        "width negative": at("images", 0, "width", value=-5),
        "width wrong": at("images", 0, "width", value=6400),
        "flags 7": at(*first, "keypoints", value=[1, 2, 7, 3, 4, 7]),
        "flags 300": at(*first, "keypoints", value=[1, 2, 300, 3, 4, 256]),
        "an absolute name": at("images", 0, "file_name", value="/data/labelled/0.png"),
    }.items():
        yield coco_case(name, change, "either")
    for name, change in {
        "no limbs": at("categories", 0, "skeleton", value=KeyError),
        "no sizes": at("images", 0, "width", value=KeyError),
        "more keys": at("info", value={"year": 1}),
    }.items():
        yield coco_case(name, change, "ok", "regression")


def locales(rng: random.Random) -> Iterator[Case]:
    """In new processes, because the encoding of names is fixed when Python starts."""
    how = {"cold": True, "env": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0",
                                 "PYTHONCOERCECLOCALE": "0"}}  # fmt: skip
    name = os.fsdecode("größe".encode())
    yield predict("C locale", "picture", f"{name}.png", lambda _: picture(f"{name}.png"), "ok",
                  how=how, names=())  # fmt: skip
    yield predict("C locale", "video", f"{name}.avi",
                  lambda _: video(Path(f"{name}.avi"), "MJPG"), "ok", FRAMES, False, how=how,
                  names=())  # fmt: skip
    yield animate("C locale", "driving video", f"{name}.avi",
                  lambda _: video(Path(f"{name}.avi"), "MJPG"), "ok", FRAMES, how=how)  # fmt: skip
    yield train("C locale", "clip and video", lambda _: (
        os.rename("data/train/a", f"data/train/{name}"),
        video(Path(f"data/train/{name}.avi"), "MJPG")), "ok", how=how)  # fmt: skip
    yield train("C locale", "annotations", lambda _: table(
        "file,größe_x,größe_y\n0.png,1,2\n1.png,5,6\n2.png,9,1\n"), "ok", how=how)  # fmt: skip

    def written(_: Path) -> None:
        Path("train.py").write_text(f'"""Größe."""\n{TRAINING}', encoding="utf-8")

    yield train("C locale", "a config with umlauts", written, "ok", how=how)
    for words in (["list"], ["card", str(cases.common.ROOT / f"zoo/bundled/{MODEL}")],
                  ["info", MODEL], ["components", "encoders"]):  # fmt: skip
        yield Case("C locale", words[0], words, "ok", how=how)
    yield predict("C locale", "a missing picture", f"{name}.png", lambda _: None, "refuse", how=how,
                  names=())  # fmt: skip


def cases_of(rng: random.Random, _: Path) -> Iterator[Case]:
    """Yield all cases."""
    for part in (gifs, videos, pictures, names, kinds, annotations, locales):
        yield from part(rng)


if __name__ == "__main__":
    sys.exit(cases.main("inputs", __doc__, cases_of))
