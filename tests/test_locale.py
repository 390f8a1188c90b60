"""Commands of packages where the locale is not UTF-8, with names and texts that are not ASCII."""

import json
import os
import subprocess
import sys

import pytest
from zoo_packages import RESULT, ROOT, loadable_package, seal

NAMES = "Größe 点 ё"
CHILD = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from zoo import cli, index
answers = []
index.register_index(sys.argv[2])
for words in json.load(open(sys.argv[1], encoding="utf-8")):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding) for _ in "oe")
    err.reconfigure(errors="backslashreplace")
    words = [os.fsdecode(word.encode()) for word in words]  # as the system gives them
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(words)
    texts = [one.buffer.getvalue().decode("latin-1") for one in (out, err)]
    answers.append([code, *texts])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A package with texts that are not ASCII, in a folder with such a name, and an index."""
    home = tmp_path_factory.mktemp("home") / NAMES
    folder = loadable_package(home / "package")
    card = folder / "README.md"
    text = card.read_text("utf-8").replace("# tiny", f"# tiny {NAMES}")
    card.write_text(text, "utf-8")
    (folder / "LICENSE").write_text(f"Lizenz für {NAMES}", "utf-8")
    row = {**RESULT, "definition": NAMES, "dataset": {"id": "x", "name": NAMES, "split": NAMES}}
    (folder / "evaluation.json").write_text(
        json.dumps({"format_version": 1, "results": [row]}, ensure_ascii=False), "utf-8"
    )
    seal(folder)
    told = {"task": "keypoint-detection", "architecture": "pipelines/reconstruction"}
    entry = {**told, "dataset": NAMES, "summary": f"A {NAMES}.", "package": "package"}
    index = {"format_version": 1, "entries": {"acme-net": {**entry, "license": "mit"}}}
    (home / "index.json").write_text(json.dumps(index, ensure_ascii=False), "utf-8")
    return home


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_commands_of_packages_work_in_any_locale(encoding, place, tmp_path):
    folder = str(place / "package")
    words = [
        ["card", folder],
        ["card", folder, "--write"],
        ["info", folder],
        ["info", "acme-net"],
        ["list", "acme-*"],
        ["verify", folder],
        ["verify", folder, "--deep"],
        ["pull", folder, "--dest", str(tmp_path / NAMES)],
        ["push", folder, "lab/x", "--dry-run"],
        ["info", folder, "--json"],
        ["verify", str(place / "nothing")],
    ]
    if encoding != "ascii":
        words.remove(["verify", folder, "--deep"])  # which imports torch: once is enough
    (tmp_path / "words.json").write_text(json.dumps(words), "utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LC_", "PYTHONIO"))}
    env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    env |= {"PYTHONIOENCODING": encoding, "HF_ENDPOINT": "http://127.0.0.1:9"}
    env |= {"PYTHONWARNDEFAULTENCODING": "1", "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "error::EncodingWarning:zoo", "-c", CHILD]
    done = subprocess.run(
        [*command, str(tmp_path / "words.json"), str(place / "index.json")],
        env=env,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    answers = json.loads(done.stdout)
    for asked, (code, out, err) in zip(words, answers):
        assert code == (2 if "nothing" in asked[-1] else 0), (asked, code, err)
        lines = [line for line in err.splitlines() if line.startswith("error")]
        assert len(lines) == (code != 0)
        assert "Traceback" not in out + err
    texts = [out for _, out, _ in answers]
    shown = NAMES.encode(encoding, "backslashreplace").decode("latin-1")
    for at in (0, 2, 3, 4):
        assert shown in texts[at], words[at]
    read = (tmp_path / NAMES / "README.md").read_text("utf-8")
    assert read == (place / "package" / "README.md").read_text("utf-8")
