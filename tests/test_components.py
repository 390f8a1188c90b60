"""Every file below components/<role>/ registers its own name and passes registry.check."""

import importlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from torch import nn

import registry
from registry import ROLES, ConfigError
from registry.contract import Encoding
from tests.test_bbc_pose import bbc_pose
from tests.test_celeba import celeba
from tests.test_deepfashion import deepfashion
from tests.test_video_folder import video_folder

ROOT = Path(__file__).parents[1]
NAMES = sorted(
    f"{role}/{file.stem}"
    for role in ROLES
    for file in (ROOT / "components" / role).glob("[!_]*.py")
)
EDGES = ((0, 1), (1, 2), (1, 3))
SKELETON = dict(type="rasterizers/skeleton", edges=EDGES, image_size=32)
LOGITS = dict(type="encoders/stem", takes="pose_image", out_channels=4, width=4, norm="instance")
REGRESSOR = dict(type="bottlenecks/skeleton_regressor", encoder=LOGITS)
POSE = dict(type="encoders/stem", takes="pose_image", out_channels=8, width=4)
PATCH = dict(type="critics/multiscale_patch", width=4, scales=1)
TPS = dict(type="warps/tps_gaussian")
HOURGLASS = dict(width=4, max_width=8, depth=2)

# One row per component: constructor arguments for registry.check, small enough for a CPU.
EXAMPLES = {
    "bottlenecks/affine": dict(num_landmarks=3),
    "bottlenecks/gaussian": {},
    "bottlenecks/monkeynet": {},
    "bottlenecks/separable": {},
    "bottlenecks/skeleton_regressor": dict(encoder=LOGITS),
    "compositors/add": dict(first=2, background_widths=(4, 4, 4)),
    "motions/dense_motion": dict(num_landmarks=3, width=4, max_width=8, depth=2),
    "compositors/mask_blend": dict(
        num_landmarks=3, first=2, mask_widths=(4,), background_widths=(4, 4, 4)
    ),
    "motions/monkeynet": dict(num_landmarks=3, width=4, max_width=8, depth=2),
    "critics/conditional_image": dict(width=4, image_size=64),
    "critics/feature_patch": dict(widths=(4, 6), num_landmarks=3, spectral=True),
    "critics/multiscale_patch": dict(width=4, scales=2),
    "critics/pix2pix": dict(width=4),
    "datasets/bbc_pose": dict(root="bbc_pose", split="val", image_size=16),
    "datasets/celeba": dict(root="celeba", image_size=16),
    "datasets/clips": dict(
        frame_dataset=dict(type="datasets/standin", image_size=16, num_keypoints=4), length=3
    ),
    "datasets/deepfashion": dict(root="deepfashion", image_size=16),
    "datasets/first_source": dict(
        frame_dataset=dict(type="datasets/standin", image_size=16, num_keypoints=4)
    ),
    "datasets/flow_pairs": dict(
        frame_dataset=dict(type="datasets/puppets", image_size=32, clips=2, frames_per_clip=5)
    ),
    "datasets/frames": dict(root="frames", image_size=16, annotations="points.csv"),
    "datasets/poses": dict(source="points.csv", format="csv", fit="box", edges=((0, 1),)),
    "datasets/puppets": dict(image_size=32, clips=3, frames_per_clip=4),
    "datasets/simple_h36m": dict(root="human_images", image_size=32),
    "datasets/standin": dict(image_size=16, num_keypoints=4, edges=EDGES, flip_pairs=((2, 3),)),
    "datasets/video_folder": dict(root="videos", image_size=16),
    "decoders/conditional": dict(pose_encoder=POSE, appearance_channels=8, width=4),
    "decoders/imm": dict(num_landmarks=3, appearance_channels=8, width=4),
    "decoders/monkeynet": dict(num_landmarks=3, width=4, max_width=8, depth=2, blocks=1),
    "decoders/multiscale_parts": dict(
        num_landmarks=6, appearance_channels=5, widths=((8, 8), (8, 6), (6, 4))
    ),
    "decoders/occlusion_aware": dict(width=4, blocks=1),
    "decoders/spade": dict(num_landmarks=3, appearance_channels=5, width=2),
    "decoders/spade_modules": dict(num_landmarks=3, appearance_channels=5, widths=(8, 6), hidden=4),
    "encoders/hourglass_appearance": dict(num_landmarks=3, features=8, out_channels=5),
    "encoders/image_to_skeleton": dict(width=4),
    "encoders/imm": dict(num_landmarks=3, width=4),
    "encoders/keypoint_hourglass": dict(num_landmarks=3, width=4, max_width=8, depth=2),
    "encoders/monkeynet": dict(num_landmarks=3, width=4, max_width=8, depth=2, stride=2),
    "encoders/part_appearance": dict(num_landmarks=3, features=6, out_channels=5, widths=(4,)),
    "encoders/residual_hourglass": dict(num_landmarks=3, stride=4, width=8),
    "encoders/stem": dict(width=4, out_channels=8),
    "encoders/timm_features": dict(
        num_landmarks=3, name="mobilenetv3_small_050", weights="random", frozen=True, width=4
    ),
    "encoders/unet": dict(num_landmarks=3, first=2, widths=(8, 8, 4)),
    "hooks/panels": dict(every=1),
    "hooks/progress": dict(every=1),
    "hooks/summary": {},
    "hooks/validation": dict(every=1),
    "losses/adversarial": {},
    "losses/critic": {},
    "losses/equivariance": {},
    "losses/equivariance_jacobian": {},
    "losses/equivariance_points": {},
    "losses/feature_matching": dict(weights=(10.0, 1.0)),
    "losses/flow_agreement": {},
    "losses/flow_points": {},
    "losses/landmark_features": dict(weights="random", width=4, taps=("conv1_1", "conv2_1")),
    "losses/mask_entropy": {},
    "losses/part_window": {},
    "losses/perceptual": dict(weights="random", width=4, taps=("input", "conv1_2", "conv2_2")),
    "losses/pixel": dict(of="deformed"),
    "losses/prior_cycle": {},
    "losses/prior_points": {},
    "losses/redraw": {},
    "losses/state": {},
    "metrics/containment": {},
    "metrics/embedding_distance": dict(
        encoder=dict(type="encoders/stem", width=4, out_channels=8), weights="own"
    ),
    "metrics/jitter": {},
    "metrics/keypoint_distance": dict(
        encoder=dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4)),
        bottleneck=dict(type="bottlenecks/gaussian"),
        weights="judge.pth",
    ),
    "metrics/keypoint_error": {},
    "metrics/l1": {},
    "metrics/lpips": dict(trunk="random"),
    "metrics/mask_iou": {},
    "metrics/psnr": {},
    "metrics/regression": {},
    "metrics/ssim": {},
    "metrics/state_error": {},
    "pipelines/forecast": dict(
        image_pipeline=dict(
            type="pipelines/reconstruction",
            encoder=dict(type="encoders/unet", num_landmarks=3, first=2, widths=(8, 8, 4)),
            bottleneck=dict(type="bottlenecks/gaussian"),
            rasterizer=dict(type="rasterizers/gaussian", image_size=32),
            appearance_encoder=dict(
                type="encoders/part_appearance",
                num_landmarks=3,
                features=8,
                out_channels=5,
                widths=(4,),
            ),
            decoder=dict(type="decoders/spade", num_landmarks=3, appearance_channels=5, width=2),
        ),
        predictor=dict(type="predictors/lstm", num_landmarks=3, width=4, depth=2),
        seen=2,
        steps=1,
    ),
    "pipelines/motion_transfer": dict(
        encoder=dict(type="encoders/monkeynet", num_landmarks=3, **HOURGLASS),
        bottleneck=dict(type="bottlenecks/monkeynet"),
        motion=dict(type="motions/monkeynet", num_landmarks=3, **HOURGLASS),
        decoder=dict(type="decoders/monkeynet", num_landmarks=3, blocks=1, **HOURGLASS),
        rasterizer=dict(type="rasterizers/gaussian", image_size=32, normaliser="sum"),
        image_critic=dict(type="critics/feature_patch", widths=(4, 6), num_landmarks=3),
        through_critic=True,
        joint=True,
    ),
    "pipelines/pose_autoencoder": dict(rasterizer=SKELETON, bottleneck=REGRESSOR),
    "pipelines/reconstruction": dict(
        encoder=dict(type="encoders/image_to_skeleton", width=4),
        bottleneck=REGRESSOR,
        bottleneck_apart=True,
        rasterizer=SKELETON,
        appearance_encoder=dict(type="encoders/stem", width=4, out_channels=8),
        decoder=dict(
            type="decoders/conditional", pose_encoder=POSE, appearance_channels=8, width=4
        ),
        prior=dict(type="priors/unpaired_poses", critic=PATCH, image_size=32, history=4),
    ),
    "predictors/gru": dict(num_landmarks=3, width=4, state="covariance", delay=1),
    "predictors/lstm": dict(num_landmarks=3, width=4, depth=2),
    "priors/unpaired_poses": dict(critic=PATCH, image_size=32, history=4),
    "rasterizers/gaussian": dict(image_size=32),
    "rasterizers/skeleton": dict(edges=EDGES, image_size=32),
    "transforms/appearance_pair": {},
    "transforms/color_jitter": {},
    "transforms/edge_weight": {},
    "transforms/flip_pair": dict(time=False),  # the example batch has flow
    "transforms/second_view": dict(driving_warp=TPS),
    "transforms/tps_and_temporal": dict(source_warp=TPS),
    "warps/tps_gaussian": {},
    "warps/tps_l1": {},
    "transforms/tps_pair": dict(source_warp=TPS, driving_warp=TPS),
    "warps/tps_solved": {},
    "warps/tps_uniform": {},
    "warps/zoom": {},
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """What the examples of data sets read, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("frames/walk").mkdir(parents=True)
    for n in range(3):
        cv2.imwrite(f"frames/walk/{n}.png", np.full((20, 24, 3), 40 * n, np.uint8))
    rows = "".join(f"walk/{n}.png,3,4,{10 + n},11\n" for n in range(3))
    Path("points.csv").write_text(f"file,head_x,head_y,tail_x,tail_y\n{rows}")
    for subject in ("S1", "S5", "S6", "S7", "S8", "S9"):
        for kind in ("WithBackground", "BackgroudMask", "Landmarks"):
            Path(f"human_images/{subject}/{kind}/Walking").mkdir(parents=True)
        for n in range(4):
            folder = f"human_images/{subject}"
            cv2.imwrite(f"{folder}/WithBackground/Walking/{n}.jpg", np.full((32, 32), 9 * n))
            cv2.imwrite(f"{folder}/BackgroudMask/Walking/{n}.png", np.full((32, 32), 255))
            points = np.full((32, 2), n / 10)
            scipy.io.savemat(f"{folder}/Landmarks/Walking/{n}.mat", {"keypoints_2d": points})
    judge = registry.build(EXAMPLES["metrics/keypoint_distance"]["encoder"])
    weights = {f"pipeline.encoder.{key}": value for key, value in judge.state_dict().items()}
    torch.save({"model": weights}, "judge.pth")
    bbc_pose("bbc_pose", range(11, 16), frames=(1,))
    celeba("celeba", 14)
    deepfashion("deepfashion")
    video_folder("videos", ("train",))


@pytest.mark.parametrize("name", NAMES)
def test_the_file_registers_its_path_and_nothing_else(name):
    module = importlib.import_module(f"components.{name.replace('/', '.')}")
    registered = {
        key
        for role in ROLES.values()
        for key, cls in role.module_dict.items()
        if cls.__module__ == module.__name__
    }
    assert registered == {name}


@pytest.mark.parametrize("name", NAMES)
def test_component(name, files):
    assert name in EXAMPLES, (
        f"{name} is new: give it a row of small constructor arguments in EXAMPLES of "
        "tests/test_components.py."
    )
    registry.check(name, **EXAMPLES[name])


def test_every_example_has_its_component():
    assert sorted(EXAMPLES) == NAMES


# registry.check itself: each of these parts has one fault

DOC = """Turn an image into a map.

