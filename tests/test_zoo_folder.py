"""Writing packages: whoever is killed, whoever comes first, the old or the new one is there."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from packages import make_package, package_files

from registry.claim import claim
from zoo import folder, package, saving
from zoo.errors import IntegrityError, UnknownEntryError
from zoo.folder import leftovers, tidy, write_folder
from zoo.model import load
from zoo.package import open_package

ROOT = Path(__file__).parents[1]

# children that only write files and are killed
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def content(version, size=2000):
    return {"config.json": b'{"name": "demo"}', "README.md": bytes([version]) * size}


def version_of(dest):
    """Return the version in a folder every byte of which its manifest confirms."""
    manifest = json.loads((dest / "manifest.json").read_bytes())
    for path, stated in manifest["files"].items():
        assert (dest / path).stat().st_size == stated["size"]
    text = (dest / "README.md").read_bytes()
    assert len(set(text)) == 1
    return text[0]


def present(dest):
    """Return the folder a reader opens."""
    from zoo.package import _present

    return _present(dest)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two small models to save, and their marks: the first number of the first weight."""
    from registry import load_config
    from registry.build import build_model

    cfg = load_config(ROOT / "configs" / "keypointgan_puppets_regressor.py")
    cfg["model"]["bottleneck"]["encoder"]["width"] = 2
    made = {}
    for seed in (1, 2):
        import torch

        torch.manual_seed(seed)
        pipeline = build_model(cfg)
        made[mark(pipeline)] = pipeline
    return cfg, made


def mark(pipeline):
    return float(next(iter(pipeline.state_dict().values())).flatten()[0])


def test_fifty_kills_of_save_leave_the_old_or_the_new_model(models, tmp_path):
    """zoo.save, killed at a random moment, 50 times; each time the next process loads."""
    cfg, made = models
    old, new = made.values()
    dest = tmp_path / "model"

    def save(pipeline):
        saving.save(pipeline, dest, name="m", license="mit", cfg=cfg, overwrite=True)

    save(old)
    save(old)
    start = time.monotonic()
    save(old)
    lasts = time.monotonic() - start
    chance, seen = random.Random(5), {"old": 0, "new": 0}
    for turn in range(50):
        child = os.fork()
        if child == 0:
            try:
                save(new if turn % 2 == 0 else old)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 1.1 * lasts))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = mark(load(dest))  # every byte checked against the manifest, then built
        assert found in made
        wanted = mark(new if turn % 2 == 0 else old)
        seen["new" if found == wanted else "old"] += 1
    save(new)  # the next attempt succeeds and tidies up
    assert mark(load(dest)) == mark(new)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sum(seen.values()) == 50


STEPS = """
import os, signal, sys
sys.path.insert(0, {root!r})
from zoo import folder
count = 0
def counted(function):
    def wrapper(*args, **kwargs):
        global count
        count += 1
        if count == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper
for name in ("rename", "fsync", "open"):
    setattr(os, name, counted(getattr(os, name)))
folder.shutil.rmtree = counted(folder.shutil.rmtree)
folder.write_folder({dest!r}, {{"config.json": b'{{"name": "demo"}}', "README.md": b"\\2" * 2000}},
                    overwrite=True)
sys.stdout.write(str(count))
"""


def test_a_kill_at_every_single_step_leaves_old_or_new(tmp_path):
    dest, seen = tmp_path / "demo", []
    for step in range(1, 40):
        write_folder(dest, content(1), overwrite=True)
        code = STEPS.format(root=str(ROOT), step=step, dest=str(dest))
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seen.append(version_of(present(dest)))
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL, result.stderr
        tidy(dest)
        assert version_of(dest) == seen[-1]
        assert not leftovers(dest)
    assert step > 8  # files, manifest, both renames, tidying up
    assert seen[0] == 1
    assert seen[-1] == 2
    assert seen == sorted(seen)


