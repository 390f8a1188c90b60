"""Ctrl-C and SIGTERM anywhere: one line on stderr, status 130 or 143, nothing left behind.

Signals are sent at known places of the code, not after some time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from tests.runs import ROOT, environment
from tests.test_ranks import CONFIG
from zoo import cli

MODEL = "factorized-puppets"


def ctrl_c(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def terminal_like():
    """Ctrl-C raises, as in a terminal; afterwards it does what it did."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((32, 32, 3), np.uint8))
    return folder


def answered(words, capsys) -> str:
    assert cli.main([str(word) for word in words]) == 130
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[-1].startswith("interrupted")
    assert "Traceback" not in told.err
    return lines[-1]


COMMANDS = {
    "predict": ("{model}", "{pictures}", "--out", "{out}/p"),
    "export": ("{model}", "--format", "torchscript", "--out", "{out}/m.pt"),
    "evaluate": ("{model}",),
    "benchmark": ("--rounds", "1"),
    "pull": ("hf:acme/thing", "--dest", "{out}/thing"),
    "push": ("{out}", "acme/thing"),
    "publish": ("{out}", "--license", "apache-2.0"),
    "prepare": ("flow", "monkeynet_puppets"),
}
# where the signal comes: the first file that would be put in its place, unless said otherwise
PLACES = {
    "evaluate": "zoo.scoring.evaluate",
    "benchmark": "zoo.benchmarks.compare",
    "pull": "zoo.hub.resolve",
    "push": "zoo.hub.push",
    "publish": "zoo.folder.check_free",
    "prepare": "registry.config.load_config",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_in_a_command_is_one_line_and_leaves_no_file(
    command, tmp_path, pictures, monkeypatch, capsys
):
    """The clean-up itself is interrupted again, as by somebody who presses Ctrl-C twice."""
    real = os.unlink

    def unlink(path, **more):
        ctrl_c()
        real(path, **more)

    (tmp_path / "out").mkdir()
    places = {"model": MODEL, "pictures": pictures, "out": tmp_path / "out"}
    monkeypatch.setattr(PLACES.get(command, "os.replace"), ctrl_c)
    monkeypatch.setattr("os.unlink", unlink)
    line = answered([command, *(word.format(**places) for word in COMMANDS[command])], capsys)
    assert line == "interrupted"
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("error", [ImportError("half a module"), RuntimeError("in C++"), None])
def test_an_interrupt_that_a_library_turns_into_its_own_error(error, monkeypatch, capsys):
    """As extension modules do while they are imported; None: into the end of the process."""

    def run(**_):
        try:
            ctrl_c()
        except KeyboardInterrupt:
            raise (error or SystemExit(3)) from None

    monkeypatch.setattr("zoo.commands.list.run", run)
    assert answered(["list"], capsys) == "interrupted"


def test_an_interrupt_that_python_cannot_raise_comes_again(monkeypatch, capsys):
    """In ``__del__``, Python prints "Exception ignored in" and goes on."""

    class Thing:
        def __del__(self):
            ctrl_c()

    def run(**_):
        thing = Thing()
        del thing
        while True:
            pass

    monkeypatch.setattr("zoo.commands.list.run", run)
    assert answered(["list"], capsys) == "interrupted"
    assert "ignored" not in capsys.readouterr().err


def shell(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    code = f"import signal, sys\n{textwrap.dedent(code)}\nfrom zoo import cli\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"sys.exit(cli.main({[str(word) for word in words]}))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True
    )


def test_sigterm_is_one_line_and_status_143():
    code = """
    import zoo.commands.list as one
    one.run = lambda **_: signal.raise_signal(signal.SIGTERM)
    """
    done = shell(code, "list")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped by SIGTERM\n")


TRAIN = {
    # a module of torch is imported
    "import": """
        import builtins
        real = builtins.__import__
        def imported(name, *more, **options):
            if name == "torch.nn":
                builtins.__import__ = real
                signal.raise_signal(signal.SIGINT)
            return real(name, *more, **options)
        builtins.__import__ = imported
        """,
    # a dataset is built
    "data": """
        import registry.loading
        registry.loading.Datasets.__call__ = lambda *_: signal.raise_signal(signal.SIGINT)
        """,
    # in the third iteration, twice: the run does not finish the iteration then
    "twice": """
        import registry.job
        real = registry.job.Job.set_lr
        def set_lr(self, optimizer, iteration):
            real(self, optimizer, iteration)
            if iteration == 2:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
        registry.job.Job.set_lr = set_lr
        """,
    "sigterm": """
        import registry.job
        real = registry.job.Job.set_lr
        def set_lr(self, optimizer, iteration):
            real(self, optimizer, iteration)
            if iteration == 2:
                signal.raise_signal(signal.SIGTERM)
        registry.job.Job.set_lr = set_lr
        """,
}


@pytest.mark.parametrize("place", TRAIN)
def test_training_stopped(place, tmp_path):
    config = CONFIG.partition("    hooks=")[0] + ")\n"
    (tmp_path / "tiny.py").write_text(f'"""Tiny."""\n{config}')
    work = tmp_path / "work"
    words = ("train", tmp_path / "tiny.py", "--work-dir", work, "--cfg-options", "data.workers=2")
    done = shell(TRAIN[place], *words)
    assert done.returncode == (143 if place == "sigterm" else 130), done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    last = {
        "import": "interrupted",
        "data": "interrupted",
        "twice": f"interrupted. {work}/last.pth is complete up to iteration 2; --resume continues "
        "it.",
    }
    if place == "sigterm":
        assert f"Stopped; {work}/last.pth is complete. Resume with:" in done.stdout
    else:
        assert done.stderr.splitlines()[-1] == last[place]
        assert done.stdout == ""
    left = [path.name for path in work.glob(".*")] if work.exists() else []
    assert [name for name in left if name != ".claim"] == []


def test_a_loader_process_whose_training_has_gone_says_nothing():
    """multiprocessing hands what its thread for shared memory meets to ``sys.excepthook``."""
    text = """
        import sys
        from registry.loading import one_thread
        one_thread(0)
        for error in (ConnectionResetError("gone"), EOFError("gone"), ValueError("kept")):
            sys.excepthook(type(error), error, None)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "ValueError: kept\n")
