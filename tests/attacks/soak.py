"""Everything at once for a while: killed, restarted, on a disk that fills up twice.

    python tests/attacks/soak.py --seed 7 --minutes 20 --out soak.json  (as root: it mounts a tmpfs)

On one tmpfs: two trainings (one with validation, one with 2 loader processes), begun again when
they finish; predict and animate; a pusher that changes the entry of a loopback Hub, a puller that
copies it to a folder. All of them are ended at random by SIGKILL, SIGTERM or SIGINT, and started
again. Two further processes live from the first to the last second: one loads a model, finds
landmarks and writes them, again and again; one pulls and loads what the pusher sends. A file grows
until the disk is full, stays, and is removed, twice.

After each end: one clear line if it failed, and it may fail only by a signal or a full disk; every
file under its final name is whole (checkpoints load, videos have all their frames, packages have
the digest of a version that was pushed) or absent. Each training that finishes, and both at the
end, must equal the uninterrupted one to the last bit. At the end everything runs once more
undisturbed, and nothing else may be left after `doctor --fix`. Memory and open files of the two
that live on must not grow: means of the first and the last third of the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import kills
import material
from disks import Disk

LIMIT = 400  # seconds after which a command hangs: all share two cores
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
REPO, REF = "alice/soak", "hf:alice/soak"
FILLS = ((0.30, 0.42), (0.62, 0.74))  # of the time
LONGER = ("train.iterations=24", "train.lr_factors=((8, 1.0), (24, 0.1))")


@dataclass
class Actor:
    """A command that is started again and again in its folder.

    Attributes:
        task: returns what to run.
        check: returns problems of the files; called when it does not run, with its status.
        seconds: how long it takes; learnt.
    """

    name: str
    task: Callable[[], Any]
    check: Callable[[int | None], list[tuple[str, str]]]
    cwd: Path
    seconds: float = 5.0
    process: common.Process | None = None
    planned: tuple[int, float] | None = None  # signal, time
    sent: int | None = None
    resting: float = 0.0
    began: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)


def living(folder: Path, work: Callable[[int], None]) -> Callable[[], None]:
    """Return a task that repeats ``work`` until told to stop, and keeps memory and open files."""

    def task() -> None:
        from zoo.errors import ZooError

        number = 0
        with open(folder / "log.jsonl", "a", buffering=1) as log:
            while not (folder / "stop").exists():
                line: dict[str, Any] = {"time": time.monotonic(), "number": number}
                try:
                    work(number)
                except (ZooError, OSError, ValueError) as error:
                    line["error"] = f"{type(error).__name__}: {error}"
                rss = Path("/proc/self/statm").read_text().split()[1]
                line |= {"rss": int(rss) * os.sysconf("SC_PAGESIZE")}
                line |= {"files": len(os.listdir("/proc/self/fd"))}
                log.write(json.dumps(line) + "\n")
                number += 1
                time.sleep(0.3)

    return task


WARMING = 40  # times until a process has its usual size


def thirds(lines: list[dict[str, Any]], key: str) -> tuple[float, float]:
    """Return the means of the first and of the last third, without warming up."""
    lines = lines[min(WARMING, len(lines) // 3) :]
    third = max(len(lines) // 3, 1)
    return tuple(statistics.mean(x[key] for x in part) for part in (lines[:third], lines[-third:]))


class Soak:
    """The supervisor: one loop starts, signals, checks."""

    def __init__(self, report: Any, options: Any, there: Path, disk: Disk) -> None:
        self.report, self.options, self.there, self.disk = report, options, there, disk
        self.rng = random.Random(options.seed)
        self.full_from: float | None = None
        self.full: list[tuple[float, float]] = []
        self.room = 0  # free bytes when the disk began to fill
        self.made, self.place = there / "made", disk.place
        self.made.mkdir()
        self.actors = [*self.trainers(), *self.predictors(), *self.sharers()]

    def trainers(self) -> list[Actor]:
        configs, found = material.configs(self.made / "configs"), []
        common.learn(kills.train(configs, "GAN", self.made / "learnt/gan"))
        for kind, name in (("validation", "t1"), ("GAN, 2 loaders", "t2")):
            folder = self.place / name
            words = kills.train(configs, kind, folder / "gan", "--resume")
            words += [option for option in LONGER if kind == "validation"]
            outcome = common.run(words)
            assert outcome.status == 0, outcome
            reference = shutil.copytree(folder, self.made / "reference" / name)
            shutil.rmtree(folder)

            def check(
                status: int | None, folder: Path = folder, reference: Path = reference
            ) -> list[tuple[str, str]]:
                if status != 0:
                    return material.damage(folder)
                problems = kills.differences(folder, reference)
                material.remove(folder)  # the next one
                return problems

            found.append(
                Actor(name, lambda w=words: w, check, self.place, outcome.seconds)  # type: ignore
            )
        return found

    def repeated(self, name: str, task: Callable[[Path], Any]) -> Actor:
        """Return an actor that writes the same files each time: whole ones, or none."""
        folder = self.place / name
        (folder / "out").mkdir(parents=True)
        outcome = common.learn(task(folder))
        assert outcome.status == 0, outcome
        wanted = common.snapshot(folder)
        frames = {p.name: material.decoded(p) for p in folder.rglob("*.mp4")}
        assert all(count == 12 for count in frames.values()), frames

        def check(status: int | None) -> list[tuple[str, str]]:
            problems = kills.mixed(folder, wanted, wanted, ())
            problems = [one for one in problems if "is gone" not in one[1]]
            if status == 0:
                problems += [p for p in kills.after(folder, wanted) if p[0] != "leftover"]
                if self.rng.random() < 0.3:  # the next one writes them, not over them
                    for path in folder.rglob("*"):
                        if path.is_file():
                            path.unlink()
            return problems

        return Actor(name, lambda: task(folder), check, self.place, outcome.seconds)

    def predictors(self) -> list[Actor]:
        self.video = material.video(self.made / "v.mp4")
        picture = material.pictures(self.made / "pictures") / "0.png"
        pictures = self.made / "pictures"

        def predict(folder: Path) -> list[Any]:
            out = ["--out", folder / "out", "--batch-size", "4"]
            return ["predict", "factorized-puppets", self.video, pictures, *out]

        def animate(folder: Path) -> list[Any]:
            return ["animate", "fomm-puppets", picture, self.video, "--out", folder / "out/a.mp4"]

        return [self.repeated("p1", predict), self.repeated("p2", animate)]

    def sharers(self) -> list[Actor]:
        import zoo.hub as hub

        packages = [material.package(self.made / f"v{v}", "soak", v) for v in (1, 2)]
        self.wanted = [material.digest(folder) for folder in packages]
        for folder in (packages[1], packages[0]):
            outcome = common.run(lambda f=folder: hub.push(f, REPO))
            assert outcome.status == 0, outcome
        dest, cache = self.place / "pull/dest", self.place / "pull/cache"

        def push() -> list[Any]:
            return ["push", self.rng.choice(packages), REPO]

        def pushed(status: int | None) -> list[tuple[str, str]]:
            if self.rng.random() > 0.2:
                return []
            there = self.made / "fetched"
            found = common.run(kills.fetch_to(REPO, there / "dest", there / "cache"), timeout=LIMIT)
            said = [] if found.status == 0 else [("torn", f"not fetched: {found.stderr[-300:]}")]
            return said + self.is_whole(there / "dest")

        def pulled(status: int | None) -> list[tuple[str, str]]:
            return self.is_whole(dest, status == 0)

        return [
            Actor("pusher", push, pushed, self.place, 1.0),
            Actor("puller", lambda: kills.fetch_to(REPO, dest, cache), pulled, self.place, 1.0),
        ]

    def is_whole(self, dest: Path, must: bool = True) -> list[tuple[str, str]]:
        from zoo.errors import ZooError

        try:
            found = material.digest(dest)
        except (ZooError, OSError) as error:
            return [("torn", f"{dest.name}: {error}"[:300])]
        if found is None:
            return [("silent loss", f"{dest.name} is missing")] if must else []
        return [] if found in self.wanted else [("torn", f"{dest.name} has digest {found}")]

    def lives(self) -> dict[str, Callable[[int], None]]:
        """Return what the two long-lived processes repeat."""
        import torch

        import zoo
        from zoo.prediction import predict
        from zoo.sources import pull

        out, cache, dest = self.place / "life/out", self.place / "life/c", self.place / "life/d"
        images, video = torch.rand(2, 3, 64, 64), self.video

        def finding(number: int) -> None:
            model = zoo.load(("factorized-puppets", "keypointgan-puppets")[number % 2])
            assert model.predict(images).landmarks.xy.isfinite().all()
            for one in predict("factorized-puppets", [video], out, batch_size=4):
                assert one.frames == 12, one

        def fetching(number: int) -> None:
            pull(REF, dest=dest, cache_dir=cache)
            model = zoo.load(REF, cache_dir=cache)
            assert model.predict(images[:, :, :32, :32]).landmarks.xy.shape == (2, 3, 2)

        return {"finding": finding, "fetching": fetching}

    def disk_full_during(self, begin: float) -> bool:
        now = time.monotonic()
        return self.full_from is not None or any(end >= begin for _, end in self.full if end <= now)

    def start(self, actor: Actor) -> None:
        actor.process = common.Process(actor.task(), cwd=actor.cwd)
        actor.began, actor.sent = time.monotonic(), None
        actor.planned = None
        if self.rng.random() < 0.6:
            at = actor.began + self.rng.uniform(0, 1.3) * actor.seconds
            actor.planned = (int(self.rng.choice(SIGNALS)), at)

    def step(self, actor: Actor) -> None:
        """Start, signal or check one actor."""
        now = time.monotonic()
        if actor.process is None:
            if now >= actor.resting:
                self.start(actor)
            return
        if actor.planned and now >= actor.planned[1] and actor.process.kill(actor.planned[0]):
            actor.sent, actor.planned = actor.planned[0], None
        if actor.process.poll() or now - actor.began > LIMIT:
            self.end(actor)

    def end(self, actor: Actor) -> None:
        assert actor.process is not None
        outcome = actor.process.wait(0)
        actor.process, status, problems = None, outcome.status, []
        try:
            problems = actor.check(status)
        except Exception as error:
            problems = [("torn", f"cannot be checked: {type(error).__name__}: {error}")]
        full = self.disk_full_during(actor.began)
        if status == 0:
            actor.seconds = 0.7 * actor.seconds + 0.3 * outcome.seconds
        elif status is not None and status > 0 and actor.sent is None and not full:
            problems.append(("wrong status", f"it fails without reason: {outcome.stderr[-300:]}"))
        ended = "done" if status == 0 else "signal" if actor.sent else "full disk" if full else "?"
        actor.ends[ended] += 1
        what = f"{ended}, status {status}, signal {actor.sent}"
        self.report.add(actor.name, what, outcome, problems, sent=actor.sent, found=problems)
        if "Traceback" in outcome.stderr:
            print(outcome.stderr[-3000:], file=sys.stderr, flush=True)
        pause = self.rng.uniform(0.2, 1.5) * (3 if full else 1)
        actor.resting = time.monotonic() + pause

    def fill(self, part: float) -> None:
        """Let the disk fill up, stay full, or be free, at this part of the time."""
        for begin, end in FILLS:
            if begin <= part < end:
                if self.full_from is None:
                    self.full_from, self.room = time.monotonic(), self.disk.free()
                self.more(int(max(1 - 2 * (part - begin) / (end - begin), 0) * self.room))
                return
        if self.full_from is not None:
            self.disk.clear()
            self.full.append((self.full_from, time.monotonic()))
            self.full_from = None

    def more(self, room: int) -> None:
        """Let the ballast grow until so many bytes are free; it never shrinks."""
        with contextlib.suppress(OSError), open(self.disk.ballast, "ab", buffering=0) as file:
            while self.disk.free() > room:
                if file.write(bytes(max(min(self.disk.free() - room, 1 << 18), 1))) < 1:
                    break

    def run(self) -> None:
        minutes = self.options.minutes
        lives: dict[str, tuple[common.Process, Path]] = {}
        for name, work in self.lives().items():
            folder = self.there / name
            folder.mkdir()
            lives[name] = common.Process(living(folder, work), cwd=self.place), folder
        began = time.monotonic()
        while (part := (time.monotonic() - began) / (60 * minutes)) < 1:
            self.fill(part)
            for actor in self.actors:
                self.step(actor)
            time.sleep(0.01)
        self.disk.clear()
        for actor in self.actors:
            if actor.process is not None:
                actor.planned = None
                while not actor.process.poll() and time.monotonic() - actor.began < LIMIT:
                    time.sleep(0.05)
                self.end(actor)
        self.finish()
        for name, (process, folder) in lives.items():
            (folder / "stop").touch()
            self.judge_life(name, process.wait(LIMIT), folder)

    def finish(self) -> None:
        """Run everything once more, undisturbed; look for what is left over."""
        for actor in self.actors:
            outcome = common.run(actor.task(), cwd=actor.cwd, timeout=LIMIT)
            problems: list[tuple[str, str]] = []
            folder = self.place / ("pull" if actor.name == "puller" else actor.name)
            left = [] if actor.name.startswith("push") else self.left(folder)
            if left and actor.name not in ("t1", "t2"):  # a run cleans up by itself
                places = [folder, folder / "out", folder / "dest"]
                for place in (place for place in places if place.exists()):
                    common.run(["doctor", "--fix", place], timeout=LIMIT)
                left = self.left(folder)
            problems = [("leftover", name) for name in left]
            problems += actor.check(outcome.status)
            self.report.add(
                actor.name, "at the end, undisturbed", outcome, problems, statuses=(0,),
                found=problems, ends=dict(actor.ends),
            )  # fmt: skip

    def left(self, folder: Path) -> list[str]:
        found = common.leftovers(folder)
        return [name for name in found if not name.startswith("cache/")]

    def judge_life(self, name: str, outcome: common.Outcome, folder: Path) -> None:
        """Judge a long-lived process: its errors, its memory and its open files."""
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        problems, errors = [], [line for line in lines if "error" in line]
        for line in errors:
            times = [(a - 5, b + 5) for a, b in self.full]
            if "\n" in line["error"].strip():
                problems.append(("unclear", f"several lines: {line['error'][:300]}"))
            elif not any(a <= line["time"] <= b for a, b in times):
                problems.append(("wrong status", f"without reason: {line['error'][:300]}"))
        more: dict[str, Any] = {"iterations": len(lines), "errors": len(errors)}
        if len(lines) >= 6:
            for key, scale, allowed in (("rss", 1 << 20, 16), ("files", 1, 2)):
                first, last = (value / scale for value in thirds(lines, key))
                more[key] = [round(first, 1), round(last, 1)]
                if len(lines) > 2 * WARMING and last > first * 1.03 + allowed:
                    problems.append(("growth", f"{key} {first:.1f} to {last:.1f}"))
        print(f"{name}: {more}", file=sys.stderr)
        kinds = Counter(line["error"][:120] for line in errors)
        self.report.add(
            f"living: {name}", str(more), outcome, problems, statuses=(0,), **more,
            kinds=dict(kinds.most_common(8)),
        )  # fmt: skip


def main() -> int:
    """Attack, print the table, return the exit status."""
    if "ATTACK_DISKS" not in os.environ:  # a mount that nobody else sees, gone with this process
        environment = {**os.environ, "ATTACK_DISKS": "1"}
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", words, environment)
    report, options = common.begin(__doc__, "soak", minutes=20.0)
    os.nice(10)
    with common.scratch(options) as there, contextlib.ExitStack() as stack:
        stack.enter_context(common.hub(there / "hub"))
        disk = Disk(there / "disk")
        stack.callback(subprocess.run, ["umount", "-l", str(disk.place)], check=False)
        common.warm("tests.test_resume", "tests.test_forecast", "tests.test_flow")
        Soak(report, options, there, disk).run()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
