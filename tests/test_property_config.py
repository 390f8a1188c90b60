"""Configs with random mistakes: a run is built, or refused with one ConfigError, and no folder.

Every example starts from a config that works, as a tree, and changes a few of its places.
"""

import copy
import json
import os
import sys
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import ConfigError, build, load_config
from registry.build import build_model
from registry.config import section
from registry.contract import MissingFieldError
from registry.loading import Datasets
from registry.trial import trial
from tests.runs import CONFIG

POSE = """
edges = ((0, 1), (1, 2))
model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=16),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", out_channels=3, width=2)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/standin", image_size=16, num_keypoints=3, edges=edges),
    transforms=(dict(type="transforms/color_jitter", hue=0.1),),
)
train = dict(iterations=2, batch_size=2, lr=1e-3, lr_factors=((1, 1.0), (2, 0.5)),
             groups=dict(generator=dict(lr=1e-4, betas=(0.5, 0.9))), hooks=[])
"""
LEAVES = [
    *(None, True, False, 0, 1, 2, 3, -1, -7, 2**31, 2**63, 10**400, 0.0, 0.5, -0.5, 1.0, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "x", "none", "1", "é", "\ud800", "\0"),
    *(
        "a/b",
        "../x",
        "os.getcwd",
        "encoders/stem",
        "encoders/",
        "/",
        "a\nb",
        "\x1b[31m",
        "x" * 9999,
    ),
    *(b"x", {1, 2}, 1j, object, len, [], {}, [1], [[]], [None], [0, 1], [[0, 1]], [[0, 99]]),
    *(
        {"type": None},
        {"type": 5},
        {"type": []},
        {"type": {}},
        {"type": "x"},
        {"type": "os.system"},
    ),
    *({"type": "losses/pixel"}, {"type": "encoders/stem"}, {"type": "../registry/roles"}),
    *({"x": None}, {1: 2}, {"type": "encoders/stem", "width": {"type": "warps/zoom"}}),
]


def nested(depth):
    return {"x": nested(depth - 1)} if depth else 1


VALUES = st.sampled_from([*LEAVES, nested(60), nested(200)])


def nodes(tree, path=()):
    """Yield the path of every dict entry and list entry."""
    pairs = (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if type(tree) is list else ()
    )
    for key, value in list(pairs):
        yield (*path, key)
        yield from nodes(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def mutate(draw, tree):
    """Change one place."""
    places = list(nodes(tree))
    *parents, key = draw(st.sampled_from(places))
    holder = at(tree, parents)
    what = draw(st.sampled_from(["replace", "replace", "delete", "duplicate", "rename", "move"]))
    if what == "replace":
        holder[key] = copy.deepcopy(draw(VALUES))
    elif what == "delete":
        del holder[key]
    elif what == "duplicate" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif what == "rename" and isinstance(holder, dict):
        new = draw(st.sampled_from(["x", "type", "", "a.b", "pop", f"{key}s", "train", "é"]))
        holder[new] = holder.pop(key)
    else:
        value = copy.deepcopy(holder[key])
        *others, last = draw(st.sampled_from(places))
        if what == "move":
            del holder[key]
        with suppress(KeyError, IndexError, TypeError):  # that place has just been moved away
            at(tree, others)[last] = value


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Resolved configs by name: two for a trial step, shipped ones for building."""
    home = tmp_path_factory.mktemp("starts")
    found = {}
    for name, text in (("pose", POSE), ("tiny", CONFIG)):
        (home / f"{name}.py").write_text(text, encoding="utf-8")
        found[name] = load_config(home / f"{name}.py")
    small = {"image_size": 32, "width": 2}
    for name in ("imm", "fomm", "factorized", "forecast"):
        found[name] = load_config(f"{name}_puppets", {"width": 4} if name != "imm" else small)
    return found


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    """Let half a gigabyte be all the memory."""
    monkeypatch.setattr(sys.modules["registry.build"], "_memory", lambda: 2**29)


def survive(tree, what):
    """Load and use a config; only errors that are meant for its author may leave."""
    try:
        cfg = load_config(tree)
        json.dumps(cfg, allow_nan=False)
        if what == "build":
            build_model(cfg, to_fill=True)
            build(list(section(cfg, "data").transforms), "data.transforms", "transforms")
            build(dict(section(cfg, "evaluate").metrics), "evaluate.metrics", "metrics")
        elif what == "try":
            trial(cfg, Datasets(section(cfg, "data")))
    except (ConfigError, MissingFieldError) as error:
        line = str(error)
    else:
        line = "it works"
    assert line.strip()
    assert not {"\n", "\x1b"}.intersection(line)


def property_of(names, what, examples):
    @settings(
        max_examples=int(os.environ.get("EXAMPLES", "1")) * examples,
        derandomize="SEED" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def check(starts, data):
        tree = copy.deepcopy(starts[data.draw(st.sampled_from(names))])
        for _ in range(data.draw(st.integers(1, 3))):
            if list(nodes(tree)):
                mutate(data.draw, tree)
        survive(tree, what)

    return check


@pytest.fixture
def nothing_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "what", "examples"),
    [
        (("pose", "tiny", "imm", "fomm", "factorized", "forecast"), "load", 500),
        (("pose", "imm", "fomm", "factorized"), "build", 300),
        (("pose", "tiny"), "try", 200),
    ],
)
def test_a_config_with_mistakes_works_or_is_refused(names, what, examples, starts, nothing_written):
    torch.manual_seed(0)
    property_of(names, what, examples)(starts=starts)
