"""The one writer: full disks, dead writers and living ones."""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from components.data.state_cache import save_states
from components.data.video import write_gif
from components.drawing import write_png
from registry import atomic, checkpoint, claim
from registry.atomic import leftovers, replacing

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

# the children only write
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def within(write):
    def call(path):
        with replacing(path) as temporary:
            write(temporary)

    return call


def silent(path):  # as an encoder that says nothing, but whose caller looks
    with path.open("wb", buffering=0) as file:
        if file.write(bytes(200_000)) < 200_000:
            raise ValueError("it is shorter than it should be")


def text(path):
    path.write_text("x" * 200_000)


NOISE = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
NUMBERS = np.zeros(50_000, np.float32)
WRITES = {  # and what each library raises, if anything, when not one byte more fits
    "last.pth": lambda path: checkpoint.save({"a": torch.zeros(50_000)}, path),
    "object.pth": within(lambda path: torch.save({"a": torch.zeros(50_000)}, path.open("wb"))),
    "a.safetensors": within(lambda path: save_file({"a": NUMBERS}, path)),
    "states.safetensors": lambda path: save_states(path, NUMBERS, "x"),
    "a.npy": within(lambda path: np.save(path, NUMBERS)),
    "a.txt": within(text),
    "a.png": lambda path: write_png(path, NOISE),
    "b.png": within(lambda path: Image.fromarray(NOISE).save(path)),
    "a.gif": lambda path: write_gif(path, iter([NOISE] * 2), 10),
    "silent": within(silent),
    "nested.txt": within(within(text)),
}


def test_whatever_a_library_raises_a_full_disk_is_one_line(tmp_path):
    for name in WRITES:
        (tmp_path / name).write_text("the old one")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        said = []
        for name, write in WRITES.items():
            try:
                write(tmp_path / name)
            except OSError as error:
                said.append(f"{name}\t{error.errno}\t{error}")
        (tmp_path / "said").write_text("\n".join(said))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    said = dict(line.split("\t", 1) for line in (tmp_path / "said").read_text().splitlines())
    (tmp_path / "said").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(WRITES)  # no temporary file
    assert list(said) == list(WRITES)
    for name, line in said.items():
        assert line.startswith(f"27\tcannot write '{tmp_path / name}': File too large. ")
        assert (tmp_path / name).read_text() == "the old one"


def test_an_error_that_no_disk_caused_stays_what_it_is(tmp_path):
    for error in (ValueError("no frames"), FileNotFoundError(2, "No such file", "input.mp4")):
        with pytest.raises(type(error)) as caught, replacing(tmp_path / "a"):
            raise error
        assert caught.value is error
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a"):
        raise KeyboardInterrupt
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert ".part" not in str(caught.value).partition(" -> ")[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_sync_is_reported(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(5, os.strerror(5))

    (tmp_path / "a").write_text("the old one")
    monkeypatch.setattr(os, "fsync", broken)
    with (
        pytest.raises(OSError, match=r"cannot write '.*/a': Input/output error\. ") as caught,
        replacing(tmp_path / "a", sync=True) as temporary,
    ):
        temporary.write_text("new")
    assert caught.value.errno == 5
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_a_block_that_writes_nothing_does_not_replace_the_old_file(tmp_path):
    (tmp_path / "a.mp4").write_text("the old one")
    with (
        pytest.raises(OSError, match=r"cannot write '.*a\.mp4': nothing was written\."),
        replacing(tmp_path / "a.mp4"),
    ):
        pass  # as an encoder that could not even open the file and does not say so
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]
    with replacing(tmp_path / "empty.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "empty.txt").read_bytes() == b""


def test_many_writers_of_one_file_never_share_a_temporary_one(tmp_path, monkeypatch):
    """Two containers have the same process numbers; threads of one process do, too."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    seen, problems, meet = [], [], threading.Barrier(8)

    def write(number):
        for _ in range(20):
            meet.wait()
            try:
                with replacing(tmp_path / "a.txt") as temporary:
                    seen.append(temporary)
                    temporary.write_text(str(number) * 1000)
            except OSError as error:
                problems.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert problems == []
    assert len(set(seen)) == len(seen) == 160
    assert all(path.suffix == ".txt" and atomic.PART.fullmatch(path.name) for path in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert len(set((tmp_path / "a.txt").read_text())) == 1


WRITER = """
import os, sys, time
from registry.atomic import replacing
with replacing(sys.argv[1]) as outer:
    if len(sys.argv) > 2:  # the file is replaced by that of a block inside
        with replacing(outer) as inner:
            inner.write_text("half")
    else:
        outer.write_text("half")
    if os.fork() == 0:  # a loader process, which outlives its parent
        time.sleep(30)
        os._exit(0)
    print("begun", flush=True)
    time.sleep(30)
"""


@pytest.mark.skipif(not claim.LOCKS, reason="this system has no locks")
@pytest.mark.parametrize("more", [[], ["nested"]])
def test_a_dead_writers_file_is_a_leftover_and_a_living_ones_is_not(tmp_path, more):
    """Also while a process that the dead writer has forked still runs."""
    words = [sys.executable, "-c", WRITER, str(tmp_path / "last.pth"), *more]
    with subprocess.Popen(words, env=ENV, stdout=subprocess.PIPE, start_new_session=True) as writer:
        try:
            assert writer.stdout.readline() == b"begun\n"
            (there,) = tmp_path.iterdir()
            assert leftovers(tmp_path, remove=True) == []
            assert there.read_text() == "half"
            writer.kill()
            writer.wait()
            assert leftovers(tmp_path) == [there]
            assert leftovers(tmp_path, remove=True) == [there]
            assert list(tmp_path.iterdir()) == []
        finally:
            os.killpg(writer.pid, signal.SIGKILL)


def test_without_locks_age_decides(tmp_path, monkeypatch):
    old, new = tmp_path / ".a.0123abcd.part.pth", tmp_path / ".b.0123abcd.part.pth"
    for path in (old, new, tmp_path / ".notes.part.pth", tmp_path / "a.0123abcd.part.pth"):
        path.write_text("")
    for unlocked in ({"LOCKS": False}, {"lock": lambda *_, **__: None}):
        for name, value in unlocked.items():
            monkeypatch.setattr(claim, name, value)
        assert leftovers(tmp_path) == []
        now = claim.time.time()
        with monkeypatch.context() as later:
            later.setattr(claim.time, "time", lambda now=now: now + 3601)
            assert leftovers(tmp_path) == [old, new]
        with replacing(tmp_path / "c") as temporary:
            temporary.write_text("x")
        monkeypatch.undo()
