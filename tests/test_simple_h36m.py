"""datasets/simple_h36m on a small release in the official layout, and its stand-in."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import scipy.io

from components.datasets.simple_h36m import SimpleH36M
from components.datasets.standin import StandIn
from registry.roles import DATASETS

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Frames 2, 4 ... 24, whose red tells the number, of "Walking 1" and an unused activity."""
    root = tmp_path_factory.mktemp("human_images")
    for subject in SUBJECTS:
        for sequence in ("Walking 1.5484", "Eating.5484"):
            for kind in ("WithBackground", "BackgroudMask", "Landmarks"):
                (root / subject / kind / sequence).mkdir(parents=True)
            for n in range(2, 26, 2):
                image = np.zeros((128, 128, 3), np.uint8)
                image[..., 2] = 10 * n  # red, as OpenCV stores blue first
                mask = np.zeros((128, 128), np.uint8)
                mask[:, :64] = 255
                y, x = np.linspace(0, 0.31, 32), np.full(32, n / 128)
                folder = root / subject
                cv2.imwrite(str(folder / "WithBackground" / sequence / f"{n}.jpg"), image)
                cv2.imwrite(str(folder / "BackgroudMask" / sequence / f"{n}.png"), mask)
                scipy.io.savemat(
                    folder / "Landmarks" / sequence / f"{n}.mat",
                    {"keypoints_2d": np.column_stack([y, x])},
                )
    return str(root)


def number(image):
    return round(image[:, :32, 0].mean() / 10)


def test_training_images(root):
    ds = DATASETS.build({"type": "datasets/simple_h36m", "root": root})
    assert len(ds) == 6 * 6  # six subjects, the first half of twelve frames
    items = [ds.sample(i, np.random.default_rng(i)) for i in range(len(ds))]
    assert [item["name"] for item in items[:7]] == [
        *(f"S1/Walking 1.5484/{n:06d}" for n in (2, 4, 6, 8, 10, 12)),
        "S5/Walking 1.5484/000002",
    ]
    for item in items:
        n = int(item["name"][-6:])
        assert number(item["target"]) == n
        assert n <= number(item["source"]) <= 12  # a later frame of the same half
        assert item["target"].shape == item["source"].shape == (128, 128, 3)
        assert (item["mask"][:, :64] == 1).all()
        assert (item["mask"][:, 64:] == 0).all()
        assert (item["target"][:, 64:] == 0).all()
        assert (item["visible"] == 1).all()
        # 2p - 1 of p = (n / 128, 0 ... 0.31)
        np.testing.assert_allclose(item["keypoints"][:, 0], n / 64 - 1, rtol=1e-6)
        np.testing.assert_allclose(item["keypoints"][[0, 31], 1], [-1, -0.38], rtol=1e-6)


def test_sample_window(root):
    ds = SimpleH36M(root=root, sample_window=(2, 3))
    assert len(ds) == 6 * 4  # the last two of each half have no frame two later
    rng = np.random.default_rng(0)
    assert {number(ds.sample(0, rng)["source"]) for _ in range(30)} == {6, 8}
    assert {number(ds.sample(3, rng)["source"]) for _ in range(30)} == {12}


def test_prior_is_the_second_half(root):
    ds = SimpleH36M(root=root, role="prior", sample_window=(2, 3))
    x = [ds.keypoints(i)[0, 0] for i in range(6)]
    np.testing.assert_allclose(x, np.arange(14, 26, 2) / 64 - 1, rtol=1e-6)
    assert len(ds) == 36
    with pytest.raises(ValueError, match="role='prior' needs split='train'"):
        SimpleH36M(root=root, role="prior", split="test")


def test_whole_sequences_without_a_prior(root):
    ds = SimpleH36M(root=root, role="all", sample_window=(3, 4))
    assert len(ds) == 6 * 9  # all but the last three
    item = ds.sample(8, np.random.default_rng(0))
    assert (number(item["target"]), number(item["source"])) == (18, 24)


