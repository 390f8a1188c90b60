"""Plugins as third parties make them: real distributions, installed by pip into a fresh venv.

The venv borrows the packages of the running interpreter, so nothing is downloaded.
"""

import json

import pytest
from venvs import OFFLINE, ROOT, make_venv, pip, run

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "1.2"

[tool.setuptools]
py-modules = ["{module}"]

[project.entry-points."keypoint_zoo.components"]
{entries}
"""

ACME = '''
"""Three parts of a third party."""

import numpy as np
from torch import nn

from registry import BOTTLENECKS, DATASETS, ENCODERS
from registry.contract import Encoding, Landmarks


@ENCODERS.register_module("encoders/acme/tiny_net")
class TinyNet(nn.Module):
    """One convolution of stride 8.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, out_channels, H/8, W/8)
    """

    def __init__(self, *, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, out_channels, 8, 8)

    def forward(self, image):
        return Encoding(maps=self.conv(image))


@BOTTLENECKS.register_module("bottlenecks/acme/mean")
class Mean(nn.Module):
    """Landmarks from the mean of a drawing.

    Shapes:
        (B, 1, H, W) -> Landmarks with xy (B, num_landmarks, 2)
    """

    def __init__(self, *, num_landmarks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2 * num_landmarks)

    def example(self, make):
        return (make.pose_image(),)

    def forward(self, maps):
        cells = nn.functional.adaptive_avg_pool2d(maps, 4).flatten(1)
        return Landmarks(xy=self.linear(cells).unflatten(1, (-1, 2)).tanh())


@DATASETS.register_module("datasets/acme/grey")
class Grey:
    """Grey images with two keypoints."""

    keypoint_names, edges, flip_pairs = ("a", "b"), ((0, 1),), ()

    def __init__(self, *, image_size: int) -> None:
        self.image_size = image_size

    def __len__(self):
        return 4

    def keypoints(self, index):
        return np.array([[-0.5, 0.1 * index], [0.5, 0.1]], np.float32)

    def sample(self, index, rng):
        grey = np.full((self.image_size, self.image_size, 3), 60 * index, np.uint8)
        item = {"target": grey, "source": grey.copy(), "name": f"grey/{index}"}
        return item | {"keypoints": self.keypoints(index), "visible": np.ones(2, np.float32)}
'''

BROKEN = """
raise ImportError("libacme.so.3 is missing")
"""

PLUGINS = {
    "acme-keypoints": (
        "acme_keypoints",
        ACME,
        {
            "encoders/acme/tiny_net": "TinyNet",
            "bottlenecks/acme/mean": "Mean",
            "datasets/acme/grey": "Grey",
            "encoders/acme/twice": "TinyNet",
            "encoders/acme/unregistered": "TinyNet",
            "encoders/stem": "TinyNet",  # without a prefix: must not replace ours
            "encoders/tiny": "TinyNet",
        },
    ),
    "broken-keypoints": (
        "broken_keypoints",
        BROKEN,
        {"encoders/broken/net": "Net", "encoders/acme/twice": "Net"},
    ),
}

CONFIG = """
image_size = 32
edges = ((0, 1),)
model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=2),
    bottleneck=dict(type="bottlenecks/acme/mean", num_landmarks=2),
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    appearance_encoder=dict(type="encoders/acme/tiny_net", out_channels=4),
    decoder=dict(
        type="decoders/conditional",
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=2, out_channels=4),
        appearance_channels=4,
        width=2,
    ),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=2, taps=("input", "conv1_2")),
)
data = dict(train=dict(type="datasets/acme/grey", image_size=image_size))
train = dict(iterations=1, batch_size=2, lr=1e-3)
"""

LOOK = """
import json, sys
import registry
from registry.errors import ConfigError

def error(name, **arguments):
    try:
        registry.build({"type": name, **arguments})
    except ConfigError as error:
        return str(error)

