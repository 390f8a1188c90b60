"""The factorized model against numbers of the official implementation (tests/golden/excerpt.py)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import conv_norm_relu
from components.layers.spade import Spade, SpadeBlock
from components.layers.unet import AdditiveUNet
from components.layers.vgg import CONVS
from components.ops.gaussians import draw_gaussians, moments, spatial_softmax
from components.ops.grid import plane, to_pixels
from components.ops.parts import pool_parts, spread_parts
from components.ops.tps import control_grid, fit
from components.ops.warp import warp
from registry import build
from registry.contract import Appearance, Batch, Landmarks
from tests.golden_file import Golden, official_names, require_all_read
from zoo.convert import factorized
from zoo.convert.official import rename

State = dict[str, Tensor]


def model_of(
    *, k: int, d: int, divide: int = 1, critic: bool = False, **sizes: object
) -> dict[str, object]:
    """Return the model of a file, as in a config.

    ``divide`` is the file's divisor of the widths of the mask and the background net.
    """
    first, size = sizes.get("first", 2), sizes.get("size", 64)
    return dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/unet", num_landmarks=k, first=first, widths=sizes["pose"]),
        bottleneck=dict(
            type="bottlenecks/gaussian", grid="left_edge", **sizes.get("covariance", {})
        ),
        rasterizer=dict(type="rasterizers/gaussian", image_size=size, grid="left_edge"),
        appearance_encoder=dict(
            type="encoders/part_appearance",
            num_landmarks=k,
            features=4 * first,
            out_channels=d,
            first=sizes.get("appearance_first", 0),
            widths=(sizes.get("appearance", 16),),
        ),
        decoder=dict(
            type="decoders/spade", num_landmarks=k, appearance_channels=d, width=sizes["width"]
        ),
        compositor=dict(
            type="compositors/mask_blend",
            num_landmarks=k,
            first=32 // divide,
            mask_widths=[32 // divide] * sizes.get("mask_stages", 3),
            background_widths=[w // divide for w in (32, 64, 128)],
        ),
        image_critic=dict(type="critics/pix2pix", width=4) if critic else None,
    )


def official_states(golden: Golden) -> dict[str, State]:
    """Return the state dicts of the official model, and of its critic if there is one."""
    found = {network: golden.weights(network) for network in ("model", "discriminator")}
    return {network: state for network, state in found.items() if state}


def make(golden: Golden, **sizes: object) -> nn.Module:
    """Build the pipeline and fill it with the weights of the file."""
    states = official_states(golden)
    pipeline = build(model_of(critic="discriminator" in states, **sizes))
    pipeline.load_state_dict(factorized.convert(states))
    names = official_names(factorized.convert, states)
    pipeline.table = {ours: key for ours, (net, key) in names.items() if net == "model"}
    return pipeline


def perceptual_of(golden: Golden, reduced: bool, weight: float = 1.0) -> nn.Module:
    loss = build(
        dict(
            type="losses/perceptual",
            weight=weight,
            weights="random",
            width=2,
            relu=True,
            input_range="signed",
            taps=("input", "conv1_2", "conv2_2", "conv3_2", "conv4_2"),
            tap_weights=(1.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4) if reduced else (1.0,) * 5,
        )
    )
    vgg = golden.weights("vgg")
    for name in loss.convs:
        index = CONVS["vgg19"][name][0]
        getattr(loss, f"{name}_kernel").copy_(vgg[f"features.{index}.weight"])
        getattr(loss, f"{name}_bias").copy_(vgg[f"features.{index}.bias"])
    return loss


@contextmanager
def outputs_of(**modules: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect what modules return, one entry per call."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str) -> object:
        return lambda module, given, output: found[name].append(output)

    handles = [m.register_forward_hook(keep(name)) for name, m in modules.items()]
    yield found
    for handle in handles:
        handle.remove()


def up2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


# what make() needs to build the network of a file
FORWARD = {
    "factorized_forward": dict(k=6, d=8, width=3, pose=(32, 16, 8), divide=8),
    "factorized_forward_fixed": dict(
        **dict(k=5, d=10, width=2, pose=(32, 16, 8), divide=8, appearance_first=4, mask_stages=1),
        covariance=dict(covariance="fixed", variance=0.008),
    ),
}


@pytest.fixture(scope="module", params=FORWARD)
def forward(request) -> tuple[Golden, nn.Module, Batch]:
    """Numbers, network and images of one file: fitted Gaussians; fixed ones and a small mask."""
    golden = Golden(request.param)
    batch = Batch(
        driving=golden.image("jittered"),
        source=golden.image("warped"),
        target=golden.image("target"),
    )
    return golden, make(golden, **FORWARD[request.param]).eval(), batch


def test_every_stage(forward):
    golden, pipeline, batch = forward
    net, decoder = pipeline.encoder.net, pipeline.decoder
    encoder_stages = {
        **{f"encoder_stage{i}": net.blocks[i] for i in (1, 2, 3)},
        "decoder_stage0": net.bottom,
        **{f"decoder_stage{i + 1}": net.after[i] for i in (0, 1)},
    }
    decoder_stages = {
        **{"fc": decoder.start, "head_0": decoder.head, "up_0": decoder.climb[0]},
        **{"G_middle_0": decoder.middle[0], "G_middle_1": decoder.middle[1]},
        **{"up_1": decoder.climb[1]},
    }
    parts = {
        **{"encoder": pipeline.encoder, "drawn": pipeline.rasterizer},
        **{"map": pipeline.appearance_encoder.net, "appearance": pipeline.appearance_encoder},
    }
    with torch.no_grad(), outputs_of(**encoder_stages, **decoder_stages, **parts) as found:
        out = pipeline(batch)
    for name in encoder_stages:  # of the driving image, then of the source
        golden.check(f"pose_a/{name}", found[name][0])
    for side, encoding, drawn, landmarks in zip(
        *("ab", found["encoder"], found["drawn"], (out.landmarks, out.source_landmarks))
    ):
        golden.check(f"pose_{side}/logits", encoding.maps)
        golden.check(f"softmax_{side}", landmarks.prob)
        golden.check(f"mean_x_{side}", landmarks.xy[..., 0])
        golden.check(f"mean_y_{side}", landmarks.xy[..., 1])
        # of a fixed covariance the file has one
        stored = golden.size[f"output/covariance_{side}"]
        golden.check(f"covariance_{side}", landmarks.cov.flatten()[:stored])
        with torch.no_grad():
            mask = pipeline.compositor.mask(drawn)
        golden.check(f"mask_{side}", mask)
        golden.check(f"mask_logits_{side}", mask.logit())
    golden.check("pose_b/first_block_features", found["encoder"][1].features)
    golden.check("rendered_a", out.drawn)
    golden.check("rendered_b", found["drawn"][1][:, :2])
    codes = found["appearance"][0].codes
    golden.check("appearance_map", found["map"][0][0])
    golden.check("pooled_appearance", codes)
    golden.check("projected_appearance", spread_parts(codes, out.drawn)[:, :4])
    for name in decoder_stages:
        scales = ("_coarse", "_fine") if len(found[name]) == 2 else ("",)
        for scale, stage in zip(scales, found[name]):
            golden.check(f"decoder/{name}{scale}", stage)
    golden.check("foreground", 2 * out.layers.foreground - 1)
    golden.check("mask_a", out.layers.mask)
    golden.check("background", 2 * out.layers.background - 1)
    golden.check("composite", 2 * out.render - 1)
    golden.check("pose_only/mean_x", pipeline.predict(batch.driving).landmarks.xy[..., 0])


def test_gaussians_from_elsewhere(forward):
    """The appearance of an image drawn with given Gaussians, such as a predictor's."""
    golden, pipeline, batch = forward
    axes = [golden[f"input/external_mean_{axis}"] for axis in "xy"]
    given = Landmarks(xy=torch.stack(axes, dim=-1), cov=golden["input/external_covariance"])
    found = pipeline.edit(batch.source, given)
    golden.check("external_gaussians/composite", 2 * found[-1:] - 1)  # the file has the last


