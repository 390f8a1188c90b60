"""components/data/annotations and labels: every layout gives the numbers written by hand."""

import json

import numpy as np
import pytest
import scipy.io

from components.data.annotations import (
    Annotations,
    keypoint_indices,
    make_annotations,
    read_coco,
    read_csv,
    write_coco,
    write_csv,
)
from components.data.labels import PENN_ACTION, read_penn_action, read_pts

NOSE_TAIL = [[[1.5, 2.25], [0, 0]], [[3, 4], [5.125, 6]]]  # nose, tail of two images
FLAGS = [[2, 0], [2, 2]]


def check(found, files, names=("nose", "tail")):
    assert found.files == files
    assert found.names == names
    assert found.xy.dtype == np.float32
    np.testing.assert_array_equal(found.xy, NOSE_TAIL)
    np.testing.assert_array_equal(found.visible, FLAGS)


CSV = {
    "wide": ("file,nose_x,nose_y,tail_x,tail_y\na.png,1.5,2.25,,\nb.png,3,4,5.125,6\n", "ab"),
    "numbered": ("id,x0,y0,x1,y1\na.png,1.5,2.25,nan,nan\nb.png,3,4,5.125,6\n", "ab"),
    "scores": (
        "frame,nose_x,nose_y,nose_score,tail_x,tail_y,tail_score\n"
        "0,1.5,2.25,0.9,0,0,0\n1,3,4,1,5.125,6,0.1\n",
        "frames",
    ),
    "extra columns, blank line": (
        "file,identity,video,frame,nose_x,nose_y,tail_x,tail_y\r\na.png,Ann,7,0,1.5,2.25,,\r\n\r\n"
        "b.png,Bob,7,1,3,4,5.125,6\r\n",
        "ab",
    ),
    "long": (
        "video,frame,keypoint,x,y,confidence\nv.mp4,0,nose,1.5,2.25,0.8\nv.mp4,0,tail,9,9,0\n"
        "v.mp4,1,tail,5.125,6,1\nv.mp4,1,nose,3,4,1\n",
        "v.mp4",
    ),
    "long without confidence": (
        "file,keypoint,x,y\na.png,nose,1.5,2.25\na.png,tail,,\n"
        "b.png,nose,3,4\nb.png,tail,5.125,6\n",
        "ab",
    ),
    "deeplabcut": (
        "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
        "a.png,1.5,2.25,,\nb.png,3,4,5.125,6\n",
        "ab",
    ),
    "deeplabcut 2.3": (
        "scorer,,,me,me,me,me\nbodyparts,,,nose,nose,tail,tail\ncoords,,,x,y,x,y\n"
        "data,m1,a.png,1.5,2.25,,\ndata,m1,b.png,3,4,5.125,6\n",
        "data/m1",
    ),
    "deeplabcut prediction": (
        "scorer,me,me,me,me,me,me\nbodyparts,nose,nose,nose,tail,tail,tail\n"
        "coords,x,y,likelihood,x,y,likelihood\n0,1.5,2.25,0.9,7,7,0\n1,3,4,1,5.125,6,1\n",
        "frames",
    ),
}
FILES = {
    "ab": ("a.png", "b.png"),
    "frames": ("000000", "000001"),
    "v.mp4": ("v.mp4/000000", "v.mp4/000001"),
    "data/m1": ("data/m1/a.png", "data/m1/b.png"),
}


@pytest.mark.parametrize("name", CSV)
def test_csv_layouts(tmp_path, name):
    text, files = CSV[name]
    (tmp_path / "a.csv").write_text("\ufeff" + text, encoding="utf-8")
    names = ("0", "1") if name == "numbered" else ("nose", "tail")
    check(read_csv(tmp_path / "a.csv"), FILES[files], names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "is empty"),
        ("file,nose_x,nose_y\n", "no rows below the header"),
        ("file,a,b\nx.png,1,2\n", "no column NAME_x"),
        ("file,nose_x,tail_y\nx.png,1,2\n", "'nose' has a column for x but not for y"),
        ("nose_x,nose_y\n1,2\n", "no column identifies the image"),
        ("file,nose_x,nose_y\nx.png,1\n", r"row 2 of '.*a\.csv' has 2 cells instead of 3"),
        ("file,nose_x,nose_y\nx.png,1,two\n", "could not convert string to float: 'two'"),
        ("scorer,me,me\na.png,1,2\n", "must be followed by the rows 'bodyparts' and 'coords'"),
        ("file,keypoint,x,y\na,nose,1,2\na,nose,1,2\n", "a keypoint occurs twice for one image"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "a.csv")


