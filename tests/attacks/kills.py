"""SIGKILL at random moments: what is left is whole, and the next start ends as if nothing happened.

    python tests/attacks/kills.py --seed 7 --out kills.json

100 kills of training (--cases), of four kinds of run: a GAN with pool, average and augmentation,
with 0 and with 2 loader processes; one with validation and best checkpoint; a forecast, which first
trains its origin and reads its states. Moments: a random time; a random change to the disk (before
or after a rename, sync, deletion, creation); part of a checkpoint written; the end, where it
evaluates and draws. A third of the resumed runs is killed again. Then `--resume` must finish: all
tensors, generators, optimizer and scores equal to the last bit those of the run that nobody killed,
panels and animation byte for byte, no other file in the folder or beside it; `doctor DIR` finds
nothing. Before that, every file under its final name must be whole.

Then 10 kills (--each) of save, publish, predict of a folder and of a video, animate, prepare flow,
push and pull: every file is the old or the new one, packages as a whole; the same command again
gives what an uninterrupted one gives, byte for byte; nothing else is left by it and `doctor --fix`.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import material

RUNS = {
    "GAN": ("gan", ()),
    "GAN, 2 loaders": ("gan", ("data.workers=2",)),
    "validation": ("gan", material.VALIDATION),
    "forecast with origin": ("forecast", ()),
}
MOMENTS = ("any time", "a change to the disk", "in a checkpoint", "any time", "the end")
LIMIT = 120  # seconds of a command


def train(configs: Path, kind: str, work: Path, *more: str) -> list[str]:
    name, options = RUNS[kind]
    words = ["train", str(configs / f"{name}.py"), "--work-dir", str(work), *more]
    return [*words, "--cfg-options", *options] if options else words


def without_times(path: Path) -> list[dict[str, Any]]:
    """Return the records of scalars.jsonl without what differs from run to run."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in one.items() if k != "seconds_per_iteration"} for one in records]


