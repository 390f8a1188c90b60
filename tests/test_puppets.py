"""datasets/puppets: exact, repeatable, and hard enough."""

import pickle
import time

import cv2
import numpy as np
import pytest

from components.datasets.puppets import CACHED_CLIPS, Puppets
from registry.roles import DATASETS

SKELETONS = ("human", "animal")


def pixels(points, size):
    return ((points + 1) * size - 1) / 2


def bone_lengths(ds, clip):
    points = ds.keypoints(clip * ds.frames_per_clip)
    start, end = np.array(ds.edges).T
    return np.linalg.norm(points[end] - points[start], axis=1)


def test_protocol():
    ds = DATASETS.build({"type": "datasets/puppets", "split": "test", "clips": 3})
    item = ds.sample(2 * 32 + 5, np.random.default_rng(0))
    assert len(ds) == 96
    assert item["name"] == "test/00002/005"
    assert item["size"].tolist() == [64, 64]
    assert {k: (v.shape, v.dtype.name) for k, v in item.items() if k != "name"} == {
        "target": ((64, 64, 3), "uint8"),
        "source": ((64, 64, 3), "uint8"),
        "keypoints": ((15, 2), "float32"),
        "visible": ((15,), "float32"),
        "size": ((2,), "float32"),
        "mask": ((64, 64), "uint8"),
    }
    assert set(np.unique(item["mask"])) == {0, 1}
    image, mask, points, visible = ds.render(2, 5)
    for name, value in (("target", image), ("mask", mask), ("visible", visible)):
        np.testing.assert_array_equal(item[name], value)
    np.testing.assert_array_equal(item["keypoints"], points)
    np.testing.assert_array_equal(item["keypoints"], ds.keypoints(2 * 32 + 5))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_names_edges_and_flips(skeleton):
    ds = Puppets(skeleton=skeleton)
    names = ds.keypoint_names
    assert len(set(names)) == len(names) == len(ds.keypoints(0))
    assert len(ds.edges) == len(names) - 1  # a tree
    assert sum(name.startswith(("left_", "right_")) for name in names) == 2 * len(ds.flip_pairs)
    for left, right in ds.flip_pairs:
        assert names[left] == names[right].replace("right_", "left_") != names[right]


@pytest.mark.parametrize("background", ["static", "moving"])
def test_same_in_any_instance_and_order(background):
    options = {"clips": 4, "frames_per_clip": 4, "background": background, "seed": 7}
    one, two = Puppets(**options), Puppets(**options)
    np.random.seed(0)  # noqa: NPY002 (the global generator must not matter)
    forward = [one.sample(i, np.random.default_rng(i)) for i in range(16)]
    two = pickle.loads(pickle.dumps(two))
    np.random.seed(1)  # noqa: NPY002
    backward = [two.sample(i, np.random.default_rng(i)) for i in reversed(range(16))][::-1]
    for a, b in zip(forward, backward):
        assert all(np.array_equal(a[k], b[k]) for k in a)


def test_forgetting_clips_changes_nothing():
    ds = Puppets(clips=CACHED_CLIPS + 2, frames_per_clip=2)
    first = ds.keypoints(0)
    for index in range(0, len(ds), 2):
        ds.keypoints(index)
    assert len(ds._motions) == CACHED_CLIPS
    assert 0 not in ds._motions
    np.testing.assert_array_equal(ds.keypoints(0), first)


