"""Full disks: every command that writes says so in one line and leaves the old files as they were.

    python tests/attacks/disks.py --seed 7 --out disks.json        (as root: it mounts a tmpfs)

Each command first runs on a tmpfs with room, where it is measured how much it writes. Then the
tmpfs is filled so that a part of that is free: nothing, some, all but the last bytes (the parts are
drawn from --seed). Training also finds the disk full the moment it opens a certain file: config,
log, scalars, checkpoint, best, panel, curve, scores, animation, states. Expected: status 2, one
line with "No space left on device"; every older file as it was, or replaced by the whole new one;
no other file left. Then there is room again: the same command (training with --resume) must end as
if the disk had never been full, byte for byte.

Some commands print instead: to /dev/full, and to a file on a full disk.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import kills
import material

PAGE = 4096
SIZE = 32 << 20  # bytes of the tmpfs
LIMIT = 120
FULL = re.compile("No space left on device|not enough disk space")
AT = (  # of training: kind of run, and the file at whose opening the disk fills up
    ("validation", "config"),
    ("validation", "log"),
    ("validation", "scalars"),
    ("validation", "last"),
    ("validation", "best"),
    ("validation", "0000004"),
    ("validation", "curve"),
    ("validation", "usual"),
    ("validation", "metrics"),
    ("validation", "held_out"),
    ("GAN, 2 loaders", "last"),
    ("forecast with origin", "states"),
    ("forecast with origin", "last"),
)
PRINTING = (  # name, words
    ("list", ["list"]),
    ("list --json", ["list", "--json"]),
    ("info --json", ["info", "factorized-puppets", "--json"]),
    ("components", ["components"]),
    ("where", ["where", "keypointgan"]),
    ("verify", ["verify", "factorized-puppets"]),
    ("--help", ["--help"]),
)


class Disk:
    """A tmpfs, and the file that fills it."""

    def __init__(self, place: Path) -> None:
        self.place, self.ballast = place, place / "ballast"
        place.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
        subprocess.run(["mount", *options], check=True)

    def free(self) -> int:
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_bsize

    def fill(self, room: int) -> None:
        """Leave so many bytes, in whole pages."""
        self.clear()
        with open(self.ballast, "wb", buffering=0) as file:
            for block in (bytes(1 << 20), bytes(PAGE)):
                with contextlib.suppress(OSError):
                    while file.write(block) == len(block):
                        pass
            file.truncate(max(file.tell() // PAGE * PAGE - room // PAGE * PAGE, 0))

    def clear(self) -> None:
        self.ballast.unlink(missing_ok=True)


@dataclass
class Target(kills.Target):
    """A command; ``levels`` says which parts of what it writes are free, None for all three."""

    levels: Sequence[str] = ("nothing", "a part", "all but the end")


def targets(made: Path, run: Path) -> list[Target]:
    """Return all commands that write; ``made`` is for what they read, ``run`` a finished run."""
    found = [Target(**vars(one)) for one in kills.targets(made, run)]
    bundled, picture = "factorized-puppets", made / "pictures/0.png"

    def folder_of(name: str) -> Callable[[Path], None]:
        return lambda folder: shutil.copytree(made / name, folder / name) and None

    def out(**files: str) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            (folder / "out").mkdir()
            for name, text in files.items():
                (folder / "out" / name.replace("_", ".", 1)).write_text(text)

        return prepare

    def nothing(folder: Path) -> None:
        pass

    def elsewhere(folder: Path) -> None:
        kills_save.prepare(folder)
        (folder / "tmp").mkdir()

    (kills_save,) = (one for one in found if one.name == "save")
    evaluated = ["evaluate", run, "--cfg-options", "evaluate.max_items=4", "--json"]
    golden, model = official(made)
    convert = ["convert", "imm", golden, "--config", model, "--license", "mit", "--out"]
    pushed = made / "big1"
    return [
        *found,
        Target(
            "predict of a picture",
            out(),
            lambda f: ["predict", bundled, picture, "--out", f / "out"],
            levels=("nothing", "a part"),
        ),
        Target(
            "evaluate --json FILE", out(a_json="[]\n"), lambda f: [*evaluated, f / "out/a.json"],
            levels=("nothing",),
        ),
        Target("convert", out(), lambda f: [*convert, f / "out/package"], ("out/package",)),
        Target(
            "export to TorchScript",
            out(a_pt="old"),
            lambda f: ["export", made / "old", "--format", "torchscript", "--out", f / "out/a.pt"],
        ),
        Target(
            "export to ONNX",
            out(a_onnx="old"),
            lambda f: ["export", made / "old", "--format", "onnx", "--out", f / "out/a.onnx"],
        ),
        Target(
            "card --write", folder_of("big2"), lambda f: ["card", f / "big2", "--write"], ("big2",),
            levels=("nothing", "all but the end"),
        ),
        Target("new-plugin", out(), lambda f: ["new-plugin", "acme", "--out", f / "out/acme"],
               ("out/acme",)),
        Target("pull into the cache", nothing, lambda f: ["pull", "hf:alice/pulled"]),
        Target(
            "pull --dest",
            nothing,
            lambda f: kills.fetch_to("alice/pulled", f / "dest", made / "cache"),
            ("dest",),
        ),
        Target("push", nothing, lambda f: ["push", pushed, "alice/full"], levels=("nothing",)),
        Target("save, with its temporary files", elsewhere, kills_save.task, ("dest",)),
    ]  # fmt: skip


def official(folder: Path) -> tuple[Path, Path]:
    """Write a checkpoint of the official code of IMM, and a config of its model."""
    from tests import test_convert
    from tests.golden_file import Golden

    name, model, size, write, _ = test_convert.CASES["imm"]
    (folder / "official").mkdir()
    file = write(Golden(name), folder / "official")
    return file, test_convert.write_config(folder / "official", model, size)


def home(folder: Path, name: str) -> dict[str, Any]:
    """Return how to start a command that writes to a cache or a temporary folder on the disk."""

    def before() -> None:
        from huggingface_hub import constants

        if name in ("pull into the cache", "push"):
            constants.HF_HUB_CACHE = str(folder / "cache")
        if name.startswith("save, with"):
            tempfile.tempdir = str(folder / "tmp")

    return {"cwd": folder, "before": before}


def peak(disk: Disk, process: common.Process) -> tuple[common.Outcome, int]:
    """Wait for a command; return how many bytes more than at the start were in use at a time."""
    start = lowest = disk.free()
    while not process.poll():
        lowest = min(lowest, disk.free())
        time.sleep(0.001)
    return process.wait(LIMIT), start - lowest


def room_of(level: str, needed: int, rng: random.Random) -> int:
    """Return the bytes to leave."""
    if level == "nothing":
        return 0
    if level == "a part":
        return int(rng.uniform(0.15, 0.85) * needed)
    return needed - PAGE


def said(outcome: common.Outcome) -> list[tuple[str, str]]:
    """Return as a problem that the only line does not name the reason."""
    last = (outcome.lines or [""])[-1]
    if outcome.status and not FULL.search(last):
        return [("unclear", f"the reason is not named: {last[:300]}")]
    return []


def strangers(folder: Path, *states: dict[str, str]) -> list[tuple[str, str]]:
    """Return files that are neither of before nor of a finished command."""
    known = {name for state in states for name in state}
    ours = {path for path, mark in common.snapshot(folder).items() if mark != "folder"} - known
    return [("leftover", path) for path in sorted(ours)]


def ours(problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the problems without those of the Hub client's own files in its cache.

    It keeps part of a download to continue it; and a cache whose refs cannot be written works.
    """
    return [
        p
        for p in problems
        if not re.search(r"\.incomplete|\.locks?\b|CACHEDIR|/refs|/trees/tmp", p[1])
    ]


