"""Metrics: values by hand, by normal equations, by scipy, by the layers of AlexNet one by one."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from components.hooks import validation
from components.ops.image_quality import ssim
from registry import METRICS, ROLES, ConfigError, build
from registry.build import build_model
from registry.contract import Batch, Landmarks, Layers, MissingFieldError, Outputs
from registry.evaluation import evaluate, fresh
from registry.job import Job
from registry.loading import frames_of, to_batch

NAN = float("nan")


def metric(name: str, **options: object):
    return build({"type": f"metrics/{name}", **options}, "m", "metrics")


def annotated(points, names=None, **fields) -> Batch:
    points = torch.as_tensor(np.asarray(points, np.float32))
    names = names or [f"clip/{i}" for i in range(len(points))]
    fields = {"driving": torch.zeros(len(points), 3, 8, 8), **fields}
    return Batch(keypoints=points, name=tuple(names), **fields)


def found(xy, **fields) -> Outputs:
    xy = torch.as_tensor(np.asarray(xy, np.float32))
    return Outputs(landmarks=Landmarks(xy=xy, **fields))


def regressed(fit, test, **options):
    """The row of metrics/regression for (landmarks, keypoints) to fit and to test on."""
    m = metric("regression", **options)
    m.fit(found(fit[0]), annotated(fit[1]))
    m.update(found(test[0]), annotated(test[1]))
    return m.compute()


def sample(frames: int, landmarks: int = 3, keypoints: int = 2, seed: int = 0):
    """Landmarks, and keypoints that are an affine function of them, up to noise."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-0.9, 0.9, (frames, landmarks, 2))
    mix = np.random.default_rng(5).normal(0, 0.3, (2 * landmarks, 2 * keypoints))
    y = xy.reshape(frames, -1) @ mix + 0.2 + rng.normal(0, 0.05, (frames, 2 * keypoints))
    return xy.astype(np.float32), y.reshape(frames, keypoints, 2).astype(np.float32)


def normal_equations(fit, test, shift: float, intercept: bool):
    """Mean distance in percent of the image, from W = (X^T X)^-1 X^T Y."""

    def features(xy):
        columns = [xy[:, k, axis].astype(float) + shift for axis in (0, 1) for k in range(3)]
        return np.stack(columns + [np.ones(len(xy))] * intercept, axis=1)

    x, y = features(fit[0]), fit[1].reshape(len(fit[1]), -1).astype(float) + shift
    weights = np.linalg.inv(x.T @ x) @ x.T @ y
    predicted = (features(test[0]) @ weights - shift).reshape(test[1].shape)
    return 50 * np.sqrt(((predicted - test[1]) ** 2).sum(-1)).mean()


# regression


def test_regression_by_hand():
    """Twice the landmark; 0.6 instead of 0.7 of a side of 2. All y are 0: a rank is missing."""
    fit = [[[0.1, 0.0]], [[0.2, 0.0]]], [[[0.2, 0.0]], [[0.4, 0.0]]]
    row = regressed(fit, ([[[0.3, 0.0]]], [[[0.7, 0.0]]]))
    assert row["value"] == pytest.approx(5.0, rel=1e-5)
    assert (row["metric"], row["unit"], row["n"]) == ("regression_error", "% of image", 1)
    assert row["extra"]["frames fitted on"] == 2.0


def test_origin_and_intercept_decide_the_fit():
    fit, test = sample(40), sample(9, seed=1)
    center = regressed(fit, test)
    corner = regressed(fit, test, origin="corner")
    constant = regressed(fit, test, intercept=True)
    assert center["value"] == pytest.approx(normal_equations(fit, test, 0, False), rel=1e-4)
    assert corner["value"] == pytest.approx(normal_equations(fit, test, 1, False), rel=1e-4)
    assert constant["value"] == pytest.approx(normal_equations(fit, test, 0, True), rel=1e-4)
    assert constant["value"] < corner["value"] - 0.1 < center["value"] - 0.2
    # with an intercept the origin does not matter
    for row in (center, corner):
        assert row["extra"]["with intercept"] == pytest.approx(constant["value"], rel=1e-4)
    assert constant["extra"]["without intercept"] == pytest.approx(center["value"])


