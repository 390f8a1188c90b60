"""What images of training look like to a model, and which others are told to look unlike them."""

import csv
import json
import warnings
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import zoo
from components.data.annotations import read_coco, read_csv
from components.data.video import write_video
from components.datasets.puppets import Puppets
from registry import load_config
from registry.contract import Landmarks, Outputs
from registry.runner import train
from registry.usual import LIMIT, Usual, observe, read, usual_of, warn_of
from tests.runs import write_config
from tests.zoo_packages import loadable_package, read_config
from tests.zoo_packages import write_config as replace_config
from zoo.errors import IntegrityError
from zoo.prediction import predict

NAMES = ["keypointgan-puppets", "factorized-puppets", "fomm-puppets", "forecast-puppets"]
XY = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])  # both 0.5 from their mean
FINE = {"images": 8, "quantiles": {"brightness": [0.1, 0.2, 0.3, 0.4, 0.5]}}


class Redrawing:
    """Finds two fixed points, and draws everything 0.1 too bright."""

    infers = frozenset({"landmarks", "render"})

    def infer(self, batch):
        assert torch.equal(batch.source, batch.driving)
        n = len(batch.driving)
        landmarks = Landmarks(xy=XY.expand(n, 2, 2), score=torch.tensor([[0.2, 0.6]]).expand(n, 2))
        return Outputs(landmarks=landmarks, render=batch.driving + 0.1)


class Finding:
    infers = frozenset()

    def predict(self, images):
        return Outputs(landmarks=Landmarks(xy=XY.expand(len(images), 2, 2)))


def test_the_numbers_of_an_image_by_hand():
    image = torch.zeros(1, 3, 2, 4)
    image[..., 2:] = 0.8  # one step of 0.8 among 3 between columns, none between rows
    expected = {"brightness": 0.4, "contrast": 0.4, "detail": 0.8 / 3 / 2, "landmark_spread": 0.5}
    assert _plain(observe(Finding(), image)) == pytest.approx(expected, abs=1e-6)
    expected |= {"score": 0.4, "reconstruction_error": 0.1}
    assert _plain(observe(Redrawing(), image)) == pytest.approx(expected, abs=1e-6)
    assert _plain(observe(SimpleNamespace(image_pipeline=Redrawing()), image)) == pytest.approx(
        expected, abs=1e-6
    )
    assert observe(SimpleNamespace(infers=frozenset()), image) == {}


def _plain(numbers):
    return {name: value.item() for name, value in numbers.items()}


def test_what_is_unusual_by_hand():
    five = [0.1, 0.2, 0.4, 0.5, 0.6]  # a unit is 0.2 downwards, 0.1 upwards
    usual = Usual(8, {"brightness": five, "later": five})
    up, down = 0.4 + 0.1 * LIMIT, 0.4 - 0.2 * LIMIT
    values = (0.4, up - 0.001, up + 0.001, down + 0.001, down - 0.001)
    images = torch.tensor(values)[:, None, None, None].expand(-1, 3, 4, 4)
    found = usual.remarks(Finding(), images)
    assert [bool(text) for text in found] == [False, False, True, False, True]
    assert found[2] == "brightness 0.52, training 0.2 to 0.5"
    # two numbers: the root of their mean square counts, the farther one is named
    usual = Usual(8, {"brightness": five, "landmark_spread": [0.4, 0.4, 0.5, 0.6, 0.6]})
    found = usual.remarks(Finding(), (images - 0.4) * 2**0.5 + 0.4)
    assert [bool(text) for text in found] == [False, False, True, False, True]
    assert Usual(8, {"later": five}).remarks(Finding(), images) == [""] * 5
    # all images of training alike: a tenth of the median is nothing unusual
    alike = Usual(8, {"brightness": [0.4] * 5})
    found = alike.remarks(
        Finding(), torch.tensor([0.43, 0.46])[:, None, None, None] + images[:2] * 0
    )
    assert [bool(text) for text in found] == [False, True]