def attack_commands(report: Any, options: Any, there: Path, disk: Disk, rng: random.Random) -> None:
    made, folder = there / "made", disk.place / "work"
    chosen = targets(made, material.finished_run(there / "run"))
    fetched = kills.fetch_to("alice/pulled", made / "dest", made / "cache")
    for task in (lambda: __import__("zoo.hub").hub.push(made / "big1", "alice/pulled"), fetched):
        assert (outcome := common.run(task)).status == 0, outcome
    for target in chosen:
        if options.only not in target.name:
            continue
        how = home(folder, target.name)
        material.remove(folder)
        folder.mkdir()
        target.prepare(folder)
        common.learn(target.task(folder), **how)
        material.remove(folder)
        folder.mkdir()
        target.prepare(folder)
        old = common.snapshot(folder)
        outcome, needed = peak(disk, common.Process(target.task(folder), **how))
        assert outcome.status == 0, (target.name, outcome)
        new = common.snapshot(folder)
        for level in target.levels:
            room = room_of(level, needed, rng)
            material.remove(folder)
            folder.mkdir()
            target.prepare(folder)
            disk.fill(room)
            first = common.run(target.task(folder), timeout=LIMIT, **how)
            disk.clear()
            if first.status == 0:  # it needed less, or has lost something
                problems = kills.after(folder, new) if new != common.snapshot(folder) else []
            else:
                problems = kills.mixed(folder, old, new, target.whole) + strangers(folder, old, new)
                problems += said(first)
                again = common.run(target.task(folder), timeout=LIMIT, **how)
                if again.status != 0:
                    problems.append(("silent loss", f"then it fails: {again.stderr[-300:]}"))
                else:
                    problems += kills.after(folder, new)
            problems = ours(problems)
            report.add(
                target.name, f"{level} free: {room} of {needed} bytes", first, problems,
                statuses=(2,) if room == 0 and needed else (0, 2), found=problems,
            )  # fmt: skip
    material.remove(folder)