Shapes:
    (B, 3, H, W) -> (B, 4, h, w)
"""


class Fault(nn.Module):
    """The sound part that the faulty ones are made of."""

    def __init__(self, *, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)

    def forward(self, image):
        return Encoding(maps=self.conv(image))


class Sound(Fault):
    pass


class ConfigInside(Fault):
    def __init__(self, *, head: dict = (), width: int = 4) -> None:
        super().__init__(width=width)


class Positional(Fault):
    def __init__(self, width: int = 4) -> None:
        super().__init__(width=width)


class AnyKeyword(Fault):
    def __init__(self, **kwargs: int) -> None:
        super().__init__()


class InPlace(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image.detach().mul_(2)))


class NoInputGradient(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image.detach()))


class UnusedParameter(Fault):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(1, 1)


class InfiniteGradient(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image) + (image * 0).sqrt().sum())


class NotFinite(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image) / 0)


class OneImage(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image)[:1])


class NoMap(Fault):
    def forward(self, image):
        return self.conv(image)


class Square(Fault):
    def forward(self, image):
        small = image.mean(1, keepdim=True)[..., ::2, : image.shape[-2] : 2]
        return Encoding(maps=self.conv(image) + small)


class Forgets(Fault):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.rand(())

    def forward(self, image):
        return Encoding(maps=self.conv(image) * self.scale)


class OnlySingle(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image) + self.conv(image.float()))


class ForcesSingle(Fault):
    def forward(self, image):
        return Encoding(maps=self.conv(image).float())


class OverflowsInHalf(Fault):
    def forward(self, image):
        found = self.conv(image)
        fine = found.dtype == torch.float32 or found.dtype == torch.float64
        return Encoding(maps=found / fine)


PROMISE = "Encoding with what 'fills' names"
FAULTS = {
    ConfigInside: "argument 'head: dict = ()' is a config; take finished parts and numbers.",
    Positional: "argument 'width: int = 4' must be named and keyword-only; put a * before it.",
    AnyKeyword: "argument '**kwargs: int' must be named and keyword-only; put a * before it.",
    InPlace: "forward changes its inputs in place.",
    NoInputGradient: "backward: no gradient reaches the inputs.",
    UnusedParameter: "backward: no gradient reaches 'spare.weight'.",
    InfiniteGradient: "backward: a gradient of the inputs is not finite.",
    NotFinite: "forward: the output is not finite.",
    OneImage: f"forward: it must return {PROMISE} of 3, not Encoding of [(1, 4, 32, 48)].",
    NoMap: f"forward: it must return {PROMISE} of 3, not Tensor of [(3, 4, 32, 48)].",
    Square: "forward: RuntimeError: The size of tensor a (48) must match the size of tensor b (32)",
    Forgets: "saving and loading: a saved and loaded copy returns a different output.",
    OnlySingle: "float64: RuntimeError: ",
    ForcesSingle: "float64: float64 in, {torch.float32} out.",
    OverflowsInHalf: "bfloat16 autocast: the output is not finite.",
}


class Frame:
    """A sound data set of one frame."""

    keypoint_names, edges, flip_pairs = ("a", "b"), ((0, 1),), ((0, 1),)

    def __init__(self):
        self.image = np.zeros((8, 8, 3), np.uint8)

    def __len__(self):
        return 1

    def keypoints(self, index):
        return np.zeros((2, 2), np.float32)

    def sample(self, index, rng):
        image = self.image.copy()
        return {"target": image, "source": image.copy(), "name": "clip/0"}


class RandomTarget(Frame):
    def sample(self, index, rng):
        return super().sample(index, rng) | {"target": rng.integers(0, 9, (8, 8, 3), np.uint8)}


class SharedImage(Frame):
    def sample(self, index, rng):
        return super().sample(index, rng) | {"target": self.image}


class NotANumber(Frame):
    def keypoints(self, index):
        return np.full((2, 2), np.nan, np.float32)


class NoClip(Frame):
    def sample(self, index, rng):
        return super().sample(index, rng) | {"name": "0"}


class FarEdge(Frame):
    edges = ((0, 2),)


class Brighten:
    """Depends on the whole batch."""

    def __call__(self, batch, seeds):
        return replace(batch, source=batch.source * batch.source.mean())


class Darken:
    """Draws from the generator of torch instead of the seeds."""

    def __call__(self, batch, seeds):
        return replace(batch, source=batch.source * torch.rand(()))


class Bare:
    """Returns too little."""

    def update(self, outputs, batch):
        pass

    def compute(self):
        return {"metric": "bare", "value": 1.0, "n": 1}


OTHER_FAULTS = {
    RandomTarget: "'target' of sample 0 changes between calls, with another rng.",
    SharedImage: "'target' of sample 0 changes between calls.",
    NotANumber: "keypoints(index) must be finite float32 (2, 2), not float32 (2, 2).",
    NoClip: "a sample's name must be <clip>/<frame>, not '0'.",
    FarEdge: "edges must be pairs of positions below 2, not [(0, 2)].",
    Brighten: "an item depends on more than its own seed.",
    Darken: "equal seeds lead to different results.",
    Bare: "compute must also return interval, unit.",
}


@pytest.fixture
def registered(monkeypatch):
    """Register a class under a plugin's name until the test ends."""

    def register(cls, doc=DOC, last=None, role="encoders"):
        name = f"{role}/test/{last or cls.__name__.lower()}"
        monkeypatch.setattr(cls, "__doc__", doc)
        monkeypatch.setitem(ROLES[role].module_dict, name, cls)  # undone at the end
        ROLES[role].register_module(name, force=True)(cls)
        return name

    return register


