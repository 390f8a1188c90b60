"""zoo/exporting.py: files that need none of this library, run by the libraries they are for.

Expected outputs are those of the model itself in eager mode, on images and batch sizes that
``export`` did not compare.
"""

import copy
import errno
import json
import os
import resource
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from components.datasets.puppets import Puppets
from registry import load_config
from registry.build import build_model
from registry.contract import Batch, Encoding, Landmarks, Outputs
from zoo import exporting as module
from zoo.errors import INCOMPATIBLE, IntegrityError
from zoo.exporting import ExportError, export, features

SIZE = 32
SUFFIX = {"onnx": "onnx", "torch_export": "pt2", "torchscript": "pt"}
# fewer limbs, levels and channels: an exporter's time grows with the number of operations
SMALL = {
    "keypointgan_puppets": {
        "num_landmarks": 3,
        "edges": ((0, 1), (1, 2)),
        "flip_pairs": ((0, 1),),
        "width": 4,
        "regressor_width": 4,
        "critic_width": 4,
    },
    "factorized_puppets": {"width": 4},
    "fomm_puppets": {
        "width": 4,
        "model.encoder.depth": 2,
        "model.motion.depth": 2,
        "model.decoder.blocks": 1,
    },
    "monkeynet_puppets": {
        "width": 4,
        "model.encoder.depth": 2,
        "model.motion.depth": 2,
        "model.decoder.depth": 2,
    },
    "imm_puppets": {"width": 4},
    "lorenz_puppets": {"width": 8},
    "factorized_puppets_timm": {"width": 4},
    "i2v_puppets": {"width": 4, "model.image_pipeline.encoder.depth": 2},
}
CONFIGS = Path(__file__).parents[1] / "configs"


@cache
def small(name):
    cfg = load_config(CONFIGS / f"{name}.py", {"image_size": SIZE, **SMALL[name]})
    torch.manual_seed(0)
    model = build_model(cfg, to_fill=True)
    inner = getattr(model, "image_pipeline", model).train()
    for part in inner.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    # the batch statistics of a picture: else a network that was never trained hardly looks at it
    inner.infer(Batch(source=puppets(2), driving=puppets(2)))
    return model.eval()