def test_losses(forward):
    golden, pipeline, batch = forward
    with torch.no_grad():
        out = pipeline(batch)
    for weights in ("reduced", "uniform"):
        loss = perceptual_of(golden, weights == "reduced")
        golden.check(f"loss/reconstruction_{weights}_weights", loss(out, batch))
    features, wanted = loss.features(out.render), loss.features(batch.target)
    golden.check("loss/features_prediction_layer13", features[3])
    golden.check("loss/features_prediction_layer22", features[4])
    golden.check("loss/features_target_layer22", wanted[4])

    scores = out.image_critic
    for scale in (0, 1):
        golden.check(f"discriminator/prediction_scale{scale}", scores.generator[scale])
        golden.check(f"discriminator/prediction_scale{scale}", scores.fake[scale])
        golden.check(f"discriminator/target_scale{scale}", scores.real[scale])
    summed = dict(scores="image_critic", reduction="sum")
    golden.check("loss/gan_generator", build(dict(type="losses/adversarial", **summed))(out, batch))
    critic = build(dict(type="losses/critic", **summed))
    # the two terms apart: real scores of 1 and fake scores of 0 cost nothing
    fake = replace(scores, real=tuple(map(torch.ones_like, scores.real)))
    real = replace(scores, fake=tuple(map(torch.zeros_like, scores.fake)))
    golden.check("loss/gan_discriminator_fake", 2 * critic(replace(out, image_critic=fake), batch))
    golden.check("loss/gan_discriminator_real", 2 * critic(replace(out, image_critic=real), batch))