found = {"names": {role.name: role.names() for role in registry.ROLES.values()}}
found["imported by listing"] = [m for m in sys.modules if m.endswith("_keypoints") or m == "torch"]
found["ours"] = type(registry.build({"type": "encoders/stem", "width": 2})).__module__
found["after ours"] = [m for m in sys.modules if m.endswith("_keypoints")]
found["broken"] = error("encoders/broken/net")
found["twice"] = error("encoders/acme/twice")
found["unregistered"] = error("encoders/acme/unregistered", out_channels=1)
found["no prefix"] = error("encoders/tiny", out_channels=1)
found["misspelt"] = error("encoders/acme/tiny_nte", out_channels=1)
found["argument"] = error("encoders/acme/tiny_net", out_chanels=1)
part = registry.build({"type": "encoders/acme/tiny_net", "out_channels": 1})
found["theirs"] = type(part).__module__
registry.check("encoders/acme/tiny_net", out_channels=3)
registry.check("bottlenecks/acme/mean", num_landmarks=3)
registry.check("datasets/acme/grey", image_size=8)
sys.stdout.write(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a venv with both plugins."""
    home = tmp_path_factory.mktemp("plugins")
    python = make_venv(home / "venv")
    for name, (module, code, entries) in PLUGINS.items():
        (home / name).mkdir()
        (home / name / f"{module}.py").write_text(code)
        rows = "\n".join(f'"{key}" = "{module}:{cls}"' for key, cls in entries.items())
        text = PYPROJECT.format(name=name, module=module, entries=rows)
        (home / name / "pyproject.toml").write_text(text)
    pip(python, "install", *OFFLINE, *(home / name for name in PLUGINS))
    return python


@pytest.fixture(scope="module")
def found(python, tmp_path_factory):
    """What a program sees that lists, builds and checks."""
    return json.loads(run(python, "-c", LOOK, cwd=tmp_path_factory.mktemp("x")))


def test_names_are_listed_without_importing_a_plugin(found):
    encoders = found["names"]["encoders"]
    assert [name for name in encoders if name.count("/") == 2] == [
        "encoders/acme/tiny_net",
        "encoders/acme/twice",
        "encoders/acme/unregistered",
        "encoders/broken/net",
    ]
    assert "encoders/stem" in encoders
    assert "encoders/tiny" not in encoders
    assert "bottlenecks/acme/mean" in found["names"]["bottlenecks"]
    assert "datasets/acme/grey" in found["names"]["datasets"]
    assert found["imported by listing"] == []


def test_a_plugin_does_not_replace_our_names(found):
    assert found["ours"] == "components.encoders.stem"
    assert found["after ours"] == []
    assert found["no prefix"].startswith("model: there is no encoder 'encoders/tiny'.")


def test_a_plugin_is_built_by_name(found):
    assert found["theirs"] == "acme_keypoints"
    assert found["misspelt"] == (
        "model: there is no encoder 'encoders/acme/tiny_nte'. Did you mean "
        "'encoders/acme/tiny_net'?"
    )
    assert found["argument"] == (
        "model: encoders/acme/tiny_net has no argument 'out_chanels'. Did you mean 'out_channels'?"
    )


def test_a_broken_plugin_is_named_with_its_distribution(found):
    assert found["broken"] == (
        "model: 'encoders/broken/net' comes from the plugin broken-keypoints 1.2, which cannot be "
        "imported (broken_keypoints:Net): ImportError: libacme.so.3 is missing. Fix or "
        "uninstall that plugin; all other names work."
    )


def test_two_distributions_with_one_name(found):
    assert found["twice"] == (
        "model: 'encoders/acme/twice' is provided by acme-keypoints 1.2 and broken-keypoints 1.2. "
        "Uninstall one of them."
    )


def test_an_entry_point_whose_class_registers_another_name(found):
    assert found["unregistered"] == (
        "model: the file of 'encoders/acme/unregistered' of the plugin acme-keypoints 1.2 does not "
        "register that name. Put it into the decorator."
    )


def test_a_config_trains_with_the_plugin(python, tmp_path):
    (tmp_path / "acme_grey.py").write_text(CONFIG)
    train = ROOT / "tools" / "train.py"
    run(python, train, "acme_grey.py", "--work-dir", "run", cwd=tmp_path)
    lines = (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["iteration"] == 1
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["model"]["appearance_encoder"]["type"] == "encoders/acme/tiny_net"
    assert (tmp_path / "run" / "last.pth").is_file()
