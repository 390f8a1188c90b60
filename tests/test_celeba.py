"""datasets/celeba on twenty faces in the official layout, and the splits by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.datasets.celeba import CelebA
from registry.roles import DATASETS

EYE = (69, 109)


def file(n):
    return f"{n:06d}.jpg"


def celeba(root, count, suffix=".jpg"):
    """Faces 1 ... count: MAFL trains on the first ten and tests on the next two.

    The one after these is CelebA's validation, the one after that its test.
    """
    root = Path(root)
    folder = root / "Img" / ("img_align_celeba_png" if suffix == ".png" else "img_align_celeba_hq")
    for part in (folder, root / "Anno", root / "Eval", root / "MAFL"):
        part.mkdir(parents=True)
    numbers = range(1, count + 1)
    for n in numbers:
        image = np.zeros((218, 178, 3), np.uint8)
        image[..., 2] = 10 * n  # red, as OpenCV stores blue first
        cv2.circle(image, EYE, 4, (255, 255, 255), -1)
        cv2.imwrite(
            str(folder / file(n)) if suffix == ".jpg" else str(folder / f"{n:06d}.png"), image
        )
    rows = [f"{file(n)} {EYE[0]}  {EYE[1]} 107 109  {n} 135  70 152 108 154" for n in numbers]
    header = f"{count}\nlefteye_x lefteye_y righteye_x righteye_y ...\n"
    (root / "Anno/list_landmarks_align_celeba.txt").write_text(header + "\n".join(rows) + "\n")
    part = {13: 1, 14: 2}
    rows = [f"{file(n)} {part.get(n, 0)}" for n in numbers]
    (root / "Eval/list_eval_partition.txt").write_text("\n".join(rows))
    # not in order: the last tenth is that of the list
    (root / "MAFL/training.txt").write_text("\n".join(map(file, range(10, 0, -1))))
    (root / "MAFL/testing.txt").write_text(f"{file(11)}\r\n{file(12)}\r\n")
    return str(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return celeba(tmp_path_factory.mktemp("celeba"), 20)


def test_splits_by_hand(root):
    """MAFL's test set is 11, 12; the last of its training list is 1; 13, 14 are of CelebA's."""
    train = DATASETS.build({"type": "datasets/celeba", "root": root})
    assert train.files == [file(n) for n in (*range(2, 11), *range(15, 21))]
    fitted = CelebA(root=root, split="mafl_train")
    assert fitted.files == [file(n) for n in range(10, 1, -1)]
    tested = CelebA(root=root, split="mafl_test")
    assert tested.files == [file(11), file(12)]
    assert not set(tested.files) & {*train.files, *fitted.files}


def test_points_by_hand(root):
    """178 x 218 stretched to 160 x 160, the central 128 of it: pixel 16 becomes pixel 0."""
    ds = CelebA(root=root, split="mafl_test")
    item = ds.sample(0, np.random.default_rng(0))
    assert item["target"].shape == (128, 128, 3)
    x, y = (69.5 / 178 * 160 - 16.5, 109.5 / 218 * 160 - 16.5)  # pixel centres
    np.testing.assert_allclose(item["keypoints"][0], [(2 * x + 1) / 128 - 1, (2 * y + 1) / 128 - 1])
    # the white dot drawn there
    rows, columns = np.nonzero(item["target"][..., 1] > 128)
    assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.3)
    assert item["name"] == "mafl_test/000011"
    # four fifths of 178 x 218
    np.testing.assert_allclose(item["size"], [142.4, 174.4], rtol=1e-6)
    assert item["size"].dtype == np.float32
    assert np.array_equal(item["source"], item["target"])
    assert item["source"] is not item["target"]
    assert item["target"][0, 0, 0] == pytest.approx(110, abs=3)


@pytest.mark.parametrize("size", [64, 96, 30])
def test_points_do_not_depend_on_the_size(root, size):
    ds = CelebA(root=root, split="mafl_test", image_size=size)
    item = ds.sample(1, np.random.default_rng(0))
    assert item["target"].shape == (size, size, 3)
    rows, columns = np.nonzero(item["target"][..., 1] > 128)
    found = (2 * np.array([columns.mean(), rows.mean()]) + 1) / size - 1
    np.testing.assert_allclose(found, item["keypoints"][0], atol=1 / size)


def test_points_outside_the_crop_are_invisible(root):
    """The nose of face n has x = n: the crop begins at 16.3 of 178."""
    ds = CelebA(root=root, split="train")
    seen = {n: ds.sample(ds.files.index(file(n)), None)["visible"] for n in (2, 16, 18, 19)}
    assert seen[2].tolist() == seen[16].tolist() == [1, 1, 0, 1, 1]
    assert seen[18].tolist() == seen[19].tolist() == [1] * 5


def test_png_folder(tmp_path):
    ds = CelebA(root=celeba(tmp_path, 14, ".png"), split="mafl_train")
    assert ds.sample(0, None)["target"][0, 0, 0] == 100


def test_errors_say_what_to_get(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*img_align_celeba\*'.*mmlab"):
        CelebA(root=str(tmp_path))
    with pytest.raises(ValueError, match="split='test' must be one of train, mafl_train"):
        CelebA(root=root, split="test")
    (tmp_path / "Img/img_align_celeba").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"MAFL.training\.txt' of MAFL.*github\.com"):
        CelebA(root=str(tmp_path))
    (tmp_path / "MAFL").mkdir()
    (tmp_path / "MAFL/training.txt").write_text("000001.jpg\n" * 10)
    with pytest.raises(FileNotFoundError, match=r"list_landmarks_align_celeba\.txt' of CelebA"):
        CelebA(root=str(tmp_path), split="mafl_train")
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Anno/list_landmarks_align_celeba.txt").write_text("0\nlefteye_x\n")
    with pytest.raises(ValueError, match=r"has no row for 000001\.jpg"):
        CelebA(root=str(tmp_path), split="mafl_train")
    (tmp_path / "Anno/list_landmarks_align_celeba.txt").write_text(f"1\nx\n{file(1)}" + " 1" * 10)
    with pytest.raises(FileNotFoundError, match=r"no file '.*000001\.jpg' \(or \.png\)"):
        CelebA(root=str(tmp_path), split="mafl_train").keypoints(0)
