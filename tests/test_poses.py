"""datasets/poses: coordinates by hand, incomplete poses out, random places inside the image."""

import numpy as np
import pytest
import scipy.io

from components.data.annotations import make_annotations, write_coco
from components.datasets.poses import Poses
from registry.roles import DATASETS

NAMES = ("left_eye", "right_eye", "chin")


@pytest.fixture
def coco(tmp_path):
    xy = [[[0, 0], [39, 0], [20, 19]], [[1, 1], [2, 2], [3, 3]], [[10, 4], [30, 4], [20, 9]]]
    flags = [[2, 2, 2], [2, 0, 2], [2, 1, 2]]
    made = make_annotations(NAMES, "abc", xy, flags, [(40, 20)] * 3, [(0, 1), (1, 2)])
    write_coco(tmp_path / "a.json", made)
    return str(tmp_path / "a.json")


def test_image_coordinates(coco):
    ds = DATASETS.build({"type": "datasets/poses", "source": coco})
    assert (len(ds), ds.dropped) == (2, 1)
    assert (ds.keypoint_names, ds.edges, ds.flip_pairs) == (NAMES, ((0, 1), (1, 2)), ())
    expected = [[-0.975, -0.95], [0.975, -0.95], [41 / 40 - 1, 0.95]]
    np.testing.assert_allclose(ds.keypoints(0), expected, rtol=1e-5)
    assert ds.keypoints(0).dtype == np.float32
    ds.keypoints(0)[:] = 0
    np.testing.assert_allclose(ds.keypoints(0), expected, rtol=1e-5)


def test_select_and_midpoints(coco):
    ds = Poses(
        source=coco,
        midpoints=(("nose", "left_eye", "right_eye"), ("lip", "nose", "chin")),
        select=("lip", 0, "nose"),
        edges=(("lip", "nose"),),
        flip_pairs=((1, 2),),
    )
    assert ds.keypoint_names == ("lip", "left_eye", "nose")
    assert (ds.edges, ds.flip_pairs) == (((0, 2),), ((1, 2),))
    assert ds.dropped == 1  # the second pose has no right eye, so no nose
    # pixels: nose (19.5, 0), lip (19.75, 9.5)
    np.testing.assert_allclose(ds.keypoints(0)[2], [0, -0.95], atol=1e-6)
    np.testing.assert_allclose(ds.keypoints(0)[0], [40.5 / 40 - 1, 0], atol=1e-6)
    assert Poses(source=coco, select=("left_eye", "chin")).edges == ()
    assert Poses(source=coco, select=("left_eye", "chin")).dropped == 0


def test_box_is_a_similarity_of_the_pose(coco):
    ds = Poses(source=coco, fit="box", box_height=(0.4, 0.5), box_shift=0.2, seed=3)
    wide, tall = 0, 1  # extents in pixels: 39 x 19 and 20 x 5
    for i, (width, height) in enumerate([(39, 19), (20, 5)]):
        found = np.ptp(ds.keypoints(i), axis=0)
        assert found[wide] / found[tall] == pytest.approx(width / height, rel=1e-5)
        middle = (ds.keypoints(i).max(0) + ds.keypoints(i).min(0)) / 2
        assert np.abs(middle).max() <= 0.2 + 1e-6
        assert np.abs(ds.keypoints(i)).max() <= 0.95 + 1e-6
    assert 0.8 <= np.ptp(ds.keypoints(0)[:, 1]) <= 1.0  # 0.4 to 0.5 of a height of 2
    # as wide as 4 heights: limited to a width of 1.9
    assert np.ptp(ds.keypoints(1)[:, 0]) == pytest.approx(1.9, rel=1e-5)


def test_seed_decides_boxes(coco):
    same, other = (Poses(source=coco, fit="box", seed=seed).keypoints(0) for seed in (0, 1))
    np.testing.assert_array_equal(same, Poses(source=coco, fit="box").keypoints(0))
    assert not np.array_equal(same, other)


def test_csv_needs_a_size(tmp_path):
    (tmp_path / "a.csv").write_text("id,x0,y0\na,0,63\n")
    source = {"source": str(tmp_path / "a.csv"), "format": "csv"}
    found = Poses(**source, size=(128, 64)).keypoints(0)
    np.testing.assert_allclose(found, [[1 / 128 - 1, 127 / 64 - 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="does not contain the size of its images"):
        Poses(**source)
    assert len(Poses(**source, fit="box")) == 1


def test_pts(tmp_path):
    (tmp_path / "a.pts").write_text("version: 1\nn_points: 1\n{\n1 101\n}\n")
    ds = Poses(source=str(tmp_path), format="pts", size=(100, 200))
    np.testing.assert_allclose(ds.keypoints(0), [[-0.99, 201 / 200 - 1]], rtol=1e-4)


def test_penn_action(tmp_path):
    for i, action in enumerate(("squat", "bowl")):
        x = np.full((4, 13), 5.0 + np.arange(4)[:, None])
        scipy.io.savemat(
            tmp_path / f"{i:04d}.mat",
            {
                "x": x,
                "y": 2 * x,
                "visibility": np.ones((4, 13), np.uint8),
                "action": action,
                "pose": "front",
                "dimensions": [[100, 50, 4]],
                "nframes": 4,
                "train": 1,
            },
        )
    given = {"source": str(tmp_path), "format": "penn_action"}
    assert len(Poses(**given)) == 8
    ds = Poses(
        **given,
        actions=("bowl",),
        views=("front",),
        stride=3,
        midpoints=(("neck", "left_shoulder", "right_shoulder"),),
    )
    assert len(ds) == 2
    np.testing.assert_allclose(ds.keypoints(1), [[15 / 50 - 1, 31 / 100 - 1]] * 14, rtol=1e-6)


def test_errors(coco, tmp_path):
    with pytest.raises(ValueError, match="format='xml' must be one of coco, csv, penn_action, pts"):
        Poses(source=coco, format="xml")
    with pytest.raises(ValueError, match="actions, views, stride need format='penn_action'"):
        Poses(source=coco, stride=2)
    with pytest.raises(ValueError, match="no keypoint 'ear' among these 3"):
        Poses(source=coco, select=("ear",))
    (tmp_path / "a.csv").write_text("id,x0,y0,x1,y1\na,0,63,,\n")
    with pytest.raises(ValueError, match=r"no pose of 1 in .* has all keypoints"):
        Poses(source=str(tmp_path / "a.csv"), format="csv")
