"""L1, keypoint and embedding distances, jitter: values by hand, their baselines, their judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from registry import ROLES, ConfigError, build, checkpoint
from registry.build import build_model
from registry.contract import Batch, Encoding, Landmarks, MissingFieldError, Outputs
from registry.evaluation import evaluate, table

NAN = float("nan")


def metric(name: str, **options: object):
    return build({"type": f"metrics/{name}", **options}, "m", "metrics")


def grey(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 8, 16)


def pair(source: Tensor, target: Tensor, clips: str = "ab") -> Batch:
    names = tuple(f"{clip}/{i}" for i, clip in enumerate(clips))
    return Batch(source=source, driving=target, target=target, name=names)


# L1


def test_l1_by_hand():
    """0.1 and 0.3; the source is 0.5 away; overshoot is cut off."""
    batch = pair(grey(0.5, 0.4), grey(0.0, 0.9))
    m, copied = metric("l1"), metric("l1")
    m.update(Outputs(render=grey(0.1, 1.2)), batch)
    copied.update(copied.guess(batch), batch)
    row = m.compute()
    assert row["value"] == pytest.approx(0.1)
    assert copied.compute()["value"] == pytest.approx(0.5)
    assert (row["metric"], row["unit"], row["n"]) == ("l1", "of [0, 1]", 2)
    m = metric("l1")
    m.update(Outputs(render=grey(0.1, 0.6)), batch)
    assert m.compute()["value"] == pytest.approx(0.2)
    assert m.compute()["interval"] == pytest.approx([0.1, 0.3])  # of two clips


# keypoint distance


class Points(nn.Module):
    """Knows the points of an image by its grey level."""

    KNOWN = {  # noqa: RUF012
        0: ([[0.0, 0.0], [0.5, 0.5]], [True, True]),
        1: ([[0.25, 0.0], [0.5, 0.0]], [True, True]),
        2: ([[0.0, 0.5], [0.9, 0.9]], [True, False]),
        3: ([[0.9, 0.9], [0.9, 0.9]], [False, False]),
    }

    def forward(self, maps: Tensor) -> Landmarks:
        found = [self.KNOWN[round(4 * float(level))] for level in maps.mean(dim=(1, 2, 3))]
        xy, score = (torch.tensor(part) for part in zip(*found))
        return Landmarks(xy=xy, score=score.float())


@pytest.fixture(autouse=True)
def judges(monkeypatch):
    for name, cls in (("bottlenecks/test/points", Points), ("encoders/test/vectors", Vectors)):
        role = ROLES[name.split("/")[0]]
        monkeypatch.setitem(role.module_dict, name, cls)  # undone at the end
        role.register_module(name, force=True)(cls)


def distances(renders, targets):
    """The row of renders, or of the guess where these are sources."""
    renders, targets = (grey(*(n / 4 for n in numbers)) for numbers in (renders, targets))
    m = metric("keypoint_distance", detector=dict(type="bottlenecks/test/points"))
    copied = metric("keypoint_distance", detector=dict(type="bottlenecks/test/points"))
    batch = pair(renders, targets, "abcd"[: len(targets)])
    m.update(Outputs(render=renders), batch)
    copied.update(copied.guess(batch), batch)
    row = m.compute()
    np.testing.assert_equal(row, copied.compute())  # the baseline copies the source
    return row


def test_keypoint_distance_by_hand():
    """Of 16 x 8 pixels: (2, 0) and (0, -2). The official mean of absolutes is half of Euclid's."""
    row = distances([1], [0])
    assert row["value"] == pytest.approx((2 + 0 + 0 + 2) / 4)
    assert (row["metric"], row["unit"], row["n"]) == ("keypoint_distance", "px", 1)
    assert row["extra"]["Euclidean"] == pytest.approx(2.0)
    assert row["extra"]["missing rate"] == 0


