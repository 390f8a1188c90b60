"""Cases against files and words: what to run, what must come of it, and a watch on its memory.

An attack lists its cases and gives them to :func:`attack`. Every case has a folder of its own.
``expect`` is what the case must lead to:

- ``ok``: status 0, and ``check`` finds nothing wrong;
- ``refuse``: one clear line that has one of ``names``, a status from 1 to 6, and nothing changed;
- ``partial``: status 7 with a notice, or a refusal; never status 0;
- ``either``: a refusal, status 7, or a result in which ``check`` finds nothing wrong.

Inputs are made in forks too: OpenCV's and torch's threads must not start before a fork.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common

PAGE = os.sysconf("SC_PAGE_SIZE")
GIB = 1 << 30
REFUSED = (1, 2, 3, 4, 5, 6)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # without tab, newline, return

# trains in a second, and has all that a checkpoint may hold: a critic, a pool of old drawings,
# averaged weights, augmentation
TINY = '''"""A tiny run for attacks."""
image_size = 32
edges = ((0, 1), (1, 2), (1, 3), (1, 4), (0, 9), (0, 10))
width = 2

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=15)),
    bottleneck_apart=True,
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8),
    decoder=dict(
        type="decoders/conditional", width=width, appearance_channels=8,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=width, out_channels=8)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size, history=6,
        critic=dict(type="critics/multiscale_patch", width=4, scales=1)),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=4, taps=("input", "conv1_2")),
    adversarial=dict(type="losses/adversarial"),
    critic=dict(type="losses/critic"),
)
data = dict(
    train=dict(type="datasets/puppets", image_size=image_size, clips=3, frames_per_clip=8),
    prior=dict(type="datasets/puppets", split="prior", image_size=image_size, clips=3),
    test=dict(type="datasets/puppets", split="test", image_size=image_size, clips=2,
              frames_per_clip=4),
    transforms=[dict(type="transforms/color_jitter")],
)
train = dict(
    iterations=3, batch_size=4, lr=1e-3, betas=(0.5, 0.999), clip=1.0, ema=0.9,
    log_every=1, panels_every=0, checkpoint_every=0,
)
evaluate = dict(metrics=dict(direct=dict(type="metrics/keypoint_error")), max_items=8)
'''

Check = Callable[[Path, common.Outcome], "str | None"]


@dataclass
class Case:
    """One case; see the module's docstring for ``expect``."""

    kind: str
    what: str
    words: Sequence[Any] | Callable[[], Any]  # a command, or a function that is called in the fork
    expect: str = "refuse"
    names: Sequence[str] = ()  # one of these must be in the line of a refusal
    never: Sequence[str] = ()  # none of these may be in what is said
    make: Callable[[Path], Any] | None = None  # makes the inputs, in a fork, in the case's folder
    check: Check | None = None  # says what is wrong with a result
    before: Callable[[], Any] | None = None  # called first in the command's process
    kept: Sequence[str] = ()  # folders and files in which a refusal must not change anything
    absent: Sequence[str] = ()  # must not exist after a refusal
    after: Check | None = None  # says what is wrong whatever the status, such as that code ran
    amend: Callable[[common.Outcome], Any] | None = None  # before it is judged
    accepted: str = "wrong result"  # the verdict if a refusal was due and the status is 0
    timeout: float = 60
    memory: float = 3.0  # GiB beyond that of this process
    how: dict[str, Any] = field(default_factory=dict)  # of common.Process


def begin(doc: str | None, name: str) -> tuple[common.Report, argparse.Namespace]:
    """Read the arguments: those of all attacks, and --cases to run only so many."""
    return common.begin(doc, name, cases=0)


def warm() -> None:
    """Import all commands and components, so that no fork needs to."""
    common.warm()
    package = importlib.import_module("components")
    for module in pkgutil.walk_packages(package.__path__, "components."):
        importlib.import_module(module.name)
    import cv2

    cv2.setNumThreads(1)


