"""Monkey-Net against numbers of the official implementation (tests/golden/excerpt.py).

The official tensors have frames as a dimension of their own; here frames are a batch.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.ops.affine import inverse
from components.ops.gaussians import circular, draw_gaussians, smaller_eigenvalue
from components.ops.states import to_states
from components.steps.adversarial import critic_scores
from components.steps.transfer import repeated
from registry import build
from registry.contract import Batch, Landmarks, Outputs
from tests.golden_file import Golden, official_names, require_all_read
from zoo.convert.monkeynet import convert

NETWORKS = ("generator", "kp_detector", "discriminator")
SIZES = dict(width=8, max_width=32, depth=3)


def model_of(align_corners: bool = False) -> dict:
    """Return the model of the file, as in a config."""
    sampler = dict(align_corners=align_corners)
    return dict(
        type="pipelines/motion_transfer",
        encoder=dict(type="encoders/monkeynet", num_landmarks=5, **SIZES),
        bottleneck=dict(type="bottlenecks/monkeynet", grid="corners"),
        motion=dict(
            type="motions/monkeynet",
            num_landmarks=5,
            grid="corners",
            **SIZES,
            **sampler,
        ),
        decoder=dict(type="decoders/monkeynet", num_landmarks=5, blocks=2, **SIZES, **sampler),
        rasterizer=dict(
            type="rasterizers/gaussian",
            image_size=32,
            kernel="exponential",
            scale=2.0,
            grid="corners",
            normaliser=100.0,
        ),
        image_critic=dict(
            type="critics/feature_patch", widths=(8, 16), num_landmarks=5, pool_last=True
        ),
        through_critic=True,
    )


def make(golden: Golden, align_corners: bool = False) -> nn.Module:
    """Build the pipeline and fill it with the file's weights."""
    pipeline = build(model_of(align_corners))
    # of the two frames of a clip, the official instance norm makes common statistics
    pipeline.image_critic.norms[1] = nn.BatchNorm2d(16, track_running_stats=False)
    pipeline.load_state_dict(convert({name: golden.weights(name) for name in NETWORKS}))
    return pipeline


@pytest.fixture(scope="module")
def forward() -> Golden:
    return Golden("monkeynet_forward")


def clip(x: Tensor) -> Tensor:
    """Return a batch of frames as the official clip: (D, C, h, w) -> (1, C, D, h, w)."""
    return x.transpose(0, 1)[None]