def test_points_missed_in_the_render():
    """Only the first point is compared there: (0, 2). Half of the points of a frame is missing."""
    row = distances([1, 2], [0, 0])
    assert row["value"] == pytest.approx((1.0 + 2 / 2) / 2)
    assert row["extra"]["Euclidean"] == pytest.approx((2.0 + 2.0) / 2)
    assert row["extra"]["missing rate"] == pytest.approx(0.25)
    # a point that only the render has is not missing, nor compared
    assert distances([0], [2])["value"] == pytest.approx(1.0)
    assert distances([0], [2])["extra"]["missing rate"] == 0


def test_frames_without_points_are_left_out_and_counted():
    row = distances([1, 3, 1, 3], [0, 0, 3, 3])
    assert (row["value"], row["n"]) == (pytest.approx(1.0), 1)
    assert row["extra"]["missing rate"] == pytest.approx(0.5)  # of the two with a truth
    assert row["extra"]["frames without points in the render"] == 1
    assert row["extra"]["frames without points in the target"] == 2


def test_a_render_without_any_points_has_no_distance():
    row = distances([3, 3], [0, 1])
    assert math.isnan(row["value"])
    assert (row["n"], row["extra"]["missing rate"]) == (0, 1.0)
    with pytest.raises(ValueError, match="finds no point in any true frame"):
        distances([0], [3])


def test_a_trained_pipeline_is_a_judge(tmp_path):
    encoder = dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4))
    bottleneck = dict(type="bottlenecks/gaussian")
    torch.manual_seed(3)
    parts = build(encoder).eval(), build(bottleneck)
    path = tmp_path / "last.pth"
    weights = {f"pipeline.encoder.{key}": value for key, value in parts[0].state_dict().items()}
    checkpoint.save({"model": {**weights, "pipeline.decoder.weight": torch.ones(1)}}, path)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    m = metric("keypoint_distance", encoder=encoder, bottleneck=bottleneck, weights=str(path))
    m.update(Outputs(render=images[:2]), pair(images[:2], images[2:]))
    with torch.no_grad():
        xy = [parts[1](parts[0](two).maps).xy for two in (images[:2], images[2:])]
    assert m.compute()["value"] == pytest.approx(float((xy[0] - xy[1]).abs().mean()) * 16, rel=1e-4)
    assert m.compute()["extra"]["missing rate"] == 0

    with pytest.raises(ConfigError, match="no checkpoint 'nowhere'"):
        metric("keypoint_distance", encoder=encoder, bottleneck=bottleneck, weights="nowhere")
    other = {**encoder, "num_landmarks": 4}
    with pytest.raises(ConfigError, match=r"last[.]pth: the weights do not fit the model"):
        metric("keypoint_distance", encoder=other, bottleneck=bottleneck, weights=str(path))
    detector = dict(type="bottlenecks/test/points")
    for wrong in ({}, dict(encoder=encoder), dict(detector=detector, weights=str(path))):
        with pytest.raises(ConfigError, match="set either detector, or encoder, bottleneck and"):
            metric("keypoint_distance", **wrong)


# embedding distance


class Vectors(nn.Module):
    """The grey level in the form that is asked for."""

    def __init__(self, *, form: str = "codes") -> None:
        super().__init__()
        self.form = form

    def forward(self, image: Tensor):
        level = image.mean(dim=(1, 2, 3))
        vector = torch.stack((3 * level, 4 * level, 0 * level), dim=1)
        maps = vector[..., None, None].expand(-1, -1, 2, 5)
        return {
            "maps": Encoding(maps=maps),
            "features": Encoding(maps=-maps, features=maps),
            "codes": Encoding(codes=vector[:, None], maps=-maps),
        }[self.form]


