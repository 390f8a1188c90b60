"""encoders/timm_features against timm itself: weights, normalisation, frozen backbones, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from registry import ConfigError, build, checkpoint, load_config
from registry.build import build_model
from registry.contract import Batch
from registry.job import load_pipeline

SMALL = "mobilenetv3_small_050"
VIT = "vit_tiny_patch16_224"


def encoder(name=SMALL, weights="random", **arguments):
    node = dict(type="encoders/timm_features", num_landmarks=3, name=name, weights=weights)
    return build(node | dict(width=8) | arguments, "model.encoder", "encoders")


def randomise(model):
    """Give every weight and statistic a value that no fresh model has."""
    torch.manual_seed(3)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.1 + 0.01)
    return model


def saved(model, path):
    state = model.state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "size", "suffix"),
    [("resnet10t", None, ".pth"), (SMALL, None, ".safetensors"), (VIT, 32, ".safetensors")],
)
def test_a_file_gives_the_features_of_timm(name, size, suffix, tmp_path):
    options = {"img_size": size} if size else {}
    whole = randomise(timm.create_model(name, **options))
    found = encoder(name, saved(whole, tmp_path / f"w{suffix}"), image_size=size).eval()
    theirs = timm.create_model(name, features_only=True, **options).eval()
    inner = getattr(theirs, "model", theirs)  # a transformer is wrapped
    assert not inner.load_state_dict(whole.state_dict(), strict=False).missing_keys
    side = size or 64
    image = torch.rand(2, 3, side, side)
    cfg = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (cfg.mean, cfg.std))
    with torch.no_grad():
        wanted = theirs((image - mean) / std)
        ours = found.backbone((image - mean) / std)
        assert len(ours) == len(wanted)
        for a, b in zip(ours, wanted):
            assert torch.equal(a, b)
        # and the normalisation is inside: features are the finest level, projected and enlarged
        first = F.interpolate(
            found.levels[0](wanted[0]), (side // 2, side // 2), mode="bilinear", align_corners=False
        )
        assert torch.allclose(found(image).features, first.relu(), atol=1e-5)


def test_a_position_grid_is_resampled(tmp_path):
    whole = timm.create_model(VIT)
    found = encoder(VIT, saved(whole, tmp_path / "w.safetensors"), image_size=64)
    inner = found.backbone.model
    assert inner.pos_embed.shape == (1, 17, 192)  # a class token and 4 x 4 patches
    assert torch.equal(inner.pos_embed[:, 0], whole.pos_embed[:, 0])
    assert torch.equal(inner.patch_embed.proj.weight, whole.patch_embed.proj.weight)


@pytest.mark.parametrize(
    ("name", "size"),
    [(SMALL, None), ("resnet10t", None), ("convnext_atto", None), (VIT, 64)],
)
def test_any_architecture_gives_maps_at_half_the_size(name, size):
    torch.manual_seed(0)
    height, width = (64, 64) if size else (64, 96)
    out = encoder(name, image_size=size)(torch.rand(2, 3, height, width))
    assert out.maps.shape == (2, 3, height // 2, width // 2)
    assert out.features.shape == (2, 8, height // 2, width // 2)
    assert out.maps.isfinite().all()


def three_steps(model):
    """Train on noise; return the state before and after."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(3):
        adam.zero_grad()
        out = model(torch.rand(2, 3, 64, 64))
        (out.maps.square().mean() + out.features.mean()).backward()
        adam.step()
    return before, model.state_dict()


def moved(before, after, prefix):
    return {key for key in before if key.startswith(prefix) and (before[key] != after[key]).any()}


def test_a_frozen_backbone_keeps_weights_and_statistics():
    torch.manual_seed(0)
    model = encoder(frozen=True)
    before, after = three_steps(model)
    assert not moved(before, after, "backbone.")
    assert "head.0.weight" in moved(before, after, "head.")
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_another_backbone_learns():
    torch.manual_seed(0)
    before, after = three_steps(encoder())
    changed = moved(before, after, "backbone.")
    assert any(key.endswith("running_mean") for key in changed)
    assert any(key.endswith("conv_stem.weight") for key in changed)


