"""Virtual environments that borrow the running interpreter's packages: nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")


def make_venv(folder: Path) -> Path:
    """Make an environment in which this checkout, and all it needs, can be imported.

    Returns:
        Its interpreter.
    """
    venv.create(folder, with_pip=find_spec("pip") is None, symlinks=os.name != "nt")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    borrowed = [str(ROOT), *(path for path in sys.path if Path(path).is_dir())]
    Path(purelib.strip(), "borrowed.pth").write_text("\n".join(borrowed))
    return python


def pip(python: Path, command: str, *words: str | Path) -> None:
    """Run a command of pip."""
    run(python, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *words)


def run(python: Path, *words: str | Path, cwd: Path | None = None) -> str:
    """Run the interpreter, which has to succeed, and return what it prints."""
    result = subprocess.run([python, *words], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