@pytest.mark.parametrize("form", ["maps", "features", "codes"])
def test_embedding_distance_by_hand(form):
    """Grey levels 0.2 and 0.4 apart: 5 times as far in space, squared 1 and 4."""
    judge = dict(type="encoders/test/vectors", form=form)
    m = metric("embedding_distance", encoder=judge, weights="own")
    batch = pair(grey(1.0, 1.0), grey(0.0, 0.5))
    m.update(Outputs(render=grey(0.2, 0.9)), batch)
    row = m.compute()
    assert row["value"] == pytest.approx(2.5, rel=1e-5)
    assert row["extra"]["Euclidean"] == pytest.approx(1.5, rel=1e-5)
    assert (row["metric"], row["unit"]) == ("embedding_distance", "squared distance")
    m = metric("embedding_distance", encoder=judge, weights="own")
    m.update(m.guess(batch), batch)
    assert m.compute()["value"] == pytest.approx((25 + 6.25) / 2, rel=1e-5)


def test_the_appearance_encoder_of_a_run_is_a_judge(tmp_path):
    judge = dict(type="encoders/stem", width=4, out_channels=8)
    torch.manual_seed(3)
    trained = build(judge).eval()
    weights = {f"pipeline.appearance_encoder.{k}": v for k, v in trained.state_dict().items()}
    checkpoint.save({"model": weights}, tmp_path / "last.pth")
    options = dict(encoder=judge, weights=str(tmp_path / "last.pth"))
    m = metric("embedding_distance", **options, part="appearance_encoder")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    m.update(Outputs(render=images[:2]), pair(images[:2], images[2:]))
    with torch.no_grad():
        a, b = trained(images).maps.mean(dim=(2, 3)).chunk(2)
    assert m.compute()["value"] == pytest.approx(float((a - b).square().sum(1).mean()), rel=1e-4)
    with pytest.raises(ConfigError, match="weights do not fit"):
        metric("embedding_distance", **options)
    poses = dict(
        type="encoders/part_appearance", num_landmarks=3, features=6, out_channels=5, widths=(4,)
    )
    with pytest.raises(ConfigError, match=r"must be forward\(image\)"):
        metric("embedding_distance", encoder=poses, weights="own")


# jitter


def walk(xy, names, keypoints=None, guess=False):
    """The row of landmarks (N, K, 2), or of the guess."""
    xy = torch.as_tensor(np.asarray(xy, np.float32))
    points = None if keypoints is None else torch.as_tensor(np.asarray(keypoints, np.float32))
    m = metric("jitter")
    for part in (slice(0, 2), slice(2, None)):  # triples reach over batches
        batch = Batch(
            driving=torch.zeros(len(xy[part]), 3, 4, 4),
            name=tuple(names[part]),
            keypoints=None if points is None else points[part],
        )
        m.update(m.guess(batch) if guess else Outputs(landmarks=Landmarks(xy=xy[part])), batch)
    return m.compute()


def test_jitter_by_hand():
    """Steps of 0.2, 0.2 and 0 in x: second differences 0 and 0.2, of a side of 2."""
    x = [-0.4, -0.2, 0.0, 0.0]
    names = [f"run/f{i:02d}" for i in range(8, 12)]
    points = [[[v, 0.3]] for v in x]
    row = walk(points, names)
    assert row["value"] == pytest.approx((0 + 10) / 2, rel=1e-5)
    assert (row["metric"], row["unit"], row["n"]) == ("jitter", "% of image", 2)
    assert row["extra"] == {"movement": pytest.approx((10 + 0) / 2, rel=1e-5)}
    # one that stands still beside it: half as much of both
    both = [[[v, 0.3], [0.5, 0.5]] for v in x]
    assert walk(both, names)["value"] == pytest.approx(2.5, rel=1e-5)
    # in any order of frames
    assert walk(points[::-1], names[::-1])["value"] == pytest.approx(5, rel=1e-5)


def test_jitter_needs_three_consecutive_frames_of_one_clip():
    points = [[[0.1 * n * n, 0.0]] for n in range(6)]
    row = walk(points, ["a/1", "a/2", "a/3", "b/4", "b/5", "b/7"])
    assert (row["n"], row["value"]) == (1, pytest.approx(50 * 0.2, rel=1e-5))
    for names in (["a/0", "a/2", "a/4"], ["a/1", "a/2", "b/3"], ["a/x", "a/y", "a/z"]):
        with pytest.raises(ValueError, match=r"Set evaluate[.]max_items to None"):
            walk(points[:3], names)