def images(golden: Golden, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return the source (1, 3, H, W) and the driving frames (2, 3, H, W)."""
    return tuple(golden.image(name, dtype)[0].transpose(0, 1) for name in ("source", "video"))


def run(pipeline: nn.Module, source: Tensor, video: Tensor) -> tuple[Outputs, dict[str, Tensor]]:
    """Detect in all frames at once, as the official code does, and animate the one source."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: bool = False) -> object:
        return module.register_forward_hook(
            lambda _, given, output: seen.update({name: given[0] if inputs else output})
        )

    motion, decoder = pipeline.motion, pipeline.decoder
    hooks = [
        *(keep("logits", pipeline.encoder.head), keep("embedding", motion.groups, inputs=True)),
        *(keep("groups", motion.groups), keep("head", motion.head)),
        keep("decoder", decoder.refine, inputs=True),
    ]
    found = pipeline.bottleneck(pipeline.encoder(torch.cat((source, video))).maps)
    own, landmarks = (
        Landmarks(xy=found.xy[part], cov=found.cov[part]) for part in (slice(0, 1), slice(1, None))
    )
    features = decoder.encode(source)
    many, own, features = repeated((source, own, features), len(video))
    moved = motion(many, landmarks, own)
    render = decoder.decode(features, moved)
    drawn = pipeline.rasterizer(landmarks)
    out = Outputs(
        landmarks=landmarks,
        source_landmarks=own,
        motion=moved,
        render=render,
        deformed=decoder.deform(many, moved),
        image_critic=critic_scores(pipeline.image_critic, render, video, drawn),
    )
    for hook in hooks:
        hook.remove()
    seen |= {"mean": found.xy, "variance": found.cov}
    seen |= {f"skip{i}": decoder.deform(features[i], moved) for i in (1, 3)}
    return out, seen


@pytest.mark.parametrize("align_corners", [False, True])
def test_every_stage(forward, align_corners):
    pipeline = make(forward, align_corners).eval()
    with torch.no_grad():
        out, seen = run(pipeline, *images(forward))
    under = "_ac_true/" if align_corners else ""
    deformation = F.pad(out.motion.grid, (0, 1))  # its third coordinate is the frame, 0
    forward.check(f"{under}motion/deformation", deformation[None])
    forward.check(f"{under}generator/deformed_skip1", clip(seen["skip1"]))
    forward.check(f"{under}generator/deformed_skip3", clip(seen["skip3"]))
    forward.check(f"{under}prediction", clip(out.render))
    forward.check(f"{under}deformed", clip(out.deformed))
    forward.check(f"{under}discriminator/generated_last", clip(out.image_critic.generator[0]))
    forward.check(f"{under}discriminator/generated_last", clip(out.image_critic.fake[0]))
    if align_corners:
        return
    forward.check("detector/logits", clip(seen["logits"]))
    forward.check("keypoints/mean", seen["mean"][None])
    forward.check("keypoints/variance", seen["variance"][None])
    forward.check("motion/embedding", clip(seen["embedding"]))
    forward.check("motion/last_group_block_before_lrelu", clip(seen["groups"]))
    forward.check("motion/mask_logits_and_correction", clip(seen["head"]))
    shifts = F.pad(out.source_landmarks.xy - out.landmarks.xy, (0, 0, 1, 0)).flatten(1)
    forward.check("motion/displacements", clip(shifts[..., None, None].expand(-1, -1, 32, 32)))
    forward.check("generator/movement_embedding", clip(out.motion.drawn))
    forward.check("generator/decoder", clip(seen["decoder"]))
    forward.check("discriminator/target_map2", clip(out.image_critic.real_features[1]))
    forward.check("discriminator/target_map3", clip(out.image_critic.real[0]))


LOSSES = dict(
    pixel=dict(type="losses/pixel", weight=10.0),
    features=dict(type="losses/feature_matching", weights=(10.0, 1.0)),
    adversarial=dict(type="losses/adversarial", scores="image_critic"),
    critic=dict(type="losses/critic", scores="image_critic", weight=2.0),
)


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_training_pass(forward, align_corners):
    """Losses, gradients and batch statistics; in float64, so only the file's own noise is left."""
    pipeline = make(forward, align_corners).double().train()
    source, video = images(forward, torch.float64)
    out, _ = run(pipeline, source, video)
    losses, batch = build(LOSSES, "losses", "losses"), Batch(driving=video, target=video)
    found = {name: loss(out, batch) for name, loss in losses.items()}
    under = "_ac_true/train" if align_corners else "train"
    forward.check(f"{under}/loss_layer-0_rec", found["pixel"])
    for layer, weights in ((1, (10.0, 0.0)), (2, (0.0, 1.0))):
        one = build(dict(type="losses/feature_matching", weights=weights))(out, batch)
        forward.check(f"{under}/loss_layer-{layer}_rec", one)
    forward.check(f"{under}/loss_gen_gan", found["adversarial"])
    forward.check(f"{under}/loss_disc_gan", found["critic"])
    if align_corners:
        return
    forward.check("train/prediction", clip(out.render))
    sum(found.values()).backward()

    names = {network: forward.weights(network) for network in NETWORKS}
    official = {ours: "/".join(key) for ours, key in official_names(convert, names).items()}
    parameters = {official[name]: p for name, p in pipeline.named_parameters()}
    assert len(parameters) == 26 + 76 + 8
    for network in NETWORKS:
        own = sorted(name for name in parameters if name.startswith(f"{network}/"))
        norms = torch.stack([parameters[name].grad.norm() for name in own])
        forward.check(f"train/grad_l2/{network}", norms)
    checked = 0
    for name, parameter in parameters.items():
        key = f"train/grad/{name}"
        if f"output/{key}" in forward.tensors:
            # of large tensors the file has the first rows
            forward.check(key, parameter.grad.flatten()[: forward.size[f"output/{key}"]])
            checked += 1
    assert checked == 102
    state = pipeline.state_dict()
    after = {ours: f"train/after_forward/{key}" for ours, key in official.items()}
    after = {ours: key for ours, key in after.items() if f"output/{key}" in forward.tensors}
    assert len(after) == 12 + 36
    for ours, key in after.items():
        forward.check(key, state[ours])


def predictor_weights(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename: the official network reads all means, then all covariances, ours by landmark."""
    ours = {key.replace("rnn.", "gru."): value for key, value in official.items()}
    means, shapes = ours["gru.weight_ih_l0"].split((2 * 5, 4 * 5), dim=1)
    parts = means.unflatten(1, (5, 2)), shapes.unflatten(1, (5, 4))
    return {**ours, "gru.weight_ih_l0": torch.cat(parts, dim=2).flatten(1)}


def test_predictor(forward):
    given = forward["input/sequence_mean"], forward["input/sequence_variance"]
    states = to_states(*given, "covariance")
    weights = predictor_weights(forward.weights("predictor"))

    def predictor(delay: int) -> nn.Module:
        sizes = dict(num_landmarks=5, width=32, state="covariance", delay=delay)
        model = build(dict(type="predictors/gru", **sizes), "predictor", "predictors")
        model.load_state_dict(weights)
        return model

    # the first official output is of the seen state itself, and not used
    found = predictor(0)(states[:, :1], 6)
    forward.check("predictor/mean", found[..., :2])
    forward.check("predictor/var", found[..., 2:])
    forward.check("predictor/free_run_all_frames_mean", predictor(0)(states, 1)[..., :2])
    late = predictor(1)(states[:, :1], 5)
    torch.testing.assert_close(late, found[:, 1:])
    loss = build(dict(type="losses/state", distance="l1"))
    outputs = Outputs(states=late, true_states=states[:, 1:])
    forward.check("predictor/loss", loss(outputs, Batch()))


@pytest.fixture(scope="module")
def operators() -> Golden:
    return Golden("monkeynet_operators")


def test_drawing(operators):
    xy, cov = operators["input/mean"].flatten(0, 1), operators["input/variance"].flatten(0, 1)
    single = operators["input/single_variance"].flatten(0, 1) * torch.eye(2)
    kinds = {"matrix": cov, "single": single, "constant": circular(xy, 0.02)}
    for name, spread in kinds.items():
        drawn = draw_gaussians(xy, 2 * spread, 16, 18, "exponential", "corners")
        operators.check(f"kp2gaussian/{name}", drawn)
    operators.check("inverse", inverse(cov))
    operators.check("smallest_singular", smaller_eigenvalue(cov))


def test_moments(operators):
    logits = 0.1 * operators["input/maps"].transpose(1, 2).flatten(0, 1).log()

    def read(floor: float) -> Landmarks:
        return build(dict(type="bottlenecks/monkeynet", grid="corners", floor=floor))(logits)

    found, free = read(0.001), read(0.0)
    operators.check("gaussian2kp/mean", found.xy)
    operators.check("gaussian2kp/variance_clipped", found.cov)
    operators.check("gaussian2kp/variance_unclipped", free.cov)
    operators.check("gaussian2kp/single_variance", free.cov.diagonal(dim1=-2, dim2=-1).mean(-1))


@pytest.mark.parametrize(
    ("name", "normaliser", "align_corners"),
    [
        ("normaliser_sum", "sum", False),
        ("normaliser_100", 100.0, False),
        ("normaliser_100_align_corners_True", 100.0, True),
    ],
)
def test_embeddings(operators, name, normaliser, align_corners):
    """Per landmark: its map, its shift, the image moved by it; the background first, if at all."""
    xy, cov = operators["input/mean"], operators["input/variance"]
    source = operators["input/source"][:, :, 0]
    compositor = build(
        dict(
            type="motions/monkeynet",
            num_landmarks=4,
            width=2,
            depth=1,
            normaliser=normaliser,
            grid="corners",
            align_corners=align_corners,
        )
    )
    rasterizer = build(
        dict(
            type="rasterizers/gaussian",
            image_size=16,
            kernel="exponential",
            scale=2.0,
            grid="corners",
            normaliser=normaliser,
        )
    )
    seen: list[Tensor] = []
    compositor.groups.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    own = Landmarks(xy=xy[:, 0], cov=cov[:, 0])
    alone, differences = [], []
    for frame in (1, 2):
        landmarks = Landmarks(xy=xy[:, frame], cov=cov[:, frame])
        compositor(source, landmarks, own)
        shifts = F.pad(own.xy - landmarks.xy, (0, 0, 1, 0))[..., None, None]
        shifts = shifts.expand(-1, -1, -1, 16, 16)
        maps, moved = seen[-1].unflatten(1, (5, 4)).split((1, 3), dim=2)
        differences.append(torch.cat((maps, shifts, moved), dim=2).flatten(1, 2))
        maps = rasterizer(landmarks)[:, :, None]
        alone.append(torch.cat((maps, shifts[:, 1:], moved[:, 1:]), dim=2).flatten(1, 2))
    operators.check(f"embedding/difference_{name}", torch.stack(differences, dim=2))
    if not align_corners:
        operators.check(f"embedding/gaussian_{name}", torch.stack(alone, dim=2))


def test_every_tensor_is_read(request):
    require_all_read(request, "monkeynet_forward", "monkeynet_operators", unread={})