def fault_of(name):
    with pytest.raises(AssertionError) as caught:
        registry.check(name)
    return str(caught.value)


def test_a_sound_part_passes(registered):
    name = registered(Sound)
    report = registry.check(name, width=2)
    steps = ("form", "forward", "backward", "saving and loading", "bfloat16 autocast", "float64")
    assert report.checks == steps
    assert repr(report) == f"{name}: ok, 6 checks: {', '.join(steps)}"


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
def test_each_fault_is_found_and_named(cls, registered):
    name = registered(cls)
    assert fault_of(name).startswith(f"{name}: {FAULTS[cls]}")


@pytest.mark.parametrize("cls", OTHER_FAULTS, ids=lambda cls: cls.__name__)
def test_each_fault_of_other_roles_is_found(cls, registered):
    roles = {Brighten: "transforms", Darken: "transforms", Bare: "metrics"}
    name = registered(cls, role=roles.get(cls, "datasets"))
    assert fault_of(name) == f"{name}: an example: {OTHER_FAULTS[cls]}"


class Opaque(nn.Module):
    """A compositor that keeps its layers to itself."""

    def forward(self, foreground, drawn, source, source_drawn):
        return foreground


def test_a_compositor_must_return_its_layers(registered):
    name = registered(Opaque, role="compositors")
    assert fault_of(name) == (
        f"{name}: forward: it must return (B, 3, H, W) images and Layers of 3, not "
        "Tensor of [(3, 3, 64, 96)]."
    )


