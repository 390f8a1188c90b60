"""Interpreters that remove docstrings, and locales that are not UTF-8."""

import ast
import os
import subprocess
import sys

import pytest

from tests.runs import ROOT, write_config
from zoo.cli import NAMES

DEFINITIONS = """
import json, sys
from pathlib import Path
import registry
from registry import ROLES
from registry.docs import docstring
from registry.protocols import PROTOCOLS
from zoo import cli
from zoo.publication import _definition
found = {"optimize": sys.flags.optimize}
for name in ROLES["metrics"].names():
    node = {"type": name, "normaliser": "image"}
    found[name] = _definition(node, {"frames fitted on": 100.0})
for role in PROTOCOLS:
    found[role] = docstring(PROTOCOLS[role][0])
for name in cli.NAMES:
    found[f"help of {name}"] = cli._help(cli._module(name))
registry.check("encoders/stem", width=2, out_channels=3)
registry.check("metrics/keypoint_error")
Path(sys.argv[1]).write_text(json.dumps(found, indent=1), encoding="utf-8")
"""
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def python(*words, cwd, **env):
    found = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=found, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def test_definitions_and_help_do_not_depend_on_the_interpreter_keeping_docstrings(tmp_path):
    for level in ("0", "2"):
        python("-c", DEFINITIONS, level, cwd=tmp_path, PYTHONOPTIMIZE=level)
    kept, removed = ((tmp_path / level).read_text(encoding="utf-8") for level in ("0", "2"))
    assert '"optimize": 2' in removed
    assert kept == removed.replace('"optimize": 2', '"optimize": 0')
    assert all(f'"help of {name}": ""' not in removed for name in NAMES)


def test_help_and_equations_without_docstrings(tmp_path):
    command = "import sys; from zoo.cli import main; sys.exit(main(sys.argv[1:]))"
    for words in (["--help"], ["train", "--help"], ["components"], ["where", "keypointgan", "2"]):
        kept, removed = (
            python("-c", command, *words, cwd=tmp_path, PYTHONOPTIMIZE=level) for level in "02"
        )
        assert kept == removed != ""


CALLS = {"open", "read_text", "write_text", "NamedTemporaryFile", "TextIOWrapper", "fdopen"}


def unnamed(file):
    """Yield the line of every text file that a module opens without naming its encoding."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        owner = getattr(getattr(called, "value", None), "id", "")
        if name not in CALLS or owner in ("Image", "os", "tarfile", "zipfile", "webbrowser"):
            continue
        text = ast.unparse(node)
        mode = [a.value for a in node.args if isinstance(a, ast.Constant)]
        binary = any(isinstance(v, str) and set(v) <= set("rwax+b") and "b" in v for v in mode)
        # **options are those of a table beside it, which names the encoding
        named = any(word.arg in ("encoding", None) for word in node.keywords)
        named |= name != "open" and any(str(v).lower() in ("utf-8", "utf-8-sig") for v in mode)
        own = name != "open" and owner == "" and isinstance(called, ast.Name)  # our own read_text
        if not (binary or named or own or "'wb'" in text or "'rb'" in text):
            yield f"{file.relative_to(ROOT)}:{node.lineno}: {text}"


@pytest.mark.parametrize("package", ["registry", "components", "zoo", "tools"])
def test_every_text_file_names_its_encoding(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert [line for file in files for line in unnamed(file)] == []


def test_a_run_in_a_locale_that_is_not_utf_8(tmp_path):
    """Names and notes of users have letters that the locale does not know."""
    text = (ROOT / "tests" / "runs.py").read_text(encoding="utf-8")
    assert "Tiny KeypointGAN" in text
    config = write_config(tmp_path)
    source = config.read_text(encoding="utf-8").replace("Tiny", "Tiny café, 小さい")
    config.write_text(source + 'label = "é 小"\n', encoding="utf-8")
    code = (
        "import warnings, locale, sys\n"
        "assert locale.getpreferredencoding(False).lower() not in ('utf-8', 'utf8')\n"
        "from zoo.cli import main\n"
        "code = main(['train', 'tiny.py', '--work-dir', 'run', '--cfg-options', "
        "'train.iterations=1', 'train.ema=none'])\n"
        "code = code or main(['evaluate', 'run'])\n"
        "code = code or main(['components', 'encoders/stem']) or main(['where', 'keypointgan'])\n"
        "sys.exit(code)\n"
    )
    python(
        *("-X", "warn_default_encoding", "-W", "error::EncodingWarning:registry"),
        *("-W", "error::EncodingWarning:components", "-c", code),
        cwd=tmp_path,
        **PLAIN_C,
    )
    assert (
        "é"
        in __import__("json").loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))[
            "label"
        ]
    )
