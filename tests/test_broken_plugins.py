"""Plugins that are broken in fifty ways: one line names plugin and distribution, all else works."""

import json
import os
import subprocess
import sys
import warnings

import pytest

import registry
from registry import ConfigError, plugins
from registry.docs import sheet
from registry.plugins import foreign
from tests.runs import ROOT

GOOD = """
from registry import LOSSES
from torch import nn
@LOSSES.register_module("losses/bad/net")
class Net(nn.Module):
    def forward(self, outputs, batch):
        return batch.source.mean()
"""
IMPORTS = {  # source of the module -> what the line says of it
    "exit 0": ("import sys\nsys.exit(0)", "SystemExit: 0"),
    "exit none": ("import sys\nsys.exit()", "SystemExit"),
    "exit text": ("import sys\nsys.exit('goodbye')", "SystemExit: goodbye"),
    "exit many": ("import sys\nsys.exit(['a', 'b'])", "SystemExit: ['a', 'b']"),
    "exit builtin": ("exit(3)", "SystemExit: 3"),
    "quit builtin": ("quit()", "SystemExit"),
    "exit subclass": ("class Mine(SystemExit): pass\nraise Mine(0)", "Mine: 0"),
    "generator exit": ("raise GeneratorExit('x')", "GeneratorExit: x"),
    "base": ("raise BaseException('base')", "BaseException: base"),
    "base subclass": ("class Odd(BaseException): pass\nraise Odd", "Odd"),
    "exception": ("raise Exception('plain')", "Exception: plain"),
    "stop": ("raise StopIteration", "StopIteration"),
    "async": ("import asyncio\nraise asyncio.CancelledError('c')", "CancelledError: c"),
    "several": ("raise RuntimeError('a\\nb\\tc')", "RuntimeError: a b c"),
    "escape": ("raise RuntimeError('\\x1b[31mred\\0')", "RuntimeError: [31mred"),
    "long": ("raise RuntimeError('x' * 10**6)", "RuntimeError: xxx"),
    "no text": ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
    "missing": ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
    "missing name": ("from registry import Nonsense", "cannot import name 'Nonsense'"),
    "syntax": ("class = 3", "SyntaxError: invalid syntax"),
    "indent": ("  x = 1", "IndentationError: unexpected indent"),
    "tabs": ("if 1:\n\tx = 1\n        y = 1", "TabError"),
    "nul": ("x = '\0'", "null bytes"),
    "zero": ("1 / 0", "ZeroDivisionError: division by zero"),
    "assert": ("raise AssertionError('no')", "AssertionError: no"),
    "memory": ("raise MemoryError", "MemoryError"),
    "recursion": ("def f(): f()\nf()", "RecursionError: maximum recursion depth"),
    "itself": ("from bad_plugin import Net", "cannot import name 'Net'"),
    "os error": ("open('/no/such/file')", "FileNotFoundError: [Errno 2]"),
    "key": ("{}['k']", "KeyError: 'k'"),
    "unicode": ("b'\\xff'.decode()", "UnicodeDecodeError"),
    "system": ("import os\nos.environ['NO_SUCH_VARIABLE']", "KeyError: 'NO_SUCH_VARIABLE'"),
    "no class": ("", "has no attribute 'Net'"),
    "a function": (
        "from registry import LOSSES\n@LOSSES.register_module('losses/bad/net')\ndef Net(): pass",
        "cannot be registered: it is not a class",
    ),
    "our name": (
        "from registry import LOSSES\n"
        "@LOSSES.register_module('losses/pixel', force=True)\nclass Net: pass",
        "'losses/pixel' cannot be registered by bad_plugin: it is components.losses.pixel.",
    ),
    "another name": (
        "from registry import LOSSES\n@LOSSES.register_module('losses/bad/other')\nclass Net: pass",
        "of the plugin bad-plugin 1.2 does not register that name",
    ),
    "another role": (
        "from registry import METRICS\n@METRICS.register_module('losses/bad/net')\nclass Net: pass",
        "of the plugin bad-plugin 1.2 does not register that name",
    ),
    "nothing": ("class Net: pass", "of the plugin bad-plugin 1.2 does not register that name"),
    "not a network": (
        "from registry import LOSSES\n@LOSSES.register_module('losses/bad/net')\nclass Net: pass",
        "'losses/bad/net' does not fit Loss",
    ),
    "prints, then fails": ("print('{}')\nraise ValueError('x')", "ValueError: x"),
    "closes": ("import sys\nraise SystemExit(sys.argv)", "SystemExit"),
    "constructor exits": (
        GOOD + "    def __init__(self):\n        raise SystemExit(0)\n",
        "model: losses/bad/net: SystemExit: 0",
    ),
    "constructor fails": (
        GOOD + "    def __init__(self):\n        raise BaseException('b')\n",
        "model: losses/bad/net: BaseException: b",
    ),
    "strange hints": (
        GOOD + "    def __init__(self, *, x: 'a b' = 1):\n        raise ValueError('y')\n",
        "model: losses/bad/net: ValueError: y",
    ),
}
VALUES = {  # entry point -> what the line says
    "bad_plugin": "does not register that name",
    "bad_plugin:": None,
    ":Net": None,
    "bad plugin:Net": None,
    "bad_plugin:Net.x.y": "has no attribute",
    "json:dumps": "does not register that name",
    "no_such_module_anywhere:Net": "No module named 'no_such_module_anywhere'",
    "bad_plugin:Net [extra]": "does not register that name",
    "os.path:join": "does not register that name",
    "": None,
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution onto sys.path; forget everything about it afterwards."""

    def put(source, value="bad_plugin:Net", name="losses/bad/net"):
        (tmp_path / "bad_plugin.py").write_text(source, encoding="utf-8")
        info = tmp_path / "bad_plugin-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[keypoint_zoo.components]\n{name} = {value}\n")

    monkeypatch.syspath_prepend(tmp_path)
    plugins._components.cache_clear()
    yield put
    plugins._components.cache_clear()
    sys.modules.pop("bad_plugin", None)
    for role in registry.ROLES.values():
        for name in [name for name in role.module_dict if "/bad/" in name]:
            del role.module_dict[name]


def line_of(capsys):
    """What building the plugin's loss is refused with; our names work before and after."""
    assert "losses/bad/net" in registry.LOSSES.names()
    with pytest.raises(ConfigError) as caught:
        registry.build({"type": "losses/bad/net"}, "model", "losses")
    assert type(registry.build({"type": "losses/pixel"})).__module__ == "components.losses.pixel"
    line = str(caught.value)
    assert line.startswith("model: ")
    assert line.isprintable()
    assert len(line) < 3000
    assert capsys.readouterr().out == ""
    return line


@pytest.mark.parametrize("case", IMPORTS)
def test_a_plugin_that_breaks_when_imported_or_built_is_one_line(case, install, capsys):
    source, said = IMPORTS[case]
    install(source)
    line = line_of(capsys)
    assert said in line
    assert case.startswith(("constructor", "strange", "not a")) or "plugin bad-plugin 1.2" in line


@pytest.mark.parametrize("value", VALUES)
def test_a_wrong_entry_point_is_one_line(value, install, capsys):
    install("class Net: pass", value)
    if VALUES[value] is None:
        try:
            line = line_of(capsys)
        except AssertionError:  # Python itself does not list it
            assert "losses/bad/net" not in registry.LOSSES.names()
            return
        assert "plugin bad-plugin 1.2" in line
        with pytest.raises(
            ConfigError, match=r"plugin bad-plugin 1\.2 cannot be used: its entry point"
        ):
            sheet("losses/bad/net")
    else:
        assert VALUES[value] in line_of(capsys)


def test_a_plugin_cannot_change_output_or_warnings(install, capsys):
    install("import warnings\nwarnings.simplefilter('ignore')\nprint('hello')\n" + GOOD)
    filters = warnings.filters[:]
    assert type(registry.build({"type": "losses/bad/net"})).__module__ == "bad_plugin"
    assert warnings.filters == filters
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_ctrl_c_during_an_import_is_not_an_error_of_the_plugin():
    with pytest.raises(KeyboardInterrupt), foreign("x"):
        raise KeyboardInterrupt


COMMAND = """
import sys
from zoo.cli import main
sys.exit(main(sys.argv[1:]))
"""


def command(*words, cwd, env=()):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}", **dict(env)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("code", ["exit(0)", "raise SystemExit('bye')"])
def test_a_config_that_calls_exit_does_not_end_the_command_in_success(code, tmp_path):
    (tmp_path / "quits.py").write_text(f"image_size = 8\n{code}\n", encoding="utf-8")
    done = command("train", "quits.py", "--json", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["class"], error["exit_code"]) == ("ConfigError", 2)
    assert error["message"].startswith("quits.py: SystemExit")
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["quits.py"]


def test_exit_anywhere_but_in_the_parser_is_an_error(monkeypatch, capsys):
    from zoo import cli
    from zoo.commands import list as command

    monkeypatch.setattr(command, "run", lambda **_: sys.exit(0))
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err.strip() == "error: something called exit(0)"
    assert cli.main(["list", "--help"]) == 0
    assert cli.main(["--version"]) == 0
