"""datasets/deepfashion on generated images in both official layouts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.datasets.deepfashion import DeepFashion

VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")


def deepfashion(root, flat=False, items=6):
    """Write items of two categories; the item's number is the grey value of its images."""
    for n in range(items):
        sex, category = (("WOMEN", "Tees_Tanks"), ("MEN", "Denim"))[n % 2]
        for view in VIEWS:
            path = Path(root, f"Img/img/{sex}/{category}/id_{n:08d}/01_{view}.jpg")
            if flat:
                view = view.replace("_", "")
                path = Path(root, f"fashion{sex}{category}id{n:08d}01_{view}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((12, 10, 3), 20 * n, np.uint8))
    return str(root)


def told(dataset):
    images = [dataset.sample(i, np.random.default_rng(i))["target"] for i in range(len(dataset))]
    return [round(image.mean() / 20) for image in images]


def test_both_layouts_are_split_alike(tmp_path):
    folders = deepfashion(tmp_path / "shop"), deepfashion(tmp_path / "flat", flat=True)
    # the same photographs, larger, lie beside them
    large = tmp_path / "shop/Img/img_highres/WOMEN/Tees_Tanks/id_00000000"
    large.mkdir(parents=True)
    cv2.imwrite(str(large / "01_4_full.jpg"), np.zeros((8, 8, 3), np.uint8))
    splits = [
        [told(DeepFashion(root=root, image_size=8, split=split)) for split in ("train", "test")]
        for root in folders
    ]
    assert splits[0] == splits[1]
    train, test = splits[0]
    assert len(test) == 2  # a fifth of six, rounded up
    assert sorted(train + test) == list(range(6))


def test_a_sample_is_one_image_twice(tmp_path):
    dataset = DeepFashion(root=deepfashion(tmp_path), image_size=8)
    item = dataset.sample(0, np.random.default_rng(0))
    assert item["target"].shape == (8, 8, 3)
    np.testing.assert_array_equal(item["target"], item["source"])
    assert item["target"] is not item["source"]
    assert item["name"].startswith("train/")
    assert item["name"].endswith("/01_4_full")
    assert item["size"].tolist() == [10, 12]
    assert dataset.keypoints(0) is None


@pytest.mark.parametrize("flat", [False, True])
def test_views_are_chosen_by_name(flat, tmp_path):
    dataset = DeepFashion(
        root=deepfashion(tmp_path, flat), image_size=8, views=("front", "additional")
    )
    found = {file.stem.rsplit("_", 1)[-1].lstrip("17") for file in dataset.files}
    assert found == {"front", "additional"}
    assert len(dataset) == 12 - 3


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (dict(split="val"), ValueError, "split='val' must be 'train' or 'test'."),
        (dict(root="none"), FileNotFoundError, "no folder 'none'. Download the In-shop Clothes"),
        (
            dict(views=("top",)),
            FileNotFoundError,
            "no image of the views top in 'shop/Img/img'. Set root= to a folder with Img/img",
        ),
    ],
    ids=["split", "root", "views"],
)
def test_errors_say_what_is_wrong_and_what_to_do(given, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deepfashion("shop", items=1)
    with pytest.raises(error) as caught:
        DeepFashion(**{"root": "shop", "image_size": 8, **given})
    assert str(caught.value).startswith(f"datasets/deepfashion: {text}")
