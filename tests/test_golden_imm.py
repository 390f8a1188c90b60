"""IMM's warps against numbers of the official implementation; see tests/golden/excerpt.py.

Its networks, Gaussian maps and losses need TensorFlow 1 and have no golden numbers: test_imm.py.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from components.ops.tps import Spline, control_grid
from components.ops.warp import warp
from tests.golden_file import Golden

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
    """The form that training does not use: a canvas of 3/2 of the side for an image of twice."""
    half = SIDE // 2
    grid = official_spline(golden["input/tps_coefficients"]).grid(3 * half, 3 * half, "corners")
    golden.check("tps_padded/grid_every_4th", grid[:, ::4, ::4])
    warped = warp(F.pad(golden["input/image"], [half] * 4), grid, align_corners=True)
    golden.check("tps_padded/warped_align_corners_True", warped[..., half:-half, half:-half])