def test_a_training_pass(forward):
    """One power iteration per call: two of the block that both scales share."""
    golden, pipeline, batch = forward
    pipeline = copy.deepcopy(pipeline).train()
    with torch.no_grad():
        out = pipeline(batch)
    golden.check("_train/composite", 2 * out.render[:1] - 1)
    state = pipeline.state_dict()
    vectors = {k: v for k, v in pipeline.table.items() if v.endswith("weight_u")}
    assert len(vectors) == 15
    for ours, theirs in vectors.items():
        golden.check(f"_train/after_forward/{theirs}", state[ours])


def test_published_widths():
    golden = Golden("factorized_published_width")
    widths = dict(k=30, d=32, size=128, first=6, width=64, pose=(512, 256, 128), appearance=64)
    pipeline = make(golden, **widths).eval()
    parts = {
        **{"encoder": pipeline.encoder, "drawn": pipeline.rasterizer},
        **{"map": pipeline.appearance_encoder.net, "appearance": pipeline.appearance_encoder},
    }
    batch = Batch(driving=golden.image("jittered"), source=golden.image("warped"))
    with torch.no_grad(), outputs_of(**parts) as found:
        out = pipeline(batch)
    golden.check("pose_a/logits", found["encoder"][0].maps[:, :3])
    golden.check("rendered_a", out.drawn[:, :2])
    golden.check("rendered_b", found["drawn"][1][:, :1])
    for side, landmarks in (("a", out.landmarks), ("b", out.source_landmarks)):
        golden.check(f"mean_x_{side}", landmarks.xy[..., 0])
        golden.check(f"mean_y_{side}", landmarks.xy[..., 1])
        golden.check(f"covariance_{side}", landmarks.cov)
    golden.check("appearance_map", found["map"][0][0][:, :2])
    codes = found["appearance"][0].codes
    golden.check("pooled_appearance", codes)
    golden.check("projected_appearance", spread_parts(codes, out.drawn)[:, :1])
    golden.check("foreground", 2 * out.layers.foreground - 1)
    golden.check("mask_a", out.layers.mask)
    golden.check("background", 2 * out.layers.background - 1)
    golden.check("composite", 2 * out.render - 1)


@pytest.fixture(scope="module")
def operators() -> Golden:
    return Golden("factorized_operators")


