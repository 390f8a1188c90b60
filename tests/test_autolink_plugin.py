"""AutoLink as a third party would add it: its four parts in a distribution of their own.

He et al. 2022: landmarks are joined by edges whose weights are learned; a decoder sees the drawn
edges and a few patches of the image. Nothing of this package knows any of it.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_plugins import PYPROJECT
from torch.nn import functional as F
from venvs import OFFLINE, ROOT, make_venv, pip, run

PARTS = '''
"""AutoLink's parts, and a loss on what they hand on."""

import torch
from torch import nn
from torch.nn import functional as F

from dataclasses import replace

from registry import DECODERS, ENCODERS, LOSSES, RASTERIZERS, TRANSFORMS
from registry.contract import Appearance, Encoding, need


@RASTERIZERS.register_module("rasterizers/autolink/edge_graph")
class EdgeGraph(nn.Module):
    """Draw every pair of landmarks as a line of its learned strength, the strongest on top.

    Shapes:
        Landmarks with xy (B, K, 2) -> (B, 1, H, W)
    """

    def __init__(self, *, num_landmarks: int, image_size: int, thickness: float = 0.01) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(num_landmarks, num_landmarks))
        self.size, self.thickness = image_size, thickness

    def edges(self):
        strengths = F.softplus(self.raw.triu(diagonal=1)).triu(diagonal=1)
        return strengths + strengths.T

    def forward(self, landmarks):
        xy, strengths = landmarks.xy, self.edges()
        axis = (2 * torch.arange(self.size, device=xy.device, dtype=xy.dtype) + 1) / self.size - 1
        pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
        first, second = torch.triu_indices(*self.raw.shape, offset=1)
        start, way = xy[:, first, None], (xy[:, second] - xy[:, first])[:, :, None]
        to = pixels - start  # (B, E, P, 2)
        share = ((to * way).sum(-1) / (way.square().sum(-1) + 1e-8)).clamp(0, 1)
        far = (to - share[..., None] * way).square().sum(-1)
        lines = torch.exp(-far / self.thickness) * strengths[first, second, None]
        return lines.amax(dim=1).unflatten(1, (1, self.size, self.size))


@TRANSFORMS.register_module("transforms/autolink/mask_patches")
class MaskPatches:
    """Set most square patches of the source to black, others in every step.

    Shapes:
        Batch, seeds (B,) -> Batch
    """

    def __init__(self, *, cells: int = 4, missing: float = 0.8) -> None:
        self.cells, self.missing = cells, missing

    def __call__(self, batch, seeds):
        source = need(batch, "source")
        draws = [
            torch.rand(1, self.cells, self.cells, generator=torch.Generator().manual_seed(int(s)))
            for s in seeds
        ]
        kept = (torch.stack(draws) > self.missing).to(source)
        return replace(batch, source=source * F.interpolate(kept, size=source.shape[-2:]))


@ENCODERS.register_module("encoders/autolink/image")
class Image(nn.Module):
    """The image itself, times a learned factor, is the appearance.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, 3, H, W)
    """

    out_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return Encoding(maps=self.alpha * image)


@DECODERS.register_module("decoders/autolink/masked")
class Masked(nn.Module):
    """Redraw the image from its drawn edges and what is left of it, both at full size.

    Shapes:
        drawn (B, 1, H, W), appearance.image (B, 3, H, W) -> (B, 3, H, W)
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(4, width, 4, 2, 1), nn.LeakyReLU(0.2))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, drawn, appearance):
        image = need(appearance, "image")
        return self.up(self.down(torch.cat((image, drawn), dim=1)))

    def example(self, make):
        return make.maps(1, stride=1), Appearance(image=make.image())


@LOSSES.register_module("losses/autolink/few_edges")
class FewEdges(nn.Module):
    """Mean strength of the edges.

    Shapes:
        Outputs with edges (N, N) -> scalar
    """

    reads = ("edges",)

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs, batch):
        return self.weight * need(outputs, "edges").mean()
'''
ENTRIES = {
    "rasterizers/autolink/edge_graph": "EdgeGraph",
    "transforms/autolink/mask_patches": "MaskPatches",
    "encoders/autolink/image": "Image",
    "decoders/autolink/masked": "Masked",
    "losses/autolink/few_edges": "FewEdges",
}
CONFIG = """
image_size = 32
num_landmarks = 5
model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=2, widths=(8, 8, 4)),
    bottleneck=dict(type="bottlenecks/gaussian"),
    rasterizer=dict(type="rasterizers/autolink/edge_graph", num_landmarks=num_landmarks,
                    image_size=image_size),
    appearance_encoder=dict(type="encoders/autolink/image"),
    decoder=dict(type="decoders/autolink/masked", width=4),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=2, taps=("input", "conv1_2")),
    edges=dict(type="losses/autolink/few_edges"),
)
data = dict(
    train=dict(type="datasets/puppets", image_size=image_size, clips=3, frames_per_clip=8),
    fit=dict(type="datasets/puppets", image_size=image_size, clips=3, frames_per_clip=8),
    val=dict(type="datasets/puppets", split="test", seed=1, image_size=image_size, clips=2),
    test=dict(type="datasets/puppets", split="test", image_size=image_size, clips=2),
    transforms=[dict(type="transforms/autolink/mask_patches")],
)
train = dict(iterations=3, batch_size=4, lr=1e-2, panels_every=3)
evaluate = dict(metrics=dict(regression=dict(type="metrics/regression")), max_items=8, fit_items=24)
"""
CHECK = """
import registry
registry.check("rasterizers/autolink/edge_graph", num_landmarks=4, image_size=32)
registry.check("transforms/autolink/mask_patches")
registry.check("encoders/autolink/image")
registry.check("decoders/autolink/masked", width=4)
registry.check("losses/autolink/few_edges")
"""
PACK = """
import json, sys
import zoo
from registry import load_config
model = zoo.load("run")
zoo.save(model, "package", name="autolink-puppets", license="apache-2.0",
         cfg=load_config("run/config.json"))