@pytest.mark.parametrize("sizes", [(5, 4, 3, 2), (14,)])  # of one clip, each frame is left out
def test_the_ridge_against_fits_that_leave_each_clip_out(sizes):
    """Penalty and weights from augmented least squares, for every penalty and clip anew."""
    fit, test = sample(14, landmarks=6), sample(30, landmarks=6, seed=1)
    clips = np.repeat(range(len(sizes)), sizes)
    names = [f"{clip}/{i}" for i, clip in enumerate(clips)]
    m = metric("regression")
    for part in (slice(9), slice(9, None)):  # two batches
        m.fit(found(fit[0][part]), annotated(fit[1][part], names[part]))
    m.update(found(test[0]), annotated(test[1]))
    row = m.compute()

    x, tested = (xy.reshape(len(xy), -1).astype(float) for xy in (fit[0], test[0]))
    y = fit[1].reshape(len(x), -1).astype(float)
    groups = clips if len(sizes) > 1 else np.arange(len(x))

    def predict(x, y, tested, penalty):
        mean, centre = y.mean(axis=0), x.mean(axis=0)
        rows = np.vstack((x - centre, np.sqrt(penalty) * np.eye(x.shape[1])))
        wanted = np.vstack((y - mean, np.zeros((x.shape[1], y.shape[1]))))
        return (tested - centre) @ np.linalg.lstsq(rows, wanted, rcond=None)[0] + mean

    def missed(penalty):
        errors = [
            predict(x[groups != g], y[groups != g], x[groups == g], penalty) - y[groups == g]
            for g in set(groups)
        ]
        return sum((error**2).sum() for error in errors)

    penalties = 10.0 ** np.arange(-6, 4.01, 1 / 3) * ((x - x.mean(axis=0)) ** 2).sum() / len(x)
    chosen = min(penalties, key=missed)
    assert penalties[0] < chosen < penalties[-1]
    points = predict(x, y, tested, chosen).reshape(test[1].shape)
    wanted = 50 * np.linalg.norm(points - test[1], axis=-1).mean()
    assert row["extra"]["with ridge"] == pytest.approx(wanted, rel=1e-4)
    # 14 frames for 12 numbers of each coordinate: the protocol of the papers does far worse
    assert row["value"] > 1.5 * wanted


def test_landmarks_that_stand_still_change_nothing():
    """One in the middle up to float32 noise, and one twice."""
    fit, test = sample(40), sample(9, seed=1)

    def with_dead(xy, jump):
        noise = np.random.default_rng(2).normal(0, 3e-8, (len(xy), 1, 2))
        return np.concatenate((xy, xy[:, :1], noise + jump), axis=1)

    row = regressed((with_dead(fit[0], 0), fit[1]), (with_dead(test[0], 1e-3), test[1]))
    assert row["value"] == pytest.approx(normal_equations(fit, test, 0, False), rel=1e-3)


