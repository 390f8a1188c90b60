"""IMM: layers as TensorFlow 1 computes them, bottleneck, loss mask, loss and optimizer step.

Expected values are by hand, from NumPy, or from torchvision's own VGG16.
"""

from __future__ import annotations

from math import exp, log, tanh
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.vgg import cfgs, make_layers

import registry.runner
from components.drawing import panel
from components.layers.tensorflow import TfUpsample2, init_truncated, tf_conv_norm_relu
from registry import ConfigError, build, load_config
from registry.contract import Appearance, Batch, Landmarks, Outputs
from registry.job import lr_factor
from registry.runner import train
from registry.trainee import Stepper
from tests.runs import write_config

CONFIGS = Path(__file__).parents[1] / "configs"
SHIFT = dict(
    type="warps/tps_gaussian",
    rotation_sd=0.0,
    scale_sd=0.0,
    translation_sd=0.1,
    warp_sd=(0.001, 0.005),
    canvas=1.0,
)


def part(name, **arguments):
    return build(dict(type=name, **arguments), "test", name.split("/")[0])


# networks


@pytest.mark.parametrize(
    ("landmarks", "expected"),
    [(10, 4_138_067), (30, 4_189_287), (50, 4_240_507)],
)
def test_parameter_counts_of_the_published_sizes(landmarks, expected):
    model = load_config(CONFIGS / "imm_celeba.py", {"num_landmarks": landmarks})["model"]
    with torch.device("meta"):
        built = [build(model[key], key) for key in ("encoder", "appearance_encoder", "decoder")]
    assert sum(p.numel() for net in built for p in net.parameters()) == expected


@pytest.mark.parametrize(
    ("tap", "expected"),
    [
        (0, [[1, 3], [9, 11]]),  # no padding before
        (1, [[2, 4], [10, 12]]),
        (2, [[3, 0], [11, 0]]),  # one zero after the end
    ],
)
def test_strided_convolution_pads_at_the_end(tap, expected):
    pad, conv, *_ = tf_conv_norm_relu(1, 1, stride=2)
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 0, tap] = 1
    image = torch.arange(1.0, 17).view(1, 1, 4, 4)
    conv.load_state_dict({"weight": kernel, "bias": torch.zeros(1)})
    assert conv(pad(image))[0, 0].tolist() == expected


def test_batch_norm_moves_by_a_hundredth():
    layers = torch.nn.Sequential(*tf_conv_norm_relu(1, 1))
    init_truncated(layers)
    layers[0].weight.data.zero_()
    layers[0].bias.data.fill_(2.0)
    layers(torch.rand(4, 1, 8, 8))
    assert layers[1].running_mean.item() == pytest.approx(0.02)
    assert layers[1].running_var.item() == pytest.approx(0.99)
    layers.eval()
    expected = (2 - 0.02) / (0.99 + 1e-3) ** 0.5
    assert layers(torch.rand(1, 1, 8, 8))[0, 0, 3, 3].item() == pytest.approx(expected)


def test_upsampling_by_hand():
    found = TfUpsample2()(torch.tensor([[[[0.0, 4.0], [8.0, 20.0]]]]))[0, 0]
    expected = [[0, 2, 4, 4], [4, 8, 12, 12], [8, 14, 20, 20], [8, 14, 20, 20]]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32))


def test_weights_start_within_two_deviations():
    torch.manual_seed(0)
    weight = part("encoders/imm", width=8).layers[3].weight
    assert weight.abs().max() <= 0.02
    assert weight.std().item() == pytest.approx(0.0088, rel=0.1)  # of the cut distribution


def test_six_channels_of_the_renderer_are_dead():
    torch.manual_seed(0)
    decoder = part("decoders/imm", num_landmarks=2, appearance_channels=3, width=4).eval()
    inputs = torch.rand(2, 2, 4, 4), Appearance(image=torch.rand(2, 3, 4, 4))
    before = decoder(*inputs)
    last = decoder.climb[-1]
    with torch.no_grad():
        last.weight[3:] += 1
        last.bias[3:] += 1
    assert torch.equal(decoder(*inputs), before)
    assert before.shape == (2, 3, 32, 32)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(51)
    assert torch.allclose(decoder(*inputs), torch.tensor(0.2))  # 51 of 255
    decoder(*inputs).sum().backward()
    assert last.weight.grad[3:].abs().max() == 0  # a tensor of zeros, not None


