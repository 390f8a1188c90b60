"""The factorized model against numbers of the official implementation (tests/golden/excerpt.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import conv_norm_relu
from components.layers.spade import Spade, SpadeBlock
from components.layers.unet import AdditiveUNet
from components.layers.vgg import CONVS
from components.ops.gaussians import draw_gaussians, moments, spatial_softmax
from components.ops.parts import pool_parts, spread_parts
from registry import build
from registry.contract import Appearance, Batch, Encoding, Landmarks, Pose
from tests.golden_file import Golden

State = dict[str, Tensor]


def unet_key(key: str, deepest: str) -> str:
    """Rename a key of the official U-Net; ``deepest`` is the number of its last decoder stage."""
    first = {"0.0": 0, "1.0": 3, "2.0.0": 6, "2.1.0": 9}
    if m := re.fullmatch(r"encoder_layers\.0\.(0\.0|1\.0|2\.0\.0|2\.1\.0)\.(\w+)", key):
        return f"blocks.0.{first[m[1]]}.{m[2]}"
    if m := re.fullmatch(r"encoder_layers\.(\d)\.([01])\.0\.(\w+)", key):
        return f"blocks.{m[1]}.{3 * int(m[2])}.{m[3]}"
    if m := re.fullmatch(r"skip_convs\.(\d)\.0\.(\w+)", key):
        return f"skips.{m[1]}.{m[2]}"
    if m := re.fullmatch(r"decoder_layers\.0\.0\.(\w+)", key):
        return f"bottom.0.{m[1]}"
    if m := re.fullmatch(rf"decoder_layers\.{deepest}\.1\.(\w+)", key):
        return f"head.{m[1]}"
    m = re.fullmatch(r"decoder_layers\.(\d)\.(?:0\.)?([02])\.0\.(\w+)", key)
    return f"{'before' if m[2] == '0' else 'after'}.{int(m[1]) - 1}.0.{m[3]}"


def spade_key(key: str) -> str:
    key = key.replace("mlp_shared.0.", "shared.").replace("mlp_", "")
    key = key.replace("weight_orig", "parametrizations.weight.original")
    return re.sub(r"weight_([uv])$", r"parametrizations.weight.0.\1", key)


def decoder_key(key: str) -> str:
    for theirs, ours in (
        *(("fc.", "start."), ("conv_img.", "last."), ("head_0.", "head.")),
        *(("G_middle_", "middle."), ("up_0.", "climb.0."), ("up_1.", "climb.1.")),
        ("up_4.", "climb.2."),
    ):
        key = key.replace(theirs, ours)
    return spade_key(key)


def unet_keys(state: State) -> dict[str, str]:
    """Official keys of a U-Net -> ours."""
    deepest = max(key.split(".")[1] for key in state if key.startswith("decoder_layers"))
    return {key: unet_key(key, deepest) for key in state}


def load(module: nn.Module, state: State, keys: dict[str, str]) -> nn.Module:
    module.load_state_dict({keys[key]: value for key, value in state.items()})
    return module


NETS = {
    "shape_encoder": "encoder.net",
    "appearance_encoder": "appearance_encoder.net",
    "image_decoder": "decoder",
    "bg_net": "compositor.background_net",
    "fg_mask_net": "compositor.mask_net",
    "fg_mask_net.0": "compositor.mask_net",  # with its upsampling, if of low resolution
}


def make(golden: Golden, *, k: int, d: int, divide: int = 1, **sizes: object) -> nn.Module:
    """Build the pipeline and fill every network that the file has the weights of.

    ``divide`` is the file's divisor of the widths of the mask and the background net.
    """
    first, size = sizes.get("first", 2), sizes.get("size", 64)
    pipeline = build(
        dict(
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
                type="decoders/spade",
                num_landmarks=k,
                appearance_channels=d,
                width=sizes["width"],
            ),
            compositor=dict(
                type="compositors/mask_blend",
                num_landmarks=k,
                first=32 // divide,
                mask_widths=[32 // divide] * sizes.get("mask_stages", 3),
                background_widths=[w // divide for w in (32, 64, 128)],
            ),
        )
    )
    pipeline.table = {}
    for net, place in NETS.items():
        state = golden.weights(f"model/{net}", ".")
        if state and next(iter(state))[0] != "0":
            keys = (
                {key: decoder_key(key) for key in state}
                if net == "image_decoder"
                else unet_keys(state)
            )
            load(pipeline.get_submodule(place), state, keys)
            pipeline.table |= {f"{place}.{ours}": f"{net}.{key}" for key, ours in keys.items()}
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
        index = CONVS[name][0]
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


def test_pose_encoder_and_gaussians():
    golden = Golden("factorized_forward")
    pipeline = make(golden, k=6, d=8, width=3, pose=(32, 16, 8), divide=8).eval()
    net = pipeline.encoder.net
    blocks = {f"encoder_stage{i}": net.blocks[i] for i in (1, 2, 3)}
    stages = {f"decoder_stage{i + 1}": net.after[i] for i in (0, 1)}
    jittered, warped = golden.image("jittered"), golden.image("warped")
    with torch.no_grad():
        with outputs_of(**blocks, decoder_stage0=net.bottom, **stages) as inner:
            pose = pipeline._pose(jittered)
        for name, (stage,) in inner.items():
            golden.check(f"pose_a/{name}", stage)
        source_pose = pipeline._pose(warped)
        for side, found in (("a", pose), ("b", source_pose)):
            golden.check(f"pose_{side}/logits", found.encoding.pose)
            golden.check(f"softmax_{side}", found.landmarks.prob)
            golden.check(f"mean_x_{side}", found.landmarks.xy[..., 0])
            golden.check(f"mean_y_{side}", found.landmarks.xy[..., 1])
            golden.check(f"covariance_{side}", found.landmarks.cov)
        golden.check("pose_b/first_block_features", source_pose.encoding.features)
        golden.check("rendered_a", pose.drawn)
        golden.check("rendered_b", source_pose.drawn[:, :2])
        golden.check("pose_only/mean_x", pipeline.predict(jittered).landmarks.xy[..., 0])


def test_reconstruction_loss():
    golden = Golden("factorized_forward")
    render = (golden["output/composite"] + 1) / 2
    target = golden.image("target")
    for weights in ("reduced", "uniform"):
        loss = perceptual_of(golden, weights == "reduced")
        golden.check(f"loss/reconstruction_{weights}_weights", loss.compare(render, target))
    features, wanted = loss.features(render), loss.features(target)
    golden.check("loss/features_prediction_layer13", features[3])
    golden.check("loss/features_prediction_layer22", features[4])
    golden.check("loss/features_target_layer22", wanted[4])


def test_appearance_foreground_and_low_resolution_mask():
    golden = Golden("factorized_forward_fixed")
    fixed = dict(covariance="fixed", variance=0.008)
    pipeline = make(
        golden,
        **dict(k=5, d=10, width=2, pose=(32, 16, 8), divide=8, appearance_first=4, mask_stages=1),
        covariance=fixed,
    ).eval()
    decoder, compositor = pipeline.decoder, pipeline.compositor

    def drawn(side: str) -> Tensor:
        axes = [golden[f"output/mean_{axis}_{side}"] for axis in "xy"]
        # the bottleneck's own covariance, of any maps
        cov = pipeline.bottleneck(torch.zeros(1, 5, 4, 4)).cov
        return pipeline.rasterizer(Landmarks(xy=torch.stack(axes, dim=-1), cov=cov))

    prob, features = golden["output/softmax_b"], golden["output/pose_b/first_block_features"]
    xy = moments(prob, "left_edge")[0]
    golden.check("mean_x_b", xy[..., 0])
    golden.check("mean_y_b", xy[..., 1])
    source_pose = Pose(
        encoding=Encoding(pose=prob, features=features),
        landmarks=Landmarks(xy=xy, prob=prob),
        drawn=drawn("b"),
    )
    background = golden["output/background"]
    inner = {
        **{"fc": decoder.start, "head_0": decoder.head, "up_0": decoder.climb[0]},
        **{"G_middle_0": decoder.middle[0], "G_middle_1": decoder.middle[1]},
        **{"up_1": decoder.climb[1], "appearance": pipeline.appearance_encoder.net},
    }
    with torch.no_grad():
        with outputs_of(**inner) as found:
            appearance = pipeline.appearance_encoder(torch.zeros(1, 3, 64, 64), source_pose)
            foreground = 2 * decoder(drawn("a"), appearance) - 1
        golden.check("rendered_a", drawn("a"))
        golden.check("rendered_b", drawn("b")[:, :2])
        golden.check("appearance_map", found.pop("appearance")[0][0])
        golden.check("pooled_appearance", appearance.codes)
        golden.check("projected_appearance", spread_parts(appearance.codes, drawn("a"))[:, :4])
        for name, calls in found.items():
            scales = ("_coarse", "_fine") if len(calls) == 2 else ("",)
            for scale, stage in zip(scales, calls):
                golden.check(f"decoder/{name}{scale}", stage)
        golden.check("foreground", foreground)
        for side in "ab":
            mask = compositor.mask(drawn(side))
            golden.check(f"mask_{side}", mask)
            golden.check(f"mask_logits_{side}", mask.logit())

        # Gaussians from elsewhere, such as a predictor
        axes = [golden[f"input/external_mean_{axis}"] for axis in "xy"]
        given = Landmarks(xy=torch.stack(axes, dim=-1), cov=golden["input/external_covariance"])
        maps = pipeline.rasterizer(given)
        mask, painted = compositor.mask(maps), 2 * decoder(maps, appearance) - 1
        golden.check("external_gaussians/composite", mask * painted + (1 - mask) * background)

        # training: one power iteration per call, two for the block that both scales share
        painted, mask = 2 * decoder.train()(drawn("a"), appearance) - 1, compositor.mask(drawn("a"))
        golden.check("_train/composite", mask * painted + (1 - mask) * background)
    state = pipeline.state_dict()
    vectors = {k: v for k, v in pipeline.table.items() if v.endswith("weight_u")}
    assert len(vectors) == 15
    for ours, theirs in vectors.items():
        golden.check(f"_train/after_forward/{theirs}", state[ours])


def test_published_widths():
    golden = Golden("factorized_published_width")
    widths = dict(k=30, d=32, size=128, first=6, width=64, pose=(512, 256, 128), appearance=64)
    pipeline = make(golden, **widths).eval()
    with torch.no_grad(), outputs_of(appearance=pipeline.appearance_encoder.net) as found:
        driving, source = golden.image("jittered"), golden.image("warped")
        pose, source_pose = pipeline._pose(driving), pipeline._pose(source)
        out = pipeline(Batch(driving=driving, source=source))
    golden.check("pose_a/logits", pose.encoding.pose[:, :3])
    golden.check("rendered_a", out.drawn[:, :2])
    golden.check("rendered_b", source_pose.drawn[:, :1])
    for side, landmarks in (("a", out.landmarks), ("b", out.source_landmarks)):
        golden.check(f"mean_x_{side}", landmarks.xy[..., 0])
        golden.check(f"mean_y_{side}", landmarks.xy[..., 1])
        golden.check(f"covariance_{side}", landmarks.cov)
    ((appearance, _),) = found["appearance"]
    golden.check("appearance_map", appearance[:, :2])
    codes = pool_parts(source_pose.landmarks.prob, appearance)
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
    norm = load(Spade(channels=8, maps=5), state, {key: spade_key(key) for key in state})
    operators.check("spade_norm/out", norm(x, maps))


@pytest.mark.parametrize(("name", "outputs"), [("block_shortcut", 6), ("block_identity", 8)])
def test_adaptive_block(operators, name, outputs):
    x, maps = operators["input/block_x"], operators["input/segmentation"]
    state = operators.weights(name)
    keys = {key: spade_key(key) for key in state}
    block = load(SpadeBlock(inputs=8, outputs=outputs, maps=5), state, keys)
    operators.check(f"{name}/eval_out", block.eval()(x, maps))
    operators.check(f"{name}/train_out", block.train()(x, maps))
    found = block.state_dict()
    vectors = [key for key in state if re.search(r"weight_[uv]$", key)]
    assert len(vectors) == (6 if outputs == 6 else 4)
    for key in vectors:
        operators.check(f"{name}/after_train_forward/{key}", found[keys[key]])


def test_unet(operators):
    state = operators.weights("unet")
    net = AdditiveUNet(inputs=8, first=4, downs=3, widths=(16, 8), outputs=5)
    out, first = load(net, state, unet_keys(state))(operators["input/unet_x"])
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
    assert torch.equal(zeroed, operators["output/loss_zero_targets/prediction_after"])
    found = loss.compare((zeroed + 1) / 2, (target + 1) / 2)
    operators.check("loss_zero_targets/value", found)
    images = torch.arange(256) / 255
    assert (2 * images - 1 != 0).all()


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
        adam.step()
    compared = 0
    for name, value in pipeline.state_dict().items():
        key = f"after_step3/model/{names[name]}"
        if f"output/{key}" in golden.tensors:  # of large tensors the file has the first rows
            golden.check(key, value.flatten()[: golden.size[f"output/{key}"]])
            compared += 1
    assert compared > 100


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