def test_gradients_pass_through_a_frozen_backbone():
    """The encoder may read a rendered image."""
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    encoder(frozen=True).eval()(image).maps.square().sum().backward()
    assert image.grad.abs().sum() > 0


@pytest.fixture
def factorized():
    path = Path(__file__).parents[1] / "configs" / "factorized_puppets_timm.py"
    return load_config(path, {"image_size": 32, "num_landmarks": 3, "width": 4})["model"]


def test_the_config_feeds_the_appearance_encoder(factorized):
    assert factorized["appearance_encoder"]["features"] == factorized["encoder"]["width"]
    factorized["encoder"]["frozen"] = True
    pipeline = build(factorized, "model", "pipelines")
    image = torch.rand(2, 3, 32, 32)
    out = pipeline(Batch(source=image, driving=image, target=image))
    assert out.render.shape == image.shape
    assert out.landmarks.prob.shape == (2, 3, 16, 16)
    trained = {id(p) for group in pipeline.parameter_groups().values() for p in group}
    assert trained
    assert not trained & {id(p) for p in pipeline.encoder.backbone.parameters()}


def test_the_config_differs_from_factorized_in_the_encoder_alone():
    folder = Path(__file__).parents[1] / "configs"
    plain, ours = (load_config(folder / f"factorized_puppets{v}.py") for v in ("", "_timm"))
    assert plain["model"].pop("encoder") != ours["model"].pop("encoder")
    assert plain == ours


def fault(*args, **arguments):
    with pytest.raises(ConfigError) as caught:
        encoder(*args, **arguments)
    return str(caught.value)


PLACE = "model.encoder: encoders/timm_features: "


def test_weights_must_be_chosen():
    with pytest.raises(ConfigError, match="weights"):
        build(dict(type="encoders/timm_features", num_landmarks=3, name=SMALL), "m", "encoders")


def test_unknown_models_are_named():
    assert fault("resnet81") == (
        f"{PLACE}timm {timm.__version__} has no model 'resnet81'. Did you mean 'resnet18'?"
    )


def test_missing_files_are_named():
    assert fault(weights="no.pth") == (
        f"{PLACE}no weights of timm's '{SMALL}' at 'no.pth'. Set weights= to 'timm' to download "
        "them, the path of a .safetensors or .pth file, or 'random' to train from scratch."
    )


def test_files_of_another_model_are_refused(tmp_path):
    whole = timm.create_model(SMALL)
    path = saved(whole, tmp_path / "w.safetensors")
    assert fault("resnet10t", path).startswith(
        f"{PLACE}{path}: not the weights of timm's 'resnet10t'"
    )
    state = whole.state_dict()
    del state["bn1.running_var"]
    save_file(state, path)
    assert fault(weights=path) == (
        f"{PLACE}{path}: not the weights of timm's '{SMALL}': no 'bn1.running_var'."
    )


def test_without_a_network_nothing_starts_from_random_weights(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    assert fault(weights="timm") == (
        f"{PLACE}cannot download the weights of timm's '{SMALL}': OSError: no route to host. "
        "Download them elsewhere and pass the file as weights=, or train from scratch with "
        "weights='random'."
    )


def test_image_size_is_for_transformers():
    assert fault(image_size=64).endswith("Set image_size for transformers only.")


def test_a_trained_model_needs_no_pretrained_weights(tmp_path):
    file = tmp_path / "w.pth"
    saved(randomise(timm.create_model(SMALL)), file)
    config = Path(__file__).parents[1] / "configs/factorized_puppets_timm.py"
    cfg = load_config(config, {"model.encoder.weights": str(file)})
    pipeline = build_model(cfg)
    weights = {f"pipeline.{key}": value for key, value in pipeline.state_dict().items()}
    checkpoint.save({"model": weights}, tmp_path / "last.pth")
    file.unlink()
    loaded = load_pipeline(cfg, tmp_path / "last.pth").cpu()
    for key, value in pipeline.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