def test_gaussian_fit_and_rendering(operators):
    prob = spatial_softmax(operators["input/map_logits"])
    xy, cov = moments(prob, "left_edge")
    operators.check("gaussian_fit/softmax", prob)
    operators.check("gaussian_fit/mean_x", xy[..., 0])
    operators.check("gaussian_fit/mean_y", xy[..., 1])
    operators.check("gaussian_fit/covariance", cov)
    operators.check("gaussian_fit/covariance_of_already_normalised_maps", cov)
    fixed = build(dict(type="bottlenecks/gaussian", covariance="fixed", variance=0.05))
    fixed_cov = fixed(operators["input/map_logits"]).cov
    operators.check("gaussian_fit/fixed_covariance", fixed_cov[:1, :1])

    def draw(xy: Tensor, cov: Tensor) -> Tensor:
        return draw_gaussians(xy, cov, 64, 64, grid="left_edge")

    operators.check("render/fitted", draw(xy, cov)[:, :3])
    operators.check("render/fixed", draw(xy, fixed_cov)[:1, :3])
    axes = [operators[f"input/render_mean_{axis}"] for axis in "xy"]
    given = draw(torch.stack(axes, dim=-1), operators["input/render_covariance"])
    operators.check("render/given", given)
    operators.check("pooled_appearance", pool_parts(prob, operators["input/feature_map"]))
    operators.check("projected_appearance", spread_parts(operators["input/part_vectors"], given))


def test_adaptive_normalisation(operators):
    x, maps = operators["input/block_x"], operators["input/segmentation"]
    state = operators.weights("spade_norm")
    state = {f"norm_0.{key}": value for key, value in state.items()}
    norm = nn.ModuleDict({"norm_0": Spade(channels=8, maps=5)})
    norm.load_state_dict(rename(state, factorized.SPADE_BLOCK, "block"))
    norm = norm["norm_0"]
    operators.check("spade_norm/out", norm(x, maps))


@pytest.mark.parametrize(("name", "outputs"), [("block_shortcut", 6), ("block_identity", 8)])
def test_adaptive_block(operators, name, outputs):
    x, maps = operators["input/block_x"], operators["input/segmentation"]
    state = operators.weights(name)
    block = SpadeBlock(inputs=8, outputs=outputs, maps=5)
    block.load_state_dict(rename(state, factorized.SPADE_BLOCK, name))
    operators.check(f"{name}/eval_out", block.eval()(x, maps))
    operators.check(f"{name}/train_out", block.train()(x, maps))
    found = block.state_dict()
    vectors = [key for key in state if re.search(r"weight_[uv]$", key)]
    assert len(vectors) == (6 if outputs == 6 else 4)
    for key in vectors:
        (ours,) = rename({key: state[key]}, factorized.SPADE_BLOCK, name)
        operators.check(f"{name}/after_train_forward/{key}", found[ours])


def test_unet(operators):
    state = operators.weights("unet")
    net = AdditiveUNet(inputs=8, first=4, downs=3, widths=(16, 8), outputs=5)
    net.load_state_dict(rename(state, factorized.UNET, "unet"))
    out, first = net(operators["input/unet_x"])
    operators.check("unet/out", out)
    operators.check("unet/first_block", first)


def test_unet_blocks(operators):
    x = operators["input/block_x"]

    def conv(inputs: int, outputs: int, block: str, key: str, stride: int = 1) -> nn.Module:
        layer = nn.Sequential(*conv_norm_relu(inputs, outputs, stride=stride, norm="instance"))
        state = operators.weights(block)
        layer[0].load_state_dict({k: state[f"{key}.0.{k}"] for k in ("weight", "bias")})
        return layer

    down = conv(8, 6, "unet_encoder_block", "0", stride=2)
    operators.check("unet_encoder_block/out", conv(6, 6, "unet_encoder_block", "1")(down(x)))
    up = up2(conv(8, 6, "unet_decoder_block", "0")(x))
    operators.check("unet_decoder_block/out", conv(6, 6, "unet_decoder_block", "2")(up))