loaded = zoo.load("dir:package")
sys.stdout.write(json.dumps([model.limbs(), loaded.keypoints["edges"], loaded.limbs()]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained run and its package, made in a venv that has the distribution."""
    home = tmp_path_factory.mktemp("autolink")
    python = make_venv(home / "venv")
    source = home / "autolink-parts"
    source.mkdir()
    (source / "autolink_parts.py").write_text(PARTS)
    rows = "\n".join(f'"{key}" = "autolink_parts:{cls}"' for key, cls in ENTRIES.items())
    text = PYPROJECT.format(name="autolink-parts", module="autolink_parts", entries=rows)
    (source / "pyproject.toml").write_text(text)
    pip(python, "install", *OFFLINE, source)
    run(python, "-c", CHECK, cwd=home)
    (home / "autolink_puppets.py").write_text(CONFIG)
    run(python, ROOT / "tools/train.py", "autolink_puppets.py", "--work-dir", "run", cwd=home)
    (home / "limbs.json").write_text(run(python, "-c", PACK, cwd=home))
    images = home / "images"
    images.mkdir()
    import cv2

    cv2.imwrite(str(images / "grey.png"), np.full((64, 64, 3), 90, np.uint8))
    predict = ("run", "images", "--out", "found")
    run(python, ROOT / "tools/predict.py", *predict, cwd=home)
    return home


@pytest.fixture(scope="module")
def limbs(folder):
    """The edges that were learned, by hand from the weights: half as strong as the strongest."""
    state = torch.load(folder / "run/last.pth", weights_only=True)["model"]
    strengths = F.softplus(state["pipeline.rasterizer.raw"])
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    most = max(strengths[pair] for pair in pairs)
    return [list(pair) for pair in pairs if strengths[pair] >= most / 2]


def test_the_parts_pass_the_checks_and_the_config_trains(folder):
    rows = [json.loads(line) for line in (folder / "run/scalars.jsonl").read_text().splitlines()]
    assert rows[-1]["iteration"] == 3
    assert rows[-1]["loss_edges"] > 0
    assert (folder / "run/panels/0000003.png").is_file()
    metrics = json.loads((folder / "run/metrics.json").read_text())
    assert metrics[0]["protocol"] == "regression"


def test_learned_edges_are_those_of_the_weights(folder, limbs):
    assert 0 < len(limbs) < 10
    assert json.loads((folder / "limbs.json").read_text()) == [limbs] * 3


def test_learned_edges_are_on_the_card(folder, limbs):
    text = (folder / "package/README.md").read_text()
    assert ", ".join(f"{a}-{b}" for a, b in limbs) in text


def test_learned_edges_are_in_the_overlay_and_beside_the_table(folder, limbs):
    import cv2

    from components.data.annotations import read_coco

    coco = read_coco(folder / "found/images_landmarks.json")
    assert [list(edge) for edge in coco.edges] == limbs
    picture = cv2.imread(str(folder / "found/images_landmarks/grey_landmarks.png"))
    table = (folder / "found/images_landmarks.csv").read_text().splitlines()
    rows = [line for line in table if not line.startswith("#")]
    cells = dict(zip(rows[0].split(","), rows[1].split(",")))
    names = [key.removesuffix("_x") for key in cells if key.endswith("_x")]
    points = np.array([[float(cells[f"{n}_x"]), float(cells[f"{n}_y"])] for n in names])
    for a, b in limbs:
        x, y = np.round((points[a] + points[b]) / 2).astype(int)  # the middle of the limb
        assert (picture[y, x] != 90).any(), (a, b)
    assert len(names) == 5
