"""components/data/video and fit: what is read is what was written, and points follow the pixels."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.data import video
from components.data.fit import check_crop, fit_affine, fit_image, to_contract, to_pixels
from components.data.video import frames_of, image_size, read_image
from registry.atomic import replacing

ROOT = Path(__file__).parents[1]


def clip(length=40, height=48, width=64):
    """Frames that show their number as six black or yellow bars, robust to compression."""
    bars = np.arange(length)[:, None] >> np.arange(6) & 1
    frames = np.repeat(bars, 10, axis=1)[:, None, :, None] * np.array([250, 250, 0])
    frames = np.repeat(frames, height, axis=1).astype(np.uint8)
    return np.pad(frames, ((0, 0), (0, 0), (0, width - 60), (0, 0)))


def number(frame):
    bars = frame[:, :60].reshape(len(frame), 6, 10, 3)[:, :, 2:8].mean((0, 2))
    assert (bars[:, 2] < 60).all()  # blue: channels are in order
    return int((bars[:, 0] > 125) @ (1 << np.arange(6)))


def test_image_content_decides_not_suffix(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[1, 2] = 10, 20, 30
    _, png = cv2.imencode(".png", image[..., ::-1])
    (tmp_path / "a.jpg").write_bytes(png.tobytes())
    np.testing.assert_array_equal(video.read_image(tmp_path / "a.jpg"), image)
    assert video.image_size(tmp_path / "a.jpg") == (6, 4)


def test_grey_and_transparent_images_have_three_channels(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((3, 3), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((3, 3, 4), 9, np.uint8))
    assert video.read_image(tmp_path / "grey.png").tolist() == [[[7] * 3] * 3] * 3
    assert video.read_image(tmp_path / "alpha.png").shape == (3, 3, 3)


def test_size_follows_exif_orientation(tmp_path):
    from PIL import Image

    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert video.read_image(tmp_path / "turned.jpg").shape[:2] == (6, 4)
    assert video.image_size(tmp_path / "turned.jpg") == (4, 6)


@pytest.mark.parametrize("read", [video.read_image, video.image_size, video.VideoReader])
def test_missing_and_empty_files_are_named(tmp_path, read):
    (tmp_path / "empty.png").touch()
    with pytest.raises(FileNotFoundError, match=r"no file '.*gone\.png'"):
        read(tmp_path / "gone.png")
    with pytest.raises(OSError, match=r"empty\.png' is empty \(0 bytes\)"):
        read(tmp_path / "empty.png")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for read in (video.read_image, video.image_size):
        with pytest.raises(OSError, match=r"text\.jpg' cannot be decoded"):
            read(tmp_path / "text.jpg")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(OSError, match=r"text\.mp4' cannot be opened as a video"):
        len(video.VideoReader(tmp_path / "text.mp4"))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_video_round_trip_and_random_access(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    video.write_video(path, clip(), fps=12)
    reader = video.VideoReader(path)
    assert len(reader) == 40
    assert reader.fps == pytest.approx(12)
    assert [number(frame) for frame in reader] == list(range(40))
    for i in (39, 0, 17, 18, 16, 5, 38):
        assert number(reader.read(i)) == i
    with pytest.raises(IndexError, match="frames 0 to 39, not 40"):
        reader.read(40)


def test_wrong_seeks_are_noticed(tmp_path):
    class SeeksBeside:
        def __init__(self, path):
            self.inner = cv2.VideoCapture(path)

        def set(self, what, value):
            return self.inner.set(what, max(value - 3, 0))

        def __getattr__(self, name):
            return getattr(self.inner, name)

    video.write_video(tmp_path / "clip.mp4", clip(), fps=25)
    reader = video.VideoReader(tmp_path / "clip.mp4")
    reader._open = lambda: SeeksBeside(str(reader.path))
    assert [number(reader.read(i)) for i in (30, 2, 35, 36, 0)] == [30, 2, 35, 36, 0]


def test_overstated_header_is_not_believed(tmp_path):
    path = tmp_path / "clip.avi"
    video.write_video(path, clip(), fps=25)
    data = bytearray(path.read_bytes())
    at = data.index(b"avih") + 8 + 16  # dwTotalFrames of the AVI header
    assert int.from_bytes(data[at : at + 4], "little") == 40
    data[at : at + 4] = (60).to_bytes(4, "little")
    at = data.index(b"strh") + 8 + 32  # dwLength of the stream header
    data[at : at + 4] = (60).to_bytes(4, "little")
    path.write_bytes(data)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 60
    reader = video.VideoReader(path)
    with pytest.warns(UserWarning, match=r"clip\.avi' is damaged or cut short: 40 of 60 frames"):
        assert len(reader) == 40
    assert reader.missing == 20


def test_reader_in_other_processes(tmp_path):
    video.write_video(tmp_path / "clip.mp4", clip(), fps=25)
    reader = video.VideoReader(tmp_path / "clip.mp4")
    reader.read(5)  # the handle is open when the process forks
    assert number(pickle.loads(pickle.dumps(reader)).read(7)) == 7
    pid = os.fork() if hasattr(os, "fork") else None
    if pid == 0:
        os._exit(number(reader.read(20)))
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 20
    assert number(reader.read(6)) == 6


def test_gif_round_trip(tmp_path):
    video.write_gif(tmp_path / "clip.gif", clip(5), fps=10)
    frames = list(video.frames_of(tmp_path / "clip.gif"))
    assert [number(frame) for frame in frames] == [0, 1, 2, 3, 4]


def test_frames_of_folder_is_in_natural_order(tmp_path):
    for i in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((2, 2, 3), i, np.uint8))
    (tmp_path / ".9.png").touch()
    (tmp_path / "notes.txt").touch()
    (none := tmp_path / "none").mkdir()
    assert [frame[0, 0, 0] for frame in video.frames_of(tmp_path)] == [1, 9, 10]
    assert len(list(video.frames_of(tmp_path / "9.png"))) == 1
    with pytest.raises(FileNotFoundError, match="no image in folder"):
        list(video.frames_of(none))


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "clip.mp4"
    video.write_video(path, clip(3), fps=25)
    before = path.read_bytes()

    def breaks():
        yield from clip(2)
        raise RuntimeError("no more")

    for write in (video.write_video, video.write_gif):
        with pytest.raises(RuntimeError, match="no more"):
            write(path, breaks(), 25)
        with pytest.raises(ValueError, match="no frame"):
            write(path, [], 25)
        with pytest.raises(ValueError, match="differ"):
            write(path, [clip(1)[0], clip(1, height=50)[0]], 25)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


ENDLESS = """
import signal, sys
# whoever started the tests may have them ignored, as nohup does
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
from components.data.video import write_gif, write_video
from registry.atomic import replacing
def frames():
    yield np.zeros((16, 16, 3), np.uint8)
    print("begun", flush=True)
    while True:
        yield np.zeros((16, 16, 3), np.uint8)