def full_at(disk: Disk, word: str, room: int) -> Callable[[], None]:
    """Return what fills the disk when a file is opened whose name contains that word."""

    def patch() -> None:
        import builtins
        import io

        import cv2

        opened, encode, filled = open, cv2.imencode, [False]

        def fill(name: str) -> None:
            if word in name and not filled[0]:
                filled[0] = True
                disk.fill(room)

        def call(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, (str, os.PathLike)) and set(mode) & set("wax+"):
                fill(os.path.basename(path))
            return opened(path, mode, *args, **kwargs)

        def written(path: Any, *args: Any, **kwargs: Any) -> Any:
            fill(os.path.basename(path))
            return image(path, *args, **kwargs)

        image = cv2.imwrite
        cv2.imwrite, cv2.imencode = written, encode
        builtins.open = io.open = call

    return patch


def attack_training(report: Any, options: Any, there: Path, disk: Disk, rng: random.Random) -> None:
    configs, reference, needs = material.configs(there / "configs"), {}, {}
    kinds = sorted({kind for kind, _ in AT})
    if options.only not in "train":
        return
    common.learn(kills.train(configs, "forecast with origin", there / "learnt/forecast"))
    for kind in kinds:
        folder = disk.place / kind
        process = common.Process(
            kills.train(configs, kind, folder / kills.RUNS[kind][0], "--resume")
        )
        outcome, needs[kind] = peak(disk, process)
        assert outcome.status == 0, outcome
        reference[kind] = Path(shutil.copytree(folder, there / "reference" / kind))
        shutil.rmtree(folder)
    cases: list[tuple[str, str, int]] = [(kind, word, -1) for kind, word in AT]
    for kind in kinds:
        cases += [(kind, level, room_of(level, needs[kind], rng)) for level in Target.levels]
        cases += [(kind, "a part", room_of("a part", needs[kind], rng))]
    for kind, word, room in cases:
        folder = disk.place / kind  # as the reference: the path is part of some files
        folder.mkdir()
        words = kills.train(configs, kind, folder / kills.RUNS[kind][0], "--resume")
        before = None
        if room < 0:
            room = rng.choice((0, 0, PAGE, 8 * PAGE))
            before, what = full_at(disk, word, room), f"full at {word}, but for {room} bytes"
        else:
            disk.fill(room)
            what = f"{word} free: {room} of {needs[kind]} bytes"
        outcome = common.run(words, before=before, timeout=LIMIT)
        filled = disk.ballast.exists()
        disk.clear()
        problems = material.damage(folder)
        if outcome.status:
            problems += [("leftover", name) for name in common.leftovers(folder)]
            problems += said(outcome)
            again = common.run(words, timeout=LIMIT)
            if again.status:
                problems.append(("silent loss", f"then it fails: {again.stderr[-300:]}"))
        problems += kills.differences(folder, reference[kind])
        report.add(
            f"train: {kind}", what, outcome, problems,
            statuses=(2,) if room == 0 and filled else (0, 2), found=problems, reached=filled,
        )  # fmt: skip
        shutil.rmtree(folder)


def attack_printing(report: Any, options: Any, disk: Disk) -> None:
    for name, words in PRINTING:
        if options.only not in f"print: {name}":
            continue
        outcome = common.run(words, stdout="/dev/full")
        report.add("stdout to /dev/full", name, outcome, statuses=(2,))
    if options.only in "stdout to a full disk":
        disk.fill(0)
        outcome = common.run(["list", "--json"], stdout=disk.place / "list.json")
        report.add("stdout to a full disk", "list --json", outcome, statuses=(2,))
        disk.clear()


def main() -> int:
    """Attack, print the table, return the exit status."""
    if "ATTACK_DISKS" not in os.environ:  # a mount that nobody else sees, gone with this process
        environment = {**os.environ, "ATTACK_DISKS": "1"}
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", words, environment)
    report, options = common.begin(__doc__, "disks")
    rng = random.Random(options.seed)
    with common.scratch(options) as there, contextlib.ExitStack() as stack:
        stack.enter_context(common.hub(there / "hub"))
        disk = Disk(there / "disk")
        stack.callback(subprocess.run, ["umount", "-l", str(disk.place)], check=False)
        common.warm("tests.test_resume", "tests.test_forecast", "tests.test_flow")
        attack_printing(report, options, disk)
        attack_commands(report, options, there, disk, rng)
        attack_training(report, options, there, disk, rng)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