def puppets(count):
    frames = Puppets(split="train", seed=3, clips=count, image_size=SIZE)
    images = np.stack([frames.image(32 * i) for i in range(count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports each once: what was asked for, and what export returned."""

    @cache
    def once(name, format, part="detector"):
        path = tmp_path_factory.mktemp(name) / f"model.{SUFFIX[format]}"
        return path, export(small(name), path, format, part=part, images=puppets(2))

    return once


def run(path, *batch):
    """What the library of a file's format makes of it."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        arrays = dict(zip(names, (images.numpy() for images in batch)))
        return [torch.from_numpy(array) for array in session.run(None, arrays)]
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(*batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # it is deprecated
        return torch.jit.load(path)(*batch)


def note(path):
    if path.suffix == ".onnx":
        found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        return json.loads(found["keypoint-zoo.json"])
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("keypoint-zoo.json"))
        return json.loads(archive.read(name))


# every encoder and every bottleneck; each format at least twice
@pytest.mark.parametrize(
    ("name", "format", "outputs"),
    [
        ("keypointgan_puppets", "torchscript", ("xy", "score")),
        ("keypointgan_puppets", "torch_export", ("xy", "score")),
        ("factorized_puppets", "onnx", ("xy", "cov", "score")),
        ("fomm_puppets", "torch_export", ("xy", "affine", "score")),
        ("monkeynet_puppets", "onnx", ("xy", "cov", "score")),
        ("imm_puppets", "onnx", ("xy", "score")),
        ("lorenz_puppets", "torchscript", ("xy", "cov", "score")),
        ("factorized_puppets_timm", "torchscript", ("xy", "cov", "score")),
        ("i2v_puppets", "torchscript", ("xy", "affine", "score")),
    ],
)
def test_a_detector_gives_the_same_landmarks_elsewhere(name, format, outputs, exported):
    path, found = exported(name, format)
    assert found.path == path
    assert list(path.parent.iterdir()) == [path]  # no second file, nothing left over
    assert (found.inputs, found.outputs) == (("images",), outputs)
    assert set(found.differences) == set(outputs)
    assert max(found.differences.values()) < 1e-4
    images = torch.cat((puppets(4), torch.rand(1, 3, SIZE, SIZE)))
    expected = small(name).predict(images).landmarks
    assert expected.xy.std(dim=0).max() > 1e-3  # the images matter
    values = run(path, images)
    assert len(values) == len(outputs)
    for output, value in zip(outputs, values):
        torch.testing.assert_close(value, getattr(expected, output), rtol=0, atol=1e-4)
    assert values[-1].min() > 0
    assert values[-1].max() <= 1
    assert note(path) == {
        "part": "detector",
        "inputs": ["images"],
        "outputs": list(outputs),
        "image_size": SIZE,
        "range": [0, 1],
        "keypoints": None,
    }


@pytest.mark.parametrize(
    ("name", "format"), [("imm_puppets", "onnx"), ("fomm_puppets", "torchscript")]
)
def test_a_renderer_draws_the_source_in_the_driving_pose(name, format, exported):
    path, found = exported(name, format, "renderer")
    model = small(name)
    assert (found.inputs, found.outputs) == (("source", "driving"), ("render",))
    source, driving = puppets(4), puppets(4).flip(0)
    expected = model.reconstruct(source, driving)
    assert (expected - model.reconstruct(driving, source)).abs().max() > 0.01
    (render,) = run(path, source, driving)
    torch.testing.assert_close(render, expected, rtol=0, atol=1e-3)


def test_an_onnx_file_names_its_tensors_and_its_batch(exported):
    path, _ = exported("imm_puppets", "onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (images,), (xy, score) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 3, SIZE, SIZE])
    assert (xy.name, xy.shape) == ("xy", ["batch", 16, 2])
    assert (score.name, score.shape) == ("score", ["batch", 16])


def test_a_detector_holds_no_more_than_it_needs(exported):
    path, _ = exported("keypointgan_puppets", "torch_export")
    held = sum(value.numel() for value in torch.export.load(path).state_dict.values())
    model = small("keypointgan_puppets")
    parts = (model.encoder, model.bottleneck)
    assert held == sum(v.numel() for part in parts for v in part.state_dict().values())


def test_the_model_stays_as_it_was(tmp_path):
    model = copy.deepcopy(small("imm_puppets")).half().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.preprocess, model.keypoints = SimpleNamespace(image_size=SIZE), {"names": ["nose"]}
    found = export(model, tmp_path / "new" / "model.pt", "torchscript")  # compared on puppets
    assert note(found.path)["keypoints"] == {"names": ["nose"]}
    assert model.training
    assert model.decoder is not None
    assert all(p.requires_grad and p.dtype == torch.float16 for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


class Toy(nn.Module):
    """A detector of one landmark, by a rule that some exporters cannot follow."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def predict(self, images):
        return Outputs(landmarks=Landmarks(xy=self.rule(images)))


def mean(images):
    return images.mean(dim=(2, 3))[:, None, :2]


def by_brightness(images):
    return mean(images) if images.mean() > 0.4 else -mean(images)


def for_two(images):
    return mean(images) + images.new_zeros(len(images), 1, 1)  # tracing writes the length down


RULES = {
    "differs by 0.4": (by_brightness, "torchscript", IntegrityError),
    "fails on a batch of 3: RuntimeError: ": (for_two, "torchscript", IntegrityError),
    "differs by nan": (lambda images: mean(images) / 0 * 0, "torchscript", IntegrityError),
    "Toy's detector cannot be exported as torch_export by torch ": (
        *(by_brightness, "torch_export"),
        ExportError,
    ),
}


@pytest.mark.parametrize("message", RULES)
def test_what_does_not_compute_the_same_is_not_written(message, tmp_path):
    rule, format, error = RULES[message]
    path = tmp_path / f"model.{SUFFIX[format]}"
    path.write_text("the old one")
    dark = torch.full((2, 3, 16, 16), 0.2)
    with pytest.raises(error, match=message) as raised:
        export(Toy(rule), path, format, images=dark)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "the old one"


def test_mistakes_are_named(tmp_path):
    images, toy, pt = puppets(1), Toy(mean), tmp_path / "model.pt"

    def message(model, out=pt, format="torchscript", **options):
        with pytest.raises((ExportError, ValueError)) as raised:
            export(model, out, format, **options)
        assert getattr(raised.value, "exit_code", INCOMPATIBLE) == INCOMPATIBLE
        return str(raised.value)

    assert message(toy, format="onxx") == "there is no format 'onxx'. Did you mean 'onnx'?"
    assert message(toy, format="onnx").endswith("a file of format onnx must end with .onnx.")
    assert message(toy, part="render") == "there is no part 'render'. Did you mean 'renderer'?"
    assert message(toy, part="renderer") == "Toy has no renderer: it lacks a method reconstruct()."
    assert message(nn.Identity()) == "Identity has no detector: it lacks a method predict()."
    assert message(toy) == "the model does not state the size of its images. Give images=."
    wide = message(toy, images=torch.rand(1, 3, 16, 20))
    assert wide.startswith("images must be (N, 3, 20, 20) in [0, 1], not (1, 3, 16, 20)")
    assert "torch.uint8" in message(toy, images=(255 * images).byte())
    toy.preprocess = SimpleNamespace(image_size=64)
    assert message(toy, images=images).startswith("images must be (N, 3, 64, 64) in [0, 1]")
    assert not list(tmp_path.iterdir())


def test_a_missing_runtime_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ExportError) as raised:
        export(Toy(mean), tmp_path / "model.onnx", "onnx", images=puppets(1))
    wanted = "the format onnx needs onnxruntime. Run pip install 'keypoint-zoo[onnx]'."
    assert str(raised.value) == wanted


@pytest.mark.parametrize(
    ("name", "some"),
    [
        # the side of each map, of 32 pixels
        (
            "keypointgan_puppets",
            {"levels.0": 32, "levels.3": 4, "neck": 4, "up": 8, "up@3": 32, "climb.3": 32},
        ),
        ("factorized_puppets", {"net[0]": 16, "net[1]": 16}),
        ("fomm_puppets", {"hourglass": 16, "head": 16}),
        ("monkeynet_puppets", {"hourglass": 32, "head": 32}),
        ("imm_puppets", {"layers.0": 32, "layers.5": 32, "layers.7": 16, "layers.24": 4}),
        ("lorenz_puppets", {"trunk.0": 16, "trunk.3": 16, "parts.0": 16}),
        ("factorized_puppets_timm", {"backbone[0]": 16, "backbone[4]": 1, "head.0": 16}),
        ("i2v_puppets", {"hourglass": 16, "head": 16}),
    ],
)
def test_features_are_what_the_encoder_computes_on_its_way(name, some, tmp_path):
    model, images = small(name), puppets(2)
    encoder = getattr(model, "image_pipeline", model).encoder
    with torch.no_grad():
        maps = features(model, images)
        assert some.items() <= {key: value.shape[-1] for key, value in maps.items()}.items()
        assert list(maps)[-1] == "pose"
        found = encoder(images)
        pose = found.maps
        assert torch.equal(maps["pose"], pose)
        assert torch.equal(model.predict(images).landmarks.xy, read(model, maps["pose"]))
        for key in some:
            part, outputs = key.partition("[")[0].partition("@")[0], []
            hook = encoder.get_submodule(part).register_forward_hook(
                lambda module, args, output, outputs=outputs: outputs.append(output)
            )
            encoder(images)
            hook.remove()
            output = outputs[int(key.partition("@")[2] or 1) - 1]
            if "[" in key:
                output = output[int(key[:-1].partition("[")[2])]
            assert torch.equal(maps[key], output)
    assert not any(part._forward_hooks for part in model.modules())


def read(model, pose):
    return getattr(model, "image_pipeline", model).bottleneck(pose).xy


def test_any_module_of_the_encoder_can_be_named():
    model, images = small("fomm_puppets"), puppets(1)
    names = ["hourglass.ups.0", "hourglass.downs.1"]
    maps = features(model, images, names)
    assert list(maps) == ["hourglass.downs.1", "hourglass.ups.0", "pose"]  # as they are called
    assert [value.shape[-1] for value in maps.values()] == [4, 8, 16]
    maps["pose"].sum().backward()
    assert model.encoder.head.weight.grad is not None
    with pytest.raises(ExportError, match=r"'hourglas'\. Did you mean 'hourglass'\?"):
        features(model, images, ["hourglas"])
    with pytest.raises(ExportError, match="Toy has no encoder"):
        features(Toy(mean), images)


def test_layers_that_work_in_place_do_not_change_the_maps():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))

        def forward(self, image):
            return Encoding(maps=self.net(image))

    maps = features(SimpleNamespace(encoder=Encoder()), puppets(1), ["net.0"])
    assert maps["net.0"].min() < 0
    assert torch.equal(maps["net.0"].relu(), maps["pose"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("format", ["torchscript", "torch_export"])
def test_a_full_disk_does_not_end_the_process(tmp_path, format):
    """As it does if torch writes to the file itself."""
    write = getattr(module, f"_write_{format}")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            write(torch.nn.Linear(100, 100), (torch.zeros(2, 100),), tmp_path / "net", "note")
        except OSError as error:
            os._exit(error.errno)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EFBIG
