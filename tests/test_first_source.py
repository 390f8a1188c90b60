"""datasets/first_source: the frames of other data sets, redrawn from the first of their clip."""

import cv2
import numpy as np
import pytest

from components.datasets.first_source import FirstSource
from components.datasets.frames import Frames
from components.datasets.puppets import Puppets


def test_puppets_keep_all_but_the_source():
    puppets = Puppets(image_size=16, split="test", clips=2, frames_per_clip=3)
    dataset = FirstSource(frame_dataset=puppets)
    assert len(dataset) == 6
    for field in ("keypoint_names", "edges", "flip_pairs"):
        assert getattr(dataset, field) == getattr(puppets, field)
    assert dataset.clip_ranges() == puppets.clip_ranges()
    for index in range(6):
        item = dataset.sample(index, np.random.default_rng(1))
        whole = puppets.sample(index, np.random.default_rng(1))
        assert item.keys() == whole.keys() >= {"mask", "visible", "keypoints", "size"}
        for field in whole.keys() - {"source"}:
            np.testing.assert_array_equal(item[field], whole[field])
        np.testing.assert_array_equal(item["source"], puppets.image(0 if index < 3 else 3))
        np.testing.assert_array_equal(dataset.keypoints(index), puppets.keypoints(index))
    np.testing.assert_array_equal(dataset.image(4), puppets.image(4))


def test_frames_of_folders_in_folders(tmp_path):
    for n, folder in enumerate(("S1/walk", "S1/run")):
        (tmp_path / folder).mkdir(parents=True)
        for t in range(3):
            image = np.full((8, 8, 3), 100 * n + 10 * t, np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"{t}.png"), image)
    dataset = FirstSource(frame_dataset=Frames(root=str(tmp_path), image_size=8))
    found = [dataset.sample(index, np.random.default_rng(index)) for index in range(6)]
    assert [item["source"].max() for item in found] == [100] * 3 + [0] * 3  # run, then walk
    assert [item["target"].max() for item in found] == [100, 110, 120, 0, 10, 20]
    assert dataset.keypoints(0) is None


def test_a_clip_without_known_frames_is_an_error():
    puppets = Puppets(image_size=16, clips=2, frames_per_clip=3)
    puppets.clip_ranges = lambda: [("walk", range(6))]
    dataset = FirstSource(frame_dataset=puppets)
    with pytest.raises(ValueError, match=r"'train/00000/002' belongs to none of the clips of"):
        dataset.sample(2, np.random.default_rng(0))
