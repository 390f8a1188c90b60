"""Scores by hand, their baselines, and the loading of batches."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from registry import build
from registry.config import Data
from registry.contract import Batch, Landmarks, Outputs
from registry.evaluation import table
from registry.job import lr_factor
from registry.loading import DrawNumbers, Draws, spread, to_batch


def metric(**options: object) -> object:
    return build(dict(type="metrics/keypoint_error", **options), "m", "metrics")


def batch(points: list, names: tuple[str, ...], **fields: object) -> Batch:
    image = torch.zeros(len(points), 3, 8, 8)
    return Batch(driving=image, keypoints=torch.tensor(points), name=names, **fields)


def test_error_in_percent_of_the_image_by_hand():
    m = metric()
    truth = [[[0.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]
    found = torch.tensor([[[0.3, 0.4], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.2]]])
    m.update(Outputs(landmarks=Landmarks(xy=found)), batch(truth, ("a/0", "b/0")))
    row = m.compute()
    # distances 0.5, 0, 0, 0.2 of a side of 2: 25 %, 0, 0, 10 %
    assert row["value"] == pytest.approx((12.5 + 5.0) / 2)
    assert (row["metric"], row["unit"], row["n"]) == ("keypoint_error", "% of image", 2)
    assert row["interval"] == pytest.approx([5.0, 12.5])


def test_eye_distance_and_pixels():
    truth = [[[-0.2, 0.0], [0.2, 0.0], [0.0, 0.5]]]
    found = Outputs(landmarks=Landmarks(xy=torch.tensor([[[-0.2, 0.0], [0.2, 0.0], [0.0, 0.7]]])))
    eyes, pixels = metric(normaliser="eyes", eyes=(0, 1)), metric(normaliser="pixels")
    for m in (eyes, pixels):
        m.update(found, batch(truth, ("a/0",), size=torch.tensor([[16.0, 8.0]])))
    assert eyes.compute()["value"] == pytest.approx(100 * 0.2 / 0.4 / 3)
    assert pixels.compute()["value"] == pytest.approx(0.2 / 2 * 8 / 3)  # downwards: of 8


def test_missing_points_and_frames_are_left_out():
    m = metric()
    nan = float("nan")
    truth = [[[0.0, 0.0], [nan, nan]], [[nan, nan], [nan, nan]]]
    found = Outputs(landmarks=Landmarks(xy=torch.tensor([[[0.2, 0.0], [1.0, 1.0]]] * 2)))
    m.update(found, batch(truth, ("a/0", "a/1")))
    row = m.compute()
    assert row["value"] == pytest.approx(10.0)
    assert row["n"] == 1


def test_nothing_annotated_is_an_error():
    m = metric()
    truth = [[[float("nan")] * 2]]
    m.update(Outputs(landmarks=Landmarks(xy=torch.zeros(1, 1, 2))), batch(truth, ("a/0",)))
    with pytest.raises(ValueError, match="no frame has an annotated keypoint"):
        m.compute()


def test_oracle_flip_is_reported_beside_the_plain_error():
    m = metric(flip_pairs=((0, 1),))
    truth = [[[0.0, 0.0], [0.4, 0.0]]] * 2
    swapped, right = [[0.4, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.4, 0.0]]
    m.update(
        Outputs(landmarks=Landmarks(xy=torch.tensor([swapped, right]))),
        batch(truth, ("a/0", "a/1")),
    )
    row = m.compute()
    assert row["value"] == pytest.approx(10.0)
    assert row["extra"]["oracle left/right"] == pytest.approx(0.0)
    assert row["extra"]["exchanged by the oracle"] == pytest.approx(0.5)


def test_macro_mean_of_the_paper():
    """facts: table 1's 2.73 is the mean of the six activity means, not of the frames."""
    means = {
        "waiting": 2.66,
        "posing": 2.27,
        "greeting": 2.73,
        "directions": 2.35,
        "discussion": 2.35,
        "walking": 4.0,
    }
    m = metric(activities=tuple(means))
    for i, (activity, value) in enumerate(means.items()):
        count = i + 1  # uneven, so that the mean over frames differs
        found = torch.tensor([[[value / 50, 0.0]]]).repeat(count, 1, 1)
        names = tuple(f"S11/{activity.title()} 1.5484/{j}" for j in range(count))
        m.update(Outputs(landmarks=Landmarks(xy=found)), batch([[[0.0, 0.0]]] * count, names))
    row = m.compute()
    assert round(row["value"], 2) == 2.73
    assert row["activities"] == {name: pytest.approx(value) for name, value in means.items()}
    assert abs(row["value"] - row["extra"]["mean over frames"]) > 0.1


