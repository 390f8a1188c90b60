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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from zoo.errors import ZooError

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
