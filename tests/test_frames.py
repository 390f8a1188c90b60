"""datasets/frames: every layout, fixtures whose pixels tell clip and frame."""

import pickle

import cv2
import numpy as np
import pytest

from components.data.video import VideoReader, write_video
from components.datasets.frames import Frames
from registry.roles import DATASETS


def picture(clip, frame, height=8, width=8):
    return np.full((height, width, 3), (clip, frame, 0), np.uint8)


def save(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


@pytest.fixture
def clips(tmp_path):
    """Three clip folders of 3, 12 and 1 frames, numbered without padding from 1."""
    for clip, length in ((10, 3), (20, 12), (30, 1)):
        for t in range(length):
            save(tmp_path / f"person{clip}" / "walk" / f"{t + 1}.png", picture(clip, t))
    return tmp_path


def all_samples(ds, seed=0):
    rng = np.random.default_rng(seed)
    return [ds.sample(i, rng) for i in range(len(ds))]


def where(image):
    return tuple(image[0, 0, :2].tolist())


def test_folder_of_clips(clips):
    ds = DATASETS.build({"type": "datasets/frames", "root": str(clips), "image_size": 8})
    assert len(ds) == 15
    assert ds.skipped_clips == ["person30/walk"]
    for item in all_samples(ds):
        (clip, t), (other, partner) = where(item["target"]), where(item["source"])
        assert item["name"] == f"person{clip}/walk/{t + 1}"  # frame 10 follows frame 9
        assert clip == other
        assert t != partner
        assert item["target"].shape == (8, 8, 3)
        assert item["target"].dtype == np.uint8
        assert set(item) == {"target", "source", "size", "name"}
    assert ds.keypoints(0) is None
    assert (ds.keypoint_names, ds.edges, ds.flip_pairs) == ((), (), ())


def test_rng_decides_the_source_only(clips):
    ds = Frames(root=str(clips), image_size=8)
    first, same, other = all_samples(ds), all_samples(ds), all_samples(ds, seed=1)
    for a, b, c in zip(first, same, other):
        assert where(a["target"]) == where(b["target"]) == where(c["target"])
        assert where(a["source"]) == where(b["source"])
    assert [where(a["source"]) for a in first] != [where(c["source"]) for c in other]


def test_pair_range(clips):
    ds = Frames(root=str(clips), image_size=8, pair_range=(3, 5), include=("*20*",))
    rng = np.random.default_rng(0)
    drawn = {where(ds.sample(4, rng)["source"])[1] for _ in range(200)}
    assert drawn == {0, 1, 7, 8, 9}
    short = Frames(root=str(clips), image_size=8, pair_range=(3, 5), include=("*10*",))
    first, middle, last = (where(item["source"])[1] for item in all_samples(short))
    assert (first, last) == (2, 0)  # the farthest there is
    assert middle in (0, 2)
    zero = Frames(root=str(clips), image_size=8, pair_range=(0, 0), include=("*10*",))
    assert all(where(item["source"]) == where(item["target"]) for item in all_samples(zero))


def test_include_and_exclude(clips):
    assert len(Frames(root=str(clips), image_size=8, exclude=("person2*",))) == 3
    both = {"include": ("person[12]*",), "exclude": ("*20/*",)}
    assert len(Frames(root=str(clips), image_size=8, **both)) == 3
    with pytest.raises(ValueError, match="match none of the clips person10/walk, person20/walk"):
        Frames(root=str(clips), image_size=8, include=("nobody",))


def test_same_pairs_use_every_image(clips):
    ds = Frames(root=str(clips), image_size=8, pair="same")
    assert len(ds) == 16
    assert all(where(item["source"]) == where(item["target"]) for item in all_samples(ds))
    with pytest.raises(ValueError, match="must be 'clip' or 'same'"):
        Frames(root=str(clips), image_size=8, pair="both")


def test_one_folder_is_one_clip(clips):
    ds = Frames(root=str(clips / "person20" / "walk"), image_size=8)
    assert [item["name"] for item in all_samples(ds)] == [f"walk/{t + 1}" for t in range(12)]


def test_samples_may_be_changed(clips):
    ds = Frames(root=str(clips), image_size=8)
    for item in all_samples(ds):
        item["target"][:] = item["source"][:] = 99
    assert all(where(item["target"])[0] in (10, 20) for item in all_samples(ds))


def test_cache_reads_each_image_once(clips):
    ds = Frames(root=str(clips), image_size=8)
    before = all_samples(ds)
    for path in clips.rglob("*.png"):
        path.unlink()
    after = all_samples(pickle.loads(pickle.dumps(ds)))
    assert [where(item["target"]) for item in before] == [where(item["target"]) for item in after]


def test_strips(tmp_path):
    for clip, length in ((10, 4), (20, 2)):
        save(tmp_path / f"clip{clip}.png", np.hstack([picture(clip, t) for t in range(length)]))
    for cache_mb in (1, 0):
        ds = Frames(root=str(tmp_path), image_size=8, strip=True, cache_mb=cache_mb)
        names = [(item["name"], where(item["target"])) for item in all_samples(ds)]
        assert names == [(f"clip10/{t:06d}", (10, t)) for t in range(4)] + [
            (f"clip20/{t:06d}", (20, t)) for t in range(2)
        ]
    save(tmp_path / "odd.png", np.zeros((8, 20, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"odd\.png' \(20 x 8 pixels\) is not a row of square frames"
    ):
        Frames(root=str(tmp_path), image_size=8, strip=True)


@pytest.fixture
def videos(tmp_path):
    for name, length in (("a", 6), ("b", 9)):
        frames = [np.full((32, 48, 3), 20 * t + 20, np.uint8) for t in range(length)]
        write_video(tmp_path / "takes" / f"{name}.mp4", frames, fps=25)
    return tmp_path / "takes"


@pytest.mark.parametrize("cache_mb", [64, 0])
def test_videos(videos, cache_mb, monkeypatch):
    monkeypatch.setattr("components.datasets.frames.OPEN_VIDEOS", 1)
    ds = Frames(root=str(videos), image_size=16, cache_mb=cache_mb, pair_range=(1, 2))
    items = all_samples(ds)
    assert [item["name"] for item in items] == (
        [f"a/{t:06d}" for t in range(6)] + [f"b/{t:06d}" for t in range(9)]
    )
    for item in items:
        t = int(item["name"][-6:])
        assert item["target"].mean() == pytest.approx(20 * t + 20, abs=4)
        assert 1 <= round(abs(item["source"].mean() - item["target"].mean()) / 20) <= 2
    assert len(Frames(root=str(videos / "b.mp4"), image_size=16, cache_mb=cache_mb)) == 9


def test_cache_keeps_videos_decoded_once(videos, monkeypatch):
    ds = Frames(root=str(videos), image_size=16)
    monkeypatch.setattr(VideoReader, "read", None)
    assert len(all_samples(ds)) == 15


def test_fit_and_crop(tmp_path):
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 200
    for t in range(2):
        save(tmp_path / f"{t}.png", image)
    read = {}
    for fit in ("stretch", "pad", "crop"):
        item = all_samples(Frames(root=str(tmp_path), image_size=20, fit=fit))[0]
        read[fit] = item["target"][..., 0]
        # of 40 x 20 pixels: all of them, with 10 black rows above and below, the middle
        assert (
            item["size"].tolist() == {"stretch": [40, 20], "pad": [40, 40], "crop": [20, 20]}[fit]
        )
    assert (read["stretch"][0, [0, 9, 10, 19]] == [0, 0, 200, 200]).all()
    assert (read["pad"][[0, 4, 5, 14, 15], 15] == [0, 0, 200, 200, 0]).all()
    assert (read["crop"][0, [0, 9, 10, 19]] == [0, 0, 200, 200]).all()
    right = Frames(root=str(tmp_path), image_size=20, crop=(25, 0, 12, 18))
    item = right.sample(1, np.random.default_rng(0))
    assert (item["target"] == 200).all()
    assert item["size"].tolist() == [12, 18]


LABELS = """file,nose_x,nose_y,tail_x,tail_y
labeled-data/m1/2.png,0,0,7,3
labeled-data/m1/3.png,5,6,,
"""


def test_a_crop_beyond_the_pictures_is_refused(tmp_path):
    for i, height in enumerate((40, 40, 30)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((height, 60, 3), np.uint8))
    text = r"datasets/frames: crop=\(0, 0, 70, 40\) .* extends beyond a picture of 60 x 40 pixels"
    with pytest.raises(ValueError, match=text):
        Frames(root=str(tmp_path), image_size=20, crop=(0, 0, 70, 40))
    some = Frames(root=str(tmp_path), image_size=20, crop=(0, 0, 60, 40), pair="same")
    assert some.image(0).shape == (20, 20, 3)
    with pytest.raises(ValueError, match="beyond a picture of 60 x 30 pixels"):
        some.image(2)  # one that is smaller than the first


def test_annotations(tmp_path):
    for t in range(4):
        save(tmp_path / "labeled-data" / "m1" / f"{t + 1}.png", picture(1, t, height=4))
    (tmp_path / "labels.csv").write_text(LABELS)
    given = {
        "annotations": str(tmp_path / "labels.csv"),
        "image_size": 16,
        "edges": (("nose", "tail"),),
        "flip_pairs": ((0, 1),),
    }
    for root in ("", "labeled-data", "labeled-data/m1"):
        ds = Frames(root=str(tmp_path / root), **given)
        assert len(ds) == 4
        assert ds.keypoint_names == ("nose", "tail")
        assert ds.edges == ds.flip_pairs == ((0, 1),)
        assert [ds.keypoints(i) is not None for i in range(4)] == [False, True, False, False]
        items = all_samples(ds)
        # 8 x 4 pixels: x = (2 * 7 + 1) / 8 - 1, y = (2 * 3 + 1) / 4 - 1
        np.testing.assert_allclose(items[1]["keypoints"], [[-0.875, -0.75], [0.875, 0.75]])
        np.testing.assert_array_equal(ds.keypoints(1), items[1]["keypoints"])
        visible = [item["visible"].tolist() for item in items]
        assert visible == [[0, 0], [1, 1], [0, 0], [0, 0]]
        assert np.isnan(items[2]["keypoints"][1]).all()  # missing; the nose lies below the image
        assert np.isnan(items[0]["keypoints"]).all()
    labelled = Frames(root=str(tmp_path), **given, labelled_only=True)
    names = [item["name"] for item in all_samples(labelled)]
    assert names == ["labeled-data/m1/2", "labeled-data/m1/3"]


def test_annotations_that_do_not_fit(tmp_path):
    for m in ("m1", "m2"):
        for t in range(2):
            save(tmp_path / m / f"{t}.png", picture(1, t))
    table = tmp_path / "labels.csv"
    given = {"root": str(tmp_path), "image_size": 8, "annotations": str(table)}
    table.write_text("file,nose_x,nose_y\nother.png,1,2\n")
    with pytest.raises(ValueError, match=r"labels\.csv' names no frame of '.*': it has 'other'"):
        Frames(**given)
    table.write_text("file,nose_x,nose_y\n1.png,1,2\n")
    with pytest.raises(ValueError, match="'1' matches 2 times"):
        Frames(**given)
    table.write_text("file,nose_x,nose_y\nm1/1.png,1,2\nm1/1.png,1,2\n")
    with pytest.raises(ValueError, match="'m1/1' matches 2 times"):
        Frames(**given)
    table.write_text("file,nose_x,nose_y\nm1/1.png,1,2\n")
    assert len(Frames(**given, labelled_only=True)) == 1
    with pytest.raises(ValueError, match="no keypoint 'ear' among these 1: nose"):
        Frames(**given, edges=(("nose", "ear"),))
    with pytest.raises(ValueError, match="need annotations"):
        Frames(root=str(tmp_path), image_size=8, labelled_only=True)


def test_annotated_video(videos):
    table = videos.parent / "b.csv"
    table.write_text("frame,nose_x,nose_y\n3,0,0\n8,47,31\n")
    given = {"image_size": 16, "annotations": str(table), "labelled_only": True}
    ds = Frames(root=str(videos / "b.mp4"), **given)
    assert [item["name"] for item in all_samples(ds)] == ["b/000003", "b/000008"]
    np.testing.assert_allclose(ds.keypoints(1), [[95 / 48 - 1, 63 / 32 - 1]], rtol=1e-6)
    table.write_text("video,frame,keypoint,x,y\nb.mp4,3,nose,0,0\n")
    ds = Frames(root=str(videos), **given)
    assert [item["name"] for item in all_samples(ds)] == ["b/000003"]


def test_clips_by_column(tmp_path):
    rows = ["file,identity,video,frame,nose_x,nose_y"]
    for i, clip in enumerate(("Ann,0", "Bob,0", "Ann,0", "Ann,1", "Bob,0")):
        save(tmp_path / "images" / f"img{i}.jpg", picture(40, 40))
        rows.append(f"img{i}.jpg,{clip},{i},{i},0")
    save(tmp_path / "images" / "unlisted.jpg", picture(0, 0))
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    given = {
        "root": str(tmp_path / "images"),
        "image_size": 8,
        "annotations": str(tmp_path / "labels.csv"),
    }
    ds = Frames(**given, clip_columns=("identity", "video"))
    assert [item["name"] for item in all_samples(ds)] == [
        "Ann/0/img0",
        "Ann/0/img2",
        "Bob/0/img1",
        "Bob/0/img4",
    ]
    assert ds.skipped_clips == ["Ann/1"]
    x = [ds.keypoints(i)[0, 0] for i in range(4)]  # pixels 0, 2, 1, 4 of 8
    np.testing.assert_allclose(x, [-0.875, -0.375, -0.625, 0.125])
    assert len(Frames(**given, clip_columns=("identity", "video"), exclude=("Ann/*",))) == 2
    with pytest.raises(ValueError, match="has no column person"):
        Frames(**given, clip_columns=("person",))


def test_errors_name_the_place(tmp_path):
    with pytest.raises(FileNotFoundError, match="datasets/frames: no folder 'x/y'"):
        Frames(root="x/y", image_size=8)
    with pytest.raises(FileNotFoundError, match="no image or video in folder"):
        Frames(root=str(tmp_path), image_size=8)
    save(tmp_path / "a.png", picture(1, 0))
    with pytest.raises(ValueError, match=r"a\.png' has 1 frame; a pair needs two. Use pair='same'"):
        Frames(root=str(tmp_path), image_size=8)
    (tmp_path / "b.png").touch()
    with pytest.raises(OSError, match=r"b\.png' is empty"):
        all_samples(Frames(root=str(tmp_path), image_size=8))
    (tmp_path / "b.png").write_text("text")
    with pytest.raises(OSError, match=r"b\.png' cannot be decoded"):
        all_samples(Frames(root=str(tmp_path), image_size=8))


def test_halves_of_a_clip_never_meet(clips):
    """Images from the first half, a pose prior from the second half of the same clips."""
    seen = {}
    for half in ("first", "second"):
        ds = Frames(root=str(clips), image_size=8, half=half)
        items = all_samples(ds)
        seen[half] = {where(item[key]) for item in items for key in ("target", "source")}
    assert not seen["first"] & seen["second"]
    assert {t for clip, t in seen["first"] if clip == 20} == set(range(6))
    assert {t for clip, t in seen["second"] if clip == 20} == set(range(6, 12))
    assert {t for clip, t in seen["first"] if clip == 10} == {0, 1}