def run(task: Any, *, timeout: float = 60, memory: float = 3.0, **how: Any) -> common.Outcome:
    """Run a command like :func:`common.run`, with a limit of resident memory.

    The limit is in GiB beyond what this process has, which a fork shares.

    A process beyond the limit is killed, and its status is that of SIGXCPU, which nothing else
    sends here; a limit of address space is behind it, for what grows between two looks.
    """
    first = how.pop("before", None)

    def before() -> None:
        space = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
        limit = space + int((memory + 8) * GIB)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if first is not None:
            first()

    process = common.Process(task, before=before, **how)
    end, pause, big = time.monotonic() + timeout, 0.002, False
    most = memory * GIB + _resident(os.getpid())
    while not process.poll() and time.monotonic() < end:
        if _resident(process.pid) > most:
            big = process.kill()
            break
        time.sleep(pause)
        pause = min(1.2 * pause, 0.03)
    outcome = process.wait(5 if big else 0)
    if big:
        outcome.status = -signal.SIGXCPU
        outcome.stderr += f"\nkilled by the attack: more than {memory} GiB of memory"
    return outcome


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def attack(
    report: common.Report, options: argparse.Namespace, cases: Iterable[Case], root: Path
) -> None:
    """Run the cases, each in a folder below ``root`` that is removed afterwards."""
    chosen = [one for one in cases if options.only in one.kind or options.only in one.what]
    if options.cases:
        chosen = random.Random(options.seed).sample(chosen, min(options.cases, len(chosen)))
    for number, case in enumerate(chosen):
        folder = root / f"{number:04d}"
        folder.mkdir()
        try:
            _attack(report, case, folder)
        finally:
            remove(folder)


def _attack(report: common.Report, case: Case, folder: Path) -> None:
    if case.make is not None:
        make = case.make
        made = run(lambda: make(folder), cwd=folder, timeout=120, memory=8)
        if made.status != 0:
            raise RuntimeError(f"{case.kind}: {case.what}: cannot be made: {made.stderr[-2000:]}")
    old = {name: state(folder / name) for name in case.kept}
    known = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    task = case.words
    how = {"cwd": folder, "before": case.before, **case.how}
    outcome = run(task, timeout=case.timeout, memory=case.memory, **how)
    if case.amend is not None:
        case.amend(outcome)
    problems: list[tuple[str, str]] = []
    with contextlib.suppress(KeyboardInterrupt):
        problems = list(_problems(case, folder, outcome, old, known))
    report.add(case.kind, case.what, outcome, problems, cause=cause(outcome), expect=case.expect)


def _problems(
    case: Case, folder: Path, outcome: common.Outcome, old: dict[str, Any], known: set[str]
) -> Iterable[tuple[str, str]]:
    said, status = outcome.stdout + outcome.stderr, outcome.status
    if case.after is not None and (found := case.after(folder, outcome)):
        yield "wrong result", found
    for word in case.never:
        if word in said:
            yield "unclear", f"the text has {word!r}"
    if found := CONTROL.search(said):
        yield "unclear", f"control character {found[0]!r} reaches the terminal"
    if status == 0:
        if case.expect == "refuse":
            yield case.accepted, "accepted"
        elif case.expect == "partial" and not (  # training goes on, and says so
            case.what.endswith("train") and "damaged or cut short" in outcome.stderr
        ):
            yield "silent loss", "status 0 and no notice"
    if status in (0, common.PARTIAL) and case.check is not None:
        try:
            wrong = case.check(folder, outcome)
        except Exception as error:
            wrong = f"the result cannot be read: {type(error).__name__}: {error}"
        if wrong and (status == 0 or "rows" not in wrong):
            yield ("silent loss" if "rows" in wrong else "wrong result"), wrong
    if status == common.PARTIAL and case.expect in ("ok", "refuse"):
        yield "wrong status", f"7 where {case.expect} is due"
    if status in REFUSED:
        if case.expect == "ok":
            yield "wrong result", f"refused: {(outcome.lines or [''])[-1][:200]}"
        lines = [line for line in outcome.lines if line.startswith("error: ")]
        if lines and case.names and not any(name in lines[0] for name in case.names):
            yield "unclear", f"the line does not name {' or '.join(case.names)}: {lines[0][:200]}"
        if lines and len(lines[0]) > 2500:
            yield "unclear", f"the line has {len(lines[0])} characters"
        for name, before in old.items():
            if (now := state(folder / name)) != before:
                changed = sorted(k for k in {*now, *before} if now.get(k) != before.get(k))
                yield "silent loss", f"a refusal changed {name}: {', '.join(changed[:4])}"
        for name in case.absent:
            if os.path.lexists(folder / name):
                yield "leftover", f"{name} was made"
    if status is not None and status >= 0:
        hidden = [
            name
            for name in common.leftovers(folder, known)
            if not name.endswith((".lock", ".claim"))
        ]
        if hidden:
            yield "leftover", ", ".join(hidden[:3])


