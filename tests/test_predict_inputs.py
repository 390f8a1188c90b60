"""model.predict of a loaded model: what it takes gives the same landmarks, the rest one line."""

from __future__ import annotations

import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from zoo_packages import loadable_package

import zoo

SIDE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return zoo.load(loadable_package(tmp_path_factory.mktemp("inputs") / "tiny"))


@pytest.fixture(scope="module")
def photo():
    """Of the model's own size, so that nothing is resized: (H, W, 3) uint8 RGB."""
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def batch(photo):
    return torch.tensor(photo / 255.0, dtype=torch.float32).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def expected(model, batch):
    """By the pipeline's own method, which takes tensors alone."""
    return type(model).predict(model, batch).landmarks.xy


def test_every_kind_of_image_gives_the_same(model, photo, batch, expected, tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.png"), photo[..., ::-1])
    picture = Image.fromarray(photo)
    for given in (
        batch,
        batch.double(),
        photo,
        [photo],
        photo[None],
        picture,
        [picture],
        picture.convert("RGBA"),
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        [tmp_path / "a.png"],
        model.preprocess(photo),
        model.preprocess(tmp_path / "a.png"),
    ):
        torch.testing.assert_close(model.predict(given).landmarks.xy, expected)
    mixed = model.predict([photo, picture, tmp_path / "a.png"]).landmarks.xy
    torch.testing.assert_close(mixed, expected.expand(3, -1, -1))


def test_photographs_of_any_size_and_their_pixels(model, photo, expected):
    large = photo.repeat(3, axis=0).repeat(5, axis=1)  # whole pixels: the model sees the same
    ready = model.preprocess([large, Image.fromarray(large)])
    found = model.predict(ready).landmarks.xy
    torch.testing.assert_close(found, expected.expand(2, -1, -1), atol=1e-4, rtol=0)
    x, y = ((expected[0].double() + 1) * torch.tensor([5, 3]) * SIDE / 2 - 0.5).T
    np.testing.assert_allclose(ready.to_original(found)[1], np.stack([x, y], 1), atol=0.02)
    assert (
        repr(ready).split("\n")[1].startswith(f"  images: (2, 3, {SIDE}, {SIDE}) float32, 0 to 1")
    )


def test_pictures_are_turned_as_cameras_say(model, photo, tmp_path):
    turned = Image.fromarray(photo)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as opened:
        from_pil = model.preprocess(opened).images
    torch.testing.assert_close(
        from_pil, model.preprocess(tmp_path / "a.jpg").images, atol=0.02, rtol=0
    )
    by_hand = torch.tensor(np.rot90(photo, -1).copy() / 255.0).permute(2, 0, 1)
    assert (from_pil[0] - by_hand).abs().mean() < 0.05


GIVEN = "predict takes (B, 3, 32, 32) floats in [0, 1] as a tensor, not "


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: b * 255, "(1, 3, 32, 32) float32 from 0 to 255. Divide by 255."),
        (
            lambda b: b * 2 - 1,
            "(1, 3, 32, 32) float32 from -1 to 1. Convert [-1, 1] to [0, 1]: (im",
        ),
        (lambda b: (b - 0.45) / 0.225, "(1, 3, 32, 32) float32 from -2 to 2.44. Undo the norma"),
        (lambda b: b * torch.nan, "(1, 3, 32, 32) float32 from nan to nan. Undo the normalisation"),
        (lambda b: (b * 255).byte(), "(1, 3, 32, 32) uint8. Divide by 255, or give NumPy arrays"),
        (lambda b: b[0], "(3, 32, 32) float32. Add the batch axis: images[None]."),
        (lambda b: b.permute(0, 2, 3, 1), "(1, 32, 32, 3) float32. Move the channels: images.per"),
        (lambda b: b[:, :1], "(1, 1, 32, 32) float32. Give paths of images, PIL images, or NumPy"),
        (lambda b: b[..., 1:], "(1, 3, 32, 31) float32. Use model.preprocess for photographs of"),
        (lambda b: b[:0], "(0, 3, 32, 32) float32. The batch is empty."),
    ],
)
def test_tensors_that_do_not_fit(model, batch, change, text):
    with pytest.raises(ValueError) as caught:
        model.predict(change(batch))
    assert str(caught.value).startswith(GIVEN + text)
    assert "\n" not in str(caught.value)


def test_a_render_that_overshoots_a_little_is_an_image(model, batch):
    model.predict(batch * 1.1 - 0.05)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: p / 255, "not (32, 32, 3) float64. Convert it to 0 ... 255: (255 * image)"),
        (lambda p: p[..., 0], "not (32, 32) uint8. Repeat its channel: np.repeat(image"),
        (
            lambda p: np.dstack([p, p[..., :1]]),
            "not (32, 32, 4) uint8. Drop the alpha channel: image",
        ),
        (lambda p: [p, p.astype(np.int64)], "not (32, 32, 3) int64. "),
        (lambda p: [torch.zeros(3, 32, 32)], "not (3, 32, 32) float32. "),
        (lambda p: 3, "int is not an image. Give paths of images, PIL images, or NumPy arrays"),
        (lambda p: [None], "NoneType is not an image. Give paths of images, PIL images, or NumPy"),
        (lambda p: [], "no images to prepare."),
        (lambda p: "no.png", "no file 'no.png'. Check the path."),
        (lambda p: __file__, "test_predict_inputs.py' cannot be decoded as an image."),
    ],
)
def test_images_that_are_none(model, photo, make, text):
    with pytest.raises((ValueError, OSError)) as caught:
        model.predict(make(photo))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_crop_that_leaves_the_picture_is_refused(model, photo):
    import dataclasses

    cut = dataclasses.replace(model.preprocess, crop=(0, 0, 40, 20))
    with pytest.raises(ValueError, match=r"preprocess\.crop=\(0, 0, 40, 20\) .*of 32 x 32 pixels"):
        cut(photo)


def test_compiled_exported_and_copied(model, batch, expected):
    compiled = torch.compile(
        lambda x: model.predict(x).landmarks.xy, backend="eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(batch), expected)
    torch.compiler.reset()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.predict.model is other
        torch.testing.assert_close(other.predict(batch).landmarks.xy, expected)


def test_the_images_go_where_the_model_is(model, photo):
    other = copy.deepcopy(model).to(torch.float64)
    assert other.predict(photo).landmarks.xy.dtype == torch.float64
