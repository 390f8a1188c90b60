"""keypoint-zoo new-plugin: what it writes, under which names, and that it works once installed."""

import json
import os

import pytest
from venvs import OFFLINE, ROOT, make_venv, pip, run

from zoo.answer import UsageError
from zoo.commands import new_plugin


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A plugin of another name, built, installed, and tested by its own tests."""
    home = tmp_path_factory.mktemp("new")
    answer = new_plugin.run("Acme_Lab", out=str(home / "made"))
    files = sorted(p.relative_to(home / "made").as_posix() for p in (home / "made").rglob("*.*"))
    python = make_venv(home / "venv")
    pip(python, "install", *OFFLINE, home / "made")
    config = "import keypoint_zoo_acme_lab as p; print(p.__path__[0])"
    look = (
        "import json, zoo; from zoo.commands.components import run; "
        "[entry] = zoo.list('acme-lab-*'); "
        "print(json.dumps([entry.name, entry.weights, entry.provider, entry.config.name, "
        "run('encoders/acme_lab/convnext').document['configs']]))"
    )
    return {
        "answer": answer,
        "files": [
            file for file in files if not file.startswith("build/") and "egg-info" not in file
        ],
        "tested": run(python, "-m", "pytest", "-p", "no:cacheprovider", home / "made", cwd=home),
        "looked": json.loads(run(python, "-c", look, cwd=home)),
        "at": run(python, "-c", config, cwd=home),
        "texts": {file: (home / "made" / file).read_text() for file in files if "egg" not in file},
    }


def test_what_it_writes(told):
    assert told["files"] == [
        "README.md",
        "keypoint_zoo_acme_lab/__init__.py",
        "keypoint_zoo_acme_lab/configs/acme_lab_convnext_regressor.py",
        "keypoint_zoo_acme_lab/convnext.py",
        "keypoint_zoo_acme_lab/index.json",
        "pyproject.toml",
        "tests/test_component.py",
    ]
    assert sorted(told["answer"].document["files"]) == told["files"]


def test_nothing_of_the_template_s_name_is_left(told):
    assert not [file for file, text in told["texts"].items() if "example" in text.lower()]
    project = told["texts"]["pyproject.toml"]
    assert 'name = "keypoint-zoo-acme-lab"' in project
    part = '"encoders/acme_lab/convnext" = "keypoint_zoo_acme_lab.convnext:ConvNext"'
    assert part in project


def test_its_own_tests_pass_once_it_is_installed(told):
    assert "4 passed" in told["tested"]
    assert "venv" in told["at"]  # and not the folder that it was written to


def test_its_entry_has_no_weights_yet(told):
    *entry, used = told["looked"]
    assert entry == [
        "acme-lab-convnext-regressor",
        "none",
        "keypoint-zoo-acme-lab 0.1.0",
        "acme_lab_convnext_regressor.py",
    ]
    assert used == ["acme_lab_convnext_regressor"]


def test_it_prints_what_comes_next(told):
    lines = told["answer"].lines
    assert "  pip install -e '.[test]'" in lines
    assert "  keypoint-zoo components encoders/acme_lab/convnext" in lines
    config = "keypoint_zoo_acme_lab/configs/acme_lab_convnext_regressor.py"
    assert lines[-1] == f"  keypoint-zoo train {config}"
    assert config in told["files"]


def test_with_the_template_s_name_it_writes_the_template(tmp_path):
    """examples/plugin is what the command writes, and a trained model."""
    new_plugin.run("example", out=str(tmp_path / "made"))
    for file in new_plugin.FILES:
        if not file.endswith("index.json"):
            assert (tmp_path / "made" / file).read_text() == (
                ROOT / "examples/plugin" / file
            ).read_text()


def test_its_folder_is_named_after_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new_plugin.run("keypoint-zoo-acme")
    assert os.listdir() == ["keypoint-zoo-acme"]  # and nothing temporary is left
    assert (tmp_path / "keypoint-zoo-acme/keypoint_zoo_acme/convnext.py").is_file()
    with pytest.raises(FileExistsError, match=r"keypoint-zoo-acme already exists\. Give another"):
        new_plugin.run("acme")


@pytest.mark.parametrize("there", ["file", "folder", "empty folder", "link"])
def test_it_never_writes_over_anything(tmp_path, there):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif "folder" in there:
        out.mkdir()
        (out if there == "empty folder" else out / "mine").touch()
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="already exists"):
        new_plugin.run("acme", out=str(out))
    assert os.listdir(tmp_path) == ["out"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(new_plugin, "FILES", (*new_plugin.FILES, "no_such_file.py"))
    with pytest.raises(FileNotFoundError):
        new_plugin.run("acme", out=str(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "1acme", "a b", "../acme", "acme/x", "-", "ümlaut", "a" * 41])
def test_a_name_that_makes_no_module(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be the name of a plugin"):
        new_plugin.run(name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "dashed"),
    [("acme", "acme"), ("Acme_Lab", "acme-lab"), ("a.b", "a-b"), ("keypoint-zoo-x2", "x2")],
)
def test_a_name_is_written_as_distributions_are(name, dashed):
    assert new_plugin.checked(name) == dashed
