"""Damaged pictures and videos, and names that are not UTF-8: all that is there is used, the rest is
said, and what was written is whole."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_animate import CONFIG, checkpoint_of, tiny

from components.data import stated, video
from components.data.annotations import (
    make_annotations,
    read_coco,
    read_csv,
    write_coco,
    write_csv,
)
from components.datasets.frames import Frames
from registry import load_config
from zoo import cli

ROOT = Path(__file__).parents[1]
LENGTH, FPS = 60, 25


def frames(count: int = LENGTH) -> list[np.ndarray]:
    """A picture that moves to the right, (48, 64, 3)."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    picture = cv2.resize(small, (64, 48))
    return [np.ascontiguousarray(np.roll(picture, 2 * i, axis=1)) for i in range(count)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    """File name -> content of undamaged videos of 60 frames."""
    folder = tmp_path_factory.mktemp("clips")
    for suffix, code in ((".avi", "MJPG"), (".mkv", "mp4v"), (".webm", "VP80"), (".mp4", "mp4v")):
        words = cv2.VideoWriter.fourcc(*code), FPS, (64, 48)
        writer = cv2.VideoWriter(str(folder / f"clip{suffix}"), *words)
        for frame in frames():
            writer.write(frame)
        writer.release()
    found = {path.suffix: path.read_bytes() for path in folder.iterdir()}
    found[".mov"] = streamable(found[".mp4"])
    palette = [Image.fromarray(frame) for frame in frames(12)]
    out = io.BytesIO()
    palette[0].save(out, "GIF", save_all=True, append_images=palette[1:], duration=40)
    return {**found, ".gif": out.getvalue()}


def streamable(mp4: bytes) -> bytes:
    """Return an .mp4 with its header before the frames, as in files made for the web."""
    boxes, at = {}, 0
    while at < len(mp4):
        (size,) = struct.unpack_from(">I", mp4, at)
        boxes[mp4[at + 4 : at + 8]] = mp4[at : at + size]
        at += size
    header = bytearray(boxes.pop(b"moov"))
    table = header.index(b"stco") + 8
    for k in range(struct.unpack_from(">I", header, table)[0]):
        place = table + 4 + 4 * k
        (offset,) = struct.unpack_from(">I", header, place)
        struct.pack_into(">I", header, place, offset + len(header))
    first = boxes.pop(b"ftyp")
    return b"".join([first, header, *boxes.values()])


def read(path: Path) -> tuple[int, int, list[str]]:
    """Return how many frames could be read, how many could not, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        reader = video.VideoReader(path)
        length = len(reader)
        len(reader)
    return length, reader.missing, [str(one.message) for one in said]


SUFFIXES = (".avi", ".mkv", ".webm", ".mov", ".gif")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mp4"])
def test_of_an_undamaged_video_nothing_is_said(tmp_path, clips, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(clips[suffix])
    assert read(path) == (12 if suffix == ".gif" else LENGTH, 0, [])


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_video_that_is_cut_short_is_noticed(tmp_path, clips, suffix, share):
    path, content = tmp_path / f"clip{suffix}", clips[suffix]
    path.write_bytes(content[: int(share * len(content))])
    length, missing, said = read(path)
    assert len(said) == 1  # once
    if suffix == ".gif":  # which does not say how many it has
        assert 0 < length < 12
        assert missing > 0
        assert f"'{path}' is damaged or cut short: " in said[0]
    else:
        assert 0 < length < LENGTH
        assert missing == LENGTH - length
        assert f"'{path}' is damaged or cut short: {length} of {LENGTH} frames" in said[0]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mp4"])
def test_a_hole_in_a_video_is_noticed(tmp_path, clips, suffix):
    path, content = tmp_path / f"clip{suffix}", bytearray(clips[suffix])
    middle, hole = len(content) // 2, len(content) // 5
    content[middle : middle + hole] = bytes(hole)
    path.write_bytes(content)
    length, missing, said = read(path)
    assert len(said) == 1
    assert length
    assert missing > 2 or suffix == ".gif"
    assert suffix == ".gif" or length + missing == LENGTH


def test_frames_that_an_editor_hid_are_not_missing(tmp_path, clips):
    """A lossless cut of half of an .mp4 keeps all frames, and hides some by an edit list."""
    content = bytearray(clips[".mp4"])
    times = content.index(b"mdhd") + 16
    (scale,) = struct.unpack_from(">I", content, times)
    edits = content.index(b"elst") + 12
    struct.pack_into(">II", content, edits, 1200, scale * 30 // FPS)  # of 1.2 s, from 1.2 s on
    struct.pack_into(">I", content, content.index(b"mvhd") + 20, 1200)
    struct.pack_into(">I", content, content.index(b"tkhd") + 24, 1200)
    (path := tmp_path / "cut.mp4").write_bytes(content)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == LENGTH
    assert read(path) == (30, 0, [])


def test_frames_that_an_avi_repeats_are_not_missing(tmp_path, clips):
    """Every sixth frame is empty, which means "the same again": FFmpeg does not decode these."""
    content = bytearray(clips[".avi"])
    index = content.rindex(b"idx1") + 8
    movie = content.index(b"movi")
    for k in range(5, LENGTH, 6):
        struct.pack_into("<I", content, index + 16 * k + 12, 0)
        (offset,) = struct.unpack_from("<I", content, index + 16 * k + 8)
        struct.pack_into("<I", content, movie + offset + 4, 0)  # its data become a gap
    (path := tmp_path / "again.avi").write_bytes(content)
    length, missing, said = read(path)
    assert length == LENGTH - 10
    assert (missing, said) == (0, [])


def test_when_frames_are_missing_by_hand(tmp_path):
    """60 stated at 25 per second: one each 40 ms."""
    (path := tmp_path / "some").write_bytes(b"no container that is known")
    steady = 40.0 * np.arange(60)

    def missing(times):
        return stated.incomplete(path, 60, 25, list(times))

    assert not missing(steady)
    assert not missing(steady[:58])  # decoders keep back one or two
    assert missing(steady[:57])
    assert not missing(np.delete(steady, [9, 19, 20, 29, 39, 49]))  # a slow camera
    assert missing(np.delete(steady, range(20, 26)))  # 7 periods without a frame
    uneven = np.random.default_rng(0).uniform(0, 2360, 29)  # as of a screen that seldom changes
    assert not missing([*np.sort(uneven), 2360])
    # Matroska with sound, which may last longer, and without
    sound = b"\x1a\x45\xdf\xa3" + bytes(60) + b"\x86\x86A_OPUS"
    path.write_bytes(sound)
    assert not missing(steady[:40])
    assert missing(steady[:34])
    path.write_bytes(sound.replace(b"A_", b"V_"))
    assert missing(steady[:40])


# GIFs


def gif(path: Path, **options) -> list[np.ndarray]:
    """Write 5 frames of at most 256 colours, which a GIF keeps."""
    values = np.random.default_rng(1).integers(0, 256, (5, 8, 12, 3), np.uint8)
    pictures = [Image.fromarray(one) for one in values]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return list(values)


@pytest.mark.parametrize(
    ("options", "fps"),
    [
        ({}, 10),  # no delay at all: as players do
        ({"duration": 0}, 10),
        ({"duration": 10}, 100),
        ({"duration": [10, 200, 30, 40, 220]}, 10),
        ({"duration": 40, "disposal": 2}, 25),
    ],
)
def test_a_gif_has_all_its_frames(tmp_path, options, fps):
    expected = gif(tmp_path / "a.gif", **options)
    reader = video.VideoReader(tmp_path / "a.gif")
    assert (len(reader), reader.stated_length, reader.missing) == (5, 5, 0)
    assert reader.fps == pytest.approx(fps)
    np.testing.assert_array_equal(list(reader), expected)
    for i in (4, 0, 3, 2):
        np.testing.assert_array_equal(reader.read(i), expected[i])
    np.testing.assert_array_equal(list(video.frames_of(tmp_path / "a.gif")), expected)


def test_a_gif_shows_white_where_it_is_transparent(tmp_path):
    layers = np.zeros((2, 6, 6, 4), np.uint8)
    layers[0, :3, :, :] = 200, 0, 0, 255
    layers[1, :, :3, :] = 0, 0, 100, 255
    first, second = map(Image.fromarray, layers)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], disposal=2)
    shown = list(video.VideoReader(tmp_path / "a.gif"))
    for found, layer in zip(shown, layers):
        np.testing.assert_array_equal(found[layer[..., 3] > 0], layer[layer[..., 3] > 0][:, :3])
        assert (found[layer[..., 3] == 0] == 255).all()


# pictures


def png(width: int, height: int) -> bytes:
    """Return a PNG with a header of any size, and next to no data."""
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts += (b"IDAT", zlib.compress(bytes(100)), b"IEND", b"")
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in zip(parts[::2], parts[1::2])
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(50000, 50000), (20000, 20000), (0, 5), (5, 0), (2**31 - 1, 1)])
def test_a_header_of_any_size_is_one_line(tmp_path, size):
    (path := tmp_path / "huge.png").write_bytes(png(*size))
    for look in (video.read_image, video.image_size):
        with (
            contextlib.suppress(OSError)
            if look is video.image_size
            else pytest.raises(
                OSError,
                match=r"huge\.png' (cannot be decoded as an image|is damaged or cut short)\. Copy",
            )
        ):
            look(path)
    if size == (50000, 50000):  # beyond the limits of Pillow, too
        with pytest.raises(OSError, match=r"huge\.png' cannot be decoded"):
            video.image_size(path)


def half_grey(data, flags):
    """Decode as OpenCV 4 does, which fills what is missing with grey."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(OSError):
        patch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("a.jpg", {"progressive": True}), ("a.jpg", {"thumb": True}), ("a.png", {})],
)
def test_a_picture_that_is_cut_short_is_an_error(tmp_path, monkeypatch, name, options):
    picture = Image.fromarray(frames(1)[0])
    if options.pop("thumb", False):  # ends as a picture does, in its header
        picture.thumbnail((16, 16))
        picture.save(out := io.BytesIO(), "JPEG")
        picture = Image.fromarray(frames(1)[0])
        exif = b"Exif\0\0" + out.getvalue()
        picture.save(tmp_path / name, exif=exif)
    else:
        picture.save(tmp_path / name, **options)
    content = (tmp_path / name).read_bytes()
    for decode in (cv2.imdecode, half_grey):
        monkeypatch.setattr(cv2, "imdecode", decode)
        (tmp_path / name).write_bytes(content)
        assert video.read_image(tmp_path / name).shape == (48, 64, 3)
        for share in (0.9, 0.6):
            (tmp_path / name).write_bytes(content[: int(share * len(content))])
            with pytest.raises(
                OSError, match=rf"{name}' (is damaged or cut short|cannot be decoded)"
            ):
                video.read_image(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_pipes_devices_and_loops_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    lines = {"pipe": "a pipe or a device", "endless": "a pipe or", "loop": "no file", "folder": "a"}
    for name, line in lines.items():
        for look in (video.read_image, video.image_size, video.VideoReader):
            with pytest.raises(OSError, match=f"{line}.*") as caught:
                look(tmp_path / f"{name}.png")
            assert f"{name}.png'" in str(caught.value)


# writing

FULL = """
import resource, signal
from pathlib import Path
import numpy as np
from components.data.video import write_gif, write_video
from components.drawing import write_png
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
values = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
for write in (
    lambda: write_video("a.mp4", values, 25),
    lambda: write_video("a.avi", values, 25),
    lambda: write_gif("a.gif", values, 25),
    lambda: write_png(Path("a.png"), np.concatenate(values)),
):
    try:
        write()
    except OSError as error:
        print(error)
    else:
        print("no error")
"""


def test_a_file_that_cannot_be_written_in_full_is_not_kept(tmp_path):
    names = ["a.avi", "a.gif", "a.mp4", "a.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"an older one")
    words = [sys.executable, "-c", FULL]
    options = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "cwd": tmp_path, "timeout": 300}
    done = subprocess.run(words, **options, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no error" not in done.stdout
    assert len(done.stdout.splitlines()) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"an older one"}


def test_a_video_is_checked_before_it_gets_its_name(tmp_path, monkeypatch):
    """The writer drops frames and says nothing, as OpenCV's on a full disk."""

    class Drops:
        def __init__(self, *words):
            self.inner, self.count = kind(*words), 0

        def write(self, frame):
            self.count += 1
            if self.count < 5:
                self.inner.write(frame)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    kind = cv2.VideoWriter
    Drops.fourcc = kind.fourcc
    video.write_video(tmp_path / "a.mp4", frames(3), 25)
    before = (tmp_path / "a.mp4").read_bytes()
    monkeypatch.setattr(cv2, "VideoWriter", Drops)
    with pytest.raises(OSError, match=r"cannot write '.*a\.mp4': 4 of 12 frames can be read back"):
        video.write_video(tmp_path / "a.mp4", frames(12), 25)
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# the commands


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder with a run, a picture, and no ffmpeg."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    cfg = load_config(tmp_path / "tiny.py")
    (tmp_path / "run").mkdir()
    checkpoint_of(tiny(), cfg, tmp_path / "run" / "last.pth")
    (tmp_path / "run" / "config.json").write_text(json.dumps(cfg))
    cv2.imwrite(str(tmp_path / "face.png"), frames(1)[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("default:.*damaged")
@pytest.mark.parametrize("name", ["predict", "animate"])
def test_part_of_a_video_is_used_and_said_by_a_status_of_its_own(run, clips, capsys, name):
    Path("cut.avi").write_bytes(clips[".avi"][: len(clips[".avi"]) // 2])
    Path("good.avi").write_bytes(clips[".avi"])
    if name == "predict":
        words = ["predict", "run", "good.avi", "cut.avi", "--out", "out", "--json"]
    else:
        words = ["animate", "run", "face.png", "cut.avi", "--out", "a.mp4", "--best-frame"]
        words += ["--json"]
    code = cli.main(words)
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    found = found[-1] if name == "predict" else found
    length = len(list(video.VideoReader("a.mp4" if name == "animate" else found["drawn"][0])))
    assert (found["frames"], found["stated"]) == (length, LENGTH)
    assert 20 < length < 40
    lines = [line for line in captured.err.splitlines() if "damaged" in line]
    assert lines == [
        f"warning: 'cut.avi' is damaged or cut short: {length} of 60 frames could be read. "
        "If you can, copy or download it again."
    ]
    assert code == 7
    assert "  7    done, but part of an input could not be read\n" in cli.EXIT_CODES


@pytest.mark.parametrize("name", ["loop", "folder", "half", "pipe"])
def test_a_folder_with_what_is_not_a_picture_is_one_line(run, capsys, name):
    Path("in").mkdir()
    Path("in/1.png").write_bytes(Path("face.png").read_bytes())
    two = Path("in/2.png")
    if name == "loop":
        two.symlink_to("2.png")
    elif name == "folder":
        two.mkdir()
    elif name == "pipe":
        os.mkfifo(two)
    else:
        two.write_bytes(Path("face.png").read_bytes()[:900])
    for words in (
        ["predict", "run", "in", "--out", "out"],
        ["predict", "run", "in/2.png", "--out", "out"][: 0 if name == "folder" else 5],
        ["animate", "run", "face.png", "in", "--out", "a.mp4"],
    ):
        if words:
            assert cli.main(words) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: ")
            assert "in/2.png'" in line


def test_training_on_part_of_a_video_goes_on(tmp_path, clips):
    (tmp_path / "cut.webm").write_bytes(clips[".webm"][: len(clips[".webm"]) // 2])
    with pytest.warns(UserWarning, match=r"cut\.webm' is damaged or cut short: .* of 60") as said:
        dataset = Frames(root=str(tmp_path), image_size=16)
    dataset.image(len(dataset) - 1)
    assert len(said) == 1
    assert 10 < len(dataset) < LENGTH


# names

NAMES = """
import json, os, sys
from pathlib import Path
from zoo import cli
from components.datasets.frames import Frames
from components.drawing import curve
from components.hooks.progress import Progress
name = sys.argv[1]
for words in (
    ["predict", name + "run", name + ".png", name + "in", name + "v.mp4", name + "g.gif"],
    ["animate", name + "run", name + ".png", name + "v.mp4"],
    ["animate", name + "run", name + ".png", name + "g.gif"],
    ["animate", name + "run", name + ".png", name + "in"],
):
    ends = "a.gif" if words[-1].endswith("in") else "a.mp4"
    out = name + "out" + ("/" + words[-1] + ends if words[0] == "animate" else "")
    assert cli.main([*words, "--out", out]) == 0, words
table = Path(name + "out", name + "in_landmarks.csv")
labelled = Frames(root=name + "in", image_size=16, annotations=str(table), pair="same")
assert labelled.sample(0, None)["keypoints"].shape[1] == 2
assert len(labelled._rows) == 3
videos = Frames(root=name + "v.mp4", image_size=16)
assert len(videos) == 6
assert videos.image(3).shape == (16, 16, 3)
assert curve({name: [(1, 2.0)]}, name).any()  # of a run in a folder of that name
Progress(every=1, folder=name + "run").log(name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 elsewhere")
@pytest.mark.parametrize(("name", "locale"), [(b"\xff", "C.UTF-8"), ("é".encode(), "C")])
def test_names_that_are_not_in_the_encoding_of_the_system(run, name, locale):
    at = os.fsdecode(name)
    Path("run").rename(at + "run")
    Path(at + "in").mkdir()
    for i in range(3):
        Path(at + "in", f"{at}{i}.png").write_bytes(Path("face.png").read_bytes())
    Path("face.png").rename(at + ".png")
    video.write_video("a.mp4", frames(6), 25)
    Path("a.mp4").rename(at + "v.mp4")
    video.write_gif(at + "g.gif", frames(6), 25)
    env = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", NAMES, at]
    done = subprocess.run(words, env=env, capture_output=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    written = os.listdir(name + b"out")
    assert {name + b"v_landmarks.mp4", name + b"_landmarks.png", name + b"in_landmarks"} < {
        *written
    }
    assert (Path(at + "out") / f"{at}in_landmarks.csv").read_bytes().count(name + b"2.png") == 1
    assert sum(1 for _ in video.VideoReader(Path(at + "out", f"{at}v.mp4a.mp4"))) == 6


def test_names_survive_in_tables(tmp_path):
    files = (os.fsdecode(b"a\xff/\xc3\xa9.png"), "b.png")
    there = make_annotations(["nose"], files, np.ones((2, 1, 2)), np.full((2, 1), 2))
    write_csv(tmp_path / "a.csv", there)
    write_coco(tmp_path / "a.json", there)
    assert read_csv(tmp_path / "a.csv").files == read_coco(tmp_path / "a.json").files == files
    assert b"a\xff/\xc3\xa9.png" in (tmp_path / "a.csv").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["images"][1]["file_name"] == "b.png"


# annotations


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,a_x,a_y,a_x\n1.png,1,2,3\n", "column 'a_x' occurs twice"),
        ("file,a_x,a_y\n1.png,1,inf\n", "a number is infinite"),
        ("file,a_x,a_y\n1.png,1e60,0\n", "a number is infinite"),
        ("frame,a_x,a_y\ninf,1,0\n", "a number is infinite"),
        ("frame,a_x,a_y\nnan,1,0\n", "cannot convert float NaN"),
        (",,,\n,,\n", "has only empty cells"),
        ("file,a_x,a_y\n" + "1" * 200_000 + ",1,2\n", "not a CSV file: field larger than"),
    ],
)
def test_tables_that_are_wrong_are_one_line(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_csv(tmp_path / "a.csv")
    assert "a.csv'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("points", [[1, 2], [1e999, 2, 2], ["x", 2, 2], [[1], 2, 2], [1, 2, 2, 1]])
def test_coco_files_that_are_wrong_are_one_line(tmp_path, points):
    data = {"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"keypoints": ["a"]}]}
    data["annotations"] = [{"image_id": 1, "keypoints": points}, {"image_id": 1}]
    if len(points) == 2:
        data = "[" * 100_000
    (tmp_path / "a.json").write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ValueError, match=r"a\.json'") as caught:
        read_coco(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_rows_of_pictures_that_are_not_there_are_said(tmp_path):
    for name in ("1.png", "2.png"):
        video_path = tmp_path / "in" / name
        video_path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(video_path), frames(1)[0])
    (tmp_path / "a.csv").write_text("file,a_x,a_y\n1.png,1,2\n7.png,1,2\n8.png,1,2\n")
    words = {"root": str(tmp_path / "in"), "annotations": str(tmp_path / "a.csv")}
    with pytest.warns(UserWarning, match=r"2 of the 3 rows of '.*a\.csv' name no frame.*as '7'"):
        dataset = Frames(**words, image_size=8, pair="same")
    assert len(dataset) == 2
    Frames(**words, image_size=8, pair="same", include=("*",))  # part of the frames, by intent