with replacing(sys.argv[1]) as outer:
    (write_gif if sys.argv[1].endswith("gif") else write_video)(outer, frames(), 25)
"""


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("a.mp4", signal.SIGTERM, 128 + signal.SIGTERM),
        ("a.gif", signal.SIGHUP, 128 + signal.SIGHUP),
        ("a.gif", signal.SIGINT, -signal.SIGINT),
    ],
)
def test_what_ends_a_writer_leaves_no_temporary_file(tmp_path, name, number, code):
    words = [sys.executable, "-c", ENDLESS, str(tmp_path / name)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"begun\n"
        assert list(tmp_path.iterdir())  # being written
        writer.send_signal(number)
        try:
            writer.communicate(timeout=60)
        finally:
            writer.kill()
    assert writer.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_writing_leaves_the_handlers_of_signals_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    mine = []
    signal.signal(signal.SIGTERM, lambda *_: mine.append(1))
    try:
        with replacing(tmp_path / "a") as temporary:
            signal.raise_signal(signal.SIGTERM)
            temporary.touch()
        assert mine == [1]  # whoever handles it goes on doing so
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(SystemExit), replacing(tmp_path / "b"):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("content", "read", "text"),
    [
        (b"some notes", read_image, "cannot be decoded as an image"),
        (b"some notes", image_size, "cannot be decoded as an image"),
        (b"some notes", lambda p: next(frames_of(p)), "cannot be opened as a video. Convert it"),
        # a header of 60000 x 60000 pixels, which OpenCV refuses by raising
        (b"P6 60000 60000 255\n" + bytes(64), read_image, "cannot be decoded as an image"),
    ],
)
def test_what_is_not_a_picture_is_one_line(tmp_path, content, read, text):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(OSError, match=text) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "elete" not in str(caught.value)  # it may be somebody's only recording
    with pytest.raises(IsADirectoryError, match=r"is a folder\. Pass one of its files\."):
        read_image(tmp_path)


def test_a_crop_beyond_the_picture_is_refused():
    for crop in ((0, 0, 80, 60), (79, 59, 1, 1), None):
        check_crop(crop, (80, 60), "crop")
    for crop in ((0, 0, 81, 60), (0, 1, 80, 60), (-1, 0, 8, 8), (0, -1, 8, 8), (80, 0, 1, 1)):
        with pytest.raises(ValueError, match=r"here=\(.*\).* beyond a picture of 80 x 60 pixels"):
            check_crop(crop, (80, 60), "here")
    for crop in ((0, 0, 0, 8), (0, 0, 8, -1), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"must be \(left, top, width, height\)"):
            check_crop(crop, (80, 60), "here")


def test_affine_by_hand():
    # 40 x 20 stretched to a square: pixel 0 of 40 lies at 1/40 - 1, pixel 19 of 20 at 39/20 - 1
    np.testing.assert_allclose(to_contract([[0, 19]], fit_affine((40, 20))), [[-0.975, 0.95]])
    # middle 20 x 20, which starts at column 10
    np.testing.assert_allclose(to_contract([10, 0], fit_affine((40, 20), "crop")), [-0.95, -0.95])
    # padded to 40 x 40: ten black rows above
    np.testing.assert_allclose(to_contract([0, 0], fit_affine((40, 20), "pad")), [-0.975, -0.475])
    # a crop of 8 x 4 at (3, 5), stretched: its first pixel centre
    affine = fit_affine((40, 20), crop=(3, 5, 8, 4))
    np.testing.assert_allclose(to_contract([[3, 5]], affine), [[-0.875, -0.75]])
    points = np.array([[3.0, 5.0], [17.25, -2.0]])
    np.testing.assert_allclose(to_pixels(to_contract(points, affine), affine), points, atol=1e-5)


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize(
    ("fit", "crop"),
    [
        ("stretch", None),
        ("pad", None),
        ("crop", None),
        ("pad", (30, 10, 40, 24)),
        ("stretch", (-8, 4, 64, 56)),
    ],
)
def test_points_follow_pixels(size, fit, crop):
    y, x = np.mgrid[:60, :80]
    at = np.array([47.0, 22.0])
    blob = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 32)
    image, affine = fit_image(np.repeat(blob[..., None], 3, 2).astype(np.uint8), size, fit, crop)
    weight = image[..., 0] / image[..., 0].sum()
    centres = (2 * np.arange(size) + 1) / size - 1
    found = [(weight * centres).sum(), (weight * centres[:, None]).sum()]
    np.testing.assert_allclose(found, to_contract(at, affine), atol=0.01)


def test_fit_keeps_a_fitting_image_and_refuses_the_rest():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(fit_image(image, 8)[0], image)
    with pytest.raises(ValueError, match="lies outside the image"):
        fit_image(image, 8, crop=(20, 0, 4, 4))
    with pytest.raises(ValueError, match="fit='squeeze' must be one of stretch, pad, crop"):
        fit_image(image, 8, "squeeze")