def test_loss_of_a_masked_target(operators):
    """The official loss zeroes the prediction where the target is 0 before it compares; ours not.

    No 8-bit value is 0 in [-1, 1], so the two are the same on images.
    """
    loss = perceptual_of(operators, reduced=True)
    target = operators["input/loss_target"]
    zeroed = torch.where(target == 0, 0.0, operators["input/loss_prediction"])
    operators.check("loss_zero_targets/prediction_after", zeroed)
    found = loss.compare((zeroed + 1) / 2, (target + 1) / 2)
    operators.check("loss_zero_targets/value", found)
    images = torch.arange(256) / 255
    assert (2 * images - 1 != 0).all()


def test_halving_of_the_critic(operators):
    halve = build(dict(type="critics/pix2pix", width=1)).halve
    operators.check("discriminator_downsample", halve(operators["input/image"]))


def test_thin_plate_warp(operators):
    """The official warp is OpenCV's, whose float32 spline is off by 0.002 pixels.

    Its sampler rounds positions to 1/32 pixel, so colours may differ by the slope of half of that.
    """
    off, rounding = 0.002, 1 / 64
    control = operators["output/tps/control_points"][0]
    moved = operators["output/tps/displaced_points"]
    pivot = control.max() / 2 + operators["output/tps/translation"]
    turned = (control - pivot) @ operators["output/tps/matrix"] + pivot
    operators.check("tps/displaced_points", turned + operators["output/tps/perturbation"])
    operators.check("tps/control_points", to_pixels(control_grid(10, 54 / 64) + 1 / 128, 128, 128))

    spline = fit(*((2 * points + 1) / 128 - 1 for points in (control, moved)))
    grid = spline.grid(128, 128)
    positions = to_pixels(grid, 128, 128)[0, ::4, ::4]  # of every fourth pixel
    operators.check("tps/query_points", to_pixels(plane(128, 128), 128, 128)[::4, ::4])
    operators.check("tps/mapped_points", positions, slack=off)
    image = operators["input/tps_image_u8"] / 255
    slope = sum(image.diff(dim=dim).abs().max().item() for dim in (2, 3))
    warped = warp(image, grid, padding="border")
    operators.check("tps/warped_image", warped, slack=(off + rounding) * slope)
    # the map of positions, x = -1024 and y = 0 around it
    around = torch.tensor([-1024.0, 0.0], dtype=torch.float64)[:, None, None]
    position_map = (to_pixels(plane(128, 128), 128, 128).permute(2, 0, 1) - 64) / 64 - around
    drawn = warp(position_map[None], grid)[0, :, ::4, ::4] + around
    key = "tps/warped_coordinates_every_4th"
    stored = operators[f"output/{key}"]
    inside = ((positions >= 0) & (positions <= 127)).all(dim=-1)
    operators.check(key, torch.where(inside, drawn, stored), slack=(off + rounding) / 64)
    # within a pixel of the border the two are blended
    operators.check(key, torch.where(inside, stored, drawn), slack=(off + rounding) * 1025)


def test_thin_plate_sampler():
    """Points are turned and stretched about the pivot, pixel 59 or so, and then shifted."""
    still = dict(rotation=0.0, scale=(1.1, 1.1), pivot_range=0.0)
    spline = build(dict(type="warps/tps_uniform", **still), "t")(
        torch.arange(50), 0, torch.device("cpu")
    )
    pixels = to_pixels(spline(spline.control), 128, 128)
    shift = pixels - (59 + 1.1 * (to_pixels(spline.control, 128, 128) - 59))
    assert 1.99 < shift.abs().max() < 2.01


