"""Models to packages and back: bit for bit, for every kind of pipeline."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import zoo
from registry import PIPELINES, load_config
from registry.build import build_model
from registry.contract import Batch
from zoo import describe, model, preprocess, saving
from zoo.errors import (
    IntegrityError,
    PublishRefusedError,
    UnknownEntryError,
    WeightsMismatchError,
)

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = ("keypointgan", "factorized", "fomm", "monkeynet", "imm", "lorenz", "forecast", "i2v")
SAVED = [f"{name}_puppets" for name in SMALL] + ["keypointgan_puppets_regressor"]


def config(name):
    return load_config(CONFIGS / f"{name}.py")


def shaken(cfg, seed=0):
    """Return a pipeline whose every number was moved, running statistics too."""
    torch.manual_seed(seed)
    pipeline = build_model(cfg, to_fill=True).eval()
    with torch.no_grad():
        for value in pipeline.state_dict().values():
            if value.is_floating_point():
                value.mul_(1 + 0.1 * torch.rand_like(value)).add_(0.01 * torch.rand_like(value))
    return pipeline.to(memory_format=torch.channels_last)


def outputs(pipeline, size):
    """Return tensors that the pipeline computes from fixed images."""
    make = torch.Generator().manual_seed(3)
    if hasattr(pipeline, "forecast"):
        frames = torch.rand(1, pipeline.given, 3, size, size, generator=make)
        return [pipeline.forecast(frames, 2), pipeline.predict(frames[:, 0]).landmarks.xy]
    if hasattr(pipeline, "infer"):
        source, driving = torch.rand(2, 2, 3, size, size, generator=make)
        found = pipeline.infer(Batch(source=source, driving=driving))
        return [found.landmarks.xy, found.render]
    with torch.no_grad():
        return [pipeline(Batch(poses=torch.rand(2, 15, 2, generator=make))).prior_landmarks.xy]


def test_every_kind_of_pipeline_is_saved_here():
    assert {config(name)["model"]["type"] for name in SAVED} == set(PIPELINES.names())


@pytest.mark.parametrize("name", SAVED)
def test_a_package_rebuilds_the_trained_model_bit_for_bit(name, tmp_path):
    cfg = config(name)
    trained = shaken(cfg)
    folder = saving.save(
        trained, tmp_path / name, name=name.replace("_", "-"), license="apache-2.0", cfg=cfg
    )
    again = model.load(folder)
    assert not again.training
    for mine, theirs in zip(outputs(again, 64), outputs(trained, 64)):
        assert torch.equal(mine, theirs)
    own = trained.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in again.state_dict().items())
    left_out = {key.split(".")[0] for key in own if key not in again.state_dict()}
    assert left_out <= {"prior", "prior_image_critic", "image_critic"}
    report = zoo.verify(folder, deep=True)
    assert report.ok, report.problems
    assert max(report.differences.values()) == 0


def test_every_config_can_be_built_from_json_without_memory():
    for file in sorted(CONFIGS.glob("*.py")):
        cfg = load_config(file)
        with torch.device("meta"):
            whole = build_model(cfg, to_fill=True).state_dict()
            text = json.dumps(model.architecture_of(cfg))
            rebuilt = model.construct(json.loads(text), file.stem).state_dict()
        training_only = {key for key in whole if key not in rebuilt}
        assert all("prior" in key or "critic" in key for key in training_only), file.stem
        assert all(rebuilt[key].shape == whole[key].shape for key in rebuilt), file.stem
        assert all(value.device.type == "meta" for value in rebuilt.values()), file.stem


def test_defaults_are_written_out_so_that_later_ones_change_nothing():
    written = describe.inference(config("fomm_puppets")["model"])
    assert written["bottleneck"]["grid"] == "half_pixel"  # stated nowhere in the config
    assert written["image_critic"] is None
    assert json.loads(json.dumps(written)) == written


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    cfg = config("fomm_puppets")
    folder = tmp_path_factory.mktemp("saved") / "fomm"
    saving.save(shaken(cfg), folder, name="fomm", license="apache-2.0", cfg=cfg)
    return folder


def test_load_leaves_the_callers_random_numbers_alone(saved):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model.load(saved)
    assert torch.equal(torch.rand(3), expected)


def test_half_precision_files_give_exactly_their_rounded_numbers(tmp_path):
    cfg = config("keypointgan_puppets")
    trained = shaken(cfg)
    folder = saving.save(
        trained, tmp_path / "k", name="k", license="mit", cfg=cfg, dtype=torch.float16
    )
    again, own = model.load(folder), trained.state_dict()
    for key, value in again.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.equal(value, own[key].half().float())
    again = model.load(folder, dtype=torch.float64)
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    # float16 halves it: two bytes a number, eight for each counter, and the header
    size = (folder / "model.safetensors").stat().st_size
    state = again.state_dict()
    numbers = sum(v.numel() * (2 if v.is_floating_point() else 8) for v in state.values())
    assert 0 < size - numbers < 130 * len(state)


def test_parts_modes_and_overrides(saved):
    parts = model.load(saved, components=("encoder", "bottleneck"))
    assert list(parts) == ["encoder", "bottleneck"]
    with pytest.raises(UnknownEntryError, match=r"no component 'encodr'\. It has encoder, "):
        model.load(saved, components=("encodr",))
    assert model.load(saved, train=True).training
    untrained = model.load(saved, pretrained=False)
    trained = model.load(saved)
    assert not torch.equal(
        untrained.encoder.head.weight.float(), trained.encoder.head.weight.float()
    )
    with pytest.raises(UnknownEntryError, match=r"no argument 'encoder\.widht'"):
        model.load(saved, overrides={"encoder.widht": 3})


def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(saved):
    with pytest.raises(WeightsMismatchError) as caught:
        model.load(saved, overrides={"encoder.num_landmarks": 12})
    text = str(caught.value)
    assert "Weights do not fit pipelines/motion_transfer v1 of 'fomm': 2 shapes" in text
    assert "encoder.head.weight: file 50x19x7x7, model 60x19x7x7" in text
    assert "Overrides: {'encoder.num_landmarks': 12}. Nothing was loaded." in text
    with pytest.warns(UserWarning, match="The rest stays untrained") as warned:
        partly = model.load(saved, overrides={"encoder.num_landmarks": 12}, strict=False)
    assert len(warned) == 1
    assert partly.encoder.head.weight.shape[0] == 60
    assert torch.equal(partly.decoder.last.weight, model.load(saved).decoder.last.weight)


def test_another_version_of_an_architecture_is_refused(saved, monkeypatch):
    monkeypatch.setattr(PIPELINES.get("pipelines/motion_transfer"), "version", 2, raising=False)
    with pytest.raises(WeightsMismatchError, match="made with version 1 of pipelines/motion"):
        model.load(saved)


def test_drift_that_no_checksum_sees_fails_the_fingerprint(saved, monkeypatch):
    from components.bottlenecks.affine import Affine

    forward = Affine.forward

    def drifted(self, maps):
        self.temperature = 0.7 * 0.5
        return forward(self, maps)

    monkeypatch.setattr(Affine, "forward", drifted)
    report = zoo.verify(saved, deep=True)
    assert not report.ok
    assert any("landmarks.xy differs by" in problem for problem in report.problems)


def test_a_model_is_saved_again_as_it_was(saved, tmp_path):
    again = saving.save(model.load(saved), tmp_path / "b", name="fomm", license="apache-2.0")
    for name in ("model.safetensors", "golden.safetensors", "README.md"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_overrides_are_saved_with_the_model(saved, tmp_path):
    loaded = model.load(saved, overrides={"bottleneck.temperature": 2.0})
    folder = saving.save(loaded, tmp_path / "b", name="fomm", license="mit")
    again = model.load(folder)
    assert again.bottleneck.temperature == 2.0
    for mine, theirs in zip(outputs(again, 64), outputs(loaded, 64)):
        assert torch.equal(mine, theirs)


def test_a_config_of_another_model_is_refused(saved, tmp_path):
    other = config("fomm_puppets")
    other["model"]["bottleneck"]["temperature"] = 3.0
    with pytest.raises(IntegrityError, match="the model computes something else"):
        saving.save(model.load(saved), tmp_path / "b", name="b", license="mit", cfg=other)
    other["model"]["encoder"]["width"] = 8
    with pytest.raises(WeightsMismatchError, match="does not match its cfg"):
        saving.save(model.load(saved), tmp_path / "b", name="b", license="mit", cfg=other)
    assert not list(tmp_path.iterdir())


def test_threads_do_not_count_each_others_parameters(saved):
    expected = model.load(saved).state_dict()
    with ThreadPoolExecutor(4) as pool:
        for loaded in pool.map(lambda _: model.load(saved), range(8)):
            assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())


def test_preprocessing_that_changed_is_seen(saved, monkeypatch):
    fitted = preprocess.fit_image
    monkeypatch.setattr(
        preprocess, "fit_image", lambda *args: (fitted(*args)[0][::-1], fitted(*args)[1])
    )
    report = zoo.verify(saved, deep=True)
    assert [problem.split()[0] for problem in report.problems] == ["preprocess"]
    with pytest.raises(ValueError, match="against must be 'manifest' or 'hub', not 'Hub'"):
        zoo.verify(saved, against="Hub")


def test_the_card_keeps_what_people_wrote(saved, tmp_path):
    loaded, folder = model.load(saved), tmp_path / "card"
    saving.save(loaded, folder, name="fomm", license="mit", notes="Mind the legs.")
    saving.save(loaded, folder, name="fomm", license="mit", overwrite=True)
    assert "Mind the legs." in (folder / "README.md").read_text()


def test_what_must_not_be_saved_is_refused_before_anything_is_written(saved, tmp_path):
    cfg, folder = config("fomm_puppets"), tmp_path / "x"
    broken = shaken(cfg)
    with torch.no_grad():
        broken.decoder.last.bias[0] = float("nan")
    with pytest.raises(PublishRefusedError, match=r"weights of 'decoder.last.bias' are not all"):
        saving.save(broken, folder, name="x", license="mit", cfg=cfg)
    with pytest.raises(PublishRefusedError, match="the licence of the weights is missing"):
        saving.save(model.load(saved), folder, name="x", license="")
    with pytest.raises(PublishRefusedError, match=r"license 'other' needs a LICENSE file"):
        saving.save(model.load(saved), folder, name="x", license="other")
    with pytest.raises(PublishRefusedError, match="Give cfg="):
        saving.save(shaken(cfg), folder, name="x", license="mit")
    with pytest.raises(IntegrityError, match="cannot be the name of an entry"):
        saving.save(model.load(saved), folder, name="My Model", license="mit")
    big = model.load(saved)
    with torch.no_grad():
        big.decoder.last.bias[0] = 1e6
    with pytest.raises(PublishRefusedError, match=r"too large for torch\.float16"):
        saving.save(big, folder, name="x", license="mit", dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_files_follow_the_umask(saved):
    for file in saved.iterdir():
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode == stat.S_IMODE((saved / "config.json").stat().st_mode), file
        assert mode & stat.S_IRUSR


def test_preprocess_and_back_by_hand(saved):
    ready = model.load(saved).preprocess
    assert (ready.image_size, ready.fit, ready.crop) == (64, "stretch", None)
    image = np.zeros((32, 128, 3), np.uint8)
    image[:, 64:] = (255, 51, 0)
    prepared = ready([image, image[:16, :16]])
    assert prepared.images.shape == (2, 3, 64, 64)
    assert prepared.images[0, :, 30, 40].tolist() == pytest.approx([1.0, 0.2, 0.0])
    # centre of pixel i of S is (2 i + 1) / S - 1: pixel 100 of 128, pixel 3 of 32
    xy = torch.tensor([[[201 / 128 - 1, 7 / 32 - 1]], [[1 / 16 - 1, 31 / 16 - 1]]])
    assert prepared.to_original(xy).round(4).tolist() == [[[100.0, 3.0]], [[0.0, 15.0]]]
    with pytest.raises(ValueError, match="landmarks of 2 images must be"):
        prepared.to_original(xy[1:])
    with pytest.raises(ValueError, match=r"an image must be \(H, W, 3\) uint8 RGB"):
        ready(torch.zeros(3, 64, 64))


def test_discovered_landmarks_borrow_no_names(saved, tmp_path):
    kinds = {}
    for name in SMALL[:3]:
        cfg = config(f"{name}_puppets")
        kinds[name] = describe.keypoints_of(build_model(cfg, to_fill=True), cfg, 15)
    assert kinds["keypointgan"]["semantics"] == "annotated"
    assert kinds["keypointgan"]["names"][:4] == ["pelvis", "neck", "head_top", "left_shoulder"]
    assert len(kinds["keypointgan"]["edges"]) == 14
    assert [3, 4] in kinds["keypointgan"]["flip_pairs"]
    assert kinds["factorized"]["names"][:2] == ["fg00", "fg01"]
    assert kinds["factorized"]["groups"] == {"foreground": list(range(15))}
    assert kinds["fomm"]["names"][0] == "kp00"
    assert kinds["fomm"]["semantics"] == "discovered"


def test_stored_bytes_are_those_that_were_hashed(saved):
    found = model.load(saved).package
    stated = found.manifest["files"]["model.safetensors"]["size"]
    assert (saved / "model.safetensors").stat().st_size == stated
    tensors = safetensors.torch.load_file(saved / "model.safetensors")
    assert {key: tuple(value.shape) for key, value in tensors.items()} == {
        key: stored.shape for key, stored in found.tensors.items()
    }