def test_no_identity_is_shared():
    sets = [Puppets(split=split, clips=100) for split in ("train", "test", "prior")]
    sets.append(Puppets(split="train", clips=100, seed=1))
    # Ratios of bone lengths do not change with pose or size: they name the figure.
    ratios = [
        bone_lengths(ds, clip) / bone_lengths(ds, clip)[0] for ds in sets for clip in range(100)
    ]
    ratios = np.stack(ratios)
    distance = np.abs(ratios[:, None] - ratios).max(axis=2)
    assert distance[~np.eye(400, dtype=bool)].min() > 0.01


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_poses_are_inside_smooth_and_rigid(skeleton):
    ds = Puppets(clips=100, skeleton=skeleton)
    points = np.stack([ds.keypoints(i) for i in range(len(ds))]).reshape(100, 32, -1, 2)
    assert np.abs(points).max() <= 0.95
    assert np.linalg.norm(np.diff(points, axis=1), axis=-1).max() < 0.3
    start, end = np.array(ds.edges).T
    length = np.linalg.norm(points[:, :, end] - points[:, :, start], axis=-1)
    ratio = length / length[:, :, :1]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-3)


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_the_mean_pose_is_a_bad_guess(skeleton):
    train = Puppets(skeleton=skeleton)
    test = Puppets(split="test", clips=100, skeleton=skeleton)
    mean = np.mean([train.keypoints(i) for i in range(0, len(train), 4)], axis=0)
    truth = np.stack([test.keypoints(i) for i in range(len(test))])
    error = np.linalg.norm(truth - mean, axis=2) / 2  # the image is 2 wide
    assert 0.08 <= error.mean() <= 0.12
    # Most of it must remain when both poses are moved onto each other: articulation.
    moved = truth - truth.mean(axis=1, keepdims=True) - (mean - mean.mean(axis=0))
    assert (np.linalg.norm(moved, axis=2) / 2).mean() > 0.6 * error.mean()


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_visible_joints_lie_on_the_figure(skeleton):
    ds = Puppets(split="test", clips=20, image_size=128, skeleton=skeleton)
    for clip in range(20):
        _, mask, points, visible = ds.render(clip, 9)
        x, y = np.rint(pixels(points, 128)).astype(int).T
        assert mask[y, x][visible == 1].all()
        assert 0.04 < mask.mean() < 0.35