def test_missing_activity_is_an_error():
    m = metric(activities=("waiting",))
    m.update(
        Outputs(landmarks=Landmarks(xy=torch.zeros(1, 1, 2))),
        batch([[[0.0, 0.0]]], ("S11/Eating/0",)),
    )
    with pytest.raises(ValueError, match=r"no clip is named 'waiting\.\.\.'"):
        m.compute()


def test_bootstrap_resamples_clips_not_frames():
    """Twenty frames of two clips with errors 0 and 10 %: a clip bootstrap spans both."""
    m = metric()
    found = torch.cat((torch.zeros(10, 1, 2), torch.tensor([[[0.2, 0.0]]]).repeat(10, 1, 1)))
    names = tuple(f"{'a' if i < 10 else 'b'}/{i}" for i in range(20))
    m.update(Outputs(landmarks=Landmarks(xy=found)), batch([[[0.0, 0.0]]] * 20, names))
    assert m.compute()["interval"] == pytest.approx([0.0, 10.0])


def test_counts_of_landmarks_must_agree():
    m = metric()
    with pytest.raises(ValueError, match="3 landmarks but 2 keypoints"):
        m.update(
            Outputs(landmarks=Landmarks(xy=torch.zeros(1, 3, 2))),
            batch([[[0.0, 0.0]] * 2], ("a/0",)),
        )


ROW = {
    "protocol": "direct", "metric": "keypoint_error", "unit": "% of image", "value": 4.5,
    "interval": [2.0, 3.0], "n": 7, "crop": "none", "extra": {"mean over frames": 2.75},
    "higher_is_better": False, "activities": {"waiting": 1.25, "posing": 2.5},
    "baselines": {"predict_mean": 9.5, "ridge_pixels": 3.125, "tracking": None, "untrained": 21.25},
    "baseline_notes": {"predict_mean": "the mean of data.prior", "tracking": "no clip"},
}  # fmt: skip


def test_table_shows_all_baselines_and_who_wins():
    lines = table(
        [ROW, {**ROW, "protocol": "other", "baselines": {"copy_source": 5.0}}]
    ).splitlines()
    cells = [re.split(" {2,}", line) for line in lines]
    assert cells[0] == [
        "protocol", "metric", "unit", "value", "95 % interval", "predict mean", "ridge pixels",
        "untrained", "copy source", "n", "crop",
    ]  # fmt: skip
    assert cells[1] == [
        "direct", "keypoint_error", "% of image", "4.500", "2.000 .. 3.000", "9.500", "3.125",
        "21.250", "7", "none",
    ]  # fmt: skip
    assert cells[3:6] == [
        ["by activity", "waiting", "posing"],
        ["direct", "1.250", "2.500"],
        ["other", "1.250", "2.500"],
    ]
    assert lines[6:10] == [
        "direct: mean over frames 2.750",
        "direct: predict mean: the mean of data.prior",
        "direct: tracking: no clip",
        "direct: ridge pixels is better than the trained model here: 3.125 against 4.500",
    ]
    assert not any("other" in line and "better" in line for line in lines)


def test_the_winner_has_more_where_higher_is_better():
    lines = table([ROW | {"higher_is_better": True, "metric": "psnr"}]).splitlines()
    assert [line for line in lines if "better" in line] == [
        "direct: predict mean is better than the trained model here: 9.500 against 4.500",
        "direct: untrained is better than the trained model here: 21.250 against 4.500",
    ]


