"""Pictures that move as videos do: the landmarks, the streaming, and the command."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from components.data import video
from components.steps.transfer import follow, pose_distance, repeated
from registry import build, checkpoint, load_config
from registry.contract import Encoding, Landmarks, Pose
from registry.job import load_pipeline
from tests.runs import CONFIG as RECONSTRUCTION
from tests.runs import write_config
from zoo import cli, saving
from zoo.animation import moved, nearest_frame
from zoo.describe import fit_options

SIDE = 32
CONFIG = """
image_size = 32
model = dict(
    type="pipelines/motion_transfer",
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=4, stride=1, width=4,
                 max_width=8, depth=3, padding=3),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=4),
    motion=dict(type="motions/dense_motion", num_landmarks=4, stride=2, width=4, max_width=8,
                depth=3),
    decoder=dict(type="decoders/occlusion_aware", width=4, max_width=8, downs=1, blocks=1),
)
data = dict(test=dict(type="datasets/first_source", frame_dataset=dict(
    type="datasets/frames", root="x", image_size=image_size, fit="crop")))
train = dict(iterations=1, batch_size=1, lr=1e-3)
"""


def tiny() -> torch.nn.Module:
    namespace: dict = {}
    exec(CONFIG, namespace)
    torch.manual_seed(0)
    pipeline = build(namespace["model"], "model").eval()
    for layer in pipeline.modules():
        if isinstance(layer, torch.nn.Conv2d):  # untrained statistics would let every signal vanish
            torch.nn.init.kaiming_normal_(layer.weight)
    return pipeline


def pictures(count: int, seed: int = 0, width: int = SIDE, height: int = SIDE) -> list[np.ndarray]:
    """Smooth random pictures."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 5, 7, 3), np.uint8)
    return [cv2.resize(one, (width, height)) for one in small]


