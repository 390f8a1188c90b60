"""IMM's warps against numbers of the official implementation; see tests/golden/excerpt.py.

Its networks need TensorFlow 1. What stands in for them is made by tests/golden/imm_tensorflow.py: a
checkpoint that TensorFlow wrote and what TensorFlow's operations make of it. Its losses have no
golden numbers: test_imm.py.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from components.ops.tps import Spline, control_grid
from components.ops.warp import warp
from registry import build
from registry.contract import Batch
from tests.golden_file import GOLDEN, Golden, require_all_read
from zoo.convert import imm

SIDE = 48


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("imm_operators")


def official_spline(coefficients: torch.Tensor) -> Spline:
    weight, constant, x, y = coefficients.split((100, 1, 1, 1), dim=1)
    affine = torch.cat((x, y, constant), dim=1).transpose(1, 2)
    return Spline(control_grid(10).expand_as(weight), weight, affine)


@pytest.mark.parametrize("align_corners", [False, True])
def test_warp_unpadded(golden, align_corners):
    grid = official_spline(golden["input/tps_coefficients"]).grid(SIDE, SIDE, "corners")
    golden.check("tps_unpadded/grid", grid)
    warped = warp(golden["input/image"], grid, align_corners=align_corners)
    golden.check(f"tps_unpadded/warped_align_corners_{align_corners}", warped)


def test_chained_warp(golden):
    """The source is the warped target, warped once more."""
    image = golden["input/image"]
    for name in ("tps_coefficients", "tps_coefficients_second"):
        grid = official_spline(golden[f"input/{name}"]).grid(SIDE, SIDE, "corners")
        image = warp(image, grid, align_corners=True)
    golden.check("tps_chain/source", image)


def test_warp_padded(golden):
    """The form that training does not use: a canvas of 3/2 of the side for an image of twice.

    That image is the given one with its border repeated outwards.
    """
    half = SIDE // 2
    grid = official_spline(golden["input/tps_coefficients"]).grid(3 * half, 3 * half, "corners")
    golden.check("tps_padded/grid_every_4th", grid[:, ::4, ::4])
    padded = F.pad(golden["input/image"], [half] * 4, mode="replicate")
    warped = warp(padded, grid, align_corners=True)
    golden.check("tps_padded/warped_align_corners_True", warped[..., half:-half, half:-half])


MODEL = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/imm", num_landmarks=2, width=1),
    bottleneck=dict(type="bottlenecks/separable", grid="corners"),
    rasterizer=dict(
        type="rasterizers/gaussian",
        image_size=32,
        stride=8,
        kernel="exponential",
        variance=0.01,
        grid="corners",
    ),
    appearance_encoder=dict(type="encoders/imm", width=1),
    decoder=dict(type="decoders/imm", num_landmarks=2, appearance_channels=8, width=1),
)


def test_networks_from_a_tensorflow_checkpoint():
    golden = Golden("imm_tensorflow")
    pipeline = build(MODEL)
    pipeline.load_state_dict(imm.load(GOLDEN / "imm_tensorflow.ckpt"))
    source, driving = golden.image("image"), golden.image("future")
    with torch.no_grad():
        out = pipeline.eval().infer(Batch(source=source, driving=driving))
        maps = pipeline.encoder(driving).maps
    golden.check("pose_maps", maps.permute(0, 2, 3, 1))  # channels last there
    golden.check("points_yx", out.landmarks.xy.flip(-1))
    golden.check("render", 255 * out.render.permute(0, 2, 3, 1))


def test_every_tensor_is_read(request):
    require_all_read(request, "imm_operators", "imm_tensorflow", unread={})