@pytest.mark.parametrize("read", [read_csv, read_coco, read_penn_action, read_pts])
def test_missing_file(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        read(tmp_path / "gone.txt")


def coco():
    return {
        "images": [
            {"id": 4, "file_name": "a.png", "width": 8, "height": 6},
            {"id": 9, "file_name": "b.png"},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 1, "keypoints": [3, 4, 2, 5.125, 6, 1]},
            {"id": 2, "image_id": 4, "category_id": 1, "keypoints": [1.5, 2.25, 2, 0, 0, 0]},
            {"id": 3, "image_id": 4, "category_id": 1, "keypoints": [0, 0, 0, 0, 0, 0]},
            {"id": 4, "image_id": 4, "category_id": 1, "bbox": [0, 0, 1, 1]},
        ],
        "categories": [
            {"id": 1, "name": "mouse", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}
        ],
    }


def test_coco(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco()))
    found = read_coco(tmp_path / "a.json")
    assert found.files == ("b.png", "a.png")  # an object without a keypoint is none
    assert found.edges == ((0, 1),)
    np.testing.assert_array_equal(found.xy, NOSE_TAIL[::-1])
    np.testing.assert_array_equal(found.visible, [[2, 1], [2, 0]])
    np.testing.assert_array_equal(found.sizes, [[0, 0], [8, 6]])


def test_coco_without_names(tmp_path):
    data = coco()
    data["categories"] = [{"id": 1, "name": "face", "keypoints": [], "skeleton": []}]
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert read_coco(tmp_path / "a.json").names == ("0", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("categories"), "is not a COCO keypoint file"),
        (lambda d: d["annotations"][0].update(image_id=5), "is not a COCO keypoint file"),
        (lambda d: d["annotations"].__delitem__(slice(2)), "no object in .* has keypoints"),
        (
            lambda d: d["annotations"][0]["keypoints"].extend([1, 1, 2]),
            "have different numbers of keypoints",
        ),
    ],
)
def test_coco_errors(tmp_path, change, message):
    data = coco()
    change(data)
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        read_coco(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="is not a COCO keypoint file"):
        read_coco(tmp_path / "a.json")


def annotations():
    xy = np.random.default_rng(0).uniform(0, 500, (3, 2, 2))
    xy[1, 0] = np.nan
    flags = np.array([[2, 1], [2, 2], [0, 2]])
    sizes = [[500, 400], [500, 400], [300, 200]]
    files = ("x/a b.png", "x/c.png", "d,e.png")
    return make_annotations(("nose", "tail"), files, xy, flags, sizes, [(0, 1)])


def test_nothing_but_zero_where_missing():
    made = annotations()
    np.testing.assert_array_equal(made.visible, [[2, 1], [0, 2], [0, 2]])
    assert made.xy[1, 0].tolist() == made.xy[2, 0].tolist() == [0, 0]
    with pytest.raises(
        ValueError, match=r"Annotations.xy has shape \(3, 2, 2\); it must be \(3, 1, 2\)"
    ):
        Annotations(("nose",), (), made.files, made.xy, made.visible, made.sizes)


def test_coco_round_trip_is_exact(tmp_path):
    made = annotations()
    write_coco(tmp_path / "new" / "a.json", made)
    found = read_coco(tmp_path / "new" / "a.json")
    assert (found.names, found.edges, found.files) == (made.names, made.edges, made.files)
    for field in ("xy", "visible", "sizes"):
        np.testing.assert_array_equal(getattr(found, field), getattr(made, field))
    first = json.loads((tmp_path / "new" / "a.json").read_text())["annotations"][1]
    assert first["num_keypoints"] == 1
    assert first["bbox"][2:] == [0, 0]


