"""Packages altered at random places by whoever can seal them: a working model, or one line.

Whatever config.json, evaluation.json and the manifest then state, loading gives a model that finds
the landmarks of an image, or one ``ZooError``: no other exception, no hang, no connection.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from zoo_packages import (
    RESULT,
    ROOT,
    loadable_package,
    read_config,
    seal,
    tiny_model,
    write_config,
)

import zoo
from registry.config import load_config
from registry.usual import Usual
from zoo.bounds import Bounds
from zoo.errors import IntegrityError, ZooError

EXAMPLES = int(os.environ.get("PACKAGE_EXAMPLES", "334"))  # of each kind of package
INNER = ("architecture", "preprocess", "keypoints", "usual", "results")
FILES = ("config.json", "config.json", "config.json", "evaluation.json", "manifest.json")
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 2, 3, 7, 33, 8191, 1 << 14, 10**9, 10**30]),
    st.sampled_from([0.0, -0.5, 1e-30, 1e30, 1e308, 0.1, 1.0]),
    st.sampled_from(
        ["", "reflect", "encoders/unet", "os.getcwd", "losses/pixel", "\x1b[2J", "a\0b"]
    ),
    st.integers(-4, 40),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def package_of(kind: str, folder: Path) -> Path:
    """Save the smallest model of a kind."""
    if kind == "imm":
        return loadable_package(folder, kind)
    sizes = {
        "crossbreed": {"image_size": 32, "num_landmarks": 9, "width": 1},
        "fomm": {"image_size": 32, "num_landmarks": 3, "width": 2},
    }[kind]
    del sizes["num_landmarks" if kind == "crossbreed" else "image_size"]
    cfg = load_config(ROOT / f"configs/{kind}_puppets.py", sizes)
    usual = Usual(4, {"brightness": [0, 0.1, 0.2, 0.3, 0.4], "score": [0, 0.1, 0.2, 0.3, 0.4]})
    model = tiny_model(cfg)
    return zoo.save(model, folder, name=kind, license="mit", cfg=cfg, usual=usual)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value below a node."""
    pairs = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    found = []
    for key, value in pairs:
        found += [(*path, key), *places(value, (*path, key))]
    return found


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def like(value: Any, draw: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1, -value, 2 * value, value // 2]
        return draw(st.sampled_from(near) | st.integers(-4, 40) | st.floats(-2, 2))
    if isinstance(value, list):
        return draw(st.sampled_from([value[:-1], value[1:], value[::-1], [*value, *value[:1]]]))
    return draw(SCALARS)


def altered(document: Any, draw: Any) -> Any:
    """Change a document at one or two places, most often in what builds the model."""
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        known = places(document)
        inner = [path for path in known if path[0] in INNER and len(path) > 1]
        if draw(st.booleans()):
            known = inner or known
        if not known:
            return document
        path = draw(st.sampled_from(known))
        parent, key = at(document, path[:-1]), path[-1]
        how = draw(st.sampled_from(["like", "like", "like", "put", "copy", "drop", "add"]))
        if how == "like":
            parent[key] = like(parent[key], draw)
        elif how == "put":
            parent[key] = draw(VALUES)
        elif how == "copy":
            parent[key] = json.loads(json.dumps(at(document, draw(st.sampled_from(known)))))
        elif how == "drop":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=6))] = draw(VALUES)
    return document


def an_image(config: dict[str, Any]) -> np.ndarray:
    """Return a small photograph that the stated crop fits into."""
    left, top, width, height = config["preprocess"].get("crop") or (0, 0, 40, 30)
    return np.full((top + height, left + width, 3), 99, np.uint8)


def too_slow(*_: Any) -> None:
    raise AssertionError("it takes too long")


def no_network(*_: Any, **__: Any) -> None:
    raise AssertionError("it connects")


def one_line(text: str) -> None:
    assert text.isprintable()
    assert len(text) < 3000