def test_writers_at_once_all_succeed_and_one_is_there(tmp_path):
    dest = tmp_path / "demo"
    write_folder(dest, content(9))
    children = []
    for version in range(1, 5):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(10):
                    write_folder(dest, content(version), overwrite=True)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * 4
    assert version_of(dest) in range(1, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_writer_waits_for_the_other_one(tmp_path, monkeypatch):
    """Nobody looks at a folder that somebody else is about to replace."""
    dest, look, second = tmp_path / "demo", folder._foreign, []
    write_folder(dest, content(1))

    def other():
        write_folder(dest, content(3), overwrite=True)

    def looking(path):
        if not second:
            second.append(threading.Thread(target=other))
            second[0].start()
            second[0].join(0.2)
            assert second[0].is_alive()
            assert version_of(dest) == 1
        return look(path)

    monkeypatch.setattr(folder, "_foreign", looking)
    write_folder(dest, content(2), overwrite=True)
    second[0].join()
    assert version_of(dest) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_reader_of_a_package_that_is_replaced_gets_the_new_one(tmp_path, monkeypatch):
    dest = make_package(tmp_path / "demo", value=1.0)
    files, new, read = package_files(value=2.0), [], package._read_checked

    def replaced_meanwhile(file, *stated):
        if file.name == "golden.safetensors" and not new:
            new.append(write_folder(dest, files, overwrite=True))
        return read(file, *stated)

    monkeypatch.setattr(package, "_read_checked", replaced_meanwhile)
    found = open_package(dest)
    assert [found.digest] == new
    (dest / "README.md").write_text("damaged")
    with pytest.raises(IntegrityError, match=r"README\.md"):  # and no endless trying
        open_package(dest)


def test_what_is_deleted_is_never_taken_for_the_old_one(tmp_path, monkeypatch):
    dest, seen = tmp_path / "demo", []
    write_folder(dest, content(1))
    monkeypatch.setattr(folder.shutil, "rmtree", lambda path, **_: seen.append(path))
    write_folder(dest, content(2), overwrite=True)
    assert [path.suffix for path in seen] == [".staging", ".staging"]  # the old one, and its own
    assert not folder.beside(dest, "old")
    monkeypatch.undo()
    assert tidy(dest) == seen[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert version_of(dest) == 2


def test_a_full_disk_leaves_the_old_one(tmp_path):
    dest = tmp_path / "demo"
    write_folder(dest, content(1))
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from zoo.folder import write_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_folder({str(dest)!r}, {{"config.json": b'{{"name": "demo"}}', "README.md": b"2" * 200_000}},
             overwrite=True)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in result.stderr
    assert version_of(dest) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_nothing_that_is_not_a_package_is_ever_replaced(tmp_path):
    dest = tmp_path / "demo"
    dest.mkdir()
    (dest / "thesis.txt").write_text("three years")
    for overwrite, text in (
        (False, "already exists. Give another"),
        (True, "contains thesis.txt, so it is not replaced"),
    ):
        with pytest.raises(FileExistsError, match=text):
            write_folder(dest, content(1), overwrite=overwrite)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="exists and is not a folder"):
        write_folder(tmp_path / "file", content(1), overwrite=True)
    assert (dest / "thesis.txt").read_text() == "three years"
    write_folder(tmp_path / "new" / "deep", content(1))
    with pytest.raises(FileExistsError, match=r"Give another folder, or \(in Python\) overwrite"):
        write_folder(tmp_path / "new" / "deep", content(2))
    assert version_of(tmp_path / "new" / "deep") == 1


def test_a_manifest_alone_makes_no_package(tmp_path):
    dest = tmp_path / "app"
    (dest / "src").mkdir(parents=True)
    (dest / "manifest.json").write_text('{"name": "extension", "version": 3}')
    (dest / "src" / "app.js").write_text("precious")
    with pytest.raises(FileExistsError, match=r"contains manifest\.json|contains src/app\.js"):
        write_folder(dest, content(1), overwrite=True)
    write_folder(tmp_path / "demo", content(1))
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"contains notes\.txt, so it is not replaced"):
        write_folder(tmp_path / "demo", content(2), overwrite=True)
    assert (dest / "src" / "app.js").read_text() == "precious"
    assert version_of(tmp_path / "demo") == 1


def test_what_was_set_aside_for_another_name_is_not_taken(tmp_path):
    other = tmp_path / ".model-1.2.999999999-deadbeef.old"
    write_folder(other, content(1))
    with pytest.raises(UnknownEntryError):
        open_package(tmp_path / "model-1")
    tidy(tmp_path / "model-1")
    assert other.exists()
    tidy(tmp_path / "model-1.2")
    assert version_of(tmp_path / "model-1.2") == 1


def test_leftovers_of_a_running_writer_are_spared_whatever_its_number(tmp_path):
    """Another container has the same process numbers, or others that nobody here has."""
    dest = tmp_path / "demo"
    staging = [tmp_path / f".demo.{mark}0123abcd.staging" for mark in ("", "999999999-", "1-")]
    for path in (*staging, tmp_path / ".demo.backup.old"):
        path.mkdir()
    with claim(tmp_path / ".demo.claim"):  # what every writer of it holds
        assert folder.leftovers(dest) == []
    assert sorted(folder.leftovers(dest)) == sorted(staging)
    tidy(dest)
    assert [path.name for path in tmp_path.iterdir()] == [".demo.backup.old"]


def test_a_living_writer_of_another_container_keeps_its_staging_folder(tmp_path):
    """Its process number, 999999999, belongs to nobody here."""
    dest, marks = tmp_path / "demo", (tmp_path / "writing", tmp_path / "waiting")
    code = f"""
import os, sys, time
os.getpid = lambda: 999999999
from pathlib import Path
from zoo import folder
write = folder._write
def slow(file, data):
    Path({str(marks[0])!r}).touch()
    while not Path({str(marks[1])!r}).exists():
        time.sleep(0.01)
    time.sleep(0.2)
    return write(file, data)
folder._write = slow
folder.write_folder({str(dest)!r}, {{"config.json": b'{{"name": "demo"}}', "README.md": b"22"}})
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE) as other:
        while not marks[0].exists() and other.poll() is None:
            time.sleep(0.01)
        marks[1].touch()
        write_folder(dest, content(1), overwrite=True)
        assert other.wait() == 0, other.stderr.read()
    assert version_of(dest) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "waiting", "writing"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UnknownEntryError, match="no folder"):
        open_package(tmp_path / "nowhere")
