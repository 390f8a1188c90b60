"""datasets/bbc_pose on a release in the official layout: 92 entries, three folders of frames."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from components.datasets.bbc_pose import BBCPose
from registry.roles import DATASETS

FIELDS = ("videoName", "type", "source", "train_frames", "train_joints", "test_frames")
WIDTH, HEIGHT = 400, 320
# Matlab's pixels, x then y: box 101 ... 221 by 41 ... 161
JOINTS = np.array([[161, 101, 221, 121, 201, 141, 181], [41, 161, 161, 121, 121, 81, 81]])


def bbc_pose(root, videos, frames=(30, 4, 100, 8, 9)):
    """Write frames, whose blue is the number modulo 100 and whose red grows to the right."""
    entries = np.zeros((1, 92), [(field, object) for field in FIELDS])
    for i in range(92):
        entries[0, i] = ("", "", "bbc", np.zeros((1, 0), np.uint16), np.zeros((0, 0)), [])
    for video in videos:
        (Path(root) / str(video)).mkdir(parents=True)
        # uint8, as savemat stores small numbers; joints move right by one pixel per frame
        moved = [JOINTS + np.array([[n % 20], [0]]) for n in frames]
        joints = np.stack(moved, axis=2).astype(np.uint8)
        entries["train_frames"][0, video - 1] = np.array([frames], np.uint8)
        entries["train_joints"][0, video - 1] = joints
        for n in frames:
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            image[..., 0] = 2 * (n % 100)
            image[..., 2] = np.arange(WIDTH) // 2
            cv2.imwrite(f"{root}/{video}/{n}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    (Path(root) / "code").mkdir(exist_ok=True)
    scipy.io.savemat(f"{root}/code/bbcpose.mat", {"bbcpose": entries})
    gt = np.stack([JOINTS, JOINTS + 2], axis=2).astype(np.uint8)
    results = np.array(
        [[(gt, np.array([[30, 4]], np.uint16), np.array([[max(videos), min(videos)]], np.uint8))]],
        [(field, object) for field in ("gt", "frames", "videos")],
    )
    scipy.io.savemat(f"{root}/code/results.mat", {"results": results})
    return str(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bbc")
    folder = bbc_pose(root, range(1, 11))
    for video in range(4, 11):  # only the first three have pictures
        shutil.rmtree(root / str(video))
    return folder


def test_training_frames_are_in_order_of_time(root):
    ds = DATASETS.build({"type": "datasets/bbc_pose", "root": root, "image_size": 32})
    assert len(ds) == 10 * 5
    names = [ds.sample(i, np.random.default_rng(0))["name"] for i in range(10)]
    assert names == [f"{video}/{n}" for video in (1, 2) for n in (4, 8, 9, 30, 100)]
    items = [ds.sample(i, np.random.default_rng(0)) for i in range(5)]
    blue = [round(item["target"][..., 2].mean() / 2) for item in items]
    assert blue == [4, 8, 9, 30, 0]


def test_box_crop_by_hand(root):
    """Frame 100: joints 101 ... 221 by 41 ... 161, 60 more on each side, y clipped at 0."""
    ds = BBCPose(root=root, image_size=240)
    assert ds.box(4) == (41, 0, 281 - 41, 221)
    assert ds.box(0) == (45, 0, 240, 221)  # frame 4 lies four pixels to the right
    item = ds.sample(4, np.random.default_rng(0))
    assert item["size"].tolist() == [240, 221]
    assert item["size"].dtype == np.float32
    assert item["target"].shape == item["source"].shape == (240, 240, 3)
    # 240 columns of the frame from the 41st on, unchanged; red is half the column
    np.testing.assert_allclose(item["target"][100, :, 0], np.arange(41, 281) // 2, atol=2)
    # Matlab's 161, 41 is pixel 160, 40, of which the crop leaves 119, 40
    head = [(2 * 119 + 1) / 240 - 1, (2 * 40 + 1) / 221 - 1]
    np.testing.assert_allclose(item["keypoints"][0], head, atol=1e-6)
    wrist = [(2 * 59 + 1) / 240 - 1, (2 * 160 + 1) / 221 - 1]
    np.testing.assert_allclose(item["keypoints"][1], wrist, atol=1e-6)
    assert item["visible"].tolist() == [1] * 7


def test_square_crop_by_hand(root):
    """Frame 100: the centre is 161, 101; 150 on each side are 11 ... 311 by -49 ... 251."""
    ds = BBCPose(root=root, crop="square", image_size=64)
    assert ds.box(4) == (11, 0, 300, 251)
    x = (2 * (160 - 11) + 1) / 300 - 1
    np.testing.assert_allclose(ds.keypoints(4)[0], [x, 81 / 251 - 1], atol=1e-6)
    # frame 9: the centre is 170, 101
    assert ds.box(2) == (20, 0, 300, 251)


def test_crop_is_clipped_on_the_right_and_below(root, tmp_path):
    shutil.copytree(root, tmp_path / "bbc")
    cv2.imwrite(str(tmp_path / "bbc/1/100.jpg"), np.zeros((200, 250, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "bbc/1/4.jpg"), np.zeros((200, 250, 3), np.uint8))
    ds = BBCPose(root=str(tmp_path / "bbc"), crop="square")
    assert ds.box(4) == (11, 0, 239, 200)
    assert BBCPose(root=str(tmp_path / "bbc")).box(4) == (41, 0, 209, 200)


def test_official_crop_of_the_source_is_that_of_the_target(root):
    """Red tells the column: the same columns of another frame."""
    ds = BBCPose(root=root, image_size=64, pair_range=(1, 2))
    item = ds.sample(0, np.random.default_rng(0))
    np.testing.assert_allclose(item["source"][..., 0], item["target"][..., 0], atol=2)
    assert round(item["source"][..., 2].mean() / 2) == 8
    same = BBCPose(root=root, image_size=64, pair_range=None).sample(0, np.random.default_rng(0))
    assert np.array_equal(same["source"], same["target"])


def test_pair_rule_by_enumeration(root, tmp_path):
    """60 annotated frames: 3 to 39 later, fewer near the end, 3 to 39 earlier at the end."""
    frames = tuple(range(1, 61))
    bbc_pose(tmp_path / "bbc", range(1, 11), frames[:1])
    mat = scipy.io.loadmat(tmp_path / "bbc/code/bbcpose.mat")["bbcpose"]
    mat["train_frames"][0, 0] = np.array([frames], np.uint8)
    mat["train_joints"][0, 0] = np.stack([JOINTS] * 60, axis=2).astype(np.uint8)
    scipy.io.savemat(tmp_path / "bbc/code/bbcpose.mat", {"bbcpose": mat})
    ds = BBCPose(root=str(tmp_path / "bbc"))
    rng = np.random.default_rng(0)

    def partners(index):
        return Counter(ds._partner(index, rng) for _ in range(3000))

    first = partners(0)
    assert set(first) == set(range(3, 40))
    assert max(first.values()) < 2 * min(first.values())  # uniform: 81 each
    assert set(partners(20)) == set(range(23, 60))  # 40 left: 3 ... 39 later
    assert set(partners(21)) == set(range(24, 60))  # 39 left: 3 ... 38 later
    assert set(partners(56)) == {59}  # four left: only 3 later
    assert set(partners(57)) == set(range(18, 55))  # three left: 3 ... 39 earlier
    assert set(partners(59)) == set(range(20, 57))
    # the other videos have one frame
    assert set(partners(60)) == {60}


def test_backwards_stops_at_the_first_frame(root):
    """Position 3 of 5 has two frames left: backwards by min(3, 3 ... 39), always to the first."""
    ds = BBCPose(root=root)
    assert {ds._partner(3, np.random.default_rng(seed)) for seed in range(20)} == {0}
    assert {ds._partner(4, np.random.default_rng(seed)) for seed in range(200)} == {0, 1}
    assert {ds._partner(1, np.random.default_rng(seed)) for seed in range(20)} == {4}
    assert ds._partner(8, np.random.default_rng(0)) == 5  # of the second video


def test_test_frames_come_from_the_results(tmp_path):
    ds = BBCPose(root=bbc_pose(tmp_path, (16, 17)), split="test", crop="square", image_size=32)
    items = [ds.sample(i, np.random.default_rng(i)) for i in range(len(ds))]
    assert [item["name"] for item in items] == ["17/30", "16/4"]
    assert ds.box(0) == (11, 0, 300, 251)
    assert ds.box(1) == (13, 0, 300, 253)
    for item in items:
        assert np.array_equal(item["source"], item["target"])
        assert item["keypoints"][0, 0] == pytest.approx((2 * 149 + 1) / 300 - 1)


def test_validation_videos(tmp_path):
    ds = BBCPose(root=bbc_pose(tmp_path, range(11, 16)), split="val", image_size=16)
    assert len(ds) == 5 * 5
    item = ds.sample(24, np.random.default_rng(0))
    assert item["name"] == "15/100"
    assert np.array_equal(item["source"], item["target"])


def test_small_unsigned_integers_do_not_wrap_around(root):
    """uint8 in the file: 41 - 60 is below 0, not 237."""
    stored = scipy.io.loadmat(f"{root}/code/bbcpose.mat")["bbcpose"][0][0][4]
    assert stored.dtype == np.uint8
    assert BBCPose(root=root).box(4)[1] == 0


def test_skeleton():
    names = BBCPose.keypoint_names
    assert len(set(names)) == 7
    for left, right in BBCPose.flip_pairs:
        assert names[left].replace("left", "right") == names[right]
    assert {j for edge in BBCPose.edges for j in edge} == set(range(7))


def test_errors_say_what_to_get(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"code.bbcpose\.mat'.*bbcpose_code_1\.0\.tgz"):
        BBCPose(root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no file '.*code.results\.mat'"):
        BBCPose(root=str(tmp_path), split="test")
    with pytest.raises(ValueError, match="has no annotated frames of video 11"):
        BBCPose(root=root, split="val")
    with pytest.raises(ValueError, match="split='valid' must be 'train', 'val' or 'test'"):
        BBCPose(root=root, split="valid")
    ds = BBCPose(root=root)  # pictures are not looked for
    with pytest.raises(FileNotFoundError, match=r"no file '.*4.4\.jpg'.*bbcpose_data_1\.0\.zip"):
        ds.keypoints(15)