def test_each_keypoint_is_fitted_where_it_is_annotated():
    fit, test = sample(40), sample(9, seed=1)
    holes, gaps = fit[1].copy(), test[1].copy()
    holes[::2, 1] = NAN
    holes[0] = NAN
    gaps[:4, 1] = NAN
    gaps[0] = NAN
    row = regressed((fit[0], holes), (test[0], gaps))
    one = normal_equations_of(0, range(1, 40), fit, test)
    two = normal_equations_of(1, range(1, 40, 2), fit, test)
    expected = [*one[1:4], *((one + two) / 2)[4:]]
    assert row["value"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert row["n"] == 8
    assert row["extra"]["frames left out"] == 1.0
    assert row["extra"]["frames fitted on"] == 39.0


def normal_equations_of(keypoint, rows, fit, test):
    """Distances (percent) of one keypoint, fitted on some rows."""
    x, tested = (xy.reshape(len(xy), -1).astype(float) for xy in (fit[0][rows], test[0]))
    weights = np.linalg.inv(x.T @ x) @ x.T @ fit[1][rows, keypoint]
    return 50 * np.linalg.norm(tested @ weights - test[1][:, keypoint], axis=1)


def test_a_keypoint_that_is_never_annotated_is_an_error():
    xy, points = sample(5)
    points[:, 1] = NAN
    with pytest.raises(ValueError, match=r"keypoint 1 is not annotated in any frame of data\.fit"):
        regressed((xy, points), sample(2))


def always_in_the_middle(truth, size=(100, 100), names=None, **options):
    """A row for predictions of (0, 0), fitted to two landmarks that are there."""
    m = metric("regression", **options)
    m.fit(found(np.zeros_like(truth)), annotated(np.zeros_like(truth)))
    size = torch.tensor([size] * len(truth), dtype=torch.float32)
    m.update(found(np.zeros_like(truth)), annotated(truth, names, size=size))
    return m.compute()


def test_both_readings_of_the_six_pixels_of_bbc_pose():
    """In a crop of 300 x 200: 5.9 px down, 11.9 px right, 12.1 px left and 60 px away."""
    truth = [[[0, 2 * 5.9 / 200], [2 * 11.9 / 300, 0], [-2 * 12.1 / 300, 0], [0.4, 0]]]
    text = always_in_the_middle(truth, (300, 200), radius_px=6)
    code = always_in_the_middle(truth, (300, 200), radius_px=6, accuracy_scale=0.5)
    assert text["value"] == pytest.approx(25.0)
    assert code["value"] == pytest.approx(50.0)
    assert (text["metric"], text["unit"]) == ("regression_accuracy", "% within 6 px")
    assert code["unit"] == "% within 6 px at scale 0.5"
    assert metric("regression", radius_px=6).higher_is_better
    assert not metric("regression").higher_is_better
    # the released code: 0.5 (p - 1) + 1 of both sides, in pixels of the frame
    frame = (np.array(truth[0]) + 1) / 2 * (300, 200) + (17, 40)
    middle = np.array([150 + 17, 100 + 40])
    halves = [0.5 * (p - 1) + 1 for p in (frame, middle)]
    assert 100 * np.mean(np.linalg.norm(halves[0] - halves[1], axis=1) <= 6) == code["value"]


def test_an_unknown_keypoint_is_not_a_wrong_one():
    row = always_in_the_middle([[[NAN, NAN], [0, 0]], [[0, 0], [0.9, 0]]], (100, 100), radius_px=6)
    assert row["value"] == pytest.approx((100 + 50) / 2)


def test_pixels_are_those_of_the_original_crop():
    truth = [[[0.3, 0.4]]]
    known = always_in_the_middle(truth, (300, 200), normaliser="pixels")
    assert known["value"] == pytest.approx(math.hypot(0.15 * 300, 0.2 * 200), rel=1e-5)
    assert known["unit"] == "px"
    m = metric("keypoint_error", normaliser="pixels")
    m.update(found([[[0.0, 0.0]]]), annotated(truth, size=torch.tensor([[300.0, 200.0]])))
    assert m.compute()["value"] == pytest.approx(math.hypot(45, 40), rel=1e-5)
    with pytest.raises(MissingFieldError, match=r"Batch\.size is missing"):
        m.update(found([[[0.0, 0.0]]]), annotated(truth))


def test_eyes_on_one_spot_measure_nothing():
    truth = [[[-0.2, 0.0], [0.2, 0.0]], [[0.5, 0.015], [0.5, 0.0]]]  # 0.4 and 0.015 < 1/64 apart
    row = always_in_the_middle(truth, normaliser="eyes")
    assert row["value"] == pytest.approx(50.0)
    assert row["unit"] == "% of eye distance"
    assert (row["n"], row["extra"]["frames left out"]) == (1, 1.0)


def test_regression_averages_activities():
    names = ["S1/Run/0", "S1/Run/1", "S1/Run/2", "S1/Sit 1/0"]
    truth = [[[0.2, 0]], [[0.2, 0]], [[0.2, 0]], [[0.6, 0]]]
    row = always_in_the_middle(truth, names=names, activities=("run", "sit"))
    assert row["value"] == pytest.approx((10 + 30) / 2)
    assert row["activities"] == {"run": pytest.approx(10.0), "sit": pytest.approx(30.0)}
    assert row["extra"]["mean over frames"] == pytest.approx(15.0)


def test_the_score_of_other_predictions():
    """Any keypoints are scored as those of the model: 10 % away from one point, 30 from another."""
    m = metric("keypoint_error", keypoints=(2, 0), landmarks=(1, 0))
    m.update(found([[[0.5, 0.5], [0.0, 0.0]]]), annotated([[[0.2, 0], [NAN, NAN], [0, 0.6]]]))
    points = np.array([[[0.0, 0.0], [5.0, 5.0], [0.0, 0.0]]])
    assert m.score(points) == m.score(points[0]) == pytest.approx((10 + 30) / 2)
    # numbered as landmarks: 1 stands for keypoint 2, 0 for keypoint 0
    assert m.score(np.array([[0.2, 0], [0, 0.8]]), of_landmarks=True) == pytest.approx((0 + 10) / 2)
    assert math.isnan(m.score(np.array([[NAN, 0], [0, 0], [0, 0]])))
    assert m.score(np.array([[0.2, 0], [NAN, NAN], [0, 0.6]])) == pytest.approx(0, abs=1e-5)


def test_the_size_of_a_crop_reaches_the_batch():
    image = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    arrays = {"target": image, "size": torch.tensor([[300.0, 200.0], [10.0, 20.0]])}
    assert to_batch(arrays, torch.device("cpu")).size.tolist() == [[300.0, 200.0], [10.0, 20.0]]
    with pytest.raises(ValueError, match=r"Batch\.size must be \(B, 2\)"):
        Batch(size=torch.zeros(2, 3))


# masks

HALF = torch.tensor([[1.0, 1, 1, 0]] * 4)[None, None]  # 4 x 4, three of four columns


def test_containment_by_hand():
    """Averaged down to 2 x 2 the mask is 1 on the left and 1/2 on the right."""
    left, right, corner = [[0.5, 0], [0.5, 0]], [[0, 0.2], [0, 0.8]], [[0.6, 0.4], [0, 0]]
    m = metric("containment")
    for first in (left, corner):
        prob = torch.tensor([[right, first]])
        m.update(found([[[0.0, 0.0]] * 2], prob=prob), Batch(mask=HALF, name=("a/0",)))
    row = m.compute()
    # landmark 0: 50 %; landmark 1: 100 and 0.6 + 0.4 / 2 = 80 %
    assert list(row["extra"]) == ["least contained", "landmark 0", "landmark 1"]
    assert list(row["extra"].values()) == pytest.approx([50, 50, 90])
    assert row["value"] == pytest.approx(70.0)
    assert row["interval"] == pytest.approx([65, 75])
    assert (row["unit"], row["n"]) == ("% of mass", 2)


def guessed(m, batch: Batch):
    """The row of what the metric itself guesses."""
    m.update(m.guess(batch), batch)
    return m.compute()


def test_a_uniform_map_holds_the_share_of_the_foreground():
    m = metric("containment")
    assert m.baseline == "uniform_map"
    assert guessed(m, Batch(mask=HALF, name=("a/0",)))["value"] == pytest.approx(75.0)


def test_containment_needs_maps_and_masks():
    m = metric("containment")
    with pytest.raises(MissingFieldError, match=r"Landmarks\.prob is missing"):
        m.update(found([[[0.0, 0.0]]]), Batch(mask=HALF))
    with pytest.raises(MissingFieldError, match=r"Batch\.mask is missing"):
        m.update(found([[[0.0, 0.0]]]), Batch())


def layered(mask) -> Outputs:
    image = torch.zeros(len(mask), 3, *mask.shape[-2:])
    return Outputs(layers=Layers(foreground=image, background=image, mask=mask))


def test_mask_iou_by_hand():
    """Found two of three foreground pixels and one of the background; then nothing in nothing."""
    truth = torch.tensor([[[[1.0, 1], [1, 0]]], [[[0.0, 0], [0, 0]]]])
    mask = torch.tensor([[[[0.9, 0.6], [0.4, 0.7]]], [[[0.0, 0], [0, 0.4]]]])
    m = metric("mask_iou")
    m.update(layered(mask), Batch(mask=truth, name=("a/0", "b/0")))
    row = m.compute()
    assert row["value"] == pytest.approx((50 + 100) / 2)
    assert row["extra"]["mask mean"] == pytest.approx((2.6 + 0.4) / 8)
    assert row["extra"]["binarisation"] == pytest.approx((0.8 + 0.2 + 0.2 + 0.4 + 3 + 0.2) / 8)
    assert m.reads == ("layers.mask",)


def test_the_baseline_of_masks_is_the_mean_mask():
    m = metric("mask_iou")
    for columns in ([1.0, 1, 0, 0], [1.0, 1, 1, 0], [1.0, 1, 1, 1]):  # mean 1, 1, 2/3, 1/3
        m.fit(Outputs(), Batch(mask=torch.tensor([[[columns]]])))
    assert m.baseline == "mean_mask"
    batch = Batch(driving=torch.rand(1, 3, 1, 4), mask=torch.tensor([[[[0.0, 1, 1, 1]]]]))
    assert guessed(m, batch)["value"] == pytest.approx(100 * 2 / 4)


# images


def rendered(render, target, **fields) -> tuple[Outputs, Batch]:
    return Outputs(render=render), Batch(target=target, driving=target, **fields)


def grey(*values: float, side: int = 12) -> torch.Tensor:
    return torch.stack([torch.full((3, side, side), value) for value in values])


def test_psnr_is_the_mean_of_frames_not_of_errors():
    m = metric("psnr")
    m.update(*rendered(grey(0.6, 0.51), grey(0.5, 0.5), name=("a/0", "b/0")))
    row = m.compute()
    pooled = -10 * math.log10((0.1**2 + 0.01**2) / 2)
    assert row["value"] == pytest.approx((20 + 40) / 2, rel=1e-5)
    assert abs(row["value"] - pooled) > 7
    assert (row["metric"], row["unit"], row["n"]) == ("psnr", "dB", 2)


def test_frames_without_error_are_counted_not_averaged():
    m = metric("psnr")
    # an overshoot is cut off before it is compared
    m.update(*rendered(grey(0.5, 0.6, 1.5), grey(0.5, 0.5, 1.0)))
    row = m.compute()
    assert row["value"] == pytest.approx(20, rel=1e-5)
    assert (row["n"], row["extra"]) == (1, {"frames without error": 2.0})
    m = metric("psnr")
    m.update(*rendered(grey(0.5), grey(0.5)))
    assert m.compute()["value"] == 100


@pytest.mark.parametrize("name", ["psnr", "ssim", "lpips"])
def test_the_baseline_of_renders_copies_the_source(name):
    torch.manual_seed(0)
    source, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    options = {"trunk": "random"} if name == "lpips" else {}
    copied, drawn = metric(name, **options), metric(name, **options)
    drawn.update(*rendered(source, target))
    assert guessed(copied, Batch(source=source, target=target)) == drawn.compute()
    assert (copied.baseline, copied.reads) == ("copy_source", ("render|frames",))
    assert copied.guess(Batch(frames=torch.rand(1, 3, 3, 8, 8))) is None
    with pytest.raises(MissingFieldError, match=r"Outputs\.render is missing"):
        copied.update(Outputs(), Batch(source=source, target=target))


def test_predicted_frames_are_scored_one_by_one():
    """Three seen, two predicted, two clips: errors 0.1 and 0.01, then 0.1 and none."""
    m = metric("psnr")
    clip = grey(0.1, 0.2, 0.3, 0.5, 0.5)
    frames = torch.stack((grey(0.6, 0.6), grey(0.51, 0.5)))
    batch = Batch(frames=torch.stack((clip, clip)), name=("a/3", "b/3"))
    m.update(Outputs(frames=frames), batch)
    row = m.compute()
    assert row["value"] == pytest.approx((20 + 20 + 40) / 3, rel=1e-5)
    assert row["n"] == 3
    assert row["extra"] == pytest.approx({"frame 4": 30, "frame 5": 20, "frames without error": 1})
    assert row["interval"] == pytest.approx([20, 40], rel=1e-5)  # resamples clips
    with pytest.raises(ValueError, match="2 frames were predicted, but the clips have only 1"):
        m.update(Outputs(frames=frames), Batch(frames=batch.frames[:, :1]))


def test_a_broken_render_shows():
    m = metric("psnr")
    m.update(*rendered(grey(NAN, 0.6), grey(0.5, 0.5)))
    assert math.isnan(m.compute()["value"])


def ssim_by_scipy(a, b):
    """Local moments by scipy's Gaussian filter, cut to where the window stays inside."""

    def mean(x):
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    maps = []
    for x, y in zip(a.astype(np.float64), b.astype(np.float64)):
        ux, uy = mean(x), mean(y)
        vx, vy, vxy = mean(x * x) - ux**2, mean(y * y) - uy**2, mean(x * y) - ux * uy
        c1, c2 = 1e-4, 9e-4
        s = (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
        maps.append(s.mean())
    return np.mean(maps)


def test_ssim_against_scipy():
    torch.manual_seed(0)
    a = torch.rand(2, 3, 20, 27)
    b = (a + 0.2 * torch.randn(a.shape)).clamp(0, 1)
    expected = [ssim_by_scipy(x.numpy(), y.numpy()) for x, y in zip(a, b)]
    assert ssim(a, b).numpy() == pytest.approx(expected, abs=1e-9)
    assert ssim(a, a).numpy() == pytest.approx([1, 1])
    m = metric("ssim")
    m.update(*rendered(a, b))
    assert m.compute()["value"] == pytest.approx(np.mean(expected))


def test_ssim_of_flat_images_by_hand():
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(grey(0.2), grey(0.6)).item() == pytest.approx(expected, rel=1e-5)


# lpips

SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@pytest.fixture
def alexnet():
    """Filters named as torchvision's, classifier included."""
    torch.manual_seed(3)
    state = {"classifier.6.bias": torch.zeros(1000)}
    for i, (out, inputs, side) in SHAPES.items():
        state[f"features.{i}.weight"] = 0.1 * torch.randn(out, inputs, side, side)
        state[f"features.{i}.bias"] = 0.1 * torch.randn(out)
    return state


def lpips_by_hand(state, a, b):
    """The five ReLU layers of AlexNet, unit length over channels, weighted squared difference."""
    linear = torch.load(
        f"{lpips.__path__[0]}/weights/v0.1/alex.pth", map_location="cpu", weights_only=True
    )
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    features = []
    for image in (a, b):
        x, layers = (2 * image - 1 - shift) / scale, []
        for i, (stride, padding) in zip(SHAPES, ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
            if i in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = state[f"features.{i}.weight"], state[f"features.{i}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            layers.append(x / x.norm(dim=1, keepdim=True))
        features.append(layers)
    total = 0
    for n, (x, y) in enumerate(zip(*features)):
        weight = linear[f"lin{n}.model.1.weight"]
        total = total + F.conv2d((x - y).square(), weight).mean(dim=(1, 2, 3))
    return total.mean().item()


def test_lpips_with_a_trunk_from_a_file_by_hand(alexnet, tmp_path):
    torch.save(alexnet, tmp_path / "alexnet.pth")
    save_file(alexnet, tmp_path / "alexnet.safetensors")
    a, b = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    rows = []
    for trunk in (tmp_path / "alexnet.pth", tmp_path / "alexnet.safetensors"):
        m = metric("lpips", trunk=str(trunk))
        m.update(*rendered(a, b))
        rows.append(m.compute())
    assert rows[0] == rows[1]
    assert rows[0]["metric"] == "lpips-alex-v0.1"
    assert rows[0]["value"] == pytest.approx(lpips_by_hand(alexnet, a, b), rel=1e-4)


def test_lpips_of_equal_images_is_zero_and_a_random_trunk_says_so(capsys):
    state = torch.random.get_rng_state()
    m = metric("lpips", trunk="random")
    assert torch.equal(torch.random.get_rng_state(), state)
    image = torch.rand(2, 3, 32, 32)
    m.update(*rendered(image, image))
    assert m.compute()["value"] == 0
    assert m.compute()["metric"] == "lpips-alex-v0.1-random-trunk"
    assert capsys.readouterr().out == ""


def test_lpips_never_falls_back_to_random_weights(alexnet, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"no AlexNet weights at 'nowhere\.pth'\. Set trunk="):
        metric("lpips", trunk="nowhere.pth")
    missing = {key: value for key, value in alexnet.items() if key != "features.8.bias"}
    torch.save(missing, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"with torchvision's names: no 'features\.8\.bias'"):
        metric("lpips", trunk=str(tmp_path / "other.pth"))
    torch.save(alexnet | {"features.0.bias": torch.zeros(7)}, tmp_path / "narrow.pth")
    with pytest.raises(ConfigError, match="not weights of AlexNet"):
        metric("lpips", trunk=str(tmp_path / "narrow.pth"))

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ConfigError, match=r"cannot download AlexNet weights from https://.*trunk="):
        metric("lpips")


# video


def test_state_error_by_hand():
    """Two landmarks, one right, the other 0.1 and then 0.5 off; the shapes do not count."""
    truth, states = torch.zeros(1, 2, 2, 5), torch.ones(1, 2, 2, 5)
    states[..., :2] = 0
    states[0, 0, 1, 0] = 0.1
    states[0, 1, 1, :2] = torch.tensor([0.3, 0.4])
    m = metric("state_error")
    outputs = Outputs(states=states, true_states=truth)
    m.update(outputs, Batch(frames=torch.zeros(1, 12, 3, 4, 4), name=("a/0",)))
    row = m.compute()
    assert row["extra"] == pytest.approx({"frame 11": 2.5, "frame 12": 12.5})
    assert row["value"] == pytest.approx(7.5)
    assert (row["unit"], row["n"]) == ("% of image", 2)
    with pytest.raises(MissingFieldError, match=r"Outputs\.true_states is missing"):
        m.update(Outputs(states=states), Batch(frames=torch.zeros(1, 12, 3, 4, 4)))


# the best checkpoint


@pytest.mark.parametrize(("higher", "saved"), [(True, [1, 2]), (False, [1, 4])])
@pytest.mark.parametrize("resumed", [False, True])
def test_the_best_checkpoint_is_the_lowest_or_the_highest(
    higher, saved, resumed, tmp_path, monkeypatch
):
    """Scores 50, 70, 60, 40; the resumed run had 50 before and begins with 70."""
    scores = iter([50.0, 70.0, 60.0, 40.0][resumed:])
    metric = SimpleNamespace(
        fits=False, higher_is_better=higher, compute=lambda: {"value": next(scores), "unit": "%"}
    )
    monkeypatch.setattr(validation, "build_metrics", lambda cfg: {"m": metric})
    monkeypatch.setattr(validation, "score", lambda *a: {"trained": {"m": metric}})
    monkeypatch.setattr(validation, "predictor", lambda *a: None)
    (tmp_path / "scalars.jsonl").write_text('{"loss": 1.0}\n{"iteration": 1, "val_m": 50.0}\n')
    kept, pipeline = [], torch.nn.Linear(1, 1)
    job = SimpleNamespace(
        cfg={},
        datasets=lambda name: (),
        work_dir=tmp_path,
        data=SimpleNamespace(val={}),
        evaluated=lambda: pipeline,
        progress=SimpleNamespace(record=lambda line: None, say=lambda text: None),
        save_weights=lambda done, name: kept.append(done),
    )
    runner = SimpleNamespace(job=job, rank=0, iter=int(resumed), max_iters=4)
    hook = validation.Validation(every=1)
    hook.before_train(runner)
    for step in range(int(resumed), 4):
        hook.after_train_iter(runner, step)
    assert kept == saved[resumed:]


# all of it

CONFIG = dict(
    model=dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4)),
        bottleneck=dict(type="bottlenecks/gaussian"),
        rasterizer=dict(type="rasterizers/gaussian", image_size=32),
        appearance_encoder=dict(
            type="encoders/part_appearance",
            num_landmarks=3,
            features=8,
            out_channels=5,
            widths=(4,),
        ),
        decoder=dict(type="decoders/spade", num_landmarks=3, appearance_channels=5, width=2),
        compositor=dict(
            type="compositors/mask_blend",
            num_landmarks=3,
            first=2,
            mask_widths=(4, 4, 4),
            background_widths=(4, 4, 4),
        ),
    ),
    data={
        split: dict(
            type="datasets/standin", image_size=32, num_keypoints=2, length=length, seed=length
        )
        for split, length in (("train", 5), ("fit", 12), ("test", 7))
    },
    train=dict(iterations=1, batch_size=2, lr=1e-3),
    evaluate=dict(
        batch_size=4,
        metrics=dict(
            error=dict(type="metrics/regression"),
            accuracy=dict(type="metrics/regression", radius_px=6, origin="corner"),
            containment=dict(type="metrics/containment"),
            mask=dict(type="metrics/mask_iou"),
            psnr=dict(type="metrics/psnr"),
            ssim=dict(type="metrics/ssim"),
            lpips=dict(type="metrics/lpips", trunk="random"),
        ),
    ),
)


