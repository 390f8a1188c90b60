"""The documentation tells the truth: what it says to type is typed, what it names is there.

Blocks of a page run in order, in a folder with a clip, pictures and labels. Shell lines go through
the command line's own ``main``; trainings are shortened, see ``shorten``. A block that cannot run
here stands below a comment ``<!-- not run: reason -->``: its words are parsed and its config read.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hub_server import serve
from hub_state import ALICE

import registry
import registry.config
from components.data.video import write_video
from zoo.cli import _parsed, main
from zoo.commands import where

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")}
EXTRAS = {"onnx", "test", "dev", "tensorboard"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ------------------------------------------------------------------- what the blocks work with


def shorten(node):
    """Let a resolved config train for a moment: 2400 iterations become 2, on little data."""
    if isinstance(node, list):
        return [shorten(value) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: shorten(value) for key, value in node.items()}
    if "iterations" in node and "lr" in node and node["iterations"] > 20:
        node["lr_factors"] = []
        node["iterations"] = max(1, node["iterations"] // 1000)
        node["batch_size"] = min(node["batch_size"], 2)
    if node.get("type") == "datasets/puppets":
        node |= {"clips": 3, "frames_per_clip": min(node.get("frames_per_clip", 8), 8)}
    if "metrics" in node and "type" not in node:
        limits = {key: min(node.get(key) or 4, 4) for key in ("max_items", "fit_items")}
        node |= limits
    return node


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the pages speak of; trainings in it are short."""
    monkeypatch.chdir(tmp_path)
    puppets = registry.build(
        {"type": "datasets/puppets", "split": "test", "clips": 3, "frames_per_clip": 16}
    )

    def frame(index: int) -> np.ndarray:
        return cv2.resize(puppets.image(index), (96, 80))

    for clip, name in enumerate(("clip.mp4", "clips/one.mp4", "clips/two.mp4")):
        Path(name).parent.mkdir(exist_ok=True)
        write_video(name, [frame(16 * clip + t) for t in range(16)], 25)
    for folder in ("frames", "photos"):
        Path(folder).mkdir()
        for i in range(8):
            cv2.imwrite(f"{folder}/{i}.png", frame(2 * i)[..., ::-1])
    cv2.imwrite("photo.jpg", frame(20)[..., ::-1])
    cv2.imwrite("other.jpg", frame(34)[..., ::-1])
    for name, chosen in (("fit", range(0, 8, 2)), ("test", range(1, 8, 2))):
        with open(f"{name}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", *(f"{n}_{axis}" for n in puppets.keypoint_names for axis in "xy")])
            for i in chosen:
                xy = (puppets.keypoints(2 * i) + 1) / 2 * (96, 80) - 0.5
                rows.writerow([f"{i}.png", *xy.ravel().round(2)])

    resolved = registry.config._resolved
    monkeypatch.setattr(registry.config, "_resolved", lambda *a, **k: shorten(resolved(*a, **k)))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A Hub on the loopback, with alice logged in."""
    from huggingface_hub import constants

    folder = tmp_path_factory.mktemp("server")
    with serve(folder / "hub") as running:
        for name, value in {
            "ENDPOINT": running.url,
            "HF_HUB_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", ALICE)
        monkeypatch.setenv("NO_PROXY", "*")
        yield running


# ------------------------------------------------------------------------------- running blocks


def commands(block: str) -> list[list[str]]:
    """Return the words of each command of a shell block, comments left out."""
    lines = block.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


def ours(words: list[str]) -> list[str] | None:
    """Return what follows ``keypoint-zoo``, or its other names; None for another command."""
    for i, word in enumerate(words):
        if Path(word).name == "keypoint-zoo" and not words[0] == "pip":
            return words[i + 1 :]
        if word == "-m" and words[i + 1 : i + 2] == ["zoo"]:
            return words[i + 2 :]
        if match := re.fullmatch(r"tools/(\w+)\.py", word):
            return [match[1], *words[i + 1 :]]
    return None


def run_shell(block: str, page: Path) -> None:
    for words in commands(block):
        where_ = f"{ids(page)}: {shlex.join(words)}"
        if words[0] == "pip":
            check_install(words)
        elif (own := ours(words)) is not None:
            code = main(own)
            assert code == 0, f"{where_} ended with {code}"
        else:
            pytest.fail(f"{where_}: neither run nor marked <!-- not run: reason -->")


def parse_shell(block: str, page: Path) -> None:
    """Parse the words of a block that is not run, and read its config with its options."""
    for words in commands(block):
        if words[0] == "pip":
            check_install(words)
        elif (own := ours(words)) is not None:
            options = _parsed(own)
            config = options.get("config")
            if config and Path(str(config)).stem == str(config):
                pairs = registry.config.parse_options(options.get("cfg_options", []))
                registry.load_config(config.replace("-", "_"), pairs)
        else:
            assert words[0] in ("cd", "pytest"), f"{ids(page)}: {shlex.join(words)}"


def check_install(words: list[str]) -> None:
    """Compare the words of an installation with what pyproject.toml calls things."""
    assert words[:2] == ["pip", "install"], words
    for word in words[2:]:
        match = re.fullmatch(r"(-e|\.|keypoint-zoo)(?:\[(\w+)\])?|\.\[(\w+)\]", word)
        assert match, words
        assert {match[2], match[3]} - {None} <= EXTRAS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Hub's client, in its threads
@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_of_a_page_runs(page, place, hub, request):
    names: dict = {"__name__": "page"}
    for reason, language, block in BLOCK.findall(text_of(page)):
        if language == "bash":
            (parse_shell if reason else run_shell)(block, page)
        elif language == "python":
            code = compile(block, f"{ids(page)}: {block[:60]}", "exec")
            assert not reason, "Python blocks are run"
            exec(code, names)
        else:
            assert language in ("text", "toml"), f"{ids(page)}: a block of {language or 'nothing'}"