def test_numbers_that_are_not_finite_are_unusual():
    usual = Usual(8, {"brightness": [0.1, 0.2, 0.4, 0.5, 0.6]})
    assert usual.remarks(Finding(), torch.full((1, 3, 4, 4), torch.nan))[0]


def test_one_warning_names_the_place():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of(["detail 0.3, training 0.1 to 0.2"], "a/photo.jpg")
        warn_of(["", "x", "y"])
    assert [str(one.message) for one in caught] == [
        "a/photo.jpg: this image looks unlike those that the model was trained on (detail 0.3, "
        "training 0.1 to 0.2). Do not trust its landmarks.",
        "2 of 3 images look unlike those that the model was trained on (x). Do not trust their "
        "landmarks.",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of([])
        warn_of(["", ""])
        warn_of(["x", *[""] * 15])  # 1 % of the images that a model knows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of three iterations."""
    folder = tmp_path_factory.mktemp("usual")
    options = {"train.iterations": 3, "train.lr_factors": (), "train.panels_every": 0}
    cfg = load_config(write_config(folder), options)
    train(cfg, folder / "run")
    return cfg, folder / "run"


def test_a_run_keeps_what_its_images_look_like(run):
    cfg, work = run
    told = json.loads((work / "usual.json").read_text())
    assert told["images"] == 24
    data = Puppets(image_size=32, clips=3, frames_per_clip=8)
    means = [data.image(i).mean() / 255 for i in range(24)]
    expected = np.quantile(means, [0, 0.01, 0.5, 0.99, 1])
    assert told["quantiles"]["brightness"] == pytest.approx(expected, abs=1e-4)
    names = {"brightness", "contrast", "detail", "landmark_spread", "score", "reconstruction_error"}
    assert set(told["quantiles"]) == names
    for five in told["quantiles"].values():
        assert five == sorted(five)
    model = zoo.load(work)
    assert model.usual == read(work / "usual.json")
    assert zoo.load(work / "last.pth").usual == model.usual
    model.train()
    assert usual_of(model, cfg, images=4).images == 4
    assert model.training  # as it was


def test_a_package_keeps_it_and_older_ones_load(run, tmp_path):
    cfg, work = run
    model = zoo.load(work)
    names = {"name": "tiny", "license": "apache-2.0"}
    saved = zoo.save(model, tmp_path / "tiny", cfg=cfg, **names)
    again = zoo.load(saved)
    assert again.usual == model.usual
    resaved = zoo.save(again, tmp_path / "again", **names)
    assert read_config(resaved)["usual"] == json.loads((work / "usual.json").read_text())
    assert "unlike the training images: 98 % of 24 of these have brightness" in (
        (saved / "README.md").read_text()
    )
    older = loadable_package(tmp_path / "older")
    assert "usual" not in read_config(older)
    assert zoo.load(older).usual is None
    assert zoo.build(saved).usual is None  # untrained


@pytest.mark.parametrize(
    "usual",
    [
        {"images": 0, "quantiles": {}},
        {"images": 10**30, "quantiles": {}},
        {"images": 8, "quantiles": {"brightness": [0.1, 0.2, 0.3, 0.4]}},
        {"images": 8, "quantiles": {"brightness": [0.1, 0.3, 0.2, 0.4, 0.5]}},
        {"images": 8, "quantiles": {"brightness": [-1, 0.2, 0.3, 0.4, 0.5]}},
        {"images": 8, "quantiles": {"brightness": [0, 0.2, 0.3, 0.4, 10**400]}},
        {"images": 8, "quantiles": {"brightness": [0, 0.2, 0.3, 0.4, True]}},
        {"images": 8, "quantiles": {"\x1b[31m": [0.1, 0.2, 0.3, 0.4, 0.5]}},
        {"images": 8, "quantiles": {"a" * 41: [0.1, 0.2, 0.3, 0.4, 0.5]}},
        {"images": 8, "quantiles": {f"n{chr(97 + i)}": [0] * 5 for i in range(17)}},
        {"images": 8, "quantiles": {}, "more": 1},
        [],
    ],
)
def test_hostile_numbers_are_refused(usual, tmp_path):
    folder = loadable_package(tmp_path / "tiny")
    config = read_config(folder)
    replace_config(folder, {**config, "usual": FINE})
    assert zoo.load(folder).usual == Usual(**FINE)
    replace_config(folder, {**config, "usual": usual})
    with pytest.raises(IntegrityError, match=r"usual|is too large"):
        zoo.load(folder)


def natural(seed, height=96, width=128):
    """Return a picture with the spectrum of photographs: amplitude 1 / frequency, colours alike."""
    random = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    falling = 1 / np.maximum(np.hypot(x, y), 1 / width)
    spectrum = np.fft.fft2(random.normal(size=(height, width))) * falling
    grey = np.fft.ifft2(spectrum).real
    grey = (grey - grey.mean()) / grey.std()
    tint = 1 + 0.1 * random.normal(size=3)
    return np.clip(128 + 55 * grey[..., None] * tint, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_models_tell_photographs_from_puppets(name):
    model = zoo.load(name)
    assert model.usual.images == 256
    puppets = Puppets(split="test", seed=51, clips=64, frames_per_clip=8)
    known = model.preprocess([puppets.image(8 * i) for i in range(64)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.predict(known)  # not a word
        model.predict(torch.rand(4, 3, 64, 64))  # tensors are not checked
    assert sum(map(bool, model.usual.remarks(model, known.images))) <= 2
    photos = [natural(seed) for seed in range(16)]
    with pytest.warns(UserWarning, match="16 of 16 images look unlike") as caught:
        model.predict(photos)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="this image looks unlike.* Do not trust its landmarks"):
        model.predict(photos[0])
    model.usual = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(photos)
        assert torch.equal(model.predict(known).landmarks.xy, found.landmarks.xy)


def test_predict_warns_once_per_file_and_writes_scores(tmp_path):
    puppets = Puppets(split="test", seed=52, clips=1, frames_per_clip=40)
    write_video(tmp_path / "known.avi", [puppets.image(i) for i in range(40)], fps=10)
    write_video(tmp_path / "strange.avi", [natural(i, 64, 64) for i in range(40)], fps=10)
    cv2.imwrite(str(tmp_path / "photo.png"), natural(1)[..., ::-1])
    inputs = [tmp_path / name for name in ("known.avi", "strange.avi", "photo.png")]
    with pytest.warns(UserWarning, match="look") as caught:
        known, strange, photo = predict("keypointgan-puppets", inputs, tmp_path / "out")
    told = [str(one.message) for one in caught]
    assert [text.split(": ")[0] for text in told] == [str(path) for path in inputs[1:]]
    assert [(one.checked, one.unusual) for one in (strange, photo)] == [(16, 16), (1, 1)]
    assert (known.checked, known.frames) == (16, 40)
    assert known.unusual <= 2

    model = zoo.load("keypointgan-puppets")
    ready = model.preprocess(natural(1))
    landmarks = model.predict(ready.images).landmarks
    (row,) = csv.DictReader(photo.table.read_text().splitlines())
    names = model.keypoints["names"]
    assert list(row)[3:6] == [f"{names[0]}_{column}" for column in ("x", "y", "score")]
    scores = [float(row[f"{name}_score"]) for name in names]
    assert scores == pytest.approx(landmarks.score[0].tolist(), abs=1e-4)
    (thing,) = json.loads(photo.coco.read_text())["annotations"]
    assert thing["keypoint_scores"] == pytest.approx(scores, abs=1e-6)
    assert thing["score"] == pytest.approx(np.mean(scores), abs=1e-6)
    for back in (read_csv(photo.table), read_coco(photo.coco)):
        assert list(back.names) == names
        expected = ready.to_original(landmarks.xy)
        assert back.xy == pytest.approx(expected, abs=1e-3)
        assert (back.visible == 2).all()