@pytest.mark.parametrize("kind", ["imm", "crossbreed", "fomm"])
def test_an_altered_package_works_or_is_refused_in_one_line(kind, tmp_path, monkeypatch):
    good = package_of(kind, tmp_path / "good")
    results = json.loads((good / "evaluation.json").read_bytes())
    results["results"] = [RESULT]
    (good / "evaluation.json").write_text(json.dumps(results))
    seal(good)
    folder = tmp_path / "altered"
    monkeypatch.setattr(socket.socket, "connect", no_network)
    previous = signal.signal(signal.SIGALRM, too_slow)
    ended = {"works": 0, "refused": 0}

    @settings(
        max_examples=EXAMPLES,
        derandomize="PACKAGE_EXAMPLES" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data(), st.sampled_from(FILES))
    def attempt(data, name):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        text = json.dumps(altered(json.loads((folder / name).read_bytes()), data.draw))
        if name == "config.json":
            write_config(folder, text.encode())
        else:
            (folder / name).write_text(text)
        if name == "evaluation.json":
            seal(folder)
        if name == "manifest.json":  # in canonical form, as a forger would
            canonical = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
            (folder / name).write_text(canonical)
        signal.alarm(60)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = zoo.load(folder)
                found = model.predict(an_image(read_config(folder)))
            assert found.landmarks.xy.shape == (1, model.keypoints["count"], 2)
            ended["works"] += 1
        except ZooError as error:
            ended["refused"] += 1
            one_line(str(error))
        finally:
            signal.alarm(0)
        with contextlib.suppress(ZooError):  # what else reads it says so, too
            zoo.info(folder)

    try:
        attempt()
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert min(ended.values()) > EXAMPLES // 20, ended


ARGS = "architecture.args"
FAULTS = {  # each loaded once, and crashed model.predict
    "drawn at 4096": ("crossbreed", f"{ARGS}.rasterizer.image_size", 4096, "far more memory"),
    "drawn by 8191": ("imm", f"{ARGS}.rasterizer", 8191, "cannot be built"),
    "edges with a dict": ("crossbreed", f"{ARGS}.rasterizer.edges.0.1", {}, "cannot"),
    "edges beyond": ("crossbreed", f"{ARGS}.rasterizer.edges.0.1", 99, "cannot"),
    "a temperature that is a list": ("imm", f"{ARGS}.bottleneck.temperature", [], "cannot"),
    "a variance that is a text": ("imm", f"{ARGS}.rasterizer.variance", "x", "must be a number"),
    "a crop of 16384": ("imm", "preprocess.crop", [0, 0, 1 << 14, 1 << 14], "1 ... 8192 pixels"),
    "a crop to the left": ("imm", "preprocess.crop", [-1, 0, 9, 9], "crop must be left"),
    "10**9 frames": ("imm", "preprocess.frames", 10**9, "frames 1000000000 is not in"),
    "two frames": ("imm", "preprocess.frames", 2, "states 2 frames, but it takes 1"),
    "images of one pixel": ("imm", "preprocess.image_size", 1, "cannot use an image"),
    "another number of keypoints": (
        "imm",
        "keypoints",
        {"count": 2, "names": ["a", "b"], "groups": {}, "edges": [], "flip_pairs": []},
        "states 2 keypoints, but it finds 3",
    ),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    return {kind: package_of(kind, folder / kind) for kind in ("imm", "crossbreed", "fomm")}


@pytest.mark.parametrize("name", FAULTS)
def test_a_package_that_would_crash_is_refused_at_load(name, packages, tmp_path):
    kind, dotted, value, words = FAULTS[name]
    folder = tmp_path / "package"
    shutil.copytree(packages[kind], folder)
    config = read_config(folder)
    *parents, last = (int(key) if key.isdigit() else key for key in dotted.split("."))
    node = at(config, tuple(parents))
    node[last] = {**node[last], **value} if dotted == "keypoints" else value
    write_config(folder, config)
    with pytest.raises(IntegrityError, match=words) as error:
        zoo.load(folder)
    one_line(str(error.value))
    report = zoo.verify(folder, deep=True)
    assert not report.ok
    assert words in report.problems[0]


@pytest.mark.parametrize("kind", ["imm", "crossbreed", "fomm"])
def test_the_trial_changes_nothing(kind, packages, monkeypatch):
    """Neither random numbers nor the model: it predicts what it does if it was never tried."""
    state = torch.random.get_rng_state()
    tried = zoo.load(packages[kind])
    assert torch.equal(torch.random.get_rng_state(), state)
    monkeypatch.setattr("zoo.model._try", lambda *_: None)
    fresh = zoo.load(packages[kind])
    assert tried.state_dict().keys() == fresh.state_dict().keys()
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, tried.state_dict()[key])
    images = torch.rand(2, 3, tried.preprocess.image_size, tried.preprocess.image_size)
    assert torch.equal(tried.predict(images).landmarks.xy, fresh.predict(images).landmarks.xy)
    assert not tried.training


