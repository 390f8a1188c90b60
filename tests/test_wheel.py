"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from venvs import OFFLINE, ROOT, make_venv, pip, run

import zoo
from zoo.commands import new_plugin

SHIPPED = (
    "registry",
    "components",
    "zoo",
    "configs",
    "examples",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)

LOOK = """
import json, sys
import cv2, numpy as np
import zoo, registry, components
from registry import load_config
from zoo import cli, index

found = {"origin": [module.__file__ for module in (zoo, registry, components)]}
picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
cv2.imwrite("picture.png", picture)
found["shapes"] = {}
for name in zoo.names(cached=True):
    model = zoo.load(name)
    ready = model.preprocess(picture) if model.preprocess else None
    if ready and hasattr(model, "predict"):
        xy = ready.to_original(model.predict(ready.images).landmarks.xy)
        found["shapes"][name] = [*xy.shape, model.keypoints["count"]]
found["parameters"] = sum(p.numel() for p in zoo.build("factorized-bbc").parameters())
cfg = load_config(index.find("imm-puppets").config)
model = zoo.build("imm-puppets")
zoo.save(model, "mine", name="mine", license="apache-2.0", cfg=cfg)
sys.stdout.write(json.dumps(found))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from a copy: nothing is left in the checkout."""
    home = tmp_path_factory.mktemp("wheel")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            hidden = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, home / "source" / name, ignore=hidden)
        else:
            shutil.copy(ROOT / name, home / "source" / name)
    words = ("wheel", home / "source", "--no-deps", "--no-build-isolation", "-w", home)
    pip(Path(sys.executable), *words)
    (built,) = home.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel, and with all but the checkout."""
    home = tmp_path_factory.mktemp("installed")
    python = make_venv(home)
    (borrowed,) = home.rglob("borrowed.pth")
    kept = [path for path in borrowed.read_text().splitlines() if not (Path(path) / "zoo").is_dir()]
    borrowed.write_text("\n".join(kept))
    # the checkout may be installed among the borrowed packages
    pip(python, "install", *OFFLINE, "--ignore-installed", wheel)
    return python


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read("keypoint_zoo-0.1.0.dist-info/entry_points.txt").decode()
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in ("registry", "components", "zoo")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "/." not in path.as_posix()
    } - {f"{folder}/README.md" for folder in ("registry", "components", "zoo")}
    configs = {f"zoo/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert len(configs) > 75
    assert {"registry/py.typed", "components/py.typed", "zoo/py.typed"} < expected
    about = {name for name in names if name.startswith("keypoint_zoo-0.1.0.dist-info/")}
    template = {f"zoo/template/{path}" for path in new_plugin.FILES}
    assert names - about == expected | configs | template
    assert "keypoint_zoo-0.1.0.dist-info/licenses/LICENSE" in about
    assert entry_points == "[console_scripts]\nkeypoint-zoo = zoo.cli:main\n"


def test_bundled_entries_are_small_enough_for_the_wheel(wheel):
    assert wheel.stat().st_size < 43e6  # 40 MB of weights and 3 of everything else


def test_the_installed_package_works_without_the_checkout(python, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PYTHON", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = json.loads(run(python, "-c", LOOK, cwd=tmp_path))
    for file in found["origin"]:
        assert Path(file).is_relative_to(python.parent.parent)
    seeing = [entry.name for entry in zoo.list(cached=True) if entry.task != "pose-regression"]
    assert list(found["shapes"]) == seeing
    for name, (one, count, two, stated) in found["shapes"].items():
        assert (one, two) == (1, 2), name
        assert count == stated
    assert found["parameters"] > 10e6  # the published size

    script = python.with_name("keypoint-zoo")
    listed = subprocess.run([script, "list", "--json"], cwd=tmp_path, capture_output=True)
    rows = json.loads(listed.stdout)
    assert [row["name"] for row in rows] == zoo.names()
    assert [row["weights"] for row in rows] == [entry.weights for entry in zoo.list()]
    configs = [Path(row["config"]) for row in rows]
    assert all(config.is_file() for config in configs)
    assert {config.parent.name for config in configs} == {"configs"}
    assert all(config.is_relative_to(python.parent.parent) for config in configs)
    again = run(python, "-m", "zoo", "list", "--json", cwd=tmp_path)
    assert json.loads(again) == rows

    code = "from zoo.commands.new_plugin import run; print(*run('acme').document['files'])"
    made = run(python, "-c", code, cwd=tmp_path).split()
    assert len(made) == len(new_plugin.FILES)
    assert all((tmp_path / "keypoint-zoo-acme" / file).is_file() for file in made)

    words = ("predict", "dir:mine", "picture.png", "--out", "found", "--json")
    done = subprocess.run([script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["frames"], row["table"]) == (1, "found/picture_landmarks.csv")
    assert (tmp_path / "found/picture_landmarks.png").is_file()
    table = (tmp_path / row["table"]).read_text().splitlines()
    assert table[1].startswith("picture.png,60,40,")
    assert len(table[1].split(",")) == 3 + 3 * row["landmarks"]  # x, y, score


# small: the figures of the shipped configs are not the subject here
SMALL = (
    *("train.iterations=2", "train.batch_size=2", "data.train.clips=2", "data.fit.clips=2"),
    *("evaluate.max_items=8", "evaluate.fit_items=8"),
)
SCRIPT = """
import registry, zoo
from components.data.video import write_video
from components.drawing import write_png

cfg = registry.load_config("factorized_puppets", SMALL)
job = registry.train(cfg, "runs/script")
model = zoo.load("runs/script")
frames = [registry.build(cfg["data"]["test"], "data.test", "datasets").image(i) for i in range(4)]
write_video("clip.mp4", iter(frames), 5)
write_png("face.png", frames[0])
ready = model.preprocess(frames)
xy = ready.to_original(model.predict(ready).landmarks.xy)
print(job.rows[0]["protocol"], xy.shape, model.preprocess.image_size)
"""


def test_a_run_from_start_to_end_in_an_empty_folder(python, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PYTHON", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # no Hub answers there
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = repr(dict(option.split("=") for option in SMALL))
    options = re.sub(r"'(\d+)'", r"\1", options)
    said = run(python, "-c", SCRIPT.replace("SMALL", options), cwd=tmp_path)
    assert said.splitlines()[-1] == "regression (4, 16, 2) 64"

    def command(*words):
        script = python.with_name("keypoint-zoo")
        done = subprocess.run([script, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = command("train", "factorized_puppets", "--cfg-options", *SMALL)
    assert "keypoint-zoo predict work_dirs/factorized_puppets YOUR_VIDEO" in said
    for file in ("last.pth", "metrics.json", "curve.png", "held_out.gif", "config.json"):
        assert (tmp_path / "work_dirs/factorized_puppets" / file).is_file()
    by_script, by_command = (
        json.loads((tmp_path / folder / "metrics.json").read_text())
        for folder in ("runs/script", "work_dirs/factorized_puppets")
    )
    assert by_script == by_command
    assert json.loads(command("evaluate", "runs/script", "--json")) == by_command
    command("predict", "runs/script/last.pth", "clip.mp4", "--out", "results")
    assert len((tmp_path / "results/clip_landmarks.csv").read_text().splitlines()) == 5
    assert (tmp_path / "results/clip_landmarks.mp4").is_file()
    command("animate", "runs/script", "face.png", "clip.mp4", "--out", "moved.gif")
    assert (tmp_path / "moved.gif").is_file()
    words = ("runs/script", "me/mine", "--license", "apache-2.0", "--dry-run")
    assert command("publish", *words).endswith("/me/mine: nothing was sent\n")