def test_hidden_joints_are_behind_another_limb():
    ds = Puppets(split="test", clips=60, skeleton="animal")
    hidden = 0
    for clip in range(60):
        _, _, points, visible = ds.render(clip, 0)
        for j in np.flatnonzero(visible == 0):
            hidden += 1
            # Independent of the picture: some other limb's axis passes by, nearer than the
            # widest limb's radius (0.19 x 1.12 x 1.08).
            others = [edge for edge in ds.edges if j not in edge]
            a, b = points[np.array(others).T]
            t = np.clip(((points[j] - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0, 1)
            assert np.linalg.norm(a + t[:, None] * (b - a) - points[j], axis=1).min() < 0.23
    assert 30 < hidden < 0.2 * 60 * len(ds.keypoint_names)


def test_transforms_carry_the_pixels():
    """Move one frame's figure onto another with the transforms alone: the colours must agree."""
    ds = Puppets(clips=4, image_size=128)
    for clip in range(4):
        image_a, parts_a = ds.parts(clip, 0)
        image_b, parts_b = ds.parts(clip, 6)
        agree = []
        for p, (a, b) in enumerate(zip(ds.transforms(clip, 0), ds.transforms(clip, 6))):
            np.testing.assert_allclose(np.linalg.det(a[:, :2]), np.sum(a[:, 0] ** 2))  # no mirror
            inside = cv2.erode((parts_a == p + 1).astype(np.uint8), np.ones((3, 3)), borderValue=0)
            y, x = np.nonzero(inside)
            own = np.linalg.solve(a[:, :2], (2 * np.stack([x, y]) + 1) / 128 - 1 - a[:, 2:])
            x2, y2 = np.rint(pixels(b[:, :2] @ own + b[:, 2:], 128)).astype(int).clip(0, 127)
            seen = parts_b[y2, x2] == p + 1
            change = image_a[y, x].astype(int) - image_b[y2, x2]
            agree.append(np.abs(change).max(axis=1)[seen] < 60)
        agree = np.concatenate(agree)
        assert len(agree) > 500
        assert agree.mean() > 0.9


@pytest.mark.parametrize("size", [64, 101])
def test_static_background_is_static(size):
    ds = Puppets(clips=3, image_size=size)
    for clip in range(3):
        frames = [ds.render(clip, frame) for frame in range(0, 32, 4)]
        union = np.max([mask for _, mask, _, _ in frames], axis=0)
        outside = cv2.dilate(union, np.ones((5, 5))) == 0  # antialiasing reaches past the mask
        assert outside.mean() > 0.2
        assert all(np.array_equal(f[0][outside], frames[0][0][outside]) for f in frames)
    one, two = (ds.render(clip, 0)[0].astype(int) for clip in (0, 1))
    assert np.abs(one - two).mean() > 20


def test_moving_background_moves_smoothly():
    moving = Puppets(clips=3, background="moving")
    for clip in range(3):
        shifts = []
        for frame in range(0, 31):
            (a, mask_a, _, _), (b, mask_b, _, _) = (
                moving.render(clip, frame),
                moving.render(clip, frame + 1),
            )
            outside = cv2.dilate(mask_a | mask_b, np.ones((5, 5))) == 0
            shifts.append(np.abs(a[outside].astype(int) - b[outside]).mean())
        assert np.mean(shifts) > 0.5
        assert max(shifts) < 30
    same = Puppets(clips=3)
    np.testing.assert_array_equal(same.keypoints(40), moving.keypoints(40))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_geometry_does_not_know_the_image_size(skeleton):
    small, large = (
        Puppets(split="test", image_size=s, clips=5, skeleton=skeleton) for s in (64, 128)
    )
    for clip in range(5):
        image, mask, points, _ = small.render(clip, 3)
        image_large, mask_large, points_large, _ = large.render(clip, 3)
        np.testing.assert_array_equal(points, points_large)
        shrunk = cv2.resize(image_large, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(image.astype(int) - shrunk).mean() < 6
        overlap = cv2.resize(mask_large.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        assert ((overlap > 0.5) != mask).mean() < 0.02


def test_right_limbs_are_darker_than_left():
    """The cue of the docstring, read from the image alone at the middle of limbs in full view."""
    ds = Puppets(split="test", clips=40, image_size=128)
    names = [bone.joint for bone in ds._drawn]
    right = 0
    for clip in range(40):
        image, parts = ds.parts(clip, 0)
        bright = {
            side: image[parts == 1 + names.index(f"{side}_knee")].mean()
            for side in ("left", "right")
        }
        right += bright["right"] < bright["left"]
    assert right == 40


def test_partners():
    ds = Puppets(clips=2, frames_per_clip=8, pair_range=(2, 3))
    frames = [ds.render(1, frame)[0] for frame in range(8)]
    found = set()
    for seed in range(40):
        source = ds.sample(8 + 3, np.random.default_rng(seed))["source"]
        found.add(next(f for f in range(8) if np.array_equal(frames[f], source)))
    assert found == {0, 1, 5, 6}
    ds = Puppets(clips=2, frames_per_clip=3)
    for seed in range(10):
        item = ds.sample(1, np.random.default_rng(seed))
        assert not np.array_equal(item["source"], item["target"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "datasets/puppets: split must be one of train, test, prior, not 'val'."),
        ({"background": "none"}, "background must be one of static, moving, not 'none'"),
        ({"skeleton": "face"}, "skeleton must be one of human, animal, not 'face'"),
        ({"image_size": 8}, "image_size must be at least 16, not 8"),
        ({"clips": 0}, "clips must be at least 1, not 0"),
        ({"frames_per_clip": 1}, "frames_per_clip must be at least 2, not 1"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"pair_range": (17, 20)}, "leaves a frame without a partner"),
        ({"pair_range": (0, 3)}, "leaves a frame without a partner"),
        ({"pair_range": (5, 3)}, "leaves a frame without a partner"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError) as error:
        Puppets(**options)
    assert message in str(error.value)


def test_wrong_index():
    ds = Puppets(clips=2)
    for index in (-1, 64):
        with pytest.raises(IndexError, match=f"no frame {index}; the data set has 64"):
            ds.keypoints(index)
    with pytest.raises(IndexError, match="no clip 2; the data set has 2"):
        ds.render(2, 0)


def test_fast_enough_to_draw_while_training():
    ds = Puppets(clips=2)
    ds.render(0, 0)
    start = time.process_time()
    for frame in range(32):
        ds.render(0, frame)
    assert (time.process_time() - start) / 32 < 0.01  # about 0.5 ms; slack for loaded machines