def test_one_evaluation_of_every_protocol():
    torch.manual_seed(0)
    rows = {row["protocol"]: row for row in evaluate(build_model(CONFIG), CONFIG, "last")}
    json.dumps(rows, allow_nan=False)
    assert {name: next(iter(row["baselines"])) for name, row in rows.items()} == {
        "error": "predict_mean",
        "accuracy": "predict_mean",
        "containment": "uniform_map",
        "mask": "mean_mask",
        "psnr": "copy_source",
        "ssim": "copy_source",
        "lpips": "copy_source",
    }
    assert all(row["n"] == 7 and "untrained" in row["baselines"] for row in rows.values())
    assert {"with ridge", "untrained with ridge"} <= set(rows["error"]["extra"])
    rivals = {"predict_mean", "nearest_frame", "ridge_pixels", "ridge_blob", "tracking"}
    assert set(rows["error"]["baselines"]) == set(rows["accuracy"]["baselines"]) == {
        *rivals, "untrained"
    }  # fmt: skip
    # noise: nothing stands still
    assert rows["error"]["baselines"]["ridge_blob"] is None
    assert rows["error"]["baseline_notes"] == {
        "ridge_blob": "no still camera (or fewer than 5 frames) in 1 of 1 clips"
    }
    assert not any("baseline_notes" in rows[name] for name in ("containment", "mask", "psnr"))
    assert rows["error"]["extra"]["frames fitted on"] == 12
    # the baselines again, from the data sets alone
    fit, test = (build(CONFIG["data"][split], split, "datasets") for split in ("fit", "test"))
    mean = np.mean([fit.keypoints(i) for i in range(12)], axis=0)
    error = np.mean([np.linalg.norm(test.keypoints(i) - mean, axis=1).mean() for i in range(7)])
    assert rows["error"]["baselines"]["predict_mean"] == pytest.approx(50 * error, rel=1e-5)
    masks = [test.sample(i, np.random.default_rng(0))["mask"].mean() for i in range(7)]
    assert rows["containment"]["baselines"]["uniform_map"] == pytest.approx(100 * np.mean(masks))