def differences(folder: Path, reference: Path) -> list[tuple[str, str]]:
    """Return in what a folder of runs differs from that of the runs that nobody killed."""
    from registry import checkpoint
    from tests.test_resume import assert_same

    found = []
    ours, theirs = (
        {path.relative_to(top).as_posix() for path in top.rglob("*")} for top in (folder, reference)
    )
    found += [("leftover", name) for name in sorted(ours - theirs)]
    found += [("silent loss", f"{name} is missing") for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        a, b = folder / name, reference / name
        if a.is_dir() or a.name == "log.txt":
            continue
        try:
            if a.suffix == ".pth":
                left, right = checkpoint.load(a), checkpoint.load(b)
                assert_same({**left, "config": ""}, {**right, "config": ""}, name)
                assert json.loads(left["config"]) == json.loads(right["config"]), "config"
            elif a.name == "scalars.jsonl":
                assert without_times(a) == without_times(b), "records"
            else:
                assert a.read_bytes() == b.read_bytes(), "bytes"
        except Exception as error:  # an unreadable file, too
            found.append(("silent loss", f"{name} differs: {type(error).__name__} {error}"[:300]))
    return found


def phase(folder: Path, name: str) -> str:
    """Say how far a run came."""
    work = folder / name
    if not (work / "config.json").is_file():
        return "in its origin" if list(folder.rglob("scalars.jsonl")) else "before it began"
    if (work / "metrics.json").is_file() or (work / "usual.json").is_file():
        return "after training"
    return "after a checkpoint" if (work / "last.pth").is_file() else "before a checkpoint"


def how(rng: random.Random, moment: str, seconds: float, events: int) -> tuple[str, Any, float]:
    """Draw the moment; return it in words, what the child does first, and when to kill it."""
    if moment == "a change to the disk":
        number, done = rng.randint(1, max(events, 1)), rng.random() < 0.5
        said = f"{'after' if done else 'before'} change {number} of {events}"
        return said, common.at_event(number, done), LIMIT
    if moment == "in a checkpoint":
        number, part = rng.randint(1, 4), rng.random()
        said = f"checkpoint {number}, {part:.0%} written"
        return said, common.in_a_checkpoint(number, part), LIMIT
    at = rng.uniform(0.7 if moment == "the end" else 0.02, 1.0) * seconds
    return f"after {at:.2f} s of {seconds:.2f}", None, at


def killed(
    task: Any, before: Any, at: float, **options: Any
) -> tuple[common.Process, common.Outcome]:
    """Start a command and kill it after that time, unless it has ended or killed itself."""
    process = common.Process(task, before=before, **options)
    end = process.started + at
    while not process.poll() and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    return process, process.wait(LIMIT, orphans=True)


def doctor(folder: Path) -> tuple[list[tuple[str, str]], str]:
    """Ask `doctor DIR`; return problems and what it said."""
    outcome = common.run(["doctor", folder], timeout=LIMIT)
    if outcome.status == 2:
        return [], "there is no doctor DIR"
    if outcome.status == 0:
        return [], ""
    return [("leftover", f"doctor: {outcome.stdout.strip()[:300]}")], outcome.stdout


def kill_training(report: Any, options: Any, there: Path, rng: random.Random) -> None:
    configs, reference, about = material.configs(there / "configs"), {}, {}
    kinds = [kind for kind in RUNS if options.only in f"train: {kind}"]
    common.learn(train(configs, "forecast with origin", there / "learnt/forecast"))
    for kind in kinds:
        work, count = there / "reference" / kind / RUNS[kind][0], there / "count"
        outcome = common.run(
            train(configs, kind, work, "--resume"),
            before=common.at_event(0, True, count),
            timeout=LIMIT,
        )
        assert outcome.status == 0, outcome
        reference[kind], about[kind] = work.parent, (outcome.seconds, int(count.read_text()))
        count.unlink()
        print(f"{kind}: {outcome.seconds:.1f} s, {about[kind][1]} changes", file=sys.stderr)
    plan = itertools.islice(itertools.cycle(itertools.product(MOMENTS, kinds)), options.cases)
    for number, (moment, kind) in enumerate(plan if kinds else ()):
        name, seconds = RUNS[kind][0], about[kind][0]
        folder = there / f"train{number}"
        folder.mkdir()
        work, problems, whats, swept = folder / name, [], [], []
        more: tuple[str, ...] = ("--resume",) if rng.random() < 0.5 else ()
        for turn in range(3):
            said, before, at = how(rng, moment, seconds, about[kind][1])
            process, outcome = killed(train(configs, kind, work, *more), before, at)
            swept.append(process)
            more = ("--resume",)
            whats.append(f"{said}: {phase(folder, name)}")
            if outcome.status == 0:  # it was faster: this start did not count as a kill
                whats[-1] += ", not killed"
                seconds *= 0.6
                if turn == 0:
                    shutil.rmtree(folder)
                    folder.mkdir()
                continue
            if outcome.status != -9:
                break
            problems += material.damage(folder)
            if rng.random() < 0.67:
                break
            moment = "any time"
        if outcome.status in (-9, 0):
            outcome = common.run(train(configs, kind, work, "--resume"), timeout=LIMIT)
        for process in swept:
            process.sweep()
        said = ""
        if outcome.status == 0:
            problems += differences(folder, reference[kind])
            found, said = doctor(folder / name)
            problems += found
        report.add(
            f"train: {kind}: {moment}", "; ".join(whats), outcome, problems, statuses=(0,),
            found=problems, doctor=said,
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Target:
    """A command that is killed: what is there before it, how it is called, what is one piece."""

    name: str
    prepare: Callable[[Path], Any]
    task: Callable[[Path], Any]
    whole: Sequence[str] = ()


def targets(there: Path, run: Path) -> list[Target]:
    """Return the commands other than train; ``run`` is the folder of a finished run."""
    import zoo
    from tests.zoo_packages import tiny_model, training_config

    for value in (1, 2):
        material.package(there / f"big{value}", "kept", value, size=500_000)
    cfg = training_config()
    model = tiny_model(cfg, 5)
    old = material.package(there / "old", "tiny", 4)

    def copied(*names: str) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            for name in names:
                source = run if name == "gan" else there / name
                shutil.copytree(source, folder / name)

        return prepare

    def save(folder: Path) -> Callable[[], Any]:
        return lambda: zoo.save(
            model, folder / "dest", name="tiny", license="mit", cfg=cfg, overwrite=True
        )

    def over_an_old_one(folder: Path) -> None:
        shutil.copytree(old, folder / "dest")

    material.pictures(there / "pictures")
    material.video(there / "clips/v.mp4", 40)
    material.clips(there / "flow/clips")
    shutil.copy(material.configs(there / "cfgs") / "flow.py", there / "flow/flow.py")
    bundled, moving = "factorized-puppets", "fomm-puppets"
    picture, video = there / "pictures/0.png", there / "clips/v.mp4"

    def clips_and_config(folder: Path) -> None:
        shutil.copytree(there / "flow", folder, dirs_exist_ok=True)

    def previous(*names: str) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            (folder / "out").mkdir()
            for name in names:
                material.video(folder / "out" / name, 3)

        return prepare

    return [
        Target("save", over_an_old_one, save, ("dest",)),
        Target(
            "publish",
            copied("gan"),
            lambda f: ["publish", f / "gan", "--license", "mit"],
            ("gan/package",),
        ),
        Target(
            "predict of a folder",
            previous(),
            lambda f: ["predict", bundled, there / "pictures", "--out", f / "out"],
        ),
        Target(
            "predict of a video",
            previous("v_landmarks.mp4"),
            lambda f: ["predict", bundled, video, "--out", f / "out", "--batch-size", "4"],
        ),
        Target(
            "animate",
            previous("a.mp4"),
            lambda f: ["animate", moving, picture, video, "--out", f / "out/a.mp4"],
        ),
        Target(
            "animate to a GIF",
            previous("a.gif"),
            lambda f: ["animate", moving, picture, video, "--out", f / "out/a.gif"],
        ),
        Target("prepare flow", clips_and_config, lambda f: ["prepare", "flow", "flow.py"]),
        Target(
            "pull",
            lambda f: None,
            lambda f: fetch_to("alice/pulled", f / "dest", f / "cache"),
            ("dest",),
        ),
    ]


def fetch_to(repo: str, dest: Path, cache: Path) -> Callable[[], Any]:
    """Return a task that pulls into a cache of its own: the command has no option for it."""
    from zoo.sources import pull

    return lambda: pull(f"hf:{repo}", dest=dest, cache_dir=cache)


def mixed(
    folder: Path, old: dict[str, str], new: dict[str, str], whole: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the files that are neither old nor new, and the packages that are not one of them."""
    now = {
        path: mark
        for path, mark in common.snapshot(folder).items()
        if not any(part.startswith(".") for part in Path(path).parts)
        and not path.endswith((".incomplete", ".lock"))
        and mark != "folder"
    }
    found = [
        ("torn", f"{path} is neither the old nor the new one")
        for path, mark in now.items()
        if mark not in (old.get(path), new.get(path))
    ]
    for top in whole:
        parts = [
            {p: m for p, m in state.items() if p.startswith(f"{top}/") and m != "folder"}
            for state in (now, old, new)
        ]
        if parts[0] and parts[0] not in parts[1:]:
            lost = sorted(set(parts[2]) ^ set(parts[0]))
            found.append(("torn", f"{top} is a mixture: {', '.join(lost)[:200]}"))
    lost = [path for path in old if path not in now and new.get(path, "folder") != "folder"]
    if lost and not any(path.startswith(f"{top}/") for path in lost for top in whole):
        found.append(("silent loss", f"the old {lost[0]} is gone"))
    return found


def kill_commands(report: Any, options: Any, there: Path, rng: random.Random) -> None:
    made = there / "made"
    chosen = targets(made, material.finished_run(there / "run"))
    setup = common.run(lambda: __import__("zoo.hub").hub.push(made / "big1", "alice/pulled"))
    assert setup.status == 0, setup
    for target in chosen:
        if options.only not in target.name:
            continue
        example, count = there / f"whole {target.name}", there / "count"
        example.mkdir()
        target.prepare(example)
        old = common.snapshot(example)
        outcome = common.run(
            target.task(example), cwd=example, before=common.at_event(0, True, count)
        )
        assert outcome.status == 0, (target.name, outcome)
        new, seconds, events = common.snapshot(example), outcome.seconds, int(count.read_text())
        count.unlink()
        for number in range(options.each):
            # the paths of the example: they are part of what some of the commands write
            shutil.rmtree(example)
            example.mkdir()
            target.prepare(example)
            moment = MOMENTS[number % 2]
            for _ in range(5):
                said, before, at = how(rng, moment, seconds, events)
                _, first = killed(target.task(example), before, at, cwd=example)
                if first.status != 0:
                    break
                seconds *= 0.9
            problems = mixed(example, old, new, target.whole)
            outcome, fixed = first, ""
            if first.status == -9:
                outcome = common.run(target.task(example), cwd=example, timeout=LIMIT)
                if outcome.status == 0:
                    problems += after(example, new)
                    if problems and all(kind == "leftover" for kind, _ in problems):
                        common.run(["doctor", "--fix", example], timeout=LIMIT)
                        common.run(["doctor", "--fix", example / "out"], timeout=LIMIT)
                        problems, fixed = after(example, new), str(problems)
            report.add(
                f"{target.name}: {moment}", said, outcome, problems, statuses=(0,), fixed=fixed,
                found=problems,
            )  # fmt: skip
        shutil.rmtree(example)


def after(folder: Path, new: dict[str, str]) -> list[tuple[str, str]]:
    """Return in what a folder differs from that of a command that nobody killed."""
    now = common.snapshot(folder)
    found = [
        ("silent loss", f"{path} is missing or differs")
        for path, mark in new.items()
        # what is traced has names that differ from process to process
        if now.get(path) != mark and not (path.endswith("/a.pt") and path in now)
    ]
    # the Hub client keeps part of a download; doctor finds it when it has been there for an hour
    more = [path for path in sorted(set(now) - set(new)) if not path.endswith(".incomplete")]
    return found + [("leftover", path) for path in more]


def kill_pushes(report: Any, options: Any, there: Path, rng: random.Random) -> None:
    """Kill pushes over an older version; what the Hub holds is fetched afresh and compared."""
    from zoo.hub import push

    if options.only not in "push":
        return
    packages = [material.package(there / f"push{v}", "kept", v, size=500_000) for v in (1, 2)]
    wanted = [material.digest(folder) for folder in packages]
    before = [common.snapshot(folder) for folder in packages]
    seconds = 0.5
    for number in range(options.each):
        repo = f"alice/pushed{number}"

        def send(v: int, repo: str = repo) -> Callable[[], Any]:
            return lambda: push(packages[v], repo)

        first = common.run(send(0))
        assert first.status == 0, first
        seconds = seconds if number else first.seconds
        for _ in range(5):
            at = rng.uniform(0.02, 1.0) * seconds
            _, outcome = killed(send(1), None, at)
            if outcome.status != 0:
                break
            seconds *= 0.9
        problems = []
        if outcome.status == -9:
            for turn in range(2):
                cache, dest = there / f"c{number}{turn}", there / f"d{number}{turn}"
                fetch = common.run(fetch_to(repo, dest, cache))
                found = material.digest(dest) if fetch.status == 0 else None
                if fetch.status != 0 or found not in wanted[turn:]:
                    problems.append(("torn", f"the Hub holds {found}: {fetch.stderr[-300:]}"))
                if turn == 0:
                    outcome = common.run(send(1))
        if [common.snapshot(folder) for folder in packages] != before:
            problems.append(("silent loss", "the pushed folder has changed"))
        problems += [("leftover", name) for name in common.leftovers(there) if "/" not in name]
        report.add("push: any time", f"after {at:.2f} s", outcome, problems, statuses=(0,))


def main() -> int:
    """Attack, print the table, return the exit status."""
    report, options = common.begin(__doc__, "kills", cases=100, each=10)
    rng = random.Random(options.seed)
    with common.scratch(options) as there, common.hub(there / "hub"):
        common.warm("tests.test_resume", "tests.test_forecast", "tests.test_flow")
        kill_training(report, options, there, rng)
        (there / "pushes").mkdir()
        kill_pushes(report, options, there / "pushes", rng)
        kill_commands(report, options, there, rng)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