class OnlyForward(nn.Module):
    """A decoder of motion that cannot be taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, source, motion):
        return self.conv(source)


def test_a_decoder_of_motion_must_have_its_three_steps(registered):
    name = registered(OnlyForward, role="decoders")
    assert fault_of(name) == (
        f"{name}: its forward(source, motion) must be forward(drawn, appearance); see "
        "registry/protocols.py."
    )


def test_a_sound_data_set_passes(registered):
    registry.check(registered(Frame, role="datasets"))


@pytest.mark.parametrize(
    ("doc", "text"),
    [
        (None, "the docstring must begin with one sentence and a blank line, not ''."),
        (
            "Turn. It too.\n\nShapes: x",
            "the docstring must begin with one sentence and a blank line, not 'Turn. It too.'.",
        ),
        ("Turn an image into a map.", "its docstring has no 'Shapes:'."),
    ],
)
def test_docstrings_are_checked(doc, text, registered):
    name = registered(Sound, doc)
    assert fault_of(name) == f"{name}: {text}"


def test_class_names_are_checked(registered):
    name = registered(Sound, last="other")
    assert fault_of(name) == f"{name}: the class Sound must be named 'other' in CapWords."


def test_check_refuses_what_cannot_be_built():
    with pytest.raises(ConfigError) as caught:
        registry.check("encoders/stemm")
    assert str(caught.value) == (
        "check: there is no encoder 'encoders/stemm'. Did you mean 'encoders/stem'?"
    )
    with pytest.raises(ConfigError) as caught:
        registry.check("encoders/stem", widht=3)
    assert str(caught.value) == (
        "encoders/stem: encoders/stem has no argument 'widht'. Did you mean 'width'?"
    )


def test_check_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    registry.check("encoders/stem", width=2)
    assert torch.equal(torch.rand(3), expected)