def test_jitter_of_keypoints_and_of_what_stands_still():
    truth = [[[0.0, 0.0], [NAN, NAN]], [[0.1, 0.0], [0.0, 0.0]], [[0.4, 0.0], [0.0, 0.0]]]
    names, points = ["a/1", "a/2", "a/3"], [[[0.0, 0.0]]] * 3
    extra = walk(points, names, truth)["extra"]
    assert extra["keypoints"] == pytest.approx(10.0, rel=1e-5)  # of the known one: 0.2 of 2
    assert extra["movement of keypoints"] == pytest.approx(15.0, rel=1e-5)
    assert extra["movement"] == 0
    missing = [[[NAN, NAN]]] * 3
    assert set(walk(points, names, missing)["extra"]) == {"movement"}
    assert walk(np.random.default_rng(0).random((3, 4, 2)), names, guess=True)["value"] == 0
    with pytest.raises(MissingFieldError, match=r"Outputs[.]landmarks is missing"):
        metric("jitter").update(Outputs(), Batch(driving=torch.zeros(1, 3, 4, 4)))


# all of them


def test_evaluation_names_every_baseline(tmp_path):
    landmarks = 3
    frames = dict(type="datasets/standin", image_size=32, num_keypoints=2, length=5, seed=5)
    judge = dict(type="encoders/keypoint_hourglass", num_landmarks=landmarks, stride=1, width=4,
                 max_width=8, depth=2, padding=3)  # fmt: skip
    bottleneck = dict(type="bottlenecks/affine", num_landmarks=landmarks)
    small = dict(num_landmarks=landmarks, stride=1, width=4, max_width=8, depth=2)
    path = tmp_path / "judge.pth"
    cfg = dict(
        image_size=32,
        model=dict(
            type="pipelines/motion_transfer",
            encoder=judge,
            bottleneck=bottleneck,
            motion=dict(type="motions/dense_motion", **small),
            decoder=dict(type="decoders/occlusion_aware", width=4, max_width=8, downs=1, blocks=1),
        ),
        data=dict(test=frames),
        train=dict(iterations=1, batch_size=2, lr=1e-3),
        evaluate=dict(
            batch_size=2,
            metrics=dict(
                l1=dict(type="metrics/l1"),
                akd=dict(
                    type="metrics/keypoint_distance",
                    encoder=judge,
                    bottleneck=bottleneck,
                    weights=str(path),
                ),
                aed=dict(
                    type="metrics/embedding_distance",
                    encoder=dict(type="encoders/test/vectors"),
                    weights="own",
                ),
                jitter=dict(type="metrics/jitter"),
            ),
        ),
    )
    torch.manual_seed(0)
    pipeline = build_model(cfg)
    weights = {f"pipeline.{key}": value for key, value in pipeline.state_dict().items()}
    checkpoint.save({"model": weights}, path)
    rows = {row["protocol"]: row for row in evaluate(pipeline, cfg, "last")}
    for name in ("l1", "akd", "aed"):
        assert set(rows[name]["baselines"]) == {"copy_source", "untrained"}
        assert rows[name]["baselines"]["copy_source"] > 0
    assert set(rows["jitter"]["baselines"]) == {"still_landmarks", "untrained"}
    assert rows["jitter"]["baselines"]["still_landmarks"] == 0
    assert rows["jitter"]["extra"]["keypoints"] > 0
    assert rows["jitter"]["n"] == 3
    text = table(list(rows.values()))
    assert "still landmarks" in text
    assert "copy source" in text
    cfg["evaluate"]["max_items"] = 2
    with pytest.raises(ValueError, match=r"Set evaluate[.]max_items to None"):
        evaluate(pipeline, cfg, "last")