class Judged:
    """A metric of another distribution, without any base: mean render through a network."""

    built = 0

    def __init__(self) -> None:
        type(self).built += 1
        self.network, self.values = torch.nn.Linear(1, 1), []

    reads = ("render",)

    def update(self, outputs, batch) -> None:
        self.values.append((id(self.network), outputs.render.mean().item()))

    def compute(self) -> dict:
        judges, values = zip(*self.values)
        value = float(np.mean(values))
        return {"metric": "judged", "unit": "", "value": value, "interval": [value] * 2, "n": 7,
                "extra": {"judge": float(judges[0])}}  # fmt: skip


def test_a_plain_class_is_a_metric_and_is_built_once(monkeypatch):
    monkeypatch.setitem(ROLES["metrics"].module_dict, "metrics/test/judged", Judged)  # undone
    METRICS.register_module("metrics/test/judged", force=True)(Judged)
    judged = dict(metrics=dict(judged=dict(type="metrics/test/judged")), batch_size=4)
    cfg = {**CONFIG, "evaluate": judged, "data": {"test": CONFIG["data"]["test"]}}
    torch.manual_seed(0)
    pipeline = build_model(cfg)
    (row,) = evaluate(pipeline, cfg, "last")
    assert Judged.built == 1
    assert row["baselines"].keys() == {"untrained"}
    assert row["baselines"]["untrained"] != row["value"]
    assert row["higher_is_better"] is False
    # the value of its own player alone, of two batches of 4 and 3
    batches = frames_of(build(CONFIG["data"]["test"], "d", "datasets"), range(7), 4)
    batches = [to_batch(arrays, torch.device("cpu")) for arrays in batches]
    means = [pipeline.infer(batch).render.mean().item() for batch in batches]
    assert row["value"] == pytest.approx(np.mean(means), rel=1e-5)