def test_three_training_steps():
    """Three Adam steps in float64, within the stated tolerances.

    The half-open grid needs no float32 of its own, unlike ``corners``: its steps are powers of two.
    """
    golden = Golden("factorized_train")
    sizes = dict(k=4, d=4, width=2, pose=(16, 8, 4), appearance_first=2, divide=16)
    pipeline = make(golden, **sizes).double().train()
    perceptual = perceptual_of(golden, reduced=True, weight=5.0).double()
    driving, source, target = (
        golden.image(name, torch.float64) for name in ("jittered", "warped", "target")
    )
    batch = Batch(driving=driving, source=source, target=target)

    def check_rows(key: str, found: Tensor) -> None:
        # of large tensors the file has the first rows
        golden.check(key, found.flatten()[: golden.size[f"output/{key}"]])

    names = pipeline.table  # ours -> official
    parameters = dict(pipeline.named_parameters())
    (group,) = pipeline.parameter_groups().values()
    assert len(group) == len(parameters) == 257
    adam = torch.optim.Adam(group, lr=1e-4, weight_decay=5e-6)
    for step in (1, 2, 3):
        out = pipeline(batch)
        loss = perceptual(out, batch)
        golden.check(f"step{step}/loss_reconstruction", loss)
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(group, torch.inf)
        golden.check(f"step{step}/grad_norm_model", norm)
        if step == 1:
            golden.check("step1/composite", 2 * out.render - 1)
            norms = [p.grad.norm() for _, p in sorted((names[n], p) for n, p in parameters.items())]
            golden.check("step1/grad_l2/model", torch.stack(norms))
            for name, parameter in parameters.items():
                check_rows(f"step1/grad/model/{names[name]}", parameter.grad)
        adam.step()
    state = pipeline.state_dict()
    assert len(state) == 287  # with the vectors of the spectral norms
    for name, value in state.items():
        check_rows(f"after_step3/model/{names[name]}", value)


# facts.md section 1.2: by hand, from the tables of layers
COUNTS = {
    "encoder": (6_257_782, 6_258_556, 6_260_362, 6_261_652),
    "appearance_encoder": (1_447_828, 1_956_112, 3_445_068, 4_768_288),
    "decoder": (10_538_851, 10_642_531, 10_884_451, 11_057_251),
    "background": (5_641_827,) * 4,
    "mask": (5_399_489, 5_401_217, 5_405_249, 5_408_129),
    "low-resolution mask": (5_350_145, None, None, 5_358_785),
    "baseline": (18_244_461, 18_857_199, 20_589_881, 22_087_191),
    "factorized": (29_285_777, 29_900_243, 31_636_957, 33_137_147),
}


@pytest.mark.parametrize(("column", "k"), list(enumerate((10, 16, 30, 40))))
def test_numbers_of_parameters(column, k):
    def part(name: str, **arguments: object) -> nn.Module:
        return build(dict(type=name, **arguments))

    with torch.device("meta"):
        parts = {
            "encoder": part("encoders/unet", num_landmarks=k),
            "appearance_encoder": part("encoders/part_appearance", num_landmarks=k),
            "decoder": part("decoders/spade", num_landmarks=k),
        }
        compositor = part("compositors/mask_blend", num_landmarks=k)
        small = part("compositors/mask_blend", num_landmarks=k, mask_widths=(32,))
        added = part("compositors/add")
    nets = parts | {
        "background": compositor.background_net,
        "mask": compositor.mask_net,
        "low-resolution mask": small.mask_net,
    }
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    found["baseline"] = sum(found[name] for name in parts)
    found["factorized"] = found["baseline"] + found["background"] + found["mask"]
    wanted = {name: row[column] for name, row in COUNTS.items() if row[column] is not None}
    assert {name: found[name] for name in wanted} == wanted
    assert sum(p.numel() for p in added.parameters()) == found["background"]


def test_appearance_needs_codes():
    decoder = build(dict(type="decoders/spade", num_landmarks=2, appearance_channels=3, width=2))
    with pytest.raises(AttributeError, match=r"Appearance\.codes is missing"):
        decoder(torch.rand(1, 2, 32, 32), Appearance(image=torch.rand(1, 3, 4, 4)))


def test_every_tensor_is_read(request):
    names = ("forward", "forward_fixed", "operators", "published_width", "train")
    require_all_read(request, *(f"factorized_{name}" for name in names), unread={})