def test_the_encoder_reads_0_to_255():
    encoder = part("encoders/imm", num_landmarks=2, width=4).eval()
    seen = []
    encoder.layers[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    logits = encoder(torch.full((1, 3, 16, 16), 0.5)).maps
    assert torch.equal(seen[0], torch.full((1, 3, 16, 16), 127.5))
    assert logits.shape == (1, 2, 2, 2)
    assert part("encoders/imm", width=4)(torch.rand(2, 3, 16, 16)).maps.min() >= 0  # features


@pytest.mark.parametrize(("grid", "x"), [("corners", 0.5), ("half_pixel", 0.25)])
def test_separable_bottleneck_by_hand(grid, x):
    """Column logits 0 and log 3 give probabilities 1/4 and 3/4; the rows are alike."""
    logits = torch.tensor([[[[-1.0, log(3) + 1], [1.0, log(3) - 1]]]])
    found = part("bottlenecks/separable", grid=grid)(logits)
    assert torch.allclose(found.xy, torch.tensor([[[x, 0.0]]]), atol=1e-6)


def test_maps_are_drawn_at_an_eighth():
    maps = part(
        "rasterizers/gaussian",
        image_size=128,
        stride=8,
        kernel="exponential",
        variance=0.01,
        grid="corners",
    )(Landmarks(xy=torch.tensor([[[-1.0, 1.0]]])))
    assert maps.shape == (1, 1, 16, 16)
    assert maps[0, 0, 15, 0].item() == pytest.approx(1)
    # one and two pixels of 2 / 15 away: exp(-d^2 / 0.1^2), no half
    assert maps[0, 0, 15, 1].item() == pytest.approx(exp(-((2 / 15) ** 2) / 0.01), rel=1e-4)
    assert maps[0, 0, 13, 0].item() == pytest.approx(exp(-((4 / 15) ** 2) / 0.01), rel=1e-4)


def test_pipeline_draws_small_and_renders_at_full_size():
    torch.manual_seed(0)
    cfg = load_config(CONFIGS / "imm_puppets.py", {"image_size": 32, "width": 4})
    pipeline = build(cfg["model"], "model", "pipelines")
    image = torch.rand(2, 3, 32, 32)
    out = pipeline(Batch(source=image, driving=image, target=image))
    assert out.drawn.shape == (2, 16, 4, 4)
    assert out.render.shape == (2, 3, 32, 32)
    assert out.landmarks.xy.shape == (2, 16, 2)
    assert list(pipeline.parameter_groups()) == ["generator"]
    batch = Batch(source=image, driving=image)
    picture = panel(batch, pipeline.eval().infer(batch), ())
    # below a line of titles: source, driving, landmarks, maps, render
    assert picture.shape == (24 + 2 * 160, 5 * 160, 3)


def test_learns_two_images():
    """With the numbers of the small config, the render of two images comes near them."""
    torch.manual_seed(0)
    cfg = load_config(CONFIGS / "imm_puppets.py", {"image_size": 32, "width": 8})
    pipeline = build(cfg["model"], "model", "pipelines")
    image = torch.rand(2, 3, 4, 4).repeat_interleave(8, -1).repeat_interleave(8, -2)
    batch = Batch(source=image, driving=image, target=image)
    stepper = Stepper(
        torch.optim.Adam(pipeline.parameters(), lr=cfg["train"]["lr"]),
        clip=1.0,
        amp=False,
        clip_each=True,
    )
    errors = []
    for _ in range(40):
        error = (pipeline(batch).render - image).square().mean()
        stepper.update_params(error)
        errors.append(error.item())
    assert errors[-1] < 0.15 * errors[0]


# the loss mask


def strip(size, margin, ramp):
    up = 0.5 + 0.5 * np.tanh(np.linspace(-1, 1, ramp) / 0.4)
    flat = size - 2 * margin - 2 * ramp
    return np.concatenate([np.zeros(margin), up, np.ones(flat), up[::-1], np.zeros(margin)])


def weighted(height, width):
    image = torch.rand(2, 3, height, width)
    batch = Batch(source=image, driving=image, target=image)
    return part("transforms/edge_weight")(batch, torch.arange(2))


def test_mask_of_the_published_size():
    weight = weighted(128, 128).weight
    assert weight.shape == (2, 1, 128, 128)
    row = weight[0, 0, 64]
    assert row[:10].tolist() == [0] * 10
    assert row[10].item() == pytest.approx(0.5 + 0.5 * tanh(-2.5), abs=1e-7)
    assert row[29].item() == pytest.approx(0.5 + 0.5 * tanh(2.5))
    assert row[30:98].tolist() == [1] * 68
    one = strip(128, 10, 20)
    expected = torch.from_numpy(one[:, None] * one)
    assert torch.allclose(weight[1, 0].double(), expected, atol=1e-6)


def test_mask_scales_with_the_image():
    expected = torch.from_numpy(strip(64, 5, 10)[:, None] * strip(96, 8, 15)).float()
    assert torch.allclose(weighted(64, 96).weight[0, 0], expected, atol=1e-6)


def test_mask_is_warped_with_the_target():
    """A target that shows the mask still shows it after the warp."""
    batch = weighted(64, 64)
    picture = batch.weight.expand(-1, 3, -1, -1)
    batch = Batch(source=picture, driving=picture, target=picture, weight=batch.weight)
    pair = part("transforms/tps_pair", chained=True, driving_warp=SHIFT, source_warp=SHIFT)
    out = pair(batch, torch.arange(2))
    assert (out.weight - batch.weight).abs().max() > 0.1  # it did warp
    assert torch.allclose(out.target, out.weight.expand(-1, 3, -1, -1), atol=1e-6)
    assert not torch.allclose(out.source, out.target, atol=0.1)


# the loss

TAPS = {"conv1_2": 3, "conv2_2": 8, "conv3_2": 13, "conv4_2": 20, "conv5_2": 27}  # after the ReLU
START = (100.0, 1.6, 2.3, 1.8, 2.8, 100.0)
GREY = dict(
    backbone="vgg16",
    taps=("input", *TAPS),
    relu=True,
    running_start=START,
    input_range="grey",
    weight=6000.0,
)


@pytest.fixture
def vgg(tmp_path):
    """torchvision's VGG16 for grey images, and the file with its weights."""
    torch.manual_seed(0)
    layers = make_layers(cfgs["D"])
    layers[0] = torch.nn.Conv2d(1, 64, 3, padding=1)
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    path = tmp_path / "grey.safetensors"
    save_file({f"features.{k}": v for k, v in layers.state_dict().items()}, path)
    return layers.requires_grad_(False), path


def test_loss_is_the_formula_of_the_paper(vgg):
    layers, path = vgg
    loss = part("losses/perceptual", weights=str(path), **GREY)
    image, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    weight = torch.rand(2, 1, 32, 32)

    def features(x):
        found = [255 * x]
        x = x.mean(dim=1, keepdim=True) - 114.451 / 255
        for index, layer in enumerate(layers):
            x = layer(x)
            if index in TAPS.values():
                found.append(x.clone())  # ReLU is in place in torchvision
        return found

    errors = []
    for a, b in zip(features(image), features(target)):
        step = 32 // a.shape[-1]
        errors.append((weight[..., ::step, ::step] * (a - b).square()).mean().item())
    running = list(START)
    batch = Batch(target=target, weight=weight)
    for _ in range(2):
        running = [0.99 * r + 0.01 * e for r, e in zip(running, errors)]
        expected = 1000 * sum(e / r for e, r in zip(errors, running))
        assert loss(Outputs(render=image), batch).item() == pytest.approx(expected, rel=1e-4)
    kept = loss.eval().running.clone()
    loss(Outputs(render=image), batch)
    assert torch.equal(loss.running, kept)
    assert kept.tolist() == pytest.approx(running, rel=1e-4)


def test_pixels_without_weight_do_not_count():
    loss = part("losses/perceptual", weights="random", width=4, backbone="vgg16", taps=("input",))
    target = torch.rand(1, 3, 16, 16)
    wrong = target.clone()
    wrong[..., :8] = 0
    weight = torch.ones(1, 1, 16, 16)
    weight[..., :8] = 0
    assert loss.compare(wrong, target, weight).item() == 0
    assert loss.compare(wrong, target).item() > 0.01


def test_colour_weights_for_grey_images_are_refused(tmp_path):
    path = tmp_path / "colour.safetensors"
    layers = make_layers(cfgs["D"])
    save_file({f"features.{k}": v for k, v in layers.state_dict().items()}, path)
    with pytest.raises(ConfigError) as caught:
        part("losses/perceptual", weights=str(path), **GREY)
    assert str(caught.value) == (
        f"test: losses/perceptual: {path}: the first convolution takes 3 channels, but input_range "
        "gives it 1. Use input_range='grey' for the colourisation network and only for it."
    )


def test_missing_weights_and_taps_are_named():
    with pytest.raises(ConfigError, match=r"no VGG16 weights at 'no\.pth'.*vgg16 \.pth"):
        part("losses/perceptual", weights="no.pth", **GREY)
    with pytest.raises(ConfigError, match="no tap 'conv3_4' in VGG16; use input, conv1_1"):
        part("losses/perceptual", weights="random", backbone="vgg16", taps=("conv3_4",))
    with pytest.raises(ConfigError, match="6 taps but 1 running_start"):
        part("losses/perceptual", weights="random", **GREY | {"running_start": (1.0,)})


# the optimizer


def test_each_tensor_is_clipped_on_its_own():
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    unused = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([{"params": [a, b, unused]}], lr=1.0)
    stepper = Stepper(sgd, clip=1.0, amp=False, clip_each=True)
    stepper.update_params(
        (a * torch.tensor([3.0, 4.0])).sum() + (b * torch.tensor([0.3, 0.4])).sum()
    )
    assert torch.allclose(a, torch.tensor([-0.6, -0.8]), atol=1e-5)  # norm 5 became 1
    assert torch.allclose(b, torch.tensor([-0.3, -0.4]))  # norm 0.5 stayed
    assert unused.item() == 1


def test_a_gradient_that_is_not_finite_stops_the_step():
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    stepper = Stepper(torch.optim.SGD([a, b], lr=1.0), clip=1.0, amp=False, clip_each=True)
    with pytest.raises(FloatingPointError, match="gradient of 'the model' is not finite"):
        stepper.update_params(a.sum() + (b * float("inf")).sum())
    assert a.tolist() == [1, 1]


@pytest.mark.parametrize("each", [False, True])
def test_the_config_decides_what_is_clipped(each, tmp_path, monkeypatch):
    made = []

    class Noted(Stepper):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(registry.runner, "Stepper", Noted)
    cfg = load_config(write_config(tmp_path), {"train.iterations": 1, "train.clip_each": each})
    train(cfg, tmp_path / "work")
    assert [stepper.clip_each for stepper in made] == [each]


def test_weight_decay_is_half_the_sum_of_squares():
    torch.manual_seed(0)
    start, data = torch.randn(5), torch.randn(5)
    ended = []
    for decay, penalty in ((0.1, 0.0), (0.0, 0.1)):
        weight = torch.nn.Parameter(start.clone())
        adam = torch.optim.Adam([weight], lr=1e-2, weight_decay=decay)
        for _ in range(5):
            adam.zero_grad()
            ((weight * data).sin().sum() + penalty * weight.square().sum() / 2).backward()
            adam.step()
        ended.append(weight.detach())
    assert torch.allclose(*ended, atol=1e-6)
    assert (ended[0] - start).abs().max() > 0.01


@pytest.mark.parametrize("name", ["imm_celeba", "imm_bbc", "imm_h36m"])
def test_the_rate_is_a_staircase(name):
    settings = load_config(CONFIGS / f"{name}.py")["train"]
    for iteration in (0, 1, 99_999, 100_000, 150_000, 199_999, 200_000, 399_999, 400_000, 499_999):
        expected = 0.95 ** (iteration // 100_000)
        assert lr_factor(settings["lr_factors"], iteration) == pytest.approx(expected)