def test_csv_round_trip_is_exact(tmp_path):
    made = annotations()
    write_csv(tmp_path / "a.csv", made)
    found = read_csv(tmp_path / "a.csv")
    assert (found.names, found.files) == (made.names, made.files)
    np.testing.assert_array_equal(found.xy, made.xy)
    np.testing.assert_array_equal(found.visible > 0, made.visible > 0)
    np.testing.assert_array_equal(found.sizes, made.sizes)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_keypoints_by_name_or_position():
    assert keypoint_indices(("nose", "tail"), ("tail", 0)) == (1, 0)
    for wrong in ("ear", 2, -1):
        with pytest.raises(ValueError, match=r"no keypoint .* among these 2: nose, tail"):
            keypoint_indices(("nose", "tail"), (wrong,))


def penn_action(path, frames, action, view, dtype):
    x = np.tile(np.arange(13, dtype=dtype) + 10, (frames, 1))
    visibility = np.ones((frames, 13), np.uint8)
    visibility[:, 0] = visibility[:, 1] = 0
    x[:, 1] = 1  # never placed
    y = np.where(x == 1, 1, x + 100).astype(dtype)
    scipy.io.savemat(
        path,
        {
            "x": x,
            "y": y,
            "visibility": visibility,
            "action": action,
            "pose": view,
            "train": 1,
            "bbox": np.zeros((frames, 4)),
            "nframes": np.uint8(frames),
            "dimensions": np.array([[270, 480, frames]], np.uint16),
        },
    )


def test_penn_action(tmp_path):
    penn_action(tmp_path / "0002.mat", 5, "jumping_jacks", "front", np.float64)
    penn_action(tmp_path / "0010.mat", 2, "bowl", "left", np.uint8)
    found = read_penn_action(tmp_path)
    assert found.names == PENN_ACTION
    assert found.files[4:] == ("0002/000005.jpg", "0010/000001.jpg", "0010/000002.jpg")
    np.testing.assert_array_equal(found.xy[:, 0], [[9, 109]] * 7)  # 1-based 10, 110
    np.testing.assert_array_equal(found.visible[:, :3], [[1, 0, 2]] * 7)
    np.testing.assert_array_equal(found.sizes, [[480, 270]] * 7)
    assert read_penn_action(tmp_path, actions=("bowl",)).files == found.files[5:]
    assert read_penn_action(tmp_path, views=("front",), stride=2).files == found.files[0:5:2]
    assert len(read_penn_action(tmp_path / "0010.mat").files) == 2
    with pytest.raises(ValueError, match=r"no video at .* actions=\('squat',\)"):
        read_penn_action(tmp_path, actions=("squat",))


def test_broken_penn_action(tmp_path):
    scipy.io.savemat(tmp_path / "1.mat", {"x": [1]})
    (tmp_path / "2.mat").touch()
    (tmp_path / "3.mat").write_text("text " * 100)
    for i in (1, 2, 3):
        with pytest.raises(ValueError, match=rf"{i}\.mat' is not a Penn Action label file"):
            read_penn_action(tmp_path / f"{i}.mat")


def test_pts(tmp_path):
    (tmp_path / "helen").mkdir()
    (tmp_path / "a.pts").write_text("version: 1\nn_points:  2\n{\n1 1\n10.5 20\n}\n")
    windows = b"version: 1\r\nn_points: 2\r\n{\r\n3 4\r\n5 6\r\n}\r\n"
    (tmp_path / "helen" / "b 1.pts").write_bytes(windows)
    found = read_pts(tmp_path)
    assert found.files == ("a.pts", "helen/b 1.pts")
    np.testing.assert_array_equal(found.xy, [[[0, 0], [9.5, 19]], [[2, 3], [4, 5]]])
    assert read_pts(tmp_path / "a.pts").names == ("0", "1")
    (tmp_path / "c.pts").write_text("version: 1\nn_points: 1\n{\n1 1\n}")
    with pytest.raises(ValueError, match=r"c\.pts' has 1 points, but '.*a\.pts' has 2"):
        read_pts(tmp_path)
    (tmp_path / "c.pts").write_text("version: 1\nn_points: 3\n{\n1 1\n}")
    with pytest.raises(ValueError, match=r"c\.pts' is not a \.pts file"):
        read_pts(tmp_path)
