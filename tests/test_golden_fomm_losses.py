"""FOMM's random warp and losses against numbers of the official code (golden/README)."""

from __future__ import annotations

import pytest
import torch

from components.layers.vgg import CONVS
from components.ops.antialias import reduce
from components.ops.tps import Spline, control_grid
from components.transforms.second_view import SecondView
from registry import build
from registry.contract import Batch, Landmarks, Outputs
from tests.golden_file import Golden


@pytest.fixture(scope="module")
def operators() -> Golden:
    return Golden("fomm_operators")


@pytest.fixture(scope="module")
def forward() -> Golden:
    return Golden("fomm_forward")


def official_spline(golden: Golden, bend: bool = True) -> Spline:
    """One coefficient per control point, added to x and y alike."""
    weight = golden["input/control_params"].transpose(1, 2).expand(-1, -1, 2)
    control = control_grid(5).expand_as(weight)
    return Spline(control, weight if bend else 0 * weight, golden["input/theta"], kernel="l1")


def second_view(golden: Golden, image: torch.Tensor, align_corners: bool) -> torch.Tensor:
    transform = SecondView(
        driving_warp=lambda *_: official_spline(golden),
        padding="reflection",
        grid="corners",
        align_corners=align_corners,
    )
    return transform(Batch(driving=image), torch.zeros(len(image))).warped


@pytest.mark.parametrize(("name", "bend"), [("grid", True), ("affine_only_grid", False)])
def test_warped_coordinates(operators, name, bend):
    operators.check(f"transform/{name}", official_spline(operators, bend).grid(32, 32, "corners"))


def test_warped_points(operators):
    operators.check("transform/points", official_spline(operators)(operators["input/points"]))


def test_warped_local_maps(operators):
    operators.check(
        "transform/jacobian", official_spline(operators).slope(operators["input/points"])
    )


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
    value = loss(outputs, Batch(warp=official_spline(forward)))
    forward.check(f"{prefix}train/loss_equivariance_{official}", value)


def perceptual(golden: Golden) -> torch.nn.Module:
    node = dict(
        type="losses/perceptual",
        weights="random",
        width=2,
        relu=True,
        taps=[f"conv{i}_1" for i in range(1, 6)],
        tap_weights=(10,) * 5,
        distance="l1",
        scales=(1, 0.5, 0.25),
    )
    loss = build(node, "l", "losses")
    stored = {k.split(".", 1)[1]: v for k, v in golden.weights("vgg").items() if "." in k}
    assert len(stored) == 2 * len(loss.convs)
    for name in loss.convs:
        index = CONVS["vgg19"][name][0]
        getattr(loss, f"{name}_kernel").copy_(stored[f"{index}.weight"])
        getattr(loss, f"{name}_bias").copy_(stored[f"{index}.bias"])
    return loss


def test_perceptual_pyramid(forward):
    loss = perceptual(forward)
    prediction = forward["output/train/prediction"]
    outputs, batch = Outputs(render=prediction), Batch(target=forward.image("driving"))
    forward.check("train/loss_perceptual", loss(outputs, batch))
    images = (prediction, batch.target)
    terms = [loss.errors(*(reduce(image, factor) for image in images)) for factor in (1, 2, 4)]
    forward.check("train/perceptual_terms_unweighted", torch.stack(terms))
