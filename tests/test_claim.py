"""The one claim: who writes in a folder, and that a refusal changes nothing."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from registry import ConfigError, checkpoint, claim, load_config, runner
from registry.runner import claimed, train
from tests.runs import write_config

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.skipif(not claim.LOCKS, reason="this system has no locks"),
]
BUSY = "taken by {}."


def forked(work):
    """Run a function in a child; return its process number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work() or 0
        except ConfigError as error:
            print(error, file=sys.stderr, flush=True)
            code = 2
        finally:
            os._exit(code)
    return child


def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def content(folder):
    """Return every file below a folder with its bytes and time, and every folder."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def tiny(folder, **options):
    options = {"iterations": 2, "panels_every": 0, **options}
    return load_config(write_config(folder), {f"train.{k}": v for k, v in options.items()})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished")
    train(tiny(folder), folder / "work")
    return folder / "work"


def test_one_holds_it_and_the_error_says_who(tmp_path):
    file = tmp_path / "new" / "deep" / ".claim"
    who = rf"taken by process {os.getpid()} on host \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d\."
    with claim.claim(file, BUSY) as held:
        assert held
        with pytest.raises(ConfigError, match=who), claim.claim(file, BUSY):
            pytest.fail("two hold it")  # of one process, too
        assert code_of(forked(lambda: claim.claim(file, BUSY).__enter__())) == 2
        assert not claim.abandoned(file)
    assert list(tmp_path.iterdir()) == []  # with the folders that it had made
    with claim.claim(file, BUSY):
        (file.parent / "kept").touch()
    assert [path.name for path in file.parent.iterdir()] == ["kept"]


def test_those_who_wait_come_one_after_the_other(tmp_path):
    """The file is removed at every release, under the eyes of those who wait for it."""
    file, number = tmp_path / "folder" / ".claim", tmp_path / "number"
    number.write_text("0")

    def count():
        for _ in range(50):
            with claim.claim(file):
                found = int(number.read_text())
                number.write_text(str(found + 1))

    children = [forked(count) for _ in range(3)]
    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code_of(child) for child in children] == [0] * 3
    assert number.read_text() == "250"
    assert not file.exists()


def test_a_killed_holder_lets_go_although_its_loader_processes_live(tmp_path):
    file, loader = tmp_path / ".claim", tmp_path / "loader"

    def hold():
        with claim.claim(file, BUSY):
            child = forked(lambda: time.sleep(60))
            (tmp_path / "half").write_text(str(child))
            os.rename(tmp_path / "half", loader)
            time.sleep(60)

    holder = forked(hold)
    while not loader.exists():
        time.sleep(0.01)
    with pytest.raises(ConfigError, match=f"process {holder} "), claim.claim(file, BUSY):
        pass
    os.kill(holder, signal.SIGKILL)
    assert code_of(holder) == -signal.SIGKILL
    try:
        assert claim.abandoned(file)
        with claim.claim(file, BUSY):
            pass
    finally:
        os.kill(int(loader.read_text()), signal.SIGKILL)
    assert not file.exists()


def test_without_locks_it_is_said_once_and_work_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claim, "_warned", False)
    monkeypatch.setattr(claim, "lock", lambda *_, **__: None)
    for _ in range(2):
        with claim.claim(tmp_path / "a" / ".claim", BUSY) as held:
            assert not held
            assert not (tmp_path / "a" / ".claim").exists()
    said = capsys.readouterr().err
    assert said.count("has no locks, so nothing keeps a second process from writing there.") == 1


def test_of_two_trainings_started_at_once_exactly_one_goes_on(tmp_path, capfd):
    cfg, work = tiny(tmp_path), tmp_path / "runs" / "work"
    children = [forked(lambda: train(cfg, work) and 0) for _ in range(2)]
    assert sorted(code_of(child) for child in children) == [0, 2]
    assert re.search(
        rf"another training is writing in '{work}' \(process \d+ on host \S+, since [^)]+\)\. "
        "Wait for it, or give another --work-dir|already holds a run",
        capfd.readouterr().err,
    )
    assert not (work / ".claim").exists()
    records = (work / "scalars.jsonl").read_text().splitlines()
    assert len(records) == 2  # of one run


REFUSED = {  # name -> options of the config, and the checkpoint
    "other model": ({"seed": 5}, "auto"),
    "fewer iterations": ({"iterations": 1}, "auto"),
    "no checkpoint": ({}, "nosuch.pth"),
    "no resume": ({}, None),
    "unknown group": ({"groups": {"nobody": {"lr": 1.0}}}, "auto"),
    "unknown hook": ({"hooks": [{"type": "hooks/nosuch"}]}, "auto"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_training_changes_nothing(tmp_path, finished, name):
    options, resume = REFUSED[name]
    work = shutil.copytree(finished, tmp_path / "work")
    (work / ".last.0123abcd.part.pth").write_text("of a killed writer")
    before = content(work)
    with pytest.raises(ConfigError):
        train(tiny(tmp_path, **options), work, resume=resume)
    assert content(work) == before


def test_other_processes_are_refused_and_change_nothing(tmp_path, finished, monkeypatch):
    work = shutil.copytree(finished, tmp_path / "work")
    before = content(work)
    monkeypatch.setattr("registry.job.get_dist_info", lambda: (0, 3))
    with pytest.raises(ConfigError, match="written by 1 processes, but this run has 3"):
        train(tiny(tmp_path), work, resume="auto")
    assert content(work) == before


def test_a_refused_new_run_leaves_no_folder(tmp_path):
    for options, resume in (({"groups": {"nobody": {}}}, None), ({}, tmp_path / "nosuch.pth")):
        with pytest.raises(ConfigError):
            train(tiny(tmp_path, **options), tmp_path / "runs" / "new", resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


def test_continuing_another_run_never_replaces_a_run(tmp_path, finished):
    a, b = (shutil.copytree(finished, tmp_path / name) for name in "ab")
    before, cfg = content(a), tiny(tmp_path, iterations=3)
    with pytest.raises(
        ConfigError,
        match=rf"{a} already holds a run, which --resume without a file continues\. To continue "
        rf"{b / 'last.pth'}, give a --work-dir of its own\.",
    ):
        train(cfg, a, resume=b / "last.pth")
    assert content(a) == before
    train(cfg, tmp_path / "c", resume=b / "last.pth")  # of its own
    train(cfg, b, resume=tmp_path / "a" / ".." / "b" / "last.pth")  # the same one
    ends = [checkpoint.load(tmp_path / name / "last.pth")["iteration"] for name in "abc"]
    assert ends == [2, 3, 3]


def test_what_a_killed_run_left_is_gone_after_the_next_start(tmp_path, finished):
    work = shutil.copytree(finished, tmp_path / "work")
    for name in (".last.0123abcd.part.pth", ".held_out.89abcdef.part.gif", ".claim"):
        (work / name).write_text("half")
    train(tiny(tmp_path), work, resume="auto")
    assert not list(work.rglob(".*"))


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(tmp_path, finished):
    work, cfg = shutil.copytree(finished, tmp_path / "work"), tiny(tmp_path, iterations=4)
    limit = (work / "last.pth").stat().st_size // 2
    before = (work / "last.pth").read_bytes()

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            train(cfg, work, resume="auto")
        except OSError as error:
            (tmp_path / "said").write_text(str(error))

    assert code_of(forked(full)) == 0
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"cannot write '{work / 'last.pth'}': File too large. ")
    assert (work / "last.pth").read_bytes() == before
    assert not list(work.rglob(".*"))
    train(cfg, work, resume="auto")
    assert checkpoint.load(work / "last.pth")["iteration"] == 4
    records = [json.loads(line) for line in (work / "scalars.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == [1, 2, 3, 4]


def test_mmengine_writes_nothing_in_the_run(tmp_path, monkeypatch):
    seen = []

    class Watched(runner._Quiet):
        def __init__(self, **given):
            super().__init__(**given)
            seen.extend(path.name for path in (tmp_path / "work").rglob("*"))
            assert Path(self.work_dir).is_dir()

    monkeypatch.setattr(runner, "_Quiet", Watched)
    train(tiny(tmp_path), tmp_path / "work")
    assert seen == [".claim"]


def test_a_refusal_reaches_every_process_of_a_distributed_run(tmp_path):
    def rank(number):
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path / 'store'}", rank=number, world_size=2
        )
        try:
            with claimed(tmp_path / "work"):
                return 0
        except ConfigError as error:
            (tmp_path / f"said {number}").write_text(str(error))
            return 2

    with claimed(tmp_path / "work"):
        children = [forked(lambda number=number: rank(number)) for number in range(2)]
        assert [code_of(child) for child in children] == [2, 2]
        (tmp_path / "store").unlink()
    texts = {(tmp_path / f"said {number}").read_text() for number in range(2)}
    (text,) = texts
    assert text.startswith(f"another training is writing in '{tmp_path / 'work'}' (process ")
    children = [forked(lambda number=number: rank(number)) for number in range(2)]
    assert [code_of(child) for child in children] == [0, 0]
    assert not (tmp_path / "work").exists()