def tensor(frames: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


# landmarks


def test_relative_motion_by_hand():
    """The source's square is half as wide: it moves half as far. Ellipses grow as the driving."""
    square = torch.tensor([[[-0.4, -0.4], [0.4, -0.4], [0.4, 0.4], [-0.4, 0.4], [0.0, 0.1]]])
    round_, flat = torch.eye(2).expand(1, 5, 2, 2), torch.diag(torch.tensor([4.0, 1.0]))
    initial = Landmarks(xy=square, cov=0.01 * round_)
    driving = Landmarks(xy=square + torch.tensor([0.2, 0.1]), cov=0.01 * flat.expand(1, 5, 2, 2))
    source = Landmarks(xy=square / 2 + 0.3, cov=0.04 * round_)
    found = follow(source, driving, initial, adapt_scale=True)
    torch.testing.assert_close(found.xy, source.xy + torch.tensor([0.1, 0.05]))
    torch.testing.assert_close(found.cov, 0.04 * flat.expand(1, 5, 2, 2))
    plain = follow(source, driving, initial)
    torch.testing.assert_close(plain.xy, source.xy + torch.tensor([0.2, 0.1]))


def test_relative_motion_keeps_ellipses_and_starts_with_the_source():
    random = torch.Generator().manual_seed(0)

    def some(count: int) -> Landmarks:
        root = 0.1 * torch.randn(count, 6, 2, 2, generator=random)
        cov = root @ root.mT + 1e-4 * torch.eye(2)
        return Landmarks(xy=torch.rand(count, 6, 2, generator=random), cov=cov, affine=root)

    source, initial = some(1), some(1)
    found = follow(source, some(7), initial)
    torch.testing.assert_close(found.cov, found.cov.mT)
    assert (torch.linalg.eigvalsh(found.cov) > 0).all()
    same = follow(source, initial, initial)
    for field in ("xy", "cov", "affine"):
        torch.testing.assert_close(
            getattr(same, field), getattr(source, field), atol=1e-4, rtol=1e-3
        )
    two = [Landmarks(xy=part.xy[:, :2]) for part in (source, initial)]  # no hull: not scaled
    torch.testing.assert_close(follow(two[0], two[1], two[1]).xy, two[0].xy)


def test_poses_are_compared_wherever_and_however_large_they_are():
    triangle = torch.tensor([[[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]]])
    moved = Landmarks(xy=torch.cat((0.2 * triangle + 0.4, triangle * torch.tensor([1.0, -1.0]))))
    same, turned = pose_distance(moved, Landmarks(xy=triangle))
    assert same == pytest.approx(0, abs=1e-6)
    # about the mean (0, 1) y is -1, -1, 2; the spread is sqrt((2 + 2 + 4) / 3)
    assert turned == pytest.approx((4 + 4 + 16) / 3 / (8 / 3))


def test_repeated_reaches_into_everything_without_copying():
    one, none = torch.rand(1, 2, 3, 4), Landmarks(xy=torch.rand(1, 5, 2))
    pose = Pose(encoding=Encoding(maps=one), landmarks=none, drawn=one)
    found, [same], nothing = repeated((pose, [one], None), 3)
    assert found.drawn.shape == same.shape == (3, 2, 3, 4)
    assert found.landmarks.xy.shape == (3, 5, 2)
    assert nothing is found.landmarks.cov is None
    assert found.encoding.maps.data_ptr() == one.data_ptr()


# pipelines


def test_an_animator_reads_the_source_once(monkeypatch):
    pipeline, frames = tiny(), tensor(pictures(5))
    source = tensor(pictures(1, seed=1))[0]
    read = []
    encode = pipeline.decoder.encode
    monkeypatch.setattr(pipeline.decoder, "encode", lambda x: read.append(len(x)) or encode(x))
    move = pipeline.animator(source, frames[2])
    parts = torch.cat([move(frames[:2]), move(frames[2:])])
    assert read == [1]
    assert not parts.requires_grad
    torch.testing.assert_close(parts, pipeline.transfer(source, frames, frames[2]))
    absolute = pipeline.transfer(source, frames)
    torch.testing.assert_close(absolute[3:4], pipeline.reconstruct(source[None], frames[3:4]))
    assert (absolute - parts).abs().max() > 0.01
    # where driving starts, the source has its own pose
    torch.testing.assert_close(
        parts[2:3], pipeline.reconstruct(source[None], source[None]), atol=1e-4, rtol=1e-4
    )


def test_the_other_family_moves_relative_to_a_frame():
    namespace: dict = {}
    exec(RECONSTRUCTION.partition("losses = ")[0], namespace)
    torch.manual_seed(0)
    pipeline = build(namespace["model"], "model").eval()
    for layer in pipeline.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    frames, source = tensor(pictures(4)), tensor(pictures(1, seed=1))
    found = pipeline.transfer(source[0], frames, frames[1])
    own, start, driving = (pipeline.predict(x).landmarks for x in (source, frames[1:2], frames))
    for image, xy in zip(found, follow(own, driving, start).xy):
        edited = pipeline.edit(source, Landmarks(xy=xy[None]))[0]
        torch.testing.assert_close(image, edited, atol=1e-5, rtol=1e-4)
    assert (found - pipeline.transfer(source[0], frames)).abs().max() > 0.01


def test_a_source_that_is_the_first_frame_moves_as_the_video_does():
    pipeline, frames = tiny(), tensor(pictures(5))
    relative = pipeline.transfer(frames[0], frames, frames[0])
    absolute = pipeline.transfer(frames[0], frames)
    torch.testing.assert_close(relative, absolute, atol=1e-4, rtol=1e-4)
    assert (relative[0] - relative[1]).abs().max() > 0.01


# streaming


def counted(frames: list[np.ndarray], alive: list[int]) -> Iterator[np.ndarray]:
    """Yield copies of frames; note how many exist each time one is asked for."""
    known: list[weakref.ref] = []
    for frame in frames:
        known.append(weakref.ref(copy := frame.copy()))
        alive.append(sum(reference() is not None for reference in known))
        yield copy
        del copy


def test_frames_come_and_go_in_batches():
    """Of 40 frames never more exist than those of two batches of 4, and the best so far."""
    pipeline, source, frames, alive = tiny(), pictures(1, seed=1)[0], pictures(40), []
    assert sum(1 for _ in moved(pipeline, source, counted(frames, alive), source, 4)) == 40
    assert len(alive) == 40
    assert max(alive) <= 8
    del alive[:]
    assert nearest_frame(pipeline, frames[17], counted(frames, alive), 4)[0] == 17
    assert len(alive) == 40
    assert max(alive) <= 9


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_batch_size_changes_nothing(size):
    pipeline, source, frames = tiny(), pictures(1, seed=1)[0], pictures(7)
    one, other = (
        [picture for _, picture in moved(pipeline, source, frames, frames[0], n)] for n in (2, size)
    )
    difference = np.abs(np.stack(one).astype(int) - np.stack(other))
    assert difference.max() <= 1  # a rounding
    assert difference.mean() < 1e-3
    assert np.ptp(np.stack(one).astype(int), axis=0).max() > 2  # it moves


@pytest.mark.parametrize("name", ["clip.gif", "clip.mp4"])
def test_a_file_is_written_frame_by_frame(tmp_path, name):
    colours = ((10, 240, 90), (20, 230, 90), (20, 230, 90), (200, 100, 10))
    frames, alive = [np.full((16, 16, 3), colour, np.uint8) for colour in colours], []
    write = video.write_gif if name.endswith("gif") else video.write_video
    write(tmp_path / name, counted(frames, alive), 20)
    # the first is kept to compare sizes with
    assert (len(alive), max(alive)) == (4, 3)
    back = list(video.frames_of(tmp_path / name))
    assert len(back) == 4  # equal ones, too
    np.testing.assert_allclose(back, frames, atol=1 if name.endswith("gif") else 12)
    if name.endswith("gif"):
        with Image.open(tmp_path / name) as gif:
            assert (gif.n_frames, gif.info["loop"], gif.info["duration"]) == (4, 0, 50)


# the command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run, a picture, a video, and no ffmpeg."""
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "tiny.py").write_text(CONFIG)
    cfg = load_config(tmp_path / "tiny.py")
    checkpoint_of(tiny(), cfg, run / "last.pth")
    (run / "config.json").write_text(json.dumps(cfg))
    assert cv2.imwrite(str(tmp_path / "face.png"), pictures(1, seed=1, width=50)[0])
    video.write_video(tmp_path / "talk.mp4", pictures(7, width=48, height=40), fps=10)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checkpoint_of(pipeline, cfg, path):
    state = {f"pipeline.{key}": value for key, value in pipeline.state_dict().items()}
    checkpoint.save({"model": state, "config": json.dumps(cfg)}, path)


