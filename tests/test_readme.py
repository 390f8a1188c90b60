"""The README tells the truth: its commands, names, code and index are those of the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_first_screen_holds_both_commands_and_the_tree():
    screen = "\n".join(README.splitlines()[:45])
    assert "pip install -e . && python tools/train.py configs/keypointgan_puppets.py" in screen
    assert "pip install -e '.[test]' && pytest" in screen
    folders = {p.name for p in (ROOT / "components").iterdir() if p.is_dir() and p.name[0] != "_"}
    for name in folders - {"compositors"}:
        assert f"{name}/" in screen, name
    for name in ("registry", "zoo", "configs", "tools", "tests"):
        assert f"{name}/" in screen


def test_named_files_exist():
    for path in re.findall(r"\b((?:tools|configs|registry|components)/[\w/]+\.py)\b", README):
        assert (ROOT / path).is_file() or path == "components/encoders/tiny.py", path
    table = README[README.index("| experiment |") : README.index("## Results")]
    for name in re.findall(r"`([a-z]\w+_\w+)`", table):
        assert (ROOT / f"configs/{name}.py").is_file(), name


def test_every_config_is_in_the_readme():
    for path in (ROOT / "configs").glob("*.py"):
        stem = path.stem.removesuffix("_regressor")
        suffix = stem.removeprefix("keypointgan_h36m")
        assert stem in README or f"`{suffix}`" in README or "3dhp" in stem or "multipie" in stem, (
            stem
        )


def test_options_on_the_commands_exist():
    for line in blocks("bash")[0].splitlines():
        words = line.split("#")[0].split()
        tool = next((w for w in words if w.startswith(("tools/", "keypoint-zoo"))), None)
        if tool is None:
            continue
        # what keypoint-zoo and tools/predict.py take is said by the same file
        shared = tool in ("keypoint-zoo", "tools/predict.py")
        source = (ROOT / ("zoo/cli.py" if shared else tool)).read_text()
        for option in (w for w in words[words.index(tool) :] if w.startswith("--")):
            assert f'"{option}"' in source, line


def test_the_example_component_passes_its_tests(tmp_path):
    code = next(code for code in blocks("python") if "register_module" in code)
    code = code.replace('"encoders/tiny"', '"encoders/readme/tiny"')
    (tmp_path / "tiny.py").write_text(code)
    check = "import tiny, registry; registry.check('encoders/readme/tiny', width=4)"
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", check], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_equation_index_is_what_the_tool_prints():
    command = [sys.executable, str(ROOT / "tools/where.py"), "keypointgan"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    wanted = [line for line in printed.splitlines() if line.startswith("eq")]
    assert blocks("text")[0].splitlines() == wanted
