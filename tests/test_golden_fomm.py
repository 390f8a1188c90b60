"""The first order motion model against numbers of its official code (tests/golden/excerpt.py)."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from components.layers.avgpool_hourglass import AvgpoolHourglass, Down, Residual, Up
from components.layers.vgg import CONVS
from components.motions.dense_motion import local_motions
from components.ops.antialias import reduce
from components.ops.gaussians import circular, draw_gaussians, moments
from components.ops.grid import plane
from components.ops.tps import Spline, control_grid
from components.ops.warp import warp
from components.steps.transfer import follow
from components.transforms.second_view import SecondView
from registry import build
from registry.contract import Batch, Landmarks, Outputs
from tests.golden_file import Golden, require_all_read
from tests.test_golden_factorized import outputs_of
from zoo.convert import fomm
from zoo.convert.official import rename

State = dict[str, Tensor]

# what make() needs to build the network of a file; the defaults are the published sizes
SIZES = {
    "fomm_forward": dict(
        detector=dict(stride=2, width=8, max_width=32, depth=3),
        motion=dict(width=8, max_width=32, depth=3),
        decoder=dict(width=8, max_width=32, blocks=2),
        critic=dict(),
    ),
    "fomm_forward_single_jacobian": dict(
        detector=dict(stride=1, width=4, max_width=32, depth=3, padding=3, jacobian="single"),
        motion=dict(width=4, max_width=32, depth=3, occlusion=False),
        decoder=dict(width=4, max_width=32, blocks=2),
        critic=dict(num_landmarks=5, spectral=True),
    ),
    "fomm_published_width": dict(k=10),
}


def model_of(name: str, align_corners: bool = False) -> dict:
    """Return the model of a file, as in a config."""
    sizes = SIZES[name]
    k, critic = sizes.get("k", 5), sizes.get("critic")
    model = dict(
        type="pipelines/motion_transfer",
        encoder=dict(
            type="encoders/keypoint_hourglass", num_landmarks=k, **sizes.get("detector", {})
        ),
        bottleneck=dict(type="bottlenecks/affine", num_landmarks=k, grid="corners"),
        motion=dict(
            type="motions/dense_motion",
            num_landmarks=k,
            grid="corners",
            align_corners=align_corners,
            **sizes.get("motion", {}),
        ),
        decoder=dict(
            type="decoders/occlusion_aware",
            align_corners=align_corners,
            **sizes.get("decoder", {}),
        ),
    )
    if critic is not None:
        model["image_critic"] = dict(type="critics/feature_patch", widths=(8, 16, 32, 32), **critic)
    if critic:  # it sees the landmarks
        model["rasterizer"] = dict(
            type="rasterizers/gaussian",
            image_size=64,
            kernel="exponential",
            variance=0.02,
            grid="corners",
        )
    return model


def states(golden: Golden) -> dict[str, State]:
    """Return the state dicts of the official networks."""
    found = {network: golden.weights(network) for network in fomm.RULES}
    return {network: state for network, state in found.items() if state}


def make(golden: Golden, name: str, align_corners: bool = False) -> nn.Module:
    """Build the pipeline of a file and fill it with its weights."""
    pipeline = build(model_of(name, align_corners))
    pipeline.load_state_dict(fomm.convert(states(golden)))
    return pipeline


def spline(golden: Golden, bend: bool = True) -> Spline:
    """The transform of the equivariance losses: one coefficient for x and y alike."""
    weight = golden["input/control_params"].transpose(1, 2).expand(-1, -1, 2)
    control = control_grid(5).expand_as(weight)
    return Spline(control, weight if bend else 0 * weight, golden["input/theta"], kernel="l1")


def landmarks(golden: Golden, number: str = "", affine: bool = True) -> Landmarks:
    matrices = golden[f"input/jacobians{number}"] if affine else None
    return Landmarks(xy=golden[f"input/points{number}"], affine=matrices)


@cache
def evaluated(name: str) -> tuple[Golden, nn.Module]:
    golden = Golden(name)
    return golden, make(golden, name).eval()


@pytest.mark.parametrize(
    ("name", "align_corners"),
    [
        ("fomm_forward", False),
        ("fomm_forward", True),
        ("fomm_forward_single_jacobian", False),
        ("fomm_published_width", False),
        ("fomm_published_width", True),
    ],
)
def test_every_stage(name, align_corners):
    golden, pipeline = evaluated(name)
    source, driving = golden.image("source"), golden.image("driving")
    pipeline.motion.align_corners = pipeline.decoder.align_corners = align_corners
    encoder, motion, decoder = pipeline.encoder, pipeline.motion, pipeline.decoder
    seen: list[Tensor] = []
    hook = motion.hourglass.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    stages = dict(hourglass=encoder.hourglass, maps=encoder, mask=motion.mask)
    stages |= dict(motion=motion.hourglass, bottleneck=decoder.blocks)
    stages |= {f"down{i}": down for i, down in enumerate(decoder.downs)}
    with torch.no_grad(), outputs_of(**stages) as found:
        out = pipeline.infer(Batch(source=source, driving=driving))
        hook.remove()
        k = motion.mask.out_channels - 1
        shown = seen[0].unflatten(1, (k + 1, 4))
        features = found["down1"][0]
        size = out.motion.grid.shape[1:3]
        pairs = out.landmarks, out.source_landmarks
        values = {
            "detector/downsampled_source": reduce(source, encoder.stride),
            "detector/hourglass_source": found["hourglass"][1],
            "detector/logits_source": found["maps"][1].maps[:, :k],
            "detector/jacobian_maps_source": found["maps"][1].maps[:, k : k + 8],
            "detector/logits_driving": found["maps"][0].maps[:, :k],
            "keypoints_source/value": out.source_landmarks.xy,
            "keypoints_source/jacobian": out.source_landmarks.affine,
            "keypoints_driving/value": out.landmarks.xy,
            "keypoints_driving/jacobian": out.landmarks.affine,
            "generator/down0": found["down0"][0],
            "generator/down1": features,
            "motion/heatmaps": shown[:, :, :1],
            "motion/sparse_motions": local_motions(*pairs, *size, "corners"),
            "motion/hourglass": found["motion"][0],
            "motion/mask_logits": found["mask"][0],
            "motion/mask": out.motion.weights,
            "motion/deformation": out.motion.grid,
            "motion/occlusion": out.motion.visibility,
            "motion/deformed_sources": shown[:, :, 1:],
            "generator/deformed_features": decoder.deform(features, out.motion),
            "generator/bottleneck": found["bottleneck"][0],
            "deformed": out.deformed,
            "prediction": out.render,
            "prediction_every_2nd": out.render[..., ::2, ::2],
            "prediction_every_4th": out.render[..., ::4, ::4],
            "pyramid_driving/0.5": reduce(driving, 2),
            "pyramid_driving/0.25": reduce(driving, 4),
        }
        if pipeline.image_critic is not None:
            drawn = pipeline._drawn(out.landmarks)
            real = pipeline.image_critic(driving, *drawn)
            fake = pipeline.image_critic(out.render, *drawn)
            values["discriminator/generated_map_scale_1"] = fake.scores[0]
            values["discriminator/driving_map_scale_1"] = real.scores[0]
            for i in (1, 2, 3):
                values[f"discriminator/driving_features_scale_1_{i}"] = real.features[i]
    prefix = "_ac_true/" if align_corners else ""
    stored = f"output{prefix or '/'}"
    wanted = {k.removeprefix(stored) for k in golden.tensors if k.startswith(stored)}
    wanted = {key for key in wanted if not key.startswith("train/")}
    assert wanted
    for key in sorted(wanted):
        golden.check(f"{prefix}{key}", values[key])


def perceptual_of(golden: Golden) -> nn.Module:
    loss = build(
        dict(
            type="losses/perceptual",
            weights="random",
            width=2,
            relu=True,
            distance="l1",
            taps=tuple(f"conv{i}_1" for i in range(1, 6)),
            tap_weights=(10.0,) * 5,
            scales=(1, 0.5, 0.25),
        )
    )
    slices = golden.weights("vgg")
    vgg = {".".join(key.split(".")[1:]): value for key, value in slices.items()}
    for name in loss.convs:
        index = CONVS["vgg19"][name][0]
        getattr(loss, f"{name}_kernel").copy_(vgg[f"{index}.weight"])
        getattr(loss, f"{name}_bias").copy_(vgg[f"{index}.bias"])
    return loss


def official(pipeline: nn.Module, golden: Golden, network: str, values: State) -> State:
    """Return our values of parameters or buffers under the official names, sorted by name."""
    found = {}
    k = pipeline.bottleneck.num_landmarks
    for key in golden.weights(network):
        ours = next(iter(rename({key: torch.zeros(())}, fomm.RULES[network], network)), "")
        head = re.sub(r"^(kp|jacobian)\.", "encoder.head.", ours)
        if head in values:
            whole = values[head]
            found[key] = whole if head == ours else whole[:k] if ours[0] == "k" else whole[k:]
    return dict(sorted(found.items()))


@pytest.mark.parametrize(
    ("name", "align_corners", "prefix"),
    [
        ("fomm_forward", False, "train/"),
        ("fomm_forward", True, "_ac_true/train/"),
        ("fomm_forward_single_jacobian", False, "train/"),
    ],
)
def test_a_training_step(name, align_corners, prefix):
    golden = Golden(name)
    pipeline = make(golden, name, align_corners).train()
    warp_of, driving = spline(golden), golden.image("driving")
    places = warp_of.grid(64, 64, "corners")
    warped = warp(driving, places, "reflection", align_corners)
    batch = Batch(
        source=golden.image("source"),
        driving=driving,
        target=driving,
        warped=warped,
        warp=warp_of,
    )
    perceptual = perceptual_of(golden)
    losses = {
        "loss_perceptual": perceptual,
        "loss_gen_gan": build(dict(type="losses/adversarial", scores="image_critic")),
        "loss_feature_matching": build(dict(type="losses/feature_matching", weights=(10,) * 4)),
        "loss_equivariance_value": build(dict(type="losses/equivariance_points")),
        "loss_equivariance_jacobian": build(dict(type="losses/equivariance_jacobian")),
        "loss_disc_gan": build(dict(type="losses/critic", scores="image_critic", weight=2.0)),
    }
    out: Outputs = pipeline(batch)
    values = {key: loss(out, batch) for key, loss in losses.items()}
    sum(values.values()).backward()
    values["transformed_frame"] = warped
    values["prediction"] = out.render
    values["transformed_keypoints_value"] = out.warped_landmarks.xy
    values["transformed_keypoints_jacobian"] = out.warped_landmarks.affine
    values["driving_keypoints_value"] = out.landmarks.xy
    values["driving_keypoints_jacobian"] = out.landmarks.affine
    values["perceptual_terms_unweighted"] = torch.stack(
        [perceptual.errors(reduce(out.render, f), reduce(driving, f)) for f in (1, 2, 4)]
    )
    gradients = {key: value.grad for key, value in pipeline.named_parameters()}
    for network in fomm.RULES:
        found = official(pipeline, golden, network, gradients)
        norms = torch.stack([gradient.norm() for gradient in found.values()])
        values[f"grad_l2/{network}"] = norms
        for key, gradient in found.items():
            rows = gradient
            if gradient.numel() > 512:  # the first rows are stored
                rows = gradient[: max(1, 512 // gradient[0].numel())]
            values[f"grad/{network}/{key}"] = rows
        after = official(pipeline, golden, network, dict(pipeline.named_buffers()))
        for key, value in after.items():
            values[f"after_forward/{network}/{key}"] = value
    stored = f"output{prefix}" if prefix.startswith("_") else f"output/{prefix}"
    wanted = {k.removeprefix(stored) for k in golden.tensors if k.startswith(stored)}
    assert wanted
    for key in sorted(wanted):
        golden.check(f"{prefix}{key}", values[key])


@pytest.fixture(scope="module")
def operators() -> Golden:
    return Golden("fomm_operators")


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduction(operators, factor):
    operators.check(f"antialias/{1 / factor}", reduce(operators["input/image"], factor))
    # the kernel: the derivative of one pixel, 32 from the first, by those around it
    image = torch.zeros(1, 1, 65, 65, requires_grad=True)
    reduce(image, factor)[0, 0, 32 // factor, 32 // factor].backward()
    reach = 2 * (factor - 1)
    kernel = image.grad[0, 0, 32 - reach : 33 + reach, 32 - reach : 33 + reach]
    operators.check(f"antialias/kernel_{1 / factor}", kernel)


def test_points_and_maps(operators):
    operators.check("grid_5x7", plane(5, 7, "corners"))
    points, maps = operators["input/points"], operators["input/normalised_maps"]
    drawn = draw_gaussians(points, circular(points, 0.02), 16, 20, "exponential", "corners")
    operators.check("kp2gaussian/out", drawn)
    operators.check("gaussian2kp/value", moments(maps, "corners")[0])


def test_local_motions(operators):
    image, source, driving = (
        operators["input/small_image"],
        *(landmarks(operators, number) for number in ("", "2")),
    )
    motions = local_motions(driving, source, 32, 32, "corners")
    operators.check("sparse_motions", motions)
    shifts = local_motions(driving, landmarks(operators, affine=False), 32, 32, "corners")
    operators.check("sparse_motions_without_jacobians", shifts)
    for align_corners in (False, True):
        net = build(
            dict(
                type="motions/dense_motion",
                num_landmarks=5,
                stride=1,
                width=1,
                depth=1,
                grid="corners",
                align_corners=align_corners,
            )
        )
        seen: list[Tensor] = []
        net.hourglass.register_forward_pre_hook(
            lambda module, given, seen=seen: seen.append(given[0])
        )
        with torch.no_grad():
            net(image, driving, source)
        shown = seen[0].unflatten(1, (6, 4))
        operators.check("heatmap_representation", shown[:, :, :1])
        operators.check(f"deformed_sources_align_corners_{align_corners}", shown[:, :, 1:])


def test_blocks(operators):
    def fill(module: nn.Module, name: str, rename: tuple[tuple[str, str], ...] = ()) -> nn.Module:
        state = operators.weights(name)
        for theirs, ours in rename:
            state = {key.replace(theirs, ours): value for key, value in state.items()}
        module.load_state_dict(state)
        return module.eval()

    features = operators["input/features"]
    hourglass = AvgpoolHourglass(inputs=6, width=4, max_width=12, depth=3)
    levels = (("encoder.down_blocks", "downs"), ("decoder.up_blocks", "ups"))
    first = nn.Sequential()
    first.conv, first.norm, first.relu = nn.Conv2d(6, 7, 7, 1, 3), nn.BatchNorm2d(7), nn.ReLU()
    with torch.no_grad():
        operators.check("down_block/out", fill(Down(6, 8), "down_block")(features))
        operators.check("up_block/out", fill(Up(6, 4), "up_block")(features))
        operators.check("same_block/out", fill(first, "same_block")(features))
        operators.check("res_block/out", fill(Residual(6), "res_block")(features))
        operators.check("hourglass/out", fill(hourglass, "hourglass", levels)(features))


def test_transfer(operators):
    def first(number: str, image: int) -> Landmarks:
        found = landmarks(operators, number)
        return Landmarks(xy=found.xy[image : image + 1], affine=found.affine[image : image + 1])

    source, driving, initial = first("", 0), first("2", 1), first("2", 0)
    found = {
        "absolute": driving,
        "relative": follow(source, driving, initial, adapt_scale=False),
        "relative_scaled": follow(source, driving, initial, adapt_scale=True),
    }
    for name, moved in found.items():
        operators.check(f"transfer/{name}_value", moved.xy)
        operators.check(f"transfer/{name}_jacobian", moved.affine)


@pytest.fixture(scope="module")
def forward() -> Golden:
    return Golden("fomm_forward")


def second_view(golden: Golden, image: torch.Tensor, align_corners: bool) -> torch.Tensor:
    transform = SecondView(
        driving_warp=lambda *_: spline(golden),
        padding="reflection",
        grid="corners",
        align_corners=align_corners,
    )
    return transform(Batch(driving=image), torch.zeros(len(image))).warped


@pytest.mark.parametrize(("name", "bend"), [("grid", True), ("affine_only_grid", False)])
def test_warped_coordinates(operators, name, bend):
    operators.check(f"transform/{name}", spline(operators, bend).grid(32, 32, "corners"))


def test_warped_points(operators):
    operators.check("transform/points", spline(operators)(operators["input/points"]))


def test_warped_local_maps(operators):
    operators.check("transform/jacobian", spline(operators).slope(operators["input/points"]))


@pytest.mark.parametrize("align_corners", [False, True])
def test_warped_frame(operators, align_corners):
    found = second_view(operators, operators["input/small_image"], align_corners)
    operators.check(f"transform/frame_align_corners_{align_corners}", found)


@pytest.mark.parametrize(("prefix", "align_corners"), [("", False), ("_ac_true/", True)])
def test_second_view_of_the_driving_image(forward, prefix, align_corners):
    found = second_view(forward, forward.image("driving"), align_corners)
    forward.check(f"{prefix}train/transformed_frame", found)


@pytest.mark.parametrize("prefix", ["", "_ac_true/"])
@pytest.mark.parametrize(("ours", "official"), [("points", "value"), ("jacobian", "jacobian")])
def test_equivariance(forward, prefix, ours, official):
    found = {
        view: Landmarks(
            xy=forward[f"output{prefix or '/'}train/{view}_keypoints_value"],
            affine=forward[f"output{prefix or '/'}train/{view}_keypoints_jacobian"],
        )
        for view in ("driving", "transformed")
    }
    outputs = Outputs(landmarks=found["driving"], warped_landmarks=found["transformed"])
    loss = build(dict(type=f"losses/equivariance_{ours}", weight=10.0), "l", "losses")
    value = loss(outputs, Batch(warp=spline(forward)))
    forward.check(f"{prefix}train/loss_equivariance_{official}", value)


def test_perceptual_pyramid(forward):
    loss = perceptual_of(forward)
    prediction = forward["output/train/prediction"]
    outputs, batch = Outputs(render=prediction), Batch(target=forward.image("driving"))
    forward.check("train/loss_perceptual", loss(outputs, batch))
    images = (prediction, batch.target)
    terms = [loss.errors(*(reduce(image, factor) for image in images)) for factor in (1, 2, 4)]
    forward.check("train/perceptual_terms_unweighted", torch.stack(terms))


def test_every_tensor_is_read(request):
    names = ("forward", "forward_single_jacobian", "operators", "published_width")
    require_all_read(request, *(f"fomm_{name}" for name in names), unread={})
