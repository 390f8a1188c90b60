"""datasets/video_folder on generated videos in every form of the official layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from components.data.video import write_gif, write_video
from components.datasets.clips import Clips
from components.datasets.video_folder import OPEN_VIDEOS, VideoFolder
from registry import load_config
from registry.config import Data
from registry.evaluation import evaluate
from registry.job import Job
from registry.loading import Datasets, train_loader
from registry.trainee import Stepper

SIDE = 16
# name, number of frames
VIDEOS = {
    "anna.mp4": 5,
    "bert.gif": 4,
    "strip.png": 3,
    "id1#a#0#10.mp4": 3,
    "id1#b#0#10.mp4": 2,
    "id10#c#0#10.mp4": 2,
}


def frame(number, t):
    """A frame whose red tells its video and whose green tells its time."""
    return np.full((SIDE, SIDE, 3), (30 * number + 30, 20 * t + 20, 0), np.uint8)


def write(path, number, length):
    """Write one video in the form that its name and folder say."""
    frames = [frame(number, t) for t in range(length)]
    if "#" in path.name or path.suffix == "":  # a folder, even if it ends in .mp4
        path.mkdir(parents=True)
        for t, image in enumerate(frames):
            cv2.imwrite(str(path / f"{t + 8}.png"), image[..., ::-1])  # 8, 9, 10: not by text
    elif path.suffix == ".png":
        cv2.imwrite(str(path), np.concatenate(frames, axis=1)[..., ::-1])
    elif path.suffix == ".gif":
        write_gif(path, frames, fps=10)
    else:
        write_video(path, frames, fps=10)


def video_folder(root, splits=("train", "test")):
    """Write all forms of videos to the folders of both splits, or to the root (".")."""
    for split in splits:
        Path(root, split).mkdir(parents=True, exist_ok=True)
        for number, (name, length) in enumerate(VIDEOS.items()):
            write(Path(root, split, name), number, length)
    return str(root)


def told(image):
    """Return which frame of which video an image is."""
    red, green, _ = image.reshape(-1, 3).astype(float).mean(axis=0)
    return round((red - 30) / 30), round((green - 20) / 20)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return video_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def open_folder(root):
    return lambda **options: VideoFolder(**{"root": root, "image_size": SIDE, **options})


def drawn(dataset, index, draws=60):
    return [dataset.sample(index, np.random.default_rng(seed)) for seed in range(draws)]


def test_every_form_of_video_is_read_frame_by_frame(open_folder):
    dataset = open_folder()
    assert sorted(dataset.names) == sorted(VIDEOS)
    ranges = dict(dataset.clip_ranges())
    assert {name: len(numbers) for name, numbers in ranges.items()} == VIDEOS
    for number, name in enumerate(VIDEOS):
        found = [told(dataset.image(frame)) for frame in ranges[name]]
        assert found == [(number, t) for t in range(VIDEOS[name])]
    assert dataset.keypoints(0) is None


def test_a_pair_is_two_frames_in_order_drawn_with_replacement(open_folder):
    dataset = open_folder()
    assert len(dataset) == len(VIDEOS)
    index = dataset.names.index("id1#a#0#10.mp4")
    pairs = []
    for item in drawn(dataset, index, 300):
        source, target = told(item["source"]), told(item["target"])
        assert source[0] == target[0] == 3
        assert item["name"] == f"id1#a#0#10.mp4/{target[1]:06d}"
        pairs.append((source[1], target[1]))
    # of nine ordered draws of three frames, three agree; either order of two gives one pair
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert set(counts) == {(a, b) for a in range(3) for b in range(a, 3)}
    for (a, b), count in counts.items():
        assert count / 300 == pytest.approx(1 / 9 if a == b else 2 / 9, abs=0.07)


def test_the_generator_decides_all(open_folder):
    one, two = (drawn(open_folder(), 0, 6) for _ in range(2))
    for first, second in zip(one, two):
        assert first["name"] == second["name"]
        for field in ("source", "target"):
            np.testing.assert_array_equal(first[field], second[field])
    assert len({item["name"] for item in one}) > 1
    assert open_folder().random_target


def test_identities_are_whole_words(open_folder):
    """Id1 has two videos, of which id10 is none; videos without "#" are their own identity."""
    dataset = open_folder(id_sampling=True)
    found = [{item["name"].rpartition("/")[0] for item in drawn(dataset, i)} for i in range(5)]
    assert len(dataset) == 5
    assert {"id1#a#0#10.mp4", "id1#b#0#10.mp4"} in found
    assert {"id10#c#0#10.mp4"} in found
    assert {"anna.mp4"} in found


def test_reconstruction_goes_from_the_first_frame_to_every_frame(open_folder):
    dataset = open_folder(split="test", pair="first")
    assert len(dataset) == sum(VIDEOS.values())
    assert not dataset.random_target
    numbers = {name: number for number, name in enumerate(VIDEOS)}
    found = []
    for index in range(len(dataset)):
        item = dataset.sample(index, np.random.default_rng(index))
        name, t = item["name"].rsplit("/", 1)
        assert told(item["target"]) == (numbers[name], int(t))
        assert told(item["source"]) == (numbers[name], 0)
        found.append(item["name"])
    assert sorted(found) == sorted(f"{v}/{t:06d}" for v, n in VIDEOS.items() for t in range(n))


def test_pairs_for_animation(open_folder, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "distance,source,driving,frame\n"
        "0.5,bert.gif,id1#b#0#10.mp4,1\n0.1,gone.mp4,anna.mp4,2\n0.3,strip.png,anna.mp4,0\n"
    )
    dataset = open_folder(split="test", pairs=str(table))
    assert dataset.skipped_pairs == [("gone.mp4", "anna.mp4")]
    items = [dataset.sample(i, np.random.default_rng(0)) for i in range(len(dataset))]
    expected = [((1, 0), (4, t)) for t in range(2)] + [((2, 0), (0, t)) for t in range(5)]
    assert [(told(item["source"]), told(item["target"])) for item in items] == expected
    assert items[1]["name"] == "id1#b#0#10.mp4-bert.gif/000001"
    with pytest.raises(IndexError, match="no frame 7; the data set has 7"):
        dataset.sample(7, np.random.default_rng(0))


def test_without_folders_a_fifth_of_the_identities_is_for_testing(tmp_path):
    for n in range(10):
        for part in range(2):
            write(tmp_path / f"id{n}#{part}", n, 1)
    train, test = (
        VideoFolder(root=str(tmp_path), image_size=SIDE, split=split) for split in ("train", "test")
    )
    again = VideoFolder(root=str(tmp_path), image_size=SIDE, split="test")
    people = [{name.split("#")[0] for name in dataset.names} for dataset in (train, test)]
    assert (len(train), len(test)) == (16, 4)
    assert [len(group) for group in people] == [8, 2]
    assert not people[0] & people[1]
    assert again.names == test.names


def test_frames_of_any_size_are_resized(open_folder):
    for size in (8, 24):
        item = open_folder(image_size=size).sample(0, np.random.default_rng(0))
        assert item["source"].shape == item["target"].shape == (size, size, 3)
        assert item["size"].tolist() == [SIDE, SIDE]


@pytest.mark.parametrize("random", [True, False])
def test_the_size_of_the_original(tmp_path, random):
    (tmp_path / "train/a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train/a/0.png"), np.zeros((6, 10, 3), np.uint8))
    dataset = VideoFolder(
        root=str(tmp_path), image_size=8, split="train", pair="random" if random else "first"
    )
    item = dataset.sample(0, np.random.default_rng(0))
    assert item["size"].tolist() == dataset.size(0).tolist() == [10, 6]
    assert item["size"].dtype == np.float32


def test_no_video_is_read_before_it_is_used(tmp_path):
    write(tmp_path / "train" / "good", 0, 2)
    (tmp_path / "train" / "zbad.mp4").write_bytes(b"no video")
    dataset = VideoFolder(root=str(tmp_path), image_size=SIDE)
    assert told(dataset.sample(0, np.random.default_rng(0))["target"])[0] == 0
    with pytest.raises(OSError, match=r"zbad.mp4' cannot be opened as a video"):
        dataset.sample(1, np.random.default_rng(0))


def test_few_files_stay_open_and_closed_ones_are_read_again(tmp_path):
    (tmp_path / "train").mkdir()
    for n in range(OPEN_VIDEOS + 2):
        write_video(tmp_path / "train" / f"{n}.mp4", [frame(n % 6, t) for t in range(2)], fps=5)
    dataset = VideoFolder(root=str(tmp_path), image_size=SIDE)
    for _ in range(2):
        for n in range(len(dataset)):
            item = dataset.sample(n, np.random.default_rng(n))
            assert told(item["target"])[0] == n % 6
    readers = [clip.reader for clip in dataset._files.values()]
    assert len(readers) == OPEN_VIDEOS + 2
    assert sum(reader._capture is not None for reader in readers) == OPEN_VIDEOS


def test_clips_are_cut_from_it(open_folder):
    clips = Clips(frame_dataset=open_folder(), length=4)
    assert sorted(name for name, _ in clips.clips) == ["anna.mp4", "bert.gif"]
    item = clips.sample(0, np.random.default_rng(0))
    start = int(item["name"].rsplit("/", 1)[1])
    assert [told(image)[1] for image in item["frames"]] == list(range(start, start + 4))
    assert item["size"].tolist() == [SIDE, SIDE]


def test_workers_and_none_load_the_same(root):
    node = dict(type="datasets/video_folder", root=root, image_size=SIDE, id_sampling=True)
    batches = []
    for workers in (0, 2):
        datasets = Datasets(Data(train=node, workers=workers))
        loader = train_loader(datasets, iterations=3, batch_size=4, seed=1, rank=0, ranks=1)
        batches.append(list(loader))
    for one, two in zip(*batches):
        assert one["name"] == two["name"]
        assert (one["target"] == two["target"]).all()
        assert (one["source"] == two["source"]).all()


def test_fomm_vox_trains_and_is_scored_on_it(root, tmp_path):
    """Its training loader and transforms, two optimizer steps, L1 of the test split."""
    small = {"image_size": 128, "num_landmarks": 3, "width": 2}
    changes = {
        "data.train.root": root,
        "data.test.root": root,
        "data.workers": 0,
        "losses.perceptual.weights": "random",
        "losses.perceptual.width": 4,
        "evaluate.max_items": 3,
        "train.batch_size": 2,
    }
    cfg = load_config(Path(__file__).parents[1] / "configs/fomm_vox.py", small | changes)
    job = Job(cfg, tmp_path)
    pipeline = job.trainee.train().pipeline
    before = [p.detach().clone() for p in pipeline.parameters()]
    optimizer = torch.optim.Adam(pipeline.parameters(), 1e-3)
    loader = train_loader(job.datasets, iterations=2, batch_size=2, seed=0, rank=0, ranks=1)
    for arrays in loader:
        total, _ = job.trainee.parse_losses(job.trainee(**arrays))  # refuses what is not finite
        total.backward()
        Stepper(optimizer, None, amp=False).step()
    moved = [not torch.equal(a, b) for a, b in zip(before, pipeline.parameters())]
    assert np.mean(moved) > 0.9
    rows = evaluate(pipeline, cfg, "last", job.datasets)
    found = {row["protocol"]: row for row in rows}["l1"]
    assert found["n"] == 3
    assert found["baselines"]["copy_source"] < found["value"] < 1


def options(**changed):
    return changed


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (options(root="none"), FileNotFoundError, "no folder 'none'. Set root= to a folder with"),
        (options(split="val"), ValueError, "split='val' must be train or test."),
        (options(pair="last"), ValueError, "pair='last' must be 'random' or 'first'."),
        (
            options(pair="first", id_sampling=True),
            ValueError,
            "id_sampling draws one video, but pair='first' and pairs use all of them.",
        ),
        (options(pairs="none.csv"), FileNotFoundError, "no file 'none.csv'. Set pairs= to a CSV"),
        (
            options(pairs="columns.csv"),
            ValueError,
            "'columns.csv' has no column driving and no column source. Name the videos",
        ),
        (
            options(pairs="others.csv"),
            ValueError,
            "no row of 'others.csv' names two videos of 'half/train', such as 'folder'. Use",
        ),
        (
            options(split="test"),
            FileNotFoundError,
            "no folder 'half/test', only the other split's. Put videos there, or",
        ),
        (options(root="empty"), FileNotFoundError, "no video in 'empty'. Put mp4, gif or mov"),
        (
            options(root="one"),
            ValueError,
            "a random fifth of the 1 video(s) in 'one' is for testing, which leaves one split",
        ),
        (
            options(root="hollow", split="test", pair="first"),
            FileNotFoundError,
            "no image in folder 'hollow/a'. Put the frames of one video there, or remove it.",
        ),
        (
            options(root="wide", split="test", pair="first"),
            ValueError,
            "'wide/a.png' (20 x 16 pixels) is not a row of square frames. Put ordinary images into",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_errors_say_what_is_wrong_and_what_to_do(given, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("half/train/folder"), 0, 2)
    write(Path("one/only"), 0, 2)
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no video")
    Path("hollow/a").mkdir(parents=True)
    Path("wide").mkdir()
    cv2.imwrite("wide/a.png", np.zeros((16, 20, 3), np.uint8))
    Path("columns.csv").write_text("from,to\na,b\n")
    Path("others.csv").write_text("source,driving\na.mp4,folder\n")
    with pytest.raises(error) as caught:
        VideoFolder(**{"root": "half", "image_size": SIDE, **given})
    assert f"datasets/video_folder: {text}" in str(caught.value)