SIZES = {  # call -> whether it is refused if one result may have 1000 numbers
    "zeros": (lambda x: torch.zeros(100, 11), True),
    "a list of sizes": (lambda x: torch.ones((10, 10, 11)), True),
    "new": (lambda x: x.new_zeros(11, 100), True),
    "full": (lambda x: torch.full((11, 100), 0.5), True),
    "arange": (lambda x: torch.arange(0, 550, 0.5), True),
    "linspace": (lambda x: torch.linspace(0, 1, 1001), True),
    "eye": (lambda x: torch.eye(40), True),
    "broadcast": (lambda x: x.flatten()[:, None] + x.flatten(), True),
    "in place": (lambda x: x.add_(1), False),
    "interpolate": (lambda x: functional.interpolate(x, size=40), True),
    "a factor": (lambda x: functional.interpolate(x, scale_factor=9), True),
    "a small factor": (lambda x: functional.interpolate(x, scale_factor=2), False),
    "pad": (lambda x: functional.pad(x, (20, 20, 20, 20)), True),
    "repeat": (lambda x: x.repeat(20, 1, 1, 1), True),
    "expand and add": (lambda x: x.expand(20, -1, -1, -1) + 1, True),
    "matmul": (lambda x: x.reshape(64, 1) @ x.reshape(1, 64), True),
    "einsum": (lambda x: torch.einsum("a,b->ab", x.flatten(), x.flatten()), True),
    "outer": (lambda x: torch.outer(x.flatten(), x.flatten()), True),
    "cat": (lambda x: torch.cat([x] * 20), True),
    "stack": (lambda x: torch.stack([x] * 9), False),
    "conv": (lambda x: functional.conv2d(x, torch.ones(1, 1, 1, 1), padding=20), True),
    "small conv": (lambda x: functional.conv2d(x, torch.ones(1, 1, 3, 3), padding=1), False),
    "strided conv": (lambda x: functional.conv2d(x, torch.ones(9, 1, 1, 1), stride=2), False),
    "transposed conv": (
        lambda x: functional.conv_transpose2d(x, torch.ones(1, 20, 1, 1)),
        True,
    ),
    "index": (lambda x: x.flatten()[torch.zeros(999, 2, dtype=torch.long)], True),
    "one hot": (lambda x: functional.one_hot(torch.arange(9), 200), True),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_known_before_memory_is_taken(name):
    """Each call is refused, or allowed, by the number of elements of its result, by hand."""
    call, refused = SIZES[name]
    image = torch.ones(1, 1, 8, 8)
    refusal = pytest.raises(IntegrityError, match="too large")
    with (
        refusal if refused else contextlib.nullcontext(),
        torch.no_grad(),
        Bounds("too large", 1000, 10**6, trial=True),
    ):
        call(image)


def test_memory_that_is_kept_counts_and_memory_that_is_freed_does_not():
    with Bounds("too large", 1000, 10**6, trial=True):
        for _ in range(50):
            torch.zeros(900)
    with pytest.raises(IntegrityError), Bounds("too large", 1000, 10**6, trial=True):
        _ = [torch.zeros(900) for _ in range(50)]
    with pytest.raises(IntegrityError), Bounds("too large", 1000, 10**4, trial=True):
        _ = [torch.zeros(900).numel() for _ in range(50)]


def test_an_expensive_convolution_is_computed_at_one_place():
    torch.manual_seed(0)
    weight, bias = torch.randn(64, 64, 3, 3), torch.randn(64)
    image = torch.randn(1, 64, 1, 1).expand(1, 64, 40, 36)  # the same everywhere
    with torch.no_grad(), Bounds("too large", 1 << 20, 1 << 24, trial=True):
        found = functional.conv2d(image, weight, bias, padding=1)
    real = functional.conv2d(image, weight, bias, padding=1)
    assert found.shape == real.shape
    torch.testing.assert_close(found[..., 5, 5], real[..., 5, 5])
    assert torch.equal(found, found[..., :1, :1].expand_as(found))


@pytest.mark.parametrize("wrong", [{"padding": -1}, {"padding": (1, -1)}, {"stride": 0}])
def test_an_expensive_convolution_that_torch_refuses_is_refused(wrong):
    weight, image = torch.randn(64, 64, 3, 3), torch.randn(1, 64, 40, 36)
    with pytest.raises(RuntimeError), Bounds("too large", 1 << 20, 1 << 24, trial=True):
        functional.conv2d(image, weight, **wrong)