@pytest.fixture
def command(capsys):
    def run(*words):
        code = cli.main(["animate", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def colours(path):
    return np.stack([frame.astype(int) for frame in video.frames_of(path)])


def test_the_command_writes_videos_and_gifs(folder, command):
    code, text = command("run", "face.png", "talk.mp4", "--out", "new/out.mp4")
    assert code == 0, text
    assert text.splitlines() == [
        "new/out.mp4: 7 frames",
        "the sound of talk.mp4, if any, is left out: ffmpeg is not on the PATH",
    ]
    assert colours("new/out.mp4").shape == (7, SIDE, SIDE, 3)
    assert video.VideoReader("new/out.mp4").fps == pytest.approx(10)
    assert [path.name for path in Path("new").iterdir()] == ["out.mp4"]

    words = ("run/last.pth", "face.png", "talk.mp4", "--absolute")
    code, text = command(*words, "--side-by-side", "--batch-size", 3, "--out", "out.gif")
    assert (code, text) == (0, "out.gif: 7 frames\n")
    wide = colours("out.gif")
    assert wide.shape == (7, SIDE, 3 * SIDE, 3)
    # as the config's data: the middle of the long side
    options = fit_options(load_config("tiny.py"))
    assert options == {"fit": "crop"}
    face = cv2.imread("face.png")[:, 9:41, ::-1].astype(int)
    assert np.abs(wide[:, :, :SIDE] - face).mean() < 8  # 256 colours
    first = next(iter(video.VideoReader("talk.mp4")))[:, 4:44]
    first = cv2.resize(first, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(wide[0, :, SIDE : 2 * SIDE] - first).mean() < 8


def test_the_driving_frames_may_be_a_folder_or_a_gif(folder, command):
    Path("frames").mkdir()
    frames = pictures(4, width=48, height=40)
    for i, frame in enumerate(frames):
        assert cv2.imwrite(f"frames/{i + 8}.png", frame[..., ::-1])
    video.write_gif("talk.gif", frames, fps=5)
    for driving in ("frames", "talk.gif"):
        code, text = command("run", "face.png", driving, "--out", "out.gif", "--side-by-side")
        assert (code, text) == (0, "out.gif: 4 frames\n")
        shown = colours("out.gif")[:, :, SIDE : 2 * SIDE]
        for frame, own in zip(frames, shown):
            fitted = cv2.resize(frame[:, 4:44], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            assert np.abs(own - fitted).mean() < 12


def test_the_best_frame_is_where_motion_starts(folder, command):
    """The picture is frame 4 of the folder: there the result is the picture in its own pose."""
    Path("frames").mkdir()
    frames = pictures(6)
    for i, frame in enumerate(frames):
        assert cv2.imwrite(f"frames/{i}.png", frame[..., ::-1])
    assert cv2.imwrite("face.png", frames[4][..., ::-1])
    words = ("run", "face.png", "frames", "--out", "out.gif", "--batch-size", 4)
    code, text = command(*words, "--best-frame")
    assert code == 0
    assert text.splitlines() == [
        "frames: frame 4 is closest to face.png",
        "out.gif: 6 frames",
    ]
    best = colours("out.gif")
    assert command(*words, "--absolute")[0] == 0
    assert np.abs(best - colours("out.gif")).mean() < 1  # the picture is of that video
    code, text = command(*words, "--best-frame", "--absolute")
    assert code == 2
    assert "not allowed with argument" in text


def test_an_interrupted_run_leaves_nothing(folder, command, monkeypatch):
    import components.pipelines.motion_transfer as module

    plain = module.MotionTransfer.animator

    def stops(self, *stills, adapt_scale=False):
        move, calls = plain(self, *stills), []

        def once(frames):
            calls.append(0)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return move(frames)

        return once

    monkeypatch.setattr(module.MotionTransfer, "animator", stops)
    before = sorted(folder.rglob("*"))
    Path("old.mp4").write_bytes(b"old")
    for out in ("old.mp4", "new.gif"):
        code, text = command("run", "face.png", "talk.mp4", "--out", out, "--batch-size", 2)
        assert code == 130
        assert text == f"interrupted; {out} was not written\n"
    assert Path("old.mp4").read_bytes() == b"old"
    assert sorted(folder.rglob("*")) == sorted([*before, folder / "old.mp4"])


FFMPEG = """#!/bin/sh
for word in "$@"; do last="$word"; echo "$word" >> asked; done
{body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('PATH=/bin:/usr/bin; cp "$6" "$last"; printf sound >> "$last"', None),
        # says nothing of a full disk
        (
            'PATH=/bin:/usr/bin; head -c 900 "$6" > "$last"',
            "0 of 7 frames can be read back. Is the disk full?",
        ),
        ('echo "first"; printf part > "$last"; echo "no such codec" >&2; exit 1', "no such codec"),
    ],
)
def test_sound_is_taken_over(folder, command, body, said):
    program = Path("bin/ffmpeg")
    program.write_text(FFMPEG.format(body=body))
    program.chmod(0o700)
    code, text = command("run", "face.png", "talk.mp4", "--out", "out.mp4")
    assert code == 0
    asked = Path("asked").read_text().split("\n")[:-1]
    silent, whole = asked[5], asked[-1]
    assert asked == [
        *("-nostdin", "-y", "-loglevel", "error", "-i", silent, "-i", str(folder / "talk.mp4")),
        *("-map", "0:v:0", "-map", "1:a?", "-c", "copy", whole),
    ]
    assert len({silent, whole, "out.mp4"}) == 3
    assert not Path(silent).exists()
    assert not Path(whole).exists()
    if said:
        line = text.splitlines()[-1]
        assert line.startswith("the sound of talk.mp4 is left out; ffmpeg: ")
        assert line.endswith(said)
        assert colours("out.mp4").shape == (7, SIDE, SIDE, 3)
    else:
        assert Path("out.mp4").read_bytes().endswith(b"sound")
        assert "sound" not in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("run", "face.png", "talk.mp4", "--out", "x.avi"), "--out 'x.avi' must end in .mp4 or"),
        (("run", "face.png", "talk.mp4", "--out", "talk.mp4"), "'talk.mp4' is an input. Give"),
        (("run", "face.png", "talk.mp4", "--out", "link.mp4"), "'link.mp4' is an input. Give"),
        (("run", "no.png", "talk.mp4", "--out", "x.mp4"), "no input 'no.png'. Give an image"),
        (("run", "talk.mp4", "talk.mp4", "--out", "x.mp4"), "'talk.mp4' cannot be decoded as an"),
        (
            ("tiny.py", "face.png", "talk.mp4", "--out", "x.mp4"),
            "'tiny.py' is a config and has no weights.",
        ),
        (("bin", "face.png", "talk.mp4", "--out", "x.mp4"), "the folder 'bin' holds neither"),
    ],
)
def test_the_command_refuses(folder, command, words, text):
    Path("link.mp4").symlink_to("talk.mp4")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, said = command(*words)
    assert code == 2
    assert said.startswith("error: ")
    assert text in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_model_of_the_other_family_moves_too(folder, command):
    cfg = load_config(write_config(folder, "other.py", RECONSTRUCTION))
    torch.manual_seed(0)
    checkpoint_of(build(cfg["model"], "model"), cfg, folder / "other.pth")
    code, text = command("other.pth", "face.png", "talk.mp4", "--out", "out.gif")
    assert code == 0, text
    assert colours("out.gif").shape == (7, SIDE, SIDE, 3)


def test_a_package_moves_pictures_as_its_run_does(folder, command):
    """Also how images are fitted comes from the package: the config crops."""
    words = ("face.png", "talk.mp4", "--side-by-side", "--out")
    assert command("run", *words, "run.gif")[0] == 0
    cfg = load_config("tiny.py")
    pipeline = load_pipeline(cfg, "run/last.pth")
    saving.save(pipeline, "package", name="tiny", license="mit", cfg=cfg)
    code, text = command("dir:package", *words, "package.gif")
    assert code == 0, text
    np.testing.assert_array_equal(colours("package.gif"), colours("run.gif"))
    code, text = command("fomm-vox", *words, "x.gif")
    assert code == 3
    assert text.startswith("error: No weights of 'fomm-vox' are published")
