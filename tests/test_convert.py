"""Official checkpoints become packages: zoo/convert."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from components.layers import vgg
from components.layers.vgg import load_weights
from components.ops.antialias import reduce
from registry import build
from registry.contract import Batch, Outputs
from registry.errors import ConfigError
from tests import test_golden_factorized as of_factorized
from tests import test_golden_imm as of_imm
from tests import test_golden_keypointgan as of_keypointgan
from tests import test_golden_monkeynet as of_monkeynet
from tests.golden_file import GOLDEN, Golden
from tests.test_golden_fomm import model_of, states
from zoo.convert import SOURCES, convert, factorized, fomm, keypointgan, load, monkeynet
from zoo.errors import PublishRefusedError, UnknownEntryError
from zoo.model import load as load_package

NAME = "fomm_forward"


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(NAME)


@pytest.fixture
def official(golden) -> dict:
    """The contents of an official checkpoint: networks, optimizers, a number."""
    return {
        **states(golden),
        "optimizer_generator": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 2e-4}]},
        "epoch": 99,
    }


def write_config(folder: Path, model: dict | None = None, size: int = 64) -> Path:
    rest = {
        "losses": {},
        "data": {"test": {"type": "datasets/standin", "image_size": size, "num_keypoints": 5}},
        "train": {"iterations": 1, "batch_size": 1, "lr": 1e-3},
    }
    path = folder / "small_model.json"
    path.write_text(json.dumps({"image_size": size, "model": model or model_of(NAME), **rest}))
    return path


def write_fomm(golden: Golden, folder: Path) -> Path:
    torch.save({**states(golden), "epoch": 99}, folder / "cpk.pth.tar")
    return folder / "cpk.pth.tar"


def write_monkeynet(golden: Golden, folder: Path) -> Path:
    networks = {name: golden.weights(name) for name in of_monkeynet.NETWORKS}
    torch.save({**networks, "epoch": 99}, folder / "cpk.pth.tar")
    return folder / "cpk.pth.tar"


def write_factorized(golden: Golden, folder: Path) -> Path:
    networks = of_factorized.official_states(golden)
    model = {f"module.{key}": value for key, value in networks["model"].items()}
    torch.save({"a": model, "b": networks["discriminator"], "step": 4}, folder / "model.pth")
    return folder / "model.pth"


def write_keypointgan(golden: Golden, folder: Path) -> Path:
    (folder / "checkpoints").mkdir()
    for network in keypointgan.RULES:
        step = 580000 if network == "offline_regressor" else 400000
        torch.save(golden.weights(network), folder / f"checkpoints/{step}_net_{network}.pth")
    return folder / "checkpoints"


def write_imm(golden: Golden, folder: Path) -> Path:
    for file in GOLDEN.glob("imm_tensorflow.ckpt.*"):
        shutil.copy(file, folder / file.name.replace("imm_tensorflow.ckpt", "model.ckpt-4000"))
    return folder / "model.ckpt-4000"


def check_fomm(golden: Golden, infer: Callable[[Batch], Outputs]) -> None:
    out = infer(Batch(source=golden.image("source"), driving=golden.image("driving")))
    golden.check("prediction", out.render)


def check_monkeynet(golden: Golden, infer: Callable[[Batch], Outputs]) -> None:
    source, video = of_monkeynet.images(golden)
    out = infer(Batch(source=source.expand(2, -1, -1, -1), driving=video))
    golden.check("prediction", of_monkeynet.clip(out.render))


def check_factorized(golden: Golden, infer: Callable[[Batch], Outputs]) -> None:
    out = infer(Batch(driving=golden.image("jittered"), source=golden.image("warped")))
    golden.check("composite", 2 * out.render - 1)
    golden.check("mask_a", out.layers.mask)


def check_keypointgan(golden: Golden, infer: Callable[[Batch], Outputs]) -> None:
    out = infer(Batch(driving=golden.image("target"), source=golden.image("condition")))
    golden.check("points", out.landmarks.xy)
    golden.check("reconstruction", 2 * out.render - 1)


def check_imm(golden: Golden, infer: Callable[[Batch], Outputs]) -> None:
    out = infer(Batch(driving=golden.image("future"), source=golden.image("image")))
    golden.check("points_yx", out.landmarks.xy.flip(-1))
    golden.check("render", 255 * out.render.permute(0, 2, 3, 1))


CASES = {
    "fomm": (NAME, model_of(NAME), 64, write_fomm, check_fomm),
    "monkeynet": (
        *("monkeynet_forward", of_monkeynet.model_of(), 32),
        *(write_monkeynet, check_monkeynet),
    ),
    "factorized": (
        "factorized_forward",
        of_factorized.model_of(critic=True, **of_factorized.FORWARD["factorized_forward"]),
        64,
        *(write_factorized, check_factorized),
    ),
    "keypointgan": (
        *("keypointgan_forward", of_keypointgan.model_of(4), 128),
        *(write_keypointgan, check_keypointgan),
    ),
    "imm": ("imm_tensorflow", of_imm.MODEL, 32, write_imm, check_imm),
}


@pytest.mark.parametrize("source", CASES)
def test_a_package_predicts_what_the_official_code_does(source, tmp_path):
    assert {*CASES, "colorization-vgg16"} == set(SOURCES)
    name, model, size, write, check = CASES[source]
    golden = Golden(name)
    file = write(golden, tmp_path)
    config = write_config(tmp_path, model, size)
    out = convert(source, file, tmp_path / "package", config=config, license="cc-by-nc-4.0")
    found = load_package(out)
    check(golden, found.infer)
    assert found.package.config["name"] == "small-model"
    assert 'license: "cc-by-nc-4.0"' in (out / "README.md").read_text()
    # critics, priors and optimizers stay behind
    assert not [key for key in found.state_dict() if re.match(r"image_critic|prior", key)]
    assert found.package.evaluation["results"] == []


def test_a_package_says_where_it_comes_from(golden, tmp_path):
    file = write_fomm(golden, tmp_path)
    config = write_config(tmp_path)
    out = convert("fomm", file, tmp_path / "package", config=config, license="other",
                  license_text="Ask us.")  # fmt: skip
    stated = json.loads((out / "config.json").read_text())["training"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert stated["base"] == f"converted from cpk.pth.tar (sha256 {digest})"
    assert stated["config"] == "small-model"
    assert (out / "LICENSE").read_text() == "Ask us."
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError):
        convert("fomm", file, out, config=config, license="mit")
    assert (out / "manifest.json").read_bytes() == before
    convert("fomm", file, out, config=config, license="mit", overwrite=True)
    assert not (out / "LICENSE").exists()


def test_every_file_that_was_read_is_named(tmp_path):
    file = write_imm(Golden("imm_tensorflow"), tmp_path)
    config = write_config(tmp_path, of_imm.MODEL, 32)
    out = convert("imm", f"{file}.index", tmp_path / "package", config=config, license="mit")
    base = json.loads((out / "config.json").read_text())["training"]["base"]
    for name in ("model.ckpt-4000.index", "model.ckpt-4000.data-00000-of-00001"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert f"{name} (sha256 {digest})" in base


def test_the_oldest_format_without_batch_counts(official, tmp_path):
    old = {
        name: {key: value for key, value in state.items() if not key.endswith("tracked")}
        for name, state in official.items()
        if name in fomm.RULES
    }
    torch.save(old, tmp_path / "cpk", _use_new_zipfile_serialization=False)
    found = load("fomm", tmp_path / "cpk")
    assert found["decoder.norm.num_batches_tracked"] == 0
    assert torch.equal(found["decoder.first.weight"], old["generator"]["first.conv.weight"])


def test_critics_are_read_and_not_needed(official, tmp_path):
    torch.save(official, tmp_path / "cpk")
    assert load("fomm", tmp_path / "cpk")["image_critic.last.weight"].shape == (1, 32, 1, 1)
    del official["discriminator"]
    torch.save(official, tmp_path / "cpk")
    config = write_config(tmp_path)  # of a model with a critic
    out = convert("fomm", tmp_path / "cpk", tmp_path / "out", config=config, license="mit")
    assert (out / "manifest.json").is_file()


def test_the_model_must_be_named(golden, tmp_path):
    """Of several it is not guessed; the entries of that source are offered."""
    file, out = write_fomm(golden, tmp_path), tmp_path / "out"

    def refused(**options: object) -> str:
        with pytest.raises((ConfigError, UnknownEntryError, PublishRefusedError)) as caught:
            convert(**{"source": "fomm", "file": file, "out": out, "license": "mit", **options})
        return str(caught.value)

    assert re.match(r"--config is missing\. Give one of .*fomm-vox", refused())
    assert "monkeynet" not in refused()
    assert "There is no zoo entry 'fomm-fox'. Did you mean: fomm-vox" in refused(config="fomm-fox")
    assert "no config" in refused(config=tmp_path / "missing.py")
    assert "there is no converter 'fom'. Did you mean 'fomm'?" in refused(source="fom")
    assert "the licence of the weights" in refused(license=" ")
    # one of another size
    message = refused(config="fomm-vox")
    assert f"{file}: the weights do not fit the model: " in message
    assert not out.exists()


class Code:
    """What a file must not bring along."""

    def __reduce__(self):
        return print, ("code in a file ran",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "there is no file '{file}'. Give the official checkpoint."),
        (lambda f: {**f, "epoch": Code()}, "code in a file is not run. "),
        (lambda f: {"state_dict": {}}, "has no 'kp_detector'; it holds state_dict. An official"),
        (lambda f: [1], "has no 'kp_detector'; it holds no networks. An official checkpoint holds"),
        (lambda f: {**f, "generator": [1]}, "'generator' is not a state dict"),
        (
            lambda f: {**f, "generator": {"conv.weight": torch.zeros(1)}},
            "generator: unexpected key 'conv.weight'. The checkpoint is of another model.",
        ),
        (
            lambda f: {**f, "generator": {**f["generator"], "final.weight": torch.zeros(3, 4)}},
            "{file}: the weights do not fit the model: decoder.last.weight is (3, 4), "
            "needs (3, 8, 7, 7).",
        ),
        (
            lambda f: {
                **f,
                "kp_detector": {k: v for k, v in f["kp_detector"].items() if k[:3] != "kp."},
            },
            "the weights do not fit the model: encoder.head.weight is (20, 11, 7, 7), needs (25, ",
        ),
        (
            lambda f: {k: v for k, v in f.items() if k != "generator"},
            "{file} has no 'generator'; it holds kp_detector, discriminator, optimizer_generator",
        ),
    ],
)
def test_files_that_do_not_fit(change, message, official, tmp_path, capsys):
    file = tmp_path / "cpk.pth.tar"
    if change is not None:
        torch.save(change(official), file)
    config = write_config(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message.format(file=file))):
        convert("fomm", file, tmp_path / "package", config=config, license="mit")
    assert "ran" not in capsys.readouterr().out
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("content", [b"", b"a page that says 404", b"PK\3\4" + bytes(60)])
@pytest.mark.parametrize("source", ["fomm", "monkeynet", "factorized"])
def test_files_that_are_no_checkpoints(source, content, tmp_path):
    (tmp_path / "cpk").write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"cpk (is not a checkpoint|holds more than plain tensors)"
    ):
        load(source, tmp_path / "cpk")


def test_a_network_that_is_missing_is_named(official):
    del official["generator"]
    with pytest.raises(ConfigError, match="no 'generator' among the state dicts kp_d"):
        fomm.convert(official)


# ------------------------------------------------------------------------------- factorized


def test_the_factorized_state_dict_is_known_by_its_content(tmp_path):
    state = {"shape_encoder.decoder_layers.0.0.weight": torch.ones(2, 2, 1, 1)}
    ours = {"encoder.net.bottom.0.weight"}
    module = {f"module.{key}": value for key, value in state.items()}
    for number, saved in enumerate((state, {"epoch": 1, "model": state}, {"net": module})):
        torch.save(saved, tmp_path / f"{number}.pth")
        assert load("factorized", tmp_path / f"{number}.pth").keys() == ours
    torch.save({"net": {"conv.weight": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="no state dict with a 'shape_encoder'"):
        load("factorized", tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"model: unexpected key 'lstm\.weight'"):
        factorized.convert({"model": {**state, "lstm.weight": torch.ones(1)}})
    with pytest.raises(ConfigError, match=r"shape_encoder: unexpected key 'conv\.weight'"):
        factorized.convert({"model": {"shape_encoder.conv.weight": torch.ones(1)}})
    with pytest.raises(ConfigError, match="no 'model' among the state dicts discriminator"):
        factorized.convert({"discriminator": {}})


def test_weights_of_a_part_that_the_config_does_not_have(tmp_path):
    """A masked model is no baseline, and a baseline no masked model."""
    golden = Golden("factorized_forward")
    masked = CASES["factorized"][1]
    baseline = {**masked, "compositor": None}
    file = write_factorized(golden, tmp_path)
    config = write_config(tmp_path, baseline)
    with pytest.raises(ConfigError, match=r"unexpected compositor\.background_net"):
        convert("factorized", file, tmp_path / "out", config=config, license="mit")
    saved = torch.load(file, weights_only=True)
    layered = ("module.bg_net.", "module.fg_mask_net.")
    torch.save({k: v for k, v in saved["a"].items() if not k.startswith(layered)}, file)
    config = write_config(tmp_path, masked)
    with pytest.raises(
        ConfigError, match=r"model\.pth has no weights for model\.compositor\. For fact"
    ):
        convert("factorized", file, tmp_path / "out", config=config, license="mit")


# ------------------------------------------------------------------------------ keypointgan


def test_a_regressor_alone(tmp_path):
    """The one file that was released: of the pre-training on poses."""
    golden = Golden("keypointgan_forward")
    folder = write_keypointgan(golden, tmp_path)
    whole = of_keypointgan.model_of(4)
    model = {"type": "pipelines/pose_autoencoder", "rasterizer": whole["rasterizer"]}
    config = write_config(tmp_path, {**model, "bottleneck": whole["bottleneck"]}, 128)
    file = folder / "400000_net_regressor.pth"
    out = convert("keypointgan", file, tmp_path / "out", config=config, license="mit")
    found = load_package(out)
    drawn = found.rasterizer(of_keypointgan.Landmarks(xy=golden["input/prior_points"]))
    golden.check("prior_points_regressed", found.bottleneck(drawn).xy)


def test_the_files_of_keypointgan(tmp_path):
    folder = write_keypointgan(Golden("keypointgan_forward"), tmp_path)
    config = write_config(tmp_path, of_keypointgan.model_of(4), 128)

    def refused(file: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            convert("keypointgan", file, tmp_path / "out", config=config, license="mit")
        return str(caught.value)

    assert "does not hold networks of KeypointGAN" in refused(tmp_path)
    assert "does not hold networks of KeypointGAN" in refused(tmp_path / "missing.pth")
    assert "no file " in refused(tmp_path / "400000_net_G_A.pth")
    (folder / "580000_net_offline_regressor.pth").rename(tmp_path / "580000_net_regressor.pth")
    message = refused(folder)
    assert (
        f"{folder} has no weights for model.reference_bottleneck. For keypointgan, give" in message
    )
    assert message.endswith(
        "the pre-trained regressor as ITERATION_net_offline_regressor.pth; or the file of a "
        "regressor."
    )
    (tmp_path / "580000_net_regressor.pth").rename(folder / "580000_net_regressor.pth")
    assert "has 400000_net_regressor.pth and 580000_net_regressor.pth." in refused(folder)
    torch.save([1], folder / "400000_net_D_A.pth")
    (folder / "580000_net_regressor.pth").unlink()
    assert "400000_net_D_A.pth is not a state dict" in refused(folder)
    torch.save({"model.0.weight": torch.ones(1)}, folder / "400000_net_D_A.pth")
    assert "D_A: unexpected key 'model.0.weight'" in refused(folder)
    with pytest.raises(ConfigError, match="KeypointGAN: 'D_B' must be one of G_A, G_B"):
        keypointgan.convert({"D_B": {}})


# ----------------------------------------------------------------------- colorization-vgg16


class Stored:
    """Stands for an array in an HDF5 file."""

    def __init__(self, name: str, array: object) -> None:
        self.name, self.array = name, np.asarray(array, np.float32)
        self.shape = self.array.shape

    def __getitem__(self, all_of_it: tuple[()]) -> np.ndarray:
        return self.array


class FakeH5py:
    """Stands for h5py, which the tests do not need: files of ``data`` by their paths."""

    def __init__(self, content: dict[str, dict[str, object]]) -> None:
        self.data = {
            layer: {key: Stored(f"/data/{layer}/{key}", array) for key, array in arrays.items()}
            for layer, arrays in content.items()
        }

    def File(self, path: Path, mode: str) -> FakeH5py:
        assert path.is_file()
        assert mode == "r"
        return self

    def __enter__(self) -> dict:
        return {"data": self.data}

    def __exit__(self, *exception: object) -> None:
        pass


@pytest.fixture
def layers(monkeypatch) -> dict[str, dict[str, object]]:
    """The first two convolutions: the norm of the first is to be folded, the second has none."""
    convs = dict(list(vgg.CONVS["vgg16"].items())[:2])
    monkeypatch.setitem(vgg.CONVS, "vgg16", convs)
    one = np.ones(64)
    return {
        "conv1_1": {"0": np.full((64, 1, 3, 3), 6.0), "1": 5 * one},
        # mean 4 / 2 = 2, variance 18 / 2 = 9: the deviation is 3
        "batch_conv1_1": {"0": 4 * one, "1": 18 * one, "2": [2.0]},
        "conv1_2": {"0": np.full((64, 64, 3, 3), 7.0), "1": 8 * one},
        "fc8": {"0": np.zeros((10, 4096))},
    }


def test_the_vgg16_of_imm(layers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", FakeH5py(layers))
    (tmp_path / "vgg16.caffemodel.h5").touch()
    out = tmp_path / "data" / "vgg.safetensors"
    file = tmp_path / "vgg16.caffemodel.h5"
    assert convert("colorization-vgg16", file, out, license="cc-by-4.0") == out
    found = load_weights(out, ["conv1_1", "conv1_2"], 64, "vgg16", channels=1)
    (kernel, bias), (second_kernel, second_bias) = found["conv1_1"], found["conv1_2"]
    assert kernel.shape == (64, 1, 3, 3)
    torch.testing.assert_close(kernel, torch.full_like(kernel, 6 / 3))
    torch.testing.assert_close(bias, torch.full((64,), (5 - 2) / 3))
    assert (second_kernel == 7).all()
    assert (second_bias == 8).all()
    with safe_open(out, "pt") as opened:
        assert opened.metadata()["license"] == "cc-by-4.0"
    assert [path.name for path in out.parent.iterdir()] == ["vgg.safetensors"]
    with pytest.raises(FileExistsError, match=r"vgg\.safetensors' already exists"):
        convert("colorization-vgg16", file, out, license="cc-by-4.0")
    with pytest.raises(ConfigError, match=r"Give --out NAME\.safetensors"):
        convert("colorization-vgg16", file, tmp_path / "vgg", license="cc-by-4.0")


def test_files_that_are_not_the_vgg16(layers, tmp_path, monkeypatch):
    file = tmp_path / "vgg16.caffemodel.h5"

    def refused() -> str:
        with pytest.raises(ConfigError) as caught:
            load("colorization-vgg16", file)
        return str(caught.value)

    assert "no file" in refused()
    file.touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refused() == f"reading {file} needs h5py: pip install h5py."
    layers["conv1_1"]["0"] = np.zeros((64, 3, 3, 3))
    monkeypatch.setitem(sys.modules, "h5py", FakeH5py(layers))
    assert "'/data/conv1_1/0' is (64, 3, 3, 3), not (64, 1, 3, 3)" in refused()
    del layers["conv1_1"]
    monkeypatch.setitem(sys.modules, "h5py", FakeH5py(layers))
    assert "is not the release's vgg16.caffemodel.h5: 'conv1_1'" in refused()


def critic(scales: int, **options: object) -> torch.nn.Module:
    torch.manual_seed(scales)
    node = dict(type="critics/feature_patch", widths=(4, 6), scales=scales, **options)
    return build(node, "critic", "critics")


@pytest.mark.parametrize("spectral", [False, True])
def test_a_critic_of_fomm_at_three_scales(golden, spectral):
    """Each scale has the official names of a single critic, and what it says of a smaller image."""
    singles = [critic(1, spectral=spectral).eval() for _ in range(3)]
    official = {}
    for scale, single in zip(("1", "0-5", "0-25"), singles):
        for key, value in single.state_dict().items():
            name = re.sub(r"^(conv|norm)s\.(\d)", r"down_blocks.\2.\1", key)
            name = re.sub(r"^last", "conv", name)
            name = name.replace("parametrizations.weight.original", "weight_orig")
            name = re.sub(r"parametrizations\.weight\.0\.(u|v)", r"weight_\1", name)
            official[f"discs.{scale}.{name}"] = value
    assert ("discs.0-5.down_blocks.1.conv.weight_u" in official) == spectral
    converted = fomm.convert({**states(golden), "discriminator": official})
    prefix = "image_critic."
    own = {k.removeprefix(prefix): v for k, v in converted.items() if k.startswith(prefix)}
    whole = critic(3, spectral=spectral).eval()
    whole.load_state_dict(own)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = whole(image)
    wanted = [single(reduce(image, 2**i)) for i, single in enumerate(singles)]
    assert len(found.scores) == 3
    assert all(torch.equal(a, b.scores[0]) for a, b in zip(found.scores, wanted))
    features = [feature for judgement in wanted for feature in judgement.features]
    assert len(found.features) == len(features) == 6
    assert all(map(torch.equal, found.features, features))


def test_a_critic_of_fomm_at_another_scale(golden):
    other = {f"discs.0-3.{key}": value for key, value in critic(1).state_dict().items()}
    other = {key.replace("last", "conv"): value for key, value in other.items() if "last" in key}
    with pytest.raises(ConfigError) as caught:
        fomm.convert({**states(golden), "discriminator": other})
    assert str(caught.value) == ("discriminator: scale 0.3 must be one of 1, 0.5, 0.25 and so on.")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_other_numbers_of_group_blocks_of_monkeynet(count):
    golden = Golden("monkeynet_forward")
    networks = {name: golden.weights(name) for name in of_monkeynet.NETWORKS}
    generator, place = networks["generator"], "dense_motion_module.group_blocks."
    first = {k.removeprefix(f"{place}0."): v for k, v in generator.items() if f"{place}0." in k}
    generator = {key: value for key, value in generator.items() if place not in key}
    for i in range(count):
        generator |= {f"{place}{i}.{key}": value + i for key, value in first.items()}
    model = of_monkeynet.model_of()
    model["motion"]["group_blocks"] = count
    pipeline = build(model)
    pipeline.load_state_dict(monkeynet.convert({**networks, "generator": generator}))
    convs = [block[0].weight for block in pipeline.motion.groups]
    assert len(convs) == count
    for i, weight in enumerate(convs):
        assert torch.equal(weight, first["conv.weight"][:, :, 0] + i)


# --------------------------------------------------------------------------- hostile files


class Runs:
    """Would run a command when unpickled without care."""

    def __reduce__(self):
        return print, ("ran",)


def hostile(kind: str, file: Path) -> None:
    weights = {"a": torch.zeros(1000, 1000)}
    torch.save({"kp_detector": weights, "generator": weights}, file)
    if kind == "bomb":
        with zipfile.ZipFile(file) as plain:
            records = {name: plain.read(name) for name in plain.namelist()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in records.items():
                packed.writestr(name, data)
    elif kind == "code":
        torch.save({"kp_detector": weights, "generator": Runs()}, file)
    else:
        odd = {
            "sparse": torch.eye(3).to_sparse(),
            "meta": torch.zeros(3, device="meta"),
            "number": 3,
            "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        }[kind]
        torch.save({"kp_detector": {"a": odd}, "generator": weights}, file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["bomb", "code", "sparse", "meta", "number", "quantized"])
def test_hostile_files_are_refused_in_one_line(kind, tmp_path, capsys):
    file = tmp_path / "cpk.pth.tar"
    hostile(kind, file)
    with pytest.raises(ConfigError) as error:
        load("fomm", file)
    text = str(error.value)
    assert text.isprintable()
    assert "weights_only" not in text  # no advice to run what is in the file
    assert "ran" not in capsys.readouterr().out.split()
    if kind == "bomb":
        assert "its records are compressed" in text