def state(path: Path) -> dict[str, str]:
    """Return relative path -> what it is, of a file or of all below a folder; locks left out."""
    if not os.path.lexists(path):
        return {}
    files = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    found = {}
    for file in files:
        mode, name = file.lstat().st_mode, os.path.relpath(file, path)
        if name.endswith((".lock", ".claim")):
            continue
        plain = stat.S_ISREG(mode)
        found[name] = hashlib.sha256(file.read_bytes()).hexdigest() if plain else str(mode)
    return found


def cause(outcome: common.Outcome) -> str:
    """Return the last frame of a traceback that is in our code: ``file:line: Class``."""
    text = outcome.stderr
    if "Traceback (most recent call last)" not in text:
        return ""
    ours = re.findall(r'File "[^"]*/((?:registry|components|zoo|tools)/[^"]+)", line (\d+)', text)
    lines = [line for line in outcome.lines if re.match(r"[\w.]+(:|$)", line)]
    last = lines[-1].partition(":")[0] if lines else ""
    return f"{':'.join(ours[-1]) if ours else '?'}: {last}"


def summary(report: common.Report) -> None:
    """Print the failures grouped by cause, most frequent first."""
    groups: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for case in report.cases:
        if case.verdict not in common.GOOD:
            # numbers and names differ from case to case
            why = case.more.get("cause") or re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "#", case.why)[:90]
            key = (case.verdict, why)
            groups[key] += 1
            example.setdefault(key, f"{case.kind}: {case.what}")
    for (verdict, why), count in groups.most_common():
        print(f"  {count:3} {verdict}: {why}  (e.g. {example[verdict, why]})")


def main(name: str, doc: str | None, cases: Callable[[random.Random, Path], Iterable[Case]]) -> int:
    """Run an attack: ``cases`` gets the random generator and a folder for what they share."""
    report, options = begin(doc, name)
    # not a TemporaryDirectory: the exit functions of a fork would remove it
    folder = Path(tempfile.mkdtemp(prefix="attack-", dir=options.scratch)).resolve()
    try:
        # a package or run of the same name, a cache, or a token of this machine must not matter
        os.environ["HF_HOME"] = str(folder / "hub")
        os.environ["KEYPOINT_ZOO_CACHE"] = str(folder / "cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        warm()
        shared = folder / "shared"
        shared.mkdir()
        work = folder / "cases"
        work.mkdir()
        attack(report, options, cases(random.Random(options.seed), shared), work)
    finally:
        remove(folder)
    summary(report)
    return report.end()


def trained(shared: Path) -> Path:
    """Train the tiny run and return its folder.

    Raises:
        RuntimeError: the training fails.
    """
    (shared / "tiny.py").write_text(TINY)
    outcome = run(["train", "tiny.py", "--work-dir", "run"], cwd=shared)
    if outcome.status != 0:
        raise RuntimeError(outcome.stderr)
    return shared / "run"


def remove(folder: Path) -> None:
    """Remove a folder whatever is in it."""
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(os.fsencode(folder), ignore_errors=True)


__all__ = ["Case", "attack", "begin", "main", "remove", "run", "sys", "trained", "warm"]
