"""Competitors against independent computations: least squares by augmented systems, brute-force
neighbours, and hand-made clips in which a known thing moves in a known way.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from components.competitors import NOT_STILL, Competitors, blobs, follow
from components.ops.regression import PENALTIES, by_annotation, ridge
from registry.contract import Batch

NAN = np.nan
NAMES = ["predict_mean", "nearest_frame", "ridge_pixels", "ridge_blob", "tracking"]


def textured(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Smooth grey noise in [40, 215]."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return 40 + 175 * (smooth - smooth.min()) / np.ptp(smooth)


def batch(grey, names, points=None) -> Batch:
    """Grey images (B, H, W) in [0, 255], as the data sets give them."""
    image = torch.from_numpy(np.stack(grey)).float()[:, None].expand(-1, 3, -1, -1) / 255
    keypoints = None if points is None else torch.tensor(np.asarray(points), dtype=torch.float32)
    return Batch(driving=image, keypoints=keypoints, name=tuple(names))


def compete(fit, test) -> dict:
    """Predictions for (images, names) from (images, names, keypoints), in batches of four."""
    rivals = Competitors()
    for i in range(0, len(fit[1]), 4):
        rivals.fit(batch(*(part[i : i + 4] for part in fit)))
    for i in range(0, len(test[1]), 4):
        rivals.update(batch(*(part[i : i + 4] for part in test)))
    return rivals.predict()


# ridge regression


def augmented(x, y, tested, penalty):
    """min |x w + c - y|^2 + penalty |w|^2, as one least squares problem, and its predictions."""
    rows = np.hstack((x, np.ones((len(x), 1))))
    extra = np.hstack((np.sqrt(penalty) * np.eye(x.shape[1]), np.zeros((x.shape[1], 1))))
    wanted = np.vstack((y, np.zeros((x.shape[1], y.shape[1]))))
    weights = np.linalg.lstsq(np.vstack((rows, extra)), wanted, rcond=None)[0]
    return tested @ weights[:-1] + weights[-1]


@pytest.mark.parametrize(("rows", "columns"), [(24, 7), (15, 60)])
@pytest.mark.parametrize("clips", [False, True])
def test_ridge_against_fits_without_each_group(rows, columns, clips):
    rng = np.random.default_rng(rows)
    x = rng.normal(3, 1, (rows, columns)) * rng.uniform(0.2, 2, columns)
    y = x @ rng.normal(size=(columns, 3)) / columns + rng.normal(0, 0.3, (rows, 3)) + 5
    tested = rng.normal(3, 1, (6, columns))
    groups = np.array([0, 0, 1, 1, 1, 2, *range(3, rows - 3)]) if clips else np.arange(rows)
    scale = ((x - x.mean(axis=0)) ** 2).sum() / rows
    errors = []
    for penalty in PENALTIES * scale:
        missed = [
            augmented(x[groups != g], y[groups != g], x[groups == g], penalty) - y[groups == g]
            for g in np.unique(groups)
        ]
        errors.append(sum((error**2).sum() for error in missed))
    best = PENALTIES[np.argmin(errors)] * scale
    assert PENALTIES[0] < PENALTIES[np.argmin(errors)] < PENALTIES[-1]
    found = ridge(x, y, tested, groups)
    np.testing.assert_allclose(found, augmented(x, y, tested, best), rtol=1e-7)


def test_nothing_to_go_by_is_the_mean():
    y = np.array([[1.0], [2.0], [6.0]])
    for x, groups in ((np.ones((3, 4)), range(3)), (np.eye(3), [5, 5, 5])):
        assert ridge(x, y, x[:2], np.array(groups)).tolist() == [[3.0], [3.0]]


def test_keypoints_are_predicted_together_where_annotated_together():
    truth = np.array([[[1.0, 2], [3, 4], [NAN, NAN]], [[5, 6], [NAN, 7], [NAN, NAN]]])
    calls = []

    def predict(rows, wanted):
        calls.append((rows.tolist(), wanted.tolist()))
        return np.tile(wanted[-1], (2, 1))

    found = by_annotation(truth, 2, predict)
    assert sorted(calls) == [([True, False], [[3.0, 4.0]]), ([True, True], [[1, 2], [5, 6]])]
    np.testing.assert_array_equal(found[0], [[5, 6], [3, 4], [NAN, NAN]])
    np.testing.assert_array_equal(found[1], found[0])


# pixels


def unrelated(count, seed):
    rng = np.random.default_rng(seed)
    images = [textured(100 * seed + i) for i in range(count)]
    return images, rng.uniform(-0.9, 0.9, (count, 3, 2)).astype(np.float32)


def test_pixels_against_brute_force():
    """Blocks of 2 x 2 pixels are averaged by hand; a hole is filled from the next nearest."""
    (fit, points), (test, _) = unrelated(9, 1), unrelated(5, 2)
    points[[2, 5], 1] = NAN
    found = compete(
        (fit, [f"c{i}/0" for i in range(9)], points), (test, [f"t/{i}" for i in range(5)])
    )
    small = [
        np.stack(
            [np.rint(image).reshape(32, 2, 32, 2).mean(axis=(1, 3)).ravel() / 255 for image in part]
        )
        for part in (fit, test)
    ]
    nearest = np.empty((5, 3, 2))
    for n, pixels in enumerate(small[1]):
        for j in range(3):
            known = [i for i in range(9) if np.isfinite(points[i, j, 0])]
            nearest[n, j] = points[min(known, key=lambda i: ((pixels - small[0][i]) ** 2).sum()), j]
    np.testing.assert_allclose(found["nearest_frame"][0], nearest)
    mean = np.nanmean(points.astype(np.float64), axis=0)
    np.testing.assert_allclose(found["predict_mean"][0], np.broadcast_to(mean, (5, 3, 2)))

    rows = [i for i in range(9) if i not in (2, 5)]
    scale = ((small[0][rows] - small[0][rows].mean(axis=0)) ** 2).sum() / 7
    candidates = [
        augmented(small[0][rows], points[rows, 1].astype(float), small[1], p)
        for p in PENALTIES * scale
    ]
    errors = []
    for penalty in PENALTIES * scale:
        left = [
            augmented(small[0][kept], points[kept, 1].astype(float), small[0][[out]], penalty)
            - points[out, 1]
            for out in rows
            for kept in [[i for i in rows if i != out]]
        ]
        errors.append((np.array(left) ** 2).sum())
    chosen = candidates[int(np.argmin(errors))]
    np.testing.assert_allclose(found["ridge_pixels"][0][:, 1], chosen, atol=1e-5)


# the moving blob


def boxed(places, background, size=(12, 8), level=255):
    """Boxes of (width, height) pixels with the top left corner at each place."""
    frames = []
    for x, y in places:
        frame = background.copy()
        frame[y : y + size[1], x : x + size[0]] = level
        frames.append(np.rint(frame).astype(np.uint8))
    return np.stack(frames)


PLACES = [(3 + 4 * i, 6 + 17 * i % 48) for i in range(12)]  # each pixel is background mostly


def test_a_blob_by_hand():
    """A box of 12 x 8 pixels in 64: its variance is (n^2 - 1) / 12 squared pixels."""
    frames = boxed(PLACES, 0.5 * textured(3))
    frames[4, 60:62, 1:3] = 255  # four pixels of noise
    found = blobs(frames)
    for (x, y), blob in zip(PLACES, found):
        left, top, right, bottom = (2 * v + 1 for v in (x, y, x + 11, y + 7))
        np.testing.assert_allclose(blob[:2], [(left + right) / 128 - 1, (top + bottom) / 128 - 1])
        moments = [143 / 12 / 32**2, 0, 63 / 12 / 32**2]
        np.testing.assert_allclose(blob[2:5], moments, atol=1e-12)
        np.testing.assert_allclose(blob[5:], np.array([left, top, right, bottom]) / 64 - 1)


def test_where_the_camera_moves_there_is_no_blob():
    wide = textured(4, 64, 160)
    assert (
        blobs(np.stack([wide[:, 8 * t : 8 * t + 64] for t in range(12)]).astype(np.uint8)) is None
    )
    assert blobs(boxed(PLACES[:4], textured(3))) is None  # too few frames for a background
    still = blobs(np.stack([textured(3).astype(np.uint8)] * 6))
    assert np.isnan(still).all()


def corners(places):
    """Two keypoints (T, 2, 2), top left and bottom right."""
    pixels = np.array([[(x, y), (x + 11, y + 7)] for x, y in places], float)
    return (2 * pixels + 1) / 64 - 1


def test_ridge_on_the_blob_learns_its_corners():
    """Keypoints on the box, in two clips over two backgrounds; only one has annotation."""

    others = [(50 - 3 * i, 4 + 4 * i) for i in range(12)]
    fit = boxed(PLACES, 0.5 * textured(3))
    test = boxed(others, 0.5 * textured(5))
    names = [[f"{clip}/{t}" for t in range(12)] for clip in "ab"]
    found = compete((fit, names[0], corners(PLACES)), (test, names[1]))
    points, remark = found["ridge_blob"]
    assert remark == ""
    assert np.abs(points - corners(others)).max() < 0.1  # 1.6 of 64 pixels, by so few frames
    assert np.abs(found["ridge_pixels"][0] - corners(others)).max() > 0.3
    assert found["tracking"] == (None, "no annotated frame of the same clip")


def test_a_blob_needs_still_cameras():
    wide = textured(4, 64, 160)
    moving = [wide[:, 8 * t : 8 * t + 64] for t in range(12)]
    fit = boxed(PLACES, 0.5 * textured(3))
    points = corners(PLACES)
    names = [[f"{clip}/{t}" for t in range(12)] for clip in "abcd"]

    def remark(fit, test):
        return compete((fit, names[0], points), test)["ridge_blob"]

    assert remark(fit, (moving, names[1])) == (None, f"{NOT_STILL} in 1 of 1 clips")
    assert remark(moving, (list(fit), names[1])) == (None, f"{NOT_STILL} in data.fit")
    mixed = [*fit, *fit, *moving], [*names[1], *names[2], *names[3]]
    found, text = remark(fit, mixed)
    assert text == f"the mean in 12 of 36 frames: {NOT_STILL} in 1 of 3 clips"
    np.testing.assert_allclose(
        found[24:], np.broadcast_to(points.mean(axis=0), (12, 2, 2)), rtol=1e-6
    )
    np.testing.assert_allclose(found[:24], np.concatenate((points, points)), atol=0.01)


# tracking

STEP = np.array([1.5, -0.75])  # pixels per frame


def sliding(frames, height=64, width=96):
    """Frames of one texture that slides by STEP, bilinear, and three points on it (T, 3, 2)."""
    canvas, found = textured(7, 160, 256), []
    for t in range(frames):
        x, y = np.array([80 + width / 2 - 0.5, 48 + height / 2 - 0.5]) - t * STEP
        found.append(cv2.getRectSubPix(canvas.astype(np.float32), (width, height), (x, y)))
    pixels = (
        np.array([[30.0, 40], [50, 30], [40.25, 50.5]]) + np.arange(frames)[:, None, None] * STEP
    )
    return np.stack(found), (2 * pixels + 1) / (width, height) - 1


def off(found, truth):
    """Distances in pixels."""
    return np.linalg.norm((found - truth) * (48, 32), axis=-1)


def test_points_follow_a_known_translation():
    frames, truth = sliding(2)
    moved = follow(*frames.astype(np.uint8), np.concatenate((truth[0], [[NAN, NAN]])))
    assert off(moved[:3], truth[1]).max() < 0.1
    assert np.isnan(moved[3]).all()


def test_tracking_goes_from_the_nearest_annotated_frame_forth_and_back():
    frames, truth = sliding(15)
    fitted = [2, 9]
    tested = [t for t in range(15) if t not in fitted]
    points = truth[fitted].copy()
    points[0] += (0.02, 0.0)  # so that the start shows: 0.96 pixels
    points[1, 2] = NAN  # to be followed from frame 2 all the way
    names = [f"run/f{t:02d}" for t in range(15)]
    order = np.random.default_rng(0).permutation(tested)
    found = compete(
        (frames[fitted], [names[t] for t in fitted], points),
        (frames[order], [names[t] for t in order]),
    )
    predicted, remark = found["tracking"]
    assert remark == ""
    for row, t in enumerate(order):
        start = 0.96 if t <= 5 else 0.0  # frame 5 is 3 after frame 2 and 4 before frame 9
        assert off(predicted[row], truth[t])[:2] == pytest.approx([start] * 2, abs=0.25)
        assert off(predicted[row], truth[t])[2] == pytest.approx(0.96, abs=0.35)
    assert off(found["nearest_frame"][0], truth[order]).max() > 3


def test_tracking_needs_annotation_in_the_same_clip():
    frames, truth = sliding(6)
    names = [f"{clip}/{t}" for clip in "abc" for t in range(2)]
    fit = frames[:2], ["a/10", "b/x"], truth[:2]
    points, remark = compete(fit, (frames, names))["tracking"]
    assert (points, remark) == (None, "no annotated frame of the same clip")
    points, remark = compete((frames[:2], ["a/10", "b/11"], truth[:2]), (frames, names))["tracking"]
    assert remark == "the mean in 2 of 6 frames: no annotated frame of the same clip"
    np.testing.assert_allclose(
        points[4:], np.broadcast_to(truth[:2].mean(axis=0), (2, 3, 2)), rtol=1e-5
    )


def test_without_annotation_there_are_no_competitors():
    frames, _ = sliding(2)
    nothing = dict.fromkeys(NAMES, (None, "no annotated frames to learn from (data.fit)"))
    test = frames, ["a/0", "a/1"]
    assert compete(([], [], []), test) == nothing
    assert compete((frames, ["a/0", "a/1"], np.full((2, 3, 2), NAN)), test) == nothing
    found = compete((frames, ["a/0", "a/1"], [[[0, 0], [NAN, NAN]]] * 2), test)
    assert all(np.isnan(found[name][0][:, 1]).all() for name in NAMES if found[name][0] is not None)