def test_copies_of_a_metric_share_its_network():
    m = Judged()
    first, second = fresh(m), fresh(m)
    assert first.network is second.network is m.network
    first.values.append(1)
    assert m.values == second.values == []


def test_the_mean_of_a_prior_stands_for_landmarks():
    """Without frames to fit on: three landmarks of which two are scored, of other poses."""
    data = {"test": CONFIG["data"]["test"], "prior": {**CONFIG["data"]["fit"], "num_keypoints": 3}}
    error = dict(type="metrics/keypoint_error", landmarks=(2, 0))
    cfg = {**CONFIG, "data": data, "evaluate": dict(metrics=dict(error=error))}
    (row,) = evaluate(build_model(cfg), cfg, "last")
    prior, test = (build(data[split], split, "datasets") for split in ("prior", "test"))
    mean = np.mean([prior.keypoints(i) for i in range(12)], axis=0)[[2, 0]]
    errors = [np.linalg.norm(test.keypoints(i) - mean, axis=1).mean() for i in range(7)]
    assert row["baselines"]["predict_mean"] == pytest.approx(50 * np.mean(errors), rel=1e-5)
    assert row["baseline_notes"]["predict_mean"] == "the mean of data.prior"
    assert row["baselines"]["tracking"] is row["baselines"]["ridge_pixels"] is None
    assert row["baseline_notes"]["tracking"] == "no annotated frames to learn from (data.fit)"
    json.dumps(row, allow_nan=False)


def test_a_protocol_that_fits_needs_frames_to_fit_on(tmp_path):
    data = {key: value for key, value in CONFIG["data"].items() if key != "fit"}
    left_out = "no error, accuracy, mask: the config has no data.fit"
    rows = evaluate(build_model(CONFIG), {**CONFIG, "data": data}, "last")
    assert [row["protocol"] for row in rows] == ["containment", "psnr", "ssim", "lpips"]
    assert all(row["left_out"] == [left_out] for row in rows)
    losses = {"pixel": {"type": "losses/pixel"}}
    job = Job(
        {**CONFIG, "data": data, "losses": losses}, tmp_path
    )  # known before training, not after it
    assert (job.left_out, job.scored) == ([left_out], True)
