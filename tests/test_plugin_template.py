"""examples/plugin as others have it: built into a wheel, installed, used, broken, removed."""

import json
import shutil
from pathlib import Path

import pytest
from venvs import OFFLINE, ROOT, make_venv, pip, run

TEMPLATE = ROOT / "examples" / "plugin"
ENTRY, PART = "example-convnext-regressor", "encoders/example/convnext"

LIST = """
import json, sys, warnings

import zoo

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = {entry.name: entry.provider for entry in zoo.list()}
heavy = ("torch", "mmengine", "numpy", "huggingface_hub", "keypoint_zoo_example")
answer = {
    "listed": found,
    "imported by listing": [name for name in heavy if name in sys.modules],
    "warned": [str(warning.message) for warning in caught],
}
"""

USE = """
import torch

model = zoo.load("example-convnext-regressor")
answer["encoder"] = type(model.bottleneck.encoder).__module__
answer["landmarks"] = list(model.bottleneck(torch.zeros(1, 1, 32, 32)).xy.shape)
zoo.save(model, "kept", name="kept", license="apache-2.0")
answer["missing"] = zoo.info("dir:kept").missing
sys.stdout.write(json.dumps(answer))
"""

LACK = """
import zoo.errors

def error(reference):
    try:
        zoo.load(reference)
    except zoo.errors.ZooError as error:
        return [type(error).__name__, str(error)]

answer["by name"] = error("example-convnext-regressor")
answer["kept"] = error("dir:kept")
answer["missing"] = zoo.info("dir:kept").missing
answer["ours"] = type(zoo.build("imm-puppets")).__name__
answer["doctor"] = [line for line in zoo.doctor(cache_dir="none") if line.startswith("plugin")]
sys.stdout.write(json.dumps(answer))
"""

BROKEN = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "kp-broken"
version = "2.0"

[project.entry-points."keypoint_zoo.entries"]
lost = "kp_lost:index"
torn = "kp_torn:index"

[tool.setuptools]
packages = ["kp_lost", "kp_torn"]

[tool.setuptools.package-data]
kp_torn = ["index.json"]
""",
    "kp_lost/__init__.py": "",
    "kp_torn/__init__.py": "raise ImportError('never imported')\n",
    "kp_torn/index.json": '{"format_version": 1, "entries": {',
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a program is told with the template, with broken plugins, and without any."""
    home = tmp_path_factory.mktemp("template")
    python = make_venv(home / "venv")
    leave_out = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*")
    shutil.copytree(TEMPLATE, home / "copy", ignore=leave_out)
    pip(python, "wheel", *OFFLINE, "--wheel-dir", home, home / "copy")
    [wheel] = home.glob("*.whl")
    pip(python, "install", *OFFLINE, wheel)
    # away from its sources: what is tested is what was installed
    shutil.copytree(home / "copy" / "tests", home / "tests")
    tested = run(python, "-m", "pytest", "-p", "no:cacheprovider", "tests", cwd=home)
    installed = json.loads(run(python, "-c", LIST + USE, cwd=home))

    find = "from importlib.util import find_spec as f; print(f('keypoint_zoo_example').origin)"
    inside = Path(run(python, "-c", find).strip()).parent
    (inside / "convnext.py").write_text("import a_library_that_is_not_there\n")
    for path, text in BROKEN.items():
        file = home / "broken" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    pip(python, "install", *OFFLINE, home / "broken")
    broken = json.loads(run(python, "-c", LIST + LACK, cwd=home))

    pip(python, "uninstall", "--yes", "keypoint-zoo-example", "kp-broken")
    removed = json.loads(run(python, "-c", LIST + LACK, cwd=home))
    command = run(python, "-m", "zoo", "list", cwd=home)
    return {
        "wheel": wheel.name,
        "tested": tested,
        "installed": installed,
        "broken": broken,
        "removed": removed,
        "command": command,
        "left": inside.exists(),
    }


def test_the_template_builds_and_passes_its_own_tests(told):
    assert told["wheel"] == "keypoint_zoo_example-0.1.0-py3-none-any.whl"
    assert "6 passed" in told["tested"]


def test_its_entry_is_listed_without_importing_it(told):
    listed = told["installed"]["listed"]
    assert listed[ENTRY] == "keypoint-zoo-example 0.1.0"
    assert listed["imm-puppets"] == "keypoint-zoo"
    assert told["installed"]["imported by listing"] == []
    assert told["installed"]["warned"] == []


def test_its_entry_is_loaded_and_saved_again(told):
    assert told["installed"]["encoder"] == "keypoint_zoo_example.convnext"
    assert told["installed"]["landmarks"] == [1, 15, 2]
    assert told["installed"]["missing"] == []


def test_broken_plugins_do_not_break_the_others(told):
    broken = told["broken"]
    assert broken["listed"] == told["installed"]["listed"]
    assert broken["imported by listing"] == []
    assert broken["ours"] == "Reconstruction"


def test_a_broken_index_is_named_with_its_distribution(told):
    lost, torn = told["broken"]["doctor"]
    text = "The index of kp-broken 2.0 cannot be read, so its entries are missing:"
    assert lost.startswith(f"plugin: {text} there is no ")
    assert lost.endswith("index.json.")
    assert torn.startswith(f"plugin: {text} ")
    assert "index.json is not valid JSON" in torn
    assert told["broken"]["warned"] == [
        line.replace("plugin:", "keypoint-zoo:") for line in (lost, torn)
    ]


@pytest.mark.parametrize("reference", ["by name", "kept"])
def test_a_broken_component_is_named_with_its_distribution(told, reference):
    name, text = told["broken"][reference]
    assert name == "PluginError"
    assert text == (
        f"architecture: '{PART}' comes from the plugin keypoint-zoo-example 0.1.0, which cannot be "
        "imported (keypoint_zoo_example.convnext:ConvNext): ModuleNotFoundError: No module named "
        "'a_library_that_is_not_there'. Fix or uninstall that plugin; all other names work."
    )


def test_removing_it_removes_its_files_and_its_entry(told):
    assert not told["left"]
    listed = dict(told["installed"]["listed"])
    del listed[ENTRY]
    removed = told["removed"]
    assert removed["listed"] == listed
    assert (removed["warned"], removed["doctor"]) == ([], [])
    name, text = removed["by name"]
    assert name == "UnknownEntryError"
    assert text.startswith(f"There is no zoo entry '{ENTRY}'.")
    assert ENTRY not in told["command"]
    assert "imm-puppets" in told["command"]


def test_a_package_that_needs_it_says_what_it_claims_to_need(told):
    assert told["removed"]["missing"] == [PART]
    name, text = told["removed"]["kept"]
    assert name == "MissingArchitectureError"
    assert text.startswith(
        f"Entry 'kept' needs '{PART}', which is not installed. According to the entry, it "
        f"comes from the distribution 'keypoint-zoo-example'. If you trust it, pip install "
        f"'keypoint-zoo-example>=0.1.0'. Nothing was installed. Available: encoders/"
    )