def test_a_ridge_stands_beside_and_competes_with_ridges():
    """Plain least squares gives 4.5, a ridge 3.0: ridge_pixels, 3.125, is not better than that."""
    extra = {"with ridge": 3.0, "untrained with ridge": 2.5, "mean over frames": 2.75}
    baselines = {"nearest_frame": 4.0, "ridge_pixels": 3.125, "ridge_blob": 2.0, "untrained": 9.0}
    row = {**ROW, "extra": extra, "baselines": baselines, "baseline_notes": {}}
    lines = table([row, {**ROW, "protocol": "other"}]).splitlines()
    cells = [re.split(" {2,}", line) for line in lines]
    assert cells[0][3:9] == [
        "value", "95 % interval", "with ridge", "untrained with ridge", "nearest frame",
        "ridge pixels",
    ]  # fmt: skip
    assert cells[1][3:9] == ["4.500", "2.000 .. 3.000", "3.000", "2.500", "4.000", "3.125"]
    assert [line for line in lines if line.startswith("direct: ")] == [
        "direct: mean over frames 2.750",
        "direct: nearest frame is better than the trained model here: 4.000 against 4.500",
        "direct: ridge blob is better than the trained model with ridge here: 2.000 against 3.000",
        "direct: untrained with ridge is better than the trained model with ridge here: 2.500 "
        "against 3.000",
    ]


class Images:
    """Ten items that tell their index and a random number."""

    def __len__(self) -> int:
        return 10

    def sample(self, index: int, rng: np.random.Generator) -> dict:
        return {"index": index, "noise": float(rng.random()), "keypoints": self.keypoints(index)}

    def keypoints(self, index: int) -> np.ndarray:
        return np.full((2, 2), index, np.float32)


def test_a_pass_visits_every_item_once_and_never_repeats_its_noise():
    draws = Draws(Images(), None, None, seed=3)
    items = [draws[i] for i in range(30)]
    for start in (0, 10, 20):
        assert sorted(item["index"] for item in items[start : start + 10]) == list(range(10))
    assert [i["index"] for i in items[:10]] != [i["index"] for i in items[10:20]]
    assert len({item["noise"] for item in items}) == 30
    assert draws[17] == Draws(Images(), None, None, seed=3)[17]


def test_training_never_sees_annotation():
    item = Draws(Images(), Images(), None, seed=0)[0]
    assert sorted(item) == ["index", "noise", "poses", "seed"]


def test_ranks_share_the_draws_of_one_process():
    whole = list(DrawNumbers(iterations=3, batch_size=4, rank=0, ranks=1))
    parts = [list(DrawNumbers(iterations=3, batch_size=2, rank=r, ranks=2)) for r in (0, 1)]
    for step in range(3):
        together = parts[0][2 * step : 2 * step + 2] + parts[1][2 * step : 2 * step + 2]
        assert sorted(together) == whole[4 * step : 4 * step + 4]
    resumed = DrawNumbers(iterations=3, batch_size=4, rank=0, ranks=1)
    resumed.start = 2
    assert list(resumed) == whole[8:]


def test_prior_size_keeps_a_fixed_subset():
    def poses(seed: int) -> set:
        draws = Draws(None, Images(), 3, seed)
        return {float(draws[i]["poses"][0, 0]) for i in range(60)}

    assert len(poses(0)) == 3
    assert poses(0) == poses(0)
    assert any(poses(0) != poses(seed) for seed in (1, 2, 3))
    with pytest.raises(ValueError, match="prior_size is 11, but there are 10 poses"):
        Draws(None, Images(), 11, 0)


def test_to_batch_scales_images_and_shares_the_target():
    arrays = {
        "target": torch.full((1, 4, 6, 3), 255, dtype=torch.uint8),
        "source": torch.zeros(1, 4, 6, 3, dtype=torch.uint8),
        "mask": torch.ones(1, 4, 6, dtype=torch.uint8),
        "name": ("a/0",),
    }
    out = to_batch(arrays, torch.device("cpu"))
    assert out.target.shape == (1, 3, 4, 6)
    assert out.target.unique().tolist() == [1.0]
    assert out.driving is out.target
    assert out.mask.shape == (1, 1, 4, 6)


def test_spread_keeps_both_ends():
    assert spread(5, None) == [0, 1, 2, 3, 4]
    assert spread(100, 3) == [0, 50, 99] or spread(100, 3) == [0, 49, 99]


def test_learning_rate_factor_is_piecewise_linear():
    points = [(100, 1.0), (200, 0.0)]
    assert [lr_factor(points, i) for i in (0, 100, 150, 200, 999)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert lr_factor((), 7) == 1.0
    steps = [(60, 1.0), (60, 0.1)]  # a step, as MultiStepLR
    assert lr_factor(steps, 59) == 1.0
    assert lr_factor(steps, 60) == 0.1
    assert math.isclose(lr_factor([(0, 0.0), (10, 1.0)], 3), 0.3)  # warm-up


def test_data_section_has_no_default_set():
    assert Data().train is None
    assert Data().prior is None
