"""KeypointGAN against numbers of the official implementation; see tests/golden/excerpt.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.layers.vgg import CONVS
from components.ops.flips import flip_order, nearer_flip
from components.ops.segments import squared_distances
from components.ops.soft_argmax import separable_soft_argmax
from components.ops.tps import Spline, control_grid, radial
from components.ops.warp import warp
from registry import build
from registry.contract import Batch, CriticScores, Landmarks, Outputs
from tests.golden_file import Golden, official_names, require_all_read
from zoo.convert import keypointgan

EDGES = (
    *((1, 11), (2, 1), (3, 2), (5, 3), (6, 11), (7, 6), (8, 7), (10, 8)),
    *((13, 11), (15, 13), (17, 13), (18, 17), (19, 18), (25, 13), (26, 25), (27, 26)),
)


def load(pipeline: torch.nn.Module, golden: Golden) -> dict[str, tuple[str, str]]:
    """Fill the pipeline from official weights; return our key -> (network, official key)."""
    states = {network: golden.weights(network) for network in keypointgan.RULES}
    if pipeline.reference_bottleneck is None:
        del states["offline_regressor"]
    pipeline.load_state_dict(keypointgan.convert(states))
    return official_names(keypointgan.convert, states)


def model_of(width: int, reference: bool = True) -> dict:
    """Return the model of a file, as in a config."""

    def regressor() -> dict:
        stem = dict(
            type="encoders/stem", takes="pose_image", out_channels=32, width=width, norm="instance"
        )
        return dict(type="bottlenecks/skeleton_regressor", encoder=stem, grid="corners")

    return dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/image_to_skeleton", width=width),
        bottleneck=regressor(),
        reference_bottleneck=regressor() if reference else None,
        bottleneck_apart=True,
        rasterizer=dict(type="rasterizers/skeleton", edges=EDGES, image_size=128, grid="corners"),
        appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8 * width),
        decoder=dict(
            type="decoders/conditional",
            pose_encoder=dict(
                type="encoders/stem", takes="pose_image", width=width, out_channels=8 * width
            ),
            appearance_channels=8 * width,
            width=width,
        ),
        prior=dict(
            type="priors/unpaired_poses",
            critic=dict(type="critics/multiscale_patch", width=2 * width if width == 32 else width),
            image_size=128,
            history=0,
        ),
    )


def make(
    golden: Golden, width: int, reference: bool = True
) -> tuple[torch.nn.Module, torch.nn.Module]:
    pipeline = build(model_of(width, reference))
    table = load(pipeline, golden)
    perceptual = build(
        dict(
            type="losses/perceptual",
            weights="random",
            width=4 if width == 4 else 64,
            input_range="caffe",
        )
    )
    vgg = golden.weights("vgg")
    for name in perceptual.convs:
        for ours, theirs in (("kernel", "weight"), ("bias", "bias")):
            buffer = getattr(perceptual, f"{name}_{ours}")
            buffer.copy_(vgg[f"{name}.{theirs}"])
    assert set(perceptual.convs) <= set(CONVS["vgg19"])
    pipeline.table = table
    return pipeline, perceptual


@pytest.fixture(scope="module")
def forward() -> Golden:
    return Golden("keypointgan_forward")


@pytest.fixture(scope="module")
def operators() -> Golden:
    return Golden("keypointgan_operators")


@pytest.mark.parametrize(
    ("name", "width"), [("keypointgan_forward", 4), ("keypointgan_published_width", 32)]
)
def test_every_stage_of_the_forward_pass(name, width):
    golden = Golden(name)
    pipeline, perceptual = make(golden, width)
    pipeline.eval()
    target, source = golden.image("target"), golden.image("condition")
    poses = golden["input/prior_points"]
    with torch.no_grad():
        out = pipeline(Batch(source=source, driving=target, target=target, poses=poses))
        maps = pipeline.bottleneck.encoder
        if width == 4:
            golden.check("prior_skeleton", out.prior_drawn)
            golden.check("regressor_maps_prior", maps(out.prior_drawn).maps)
        golden.check("fake_skeleton", out.pose_image)
        golden.check("regressor_maps_fake", maps(out.pose_image).maps)
        golden.check("prior_points_regressed", out.prior_landmarks.xy)
        golden.check("points", out.landmarks.xy)
        golden.check("rendered_skeleton", out.drawn)
        golden.check("reconstruction", 2 * out.render - 1)
        offline = pipeline.reference_bottleneck(out.drawn).xy
        golden.check("offline_points", offline)
        pairs = left_right(Golden("keypointgan_operators"))
        golden.check("flip_corrected_points", nearer_flip(out.landmarks.xy, offline, pairs))
        for i in range(3):
            golden.check(f"discriminator/fake_scale{i}", out.pose_critic.fake[i])
            golden.check(f"discriminator/prior_scale{i}", out.pose_critic.real[i])
        golden.check("loss/discriminator", build(dict(type="losses/critic"))(out, None))
        golden.check(
            "loss/adversarial_unweighted", build(dict(type="losses/adversarial"))(out, None)
        )
        first = perceptual.compare(out.render, target)
        golden.check("loss/perceptual_tap_mse", perceptual.running)
        golden.check("loss/perceptual_first_call", first)
        second = perceptual.compare(target, source)
        golden.check("loss/perceptual_running_means", perceptual.running)
        golden.check("loss/perceptual_second_call", second)


def left_right(operators: Golden) -> list[tuple[int, int]]:
    return [tuple(int(v) for v in pair) for pair in operators["output/edges/left_right_pairs"]]


def test_inner_feature_maps(forward):
    pipeline, perceptual = make(forward, 4)
    pipeline.eval()
    target, source = forward.image("target"), forward.image("condition")
    with torch.no_grad():
        x, found = 2 * target - 1, []
        for level in pipeline.encoder.levels:
            x = level(x)
            found.append(x)
        neck = pipeline.encoder.neck(x)
        forward.check("image_to_skeleton/encoder_level1", found[1])
        forward.check("image_to_skeleton/encoder_level2", found[2])
        forward.check("image_to_skeleton/encoder_level3", neck)
        climbed = pipeline.encoder.up(pipeline.encoder.climb[0](neck))
        forward.check("image_to_skeleton/decoder_level0", climbed)
        drawn = pipeline.rasterizer(pipeline.bottleneck(pipeline.encoder(target).maps))
        forward.check("reconstructor/pose_features", pipeline.decoder.pose_encoder(drawn).maps)
        forward.check("reconstructor/image_features", pipeline.appearance_encoder(source).maps)
        forward.check("offline_regressor_maps", pipeline.reference_bottleneck.encoder(drawn).maps)
        taps = perceptual.features(target)
        for i in (3, 4, 5):
            forward.check(f"perceptual_features/target_tap{i}", taps[i])


def test_training_mode_uses_batch_statistics(forward):
    pipeline, _ = make(forward, 4)
    pipeline.train()
    target, source = forward.image("target"), forward.image("condition")
    with torch.no_grad():
        out = pipeline(Batch(source=source, driving=target, target=target))
    forward.check("_train/fake_skeleton", out.pose_image)
    forward.check("_train/points", out.landmarks.xy)
    forward.check("_train/reconstruction_every_2nd", (2 * out.render - 1)[..., ::2, ::2])
    norm = pipeline.encoder.levels[0][1]
    forward.check("_train/after_forward/G_A/encoder.blocks.0.1.running_mean", norm.running_mean)
    forward.check("_train/after_forward/G_A/encoder.blocks.0.1.running_var", norm.running_var)


def skeleton(
    points: torch.Tensor, edges: object = EDGES, size: int = 64, **options: object
) -> torch.Tensor:
    node = dict(
        type="rasterizers/skeleton", edges=edges, image_size=size, grid="corners", **options
    )
    return build(node)(Landmarks(xy=points))


@pytest.mark.parametrize("reduction", ["max", "mean", "sum", "softmax"])
def test_skeleton_reductions(operators, reduction):
    operators.check(
        f"skeleton/{reduction}_64", skeleton(operators["input/points"], reduction=reduction)
    )


def test_skeleton_variants(operators):
    points = operators["input/points"]
    edges = [tuple(int(v) for v in e) for e in operators["output/edges/23_edge_list"]]
    operators.check("skeleton/23_edge_list_max_64", skeleton(points, edges))
    operators.check("skeleton/max_128", skeleton(points, size=128))
    operators.check("skeleton/max_64_second_sigma", skeleton(points, sigma=0.35))
    pairs = [(i, i + 1) for i in range(0, 32, 2)]
    operators.check("skeleton/disconnected_pairs_max_64", skeleton(points, pairs))
    dots = skeleton(points, [(i, i) for i in range(32)], sigma=0.02, squared=True)
    operators.check("skeleton/points_max_64", dots)
    operators.check(
        "skeleton/zero_length_limbs_max_64", skeleton(operators["input/degenerate_points"])
    )
    d2 = squared_distances(points[:1], EDGES[::2], 64, 64, "corners")
    operators.check("skeleton/every_2nd_limb_64", torch.exp(-(d2 + 1e-6).sqrt() / 0.04))


def test_skeleton_gradient(operators):
    points = operators["input/points"].clone().requires_grad_()
    skeleton(points).backward(operators["input/render_cotangent"])
    operators.check("skeleton/gradient_wrt_points", points.grad)


def test_soft_argmax(operators):
    maps = operators["input/maps"].clone().requires_grad_()
    points = separable_soft_argmax(maps, "corners")
    operators.check("soft_argmax/points", points)
    points.backward(torch.arange(1.0, 11.0).view(1, 5, 2).expand_as(points))
    operators.check("soft_argmax/gradient", maps.grad)
    oblong = separable_soft_argmax(maps[:, :, :10], "corners")
    operators.check("soft_argmax/points_non_square", oblong)


def test_edge_list(operators):
    operators.check("edges/16_edge_list", torch.tensor(EDGES))


def test_flip_correction(operators):
    pairs = left_right(operators)
    operators.check("flip/swapped", operators["input/points"][:, flip_order(32, pairs)])
    found = nearer_flip(operators["input/points"], operators["input/offline_points"], pairs)
    operators.check("flip/corrected", found)


@pytest.mark.parametrize(
    ("normaliser", "name", "factor"),
    [("image", "mean_l2", 2 / 100), ("eyes", "mean_l2_normalised", 1 / 100)],
)
def test_distance_of_points(operators, normaliser, name, factor):
    """Ours are percent, of the side of the image, which is 2 in the coordinates, or of the eyes."""
    node = dict(type="metrics/keypoint_error", normaliser=normaliser, eyes=(1, 6))
    metric = build(node, "m", "metrics")
    found = Outputs(landmarks=Landmarks(xy=operators["input/points"]))
    metric.update(found, Batch(keypoints=operators["input/offline_points"], name=("a", "b")))
    errors = metric.of_frames(np.concatenate(metric.found))
    operators.check(f"metric/{name}", factor * torch.from_numpy(errors))


def test_least_squares_gan(operators):
    scores = tuple(operators[f"input/gan_{scale}"] for scale in "abc")
    right = tuple(torch.ones_like(score) for score in scores)
    outputs = Outputs(pose_critic=CriticScores(generator=scores, real=right, fake=scores))
    generator = build(dict(type="losses/adversarial"), "l", "losses")
    critic = build(dict(type="losses/critic", weight=2.0), "l", "losses")
    operators.check("lsgan/real", generator(outputs, None))
    operators.check("lsgan/fake", critic(outputs, None))


def test_division_by_the_running_mean(operators):
    """Squared distance of 1, 2, 3 and 4 times one map from a part of another."""
    node = dict(type="losses/perceptual", weights="random", taps=("input",), input_range="signed")
    loss = build(node, "l", "losses")
    a, b = operators["input/gan_a"], operators["input/gan_b"][..., :6, :6]
    values, means = [], []
    for factor in (1, 2, 3, 4):
        values.append(loss.compare((factor * a + 1) / 2, (b + 1) / 2))
        means.append(loss.running.clone())
    operators.check("normalised_loss/values", torch.stack(values))
    operators.check("normalised_loss/running_means", torch.cat(means))


def official_spline(operators: Golden, canvas: float) -> Spline:
    coefficients = operators["input/tps_coefficients"]
    weight, constant, x, y = coefficients.split((100, 1, 1, 1), dim=1)
    affine = torch.cat((x, y, constant), dim=1).transpose(1, 2)
    return Spline(control_grid(10).expand_as(weight), weight, affine, canvas=canvas)


@pytest.mark.parametrize("align_corners", [False, True])
def test_thin_plate_warp_unpadded(operators, align_corners):
    grid = official_spline(operators, 1.0).grid(48, 48, "corners")
    operators.check("tps_unpadded/grid_every_4th", grid[:, ::4, ::4])
    image = 2 * operators.image("tps_image") - 1
    warped = warp(image, grid, align_corners=align_corners)
    operators.check(f"tps_unpadded/warped_align_corners_{align_corners}", warped)


@pytest.mark.parametrize("align_corners", [False, True])
def test_thin_plate_warp_padded(operators, align_corners):
    grid = official_spline(operators, 1.0).grid(96, 96, "corners")
    operators.check("tps_padded/grid_every_4th", grid[:, ::4, ::4])
    image = F.pad(2 * operators.image("tps_image") - 1, [24] * 4, mode="replicate")
    warped = warp(image, grid, align_corners=align_corners)[..., 24:-24, 24:-24]
    operators.check(f"tps_padded/warped_align_corners_{align_corners}", warped)


@pytest.mark.parametrize(("align_corners", "largest"), [(True, 0.063), (False, 0.361)])
def test_how_far_our_padded_warp_is_from_the_official_one(operators, align_corners, largest):
    """The figures in the docstring of warps/tps_gaussian, in pixels along an axis."""
    official = official_spline(operators, 1.0).grid(96, 96, "corners")[:, 24:-24, 24:-24]
    wanted = (official + 1) / 2 * 95 if align_corners else ((official + 1) * 96 - 1) / 2
    ours = official_spline(operators, 2.0).grid(48, 48)
    error = (((ours + 1) * 48 - 1) / 2 + 24 - wanted).abs().max()
    assert error.item() == pytest.approx(largest, abs=5e-4)


def test_thin_plate_basis(operators):
    xy = torch.cartesian_prod(*[torch.arange(48) * (2 / 47) - 1] * 2).flip(-1)
    basis = torch.cat(
        (radial(xy[None], control_grid(10), "r2_log_r2")[0], torch.ones(2304, 1), xy), dim=1
    )
    operators.check("tps/kernel_rows", basis[::97][:12])


def three_steps(golden: Golden) -> dict[str, torch.Tensor]:
    """Train three steps in float64 and return every figure under its golden name."""
    pipeline, perceptual = make(golden, 4, reference=False)
    pipeline.double().train()
    perceptual.double().train()
    target, source = (golden.image(name, torch.float64) for name in ("target", "condition"))
    poses = golden["input/prior_points"].double()
    batch = Batch(source=source, driving=target, target=target, poses=poses)
    terms = {
        "adversarial": build(dict(type="losses/adversarial", weight=10.0)),
        "critic": build(dict(type="losses/critic")),
        "redraw": build(dict(type="losses/redraw", weight=0.1)),
        "points": build(dict(type="losses/prior_points", weight=0.9)),
    }
    groups = pipeline.parameter_groups()
    optimizer = torch.optim.Adam(
        [{"params": p} for p in groups.values()], lr=2e-4, betas=(0.5, 0.999)
    )
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        if f"output/{name}" in golden.tensors:  # of large tensors the files keep the first rows
            found[name] = value.detach().flatten()[: golden.size[f"output/{name}"]].clone()

    for step in (1, 2, 3):
        out = pipeline(batch)
        losses = {name: loss(out, batch) for name, loss in terms.items()}
        losses["perceptual"] = 10 * perceptual(out, batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        keep(f"step{step}/fake_skeleton", out.pose_image)
        keep(f"step{step}/points", out.landmarks.xy)
        keep(f"step{step}/loss_perceptual", losses["perceptual"])
        keep(f"step{step}/loss_adversarial", losses["adversarial"])
        keep(f"step{step}/loss_generator_total", losses["perceptual"] + losses["adversarial"])
        keep(f"step{step}/loss_discriminator", losses["critic"])
        keep(f"step{step}/loss_regressor", losses["redraw"] + losses["points"])
        keep(f"step{step}/perceptual_running_means", perceptual.running)
        for name, parameter in pipeline.named_parameters():
            keep(f"step{step}/grad/{'/'.join(pipeline.table[name])}", parameter.grad)
        gradients = {pipeline.table[k]: p.grad for k, p in pipeline.named_parameters()}
        for networks in ("G_B+G_A", "D_A", "regressor"):
            own = sorted(key for key in gradients if key[0] in networks.split("+"))
            norms = torch.stack([gradients[key].norm() for key in own])
            keep(f"step{step}/grad_l2/{networks}", norms)
        for official, ours in OFFICIAL_GROUPS.items():
            norm = torch.nn.utils.clip_grad_norm_(groups[ours], 1.0)
            keep(f"step{step}/grad_norm_{official}", norm)
        optimizer.step()
        for name, value in pipeline.state_dict().items():
            keep(f"after_step{step}/{'/'.join(pipeline.table[name])}", value)
    return found


OFFICIAL_GROUPS = {"generators": "generator", "discriminator": "prior", "regressor": "bottleneck"}


def test_three_training_steps():
    """One backward pass and one optimizer give what the official three updates give."""
    golden = Golden("keypointgan_train")
    found = three_steps(golden)
    assert len(found) > 600
    for name, value in found.items():
        golden.check(name, value)


def test_every_tensor_is_read(request):
    names = ("forward", "operators", "published_width", "train")
    reason = "nothing here scales a pose to its box"
    unread = {"keypointgan_operators/output/normalise_points": reason}
    require_all_read(request, *(f"keypointgan_{name}" for name in names), unread=unread)