def test_test_frames(root):
    ds = SimpleH36M(root=root, split="test", stride=5)
    items = [ds.sample(i, np.random.default_rng(0)) for i in range(len(ds))]
    assert [item["name"] for item in items] == [
        f"S11/Walking 1.5484/{n:06d}" for n in (2, 12, 22)
    ]  # the whole sequence
    assert all((item["source"] == item["target"]).all() for item in items)
    assert len(SimpleH36M(root=root, split="test")) == 12


def test_background_and_size(root):
    item = SimpleH36M(root=root, use_mask=False, image_size=64).sample(3, np.random.default_rng(0))
    assert item["target"].shape == (64, 64, 3)
    assert item["target"][..., 0].mean() == pytest.approx(80, abs=2)
    assert item["mask"].sum() == 32 * 64
    assert item["size"].tolist() == [128, 128]  # of the file


def test_skeleton():
    names = SimpleH36M.keypoint_names
    assert len(set(names)) == 32
    for left, right in SimpleH36M.flip_pairs:
        assert names[left].replace("left", "right") == names[right]
    assert len(SimpleH36M.flip_pairs) == 13
    drawn = {j for edge in SimpleH36M.edges for j in edge}
    assert (len(SimpleH36M.edges), len(drawn)) == (16, 17)


def test_errors_show_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"human_images\.tar\.gz.*S\*/WithBackground/<seq"):
        SimpleH36M(root=str(tmp_path))
    with pytest.raises(ValueError, match="split='val' must be 'train' or 'test'"):
        SimpleH36M(root=str(tmp_path), split="val")
    for subject in SUBJECTS:
        folder = tmp_path / subject / "BackgroudMask" / "Posing"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), np.zeros((4, 4), np.uint8))
        cv2.imwrite(str(folder / "2.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"no file '.*Landmarks.Posing.1\.mat'"):
        SimpleH36M(root=str(tmp_path)).keypoints(0)


def test_stand_in():
    ds = DATASETS.build(
        {
            "type": "datasets/standin",
            "image_size": 16,
            "num_keypoints": 32,
            "edges": SimpleH36M.edges,
            "flip_pairs": SimpleH36M.flip_pairs,
        }
    )
    a, b = (
        StandIn(image_size=16, num_keypoints=32).sample(3, np.random.default_rng(0))
        for _ in range(2)
    )
    assert set(a) == {"target", "source", "mask", "keypoints", "visible", "size", "name"}
    assert a["size"].tolist() == [16, 16]
    for key in a:
        assert np.array_equal(a[key], b[key])
        assert np.array_equal(a[key], ds.sample(3, np.random.default_rng(0))[key])
    assert len(ds) == 8
    assert a["target"].shape == (16, 16, 3)
    assert a["target"].dtype == np.uint8
    assert set(np.unique(a["mask"])) == {0, 1}
    assert np.abs(ds.keypoints(7)).max() <= 0.9
    assert ds.edges == SimpleH36M.edges


def test_short_sequences_occur_as_often_as_long_ones(root, tmp_path):
    """The official code draws a sequence, then a frame: three frames come as often as six."""
    shutil.copytree(root, tmp_path / "human_images")
    for kind in ("WithBackground", "BackgroudMask", "Landmarks"):
        for file in (tmp_path / "human_images/S5" / kind / "Walking 1.5484").iterdir():
            if int(file.stem) > 12:
                file.unlink()
    found = {}
    for sampling in ("sequence", "frame"):
        ds = SimpleH36M(root=str(tmp_path / "human_images"), sampling=sampling)
        names = [ds.sample(i, np.random.default_rng(0))["name"] for i in range(len(ds))]
        found[sampling] = Counter(name.split("/")[0] for name in names)
    assert set(found["sequence"].values()) == {6}
    assert found["frame"]["S5"] == 3
    assert found["frame"]["S6"] == 6
