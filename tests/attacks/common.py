"""What the attacks share: commands in forks or fresh processes, verdicts, the table.

The scripts of this folder attack the library as a whole: they kill it, fill its disk, feed it
damaged files, and look at what is left. pytest does not collect them, because they take minutes:

    python tests/attacks/kills.py --seed 7 --out kills.json

Each prints one row of a table (cases, kinds, outcomes) and the cases that failed, writes every case
as JSON, and ends with status 1 if one failed. A script is written like this:

    report = common.begin(__doc__, "kills")         # parses --seed, --out, --only, --cases
    common.warm()                                   # imports what forks then need not import
    outcome = common.run(["predict", ref, image, "--out", out])
    report.add("predict of a cut PNG", what, outcome, problems=[("silent loss", "2 of 4 rows")])
    sys.exit(report.end())

Verdicts: ``ok`` (the whole result, or one clear line with a status other than 0 and everything old
intact) and ``partial-said`` (status 7 with a notice); all others are failures: ``hang``, ``crash``
(a signal), ``traceback``, ``silent loss``, ``torn``, ``leftover``, ``unclear`` (a status other than
0 without one clear line), ``wrong status``.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import util
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
PARTIAL = 7
SAID = (130, 143)  # interrupted: the line need not begin with "error:"
GOOD = ("ok", "partial-said")
# not written by the command for its user
NOISE = re.compile(
    r"Traceback|^Exception ignored|^  File \"|^\w*(Error|Exception)\b.*:|\[ ?(ERROR|WARN)|OpenCV\(|"
    r"terminate called|^libpng|^Fatal Python|Segmentation fault|Bus error|leaked|UserWarning|"
    r"0x[0-9a-f]{6}"
)

sys.path[:0] = [str(TESTS), str(ROOT)]

from zoo.cli import DECODERS  # noqa: E402

for name, value in {
    **DECODERS,  # as in a fresh process of the command
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "NO_PROXY": "*",
}.items():
    os.environ[name] = value
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


@dataclass
class Outcome:
    """How a command ended: ``status`` is negative for a signal, None after a timeout."""

    status: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """What stderr says, without empty lines and what a terminal would have replaced."""
        found = (line.rsplit("\r", 1)[-1].rstrip() for line in self.stderr.split("\n"))
        return [line for line in found if line]


class Process:
    """A command that runs in a session of its own, in a fork of this process or a fresh one.

    Args:
        task: the words of a ``keypoint-zoo`` command; or a function without arguments, which is
            called in the fork: an exception that the commands translate becomes a line
            ("error: ..."), status 2, any other a traceback.
        cold: run ``python -m zoo`` (or, with ``program``, that) instead of a fork; slower by
            seconds.
        program: first words of the command line of a cold process, instead of ``python -m zoo``.
        cwd: where it runs.
        env: more variables. A fork cannot change what is read at an import.
        stdout: a file to write to, such as /dev/full.
        before: called in the child first, for example to limit a resource.
    """

    def __init__(
        self,
        task: Sequence[str | os.PathLike[str]] | Callable[[], Any],
        *,
        cold: bool = False,
        program: Sequence[str] = (),
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] = {},
        stdout: str | os.PathLike[str] | None = None,
        before: Callable[[], Any] | None = None,
    ) -> None:
        self.out = open(stdout, "w+b") if stdout else tempfile.TemporaryFile()  # noqa: SIM115
        self.err = tempfile.TemporaryFile()  # noqa: SIM115
        self.readable = stdout is None
        self.started, self.status, self.ended = time.monotonic(), None, False
        self.seconds = 0.0
        words = [] if callable(task) else [os.fspath(word) for word in task]
        if cold:
            child = subprocess.Popen(
                [*(program or (sys.executable, "-m", "zoo")), *words],
                stdin=subprocess.DEVNULL,
                stdout=self.out,
                stderr=self.err,
                cwd=cwd,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=before,
            )
            child.returncode = 0  # this class waits for it
            self.pid = child.pid
            return
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(task if callable(task) else words, cwd, env, before)

    def _child(self, task: Any, cwd: Any, env: Mapping[str, str], before: Any) -> None:
        code = 1
        try:
            atexit._clear()  # of the harness
            atexit.register(util._exit_function)
            os.setsid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the harness
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.out.fileno(), 1)
            os.dup2(self.err.fileno(), 2)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(  # noqa: SIM115
                2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
            )
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(env)
            if cwd is not None:
                os.chdir(cwd)
            if before is not None:
                before()
            code = self._perform(task)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except KeyboardInterrupt:
            traceback.print_exc()
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(BaseException):
                    stream.flush()
            os._exit(code & 255)

    def _perform(self, task: Any) -> int:
        from zoo import cli

        if not callable(task):
            return cli.main(task)
        from zoo.errors import ZooError

        warnings.showwarning = lambda message, *_, **__: print(
            f"warning: {message}", file=sys.stderr
        )
        try:
            task()
        except ZooError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        return 0

    def poll(self) -> bool:
        """Return whether it has ended."""
        if not self.ended:
            found, raw = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.ended, self.status = True, os.waitstatus_to_exitcode(raw)
                self.seconds = time.monotonic() - self.started
        return self.ended

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Send a signal to the process alone (not to its children), if it still runs."""
        if self.poll():
            return False
        os.kill(self.pid, number)
        return True

    def sweep(self) -> None:
        """Kill it and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 60, *, orphans: bool = False) -> Outcome:
        """Wait; kill what is still running of it after that time, and its children at the end.

        Args:
            timeout: seconds.
            orphans: leave its children alone if it was killed, as the system does.
        """
        end, pause = time.monotonic() + timeout, 0.002
        while not self.poll() and time.monotonic() < end:
            time.sleep(pause)
            pause = min(pause * 1.2, 0.05)
        late = not self.ended
        if not orphans or late:
            self.sweep()
        while not self.poll():
            time.sleep(0.005)
        texts = []
        for file, readable in ((self.out, self.readable), (self.err, True)):
            if readable:
                file.seek(0)
            texts.append(file.read().decode(errors="replace") if readable else "")
            file.close()
        return Outcome(None if late else self.status, *texts, self.seconds)


def run(task: Any, *, timeout: float = 60, **how: Any) -> Outcome:
    """Run a command to its end; arguments as for :class:`Process`."""
    return Process(task, **how).wait(timeout)


CHANGES = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir")


def at_event(number: int, done: bool, count: Path | None = None) -> Callable[[], None]:
    """Return what makes a process die by SIGKILL at the n-th change that it makes to the disk.

    Args:
        number: of the call that renames, deletes, creates or syncs a file or folder, or opens one
            to write, from 1; 0 for never.
        done: die after that call instead of before.
        count: gets the number of calls at the end.
    """

    def patch() -> None:
        import builtins
        import io

        owner, calls = os.getpid(), [0]

        def counted(function: Any, writes: Callable[..., bool] = lambda *_, **__: True) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if os.getpid() != owner or not writes(*args, **kwargs):
                    return function(*args, **kwargs)
                calls[0] += 1
                if calls[0] == number and not done:
                    os.kill(owner, signal.SIGKILL)
                result = function(*args, **kwargs)
                if calls[0] == number:
                    os.kill(owner, signal.SIGKILL)
                return result

            return call

        def opens(path: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
            return isinstance(mode, str) and bool(set(mode) & set("wax+"))

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        builtins.open = io.open = counted(open, opens)
        if count is not None:
            atexit.register(lambda: os.write(os.open(count, 65), str(calls[0]).encode()))

    return patch


def in_a_checkpoint(number: int, part: float) -> Callable[[], None]:
    """Return what makes a process die inside the n-th ``torch.save``, after part of its bytes."""

    def patch() -> None:
        import io

        import torch

        save, calls = torch.save, [0]

        def half(state: Any, file: Any, *args: Any, **kwargs: Any) -> None:
            calls[0] += 1
            if calls[0] < number:
                return save(state, file, *args, **kwargs)
            memory = io.BytesIO()
            save(state, memory, *args, **kwargs)
            data = memory.getvalue()[: int(part * memory.tell())]
            target = file if hasattr(file, "write") else open(file, "wb")  # noqa: SIM115
            target.write(data)
            target.flush()
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        torch.save = half

    return patch


@contextlib.contextmanager
def hub(folder: Path) -> Any:
    """Run the loopback Hub in a process of its own; it is what the client of this one asks.

    Begin it before :func:`warm`: the client reads its address when it is imported.
    """
    from hub_state import ALICE

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        from hub_server import serve

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        with serve(folder / "server") as found:
            os.write(write, found.url.encode())
            while True:
                time.sleep(3600)
    url = os.read(read, 1000).decode()
    os.environ |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_TOKEN": ALICE}
    try:
        yield url
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def warm(*modules: str) -> None:
    """Import what the commands import, once: forks then start within milliseconds."""
    from importlib import import_module

    import torch

    torch.set_num_threads(1)
    usual = ("zoo.cli", "zoo.model", "zoo.hub", "zoo.prediction", "zoo.animation", "zoo.verifying")
    more = ("zoo.publication", "zoo.scoring", "registry.runner", "components.hooks.panels")
    for module in (*usual, *more, *modules):
        import_module(module)
    from zoo import cli

    for name in cli.NAMES:
        cli._module(name)


def learn(task: Any, **how: Any) -> Outcome:
    """Run a task in a fork and import here what it has imported: the next ones start faster."""
    from importlib import import_module

    read, write = os.pipe()
    first = how.pop("before", None)

    def before() -> None:
        if first is not None:
            first()
        known = set(sys.modules)

        def tell() -> None:
            names = [n for n in sys.modules if n not in known and sys.modules[n] is not None]
            with os.fdopen(write, "w") as file:
                file.write("\n".join(names))

        atexit.register(tell)

    process = Process(task, before=before, **how)
    os.close(write)
    with os.fdopen(read) as file:
        names = file.read().split("\n")
    outcome = process.wait()
    for name in names:
        with contextlib.suppress(Exception):
            import_module(name)
    return outcome


def clear_line(outcome: Outcome) -> str | None:
    """Return why what stderr says is not one clear line, or None."""
    lines = outcome.lines
    for line in lines:
        if NOISE.search(line.removeprefix("error: ") if line.startswith("error: ") else line):
            if line.startswith("error: ") and "Traceback" not in line and "0x" not in line:
                continue  # an error may quote the words of another
            return f"noise: {line[:200]}"
    errors = [line for line in lines if line.startswith("error: ")]
    if outcome.status in SAID:  # whoever sends SIGTERM knows why it ended
        told = lines or outcome.stdout.strip() or outcome.status == 143
        return None if told else "nothing was said"
    if len(errors) != 1:
        return f"{len(errors)} lines begin with 'error:'"
    if lines[-1] != errors[0]:
        return f"after the error: {lines[-1][:200]}"
    if not errors[0].removeprefix("error:").strip():
        return "the error says nothing"
    return None


def judge(
    outcome: Outcome,
    problems: Iterable[tuple[str, str]] = (),
    *,
    sent: int | None = None,
    statuses: Iterable[int] | None = None,
) -> tuple[str, str]:
    """Return the verdict and the reason.

    Args:
        outcome: how the command ended.
        problems: what is wrong with the files, as (verdict, reason).
        sent: the signal that was sent to it.
        statuses: those that are right in this case; None for any of 0 to 7, 130 and 143.
    """
    said, status = f"{outcome.stdout}\n{outcome.stderr}", outcome.status
    if status is None:
        return "hang", f"no end after {outcome.seconds:.0f} s"
    if status < 0 and -status != sent:
        return "crash", signal.Signals(-status).name
    if "Traceback (most recent call last)" in said:
        return "traceback", (outcome.lines or [""])[-1][:300]
    for verdict, reason in problems:
        return verdict, reason
    if status < 0:
        return "ok", "killed"
    if statuses is not None and status not in statuses:
        return "wrong status", f"{status} instead of {sorted(statuses)}"
    if status > PARTIAL and status not in (*SAID, 141):
        return "wrong status", str(status)
    if status == PARTIAL:
        return ("partial-said", outcome.lines[-1]) if outcome.lines else ("silent loss", "status 7")
    if status:
        why = clear_line(outcome)
        return ("unclear", why) if why else ("ok", "one clear line")
    noise = [line for line in outcome.lines if NOISE.search(line)]
    return ("unclear", f"noise: {noise[0][:200]}") if noise else ("ok", "whole result")


@dataclass
class Case:
    """One case of an attack, as it is kept in the JSON file."""

    kind: str
    what: str
    status: int | None
    stderr: str
    seconds: float
    verdict: str
    why: str
    more: dict[str, Any] = field(default_factory=dict)


class Report:
    """The cases of one attack, written to the file every few seconds."""

    def __init__(self, name: str, seed: int, out: Path | None) -> None:
        self.name, self.seed, self.out = name, seed, out
        self.cases: list[Case] = []
        self.started = self.written = time.monotonic()

    def add(
        self,
        kind: str,
        what: str,
        outcome: Outcome,
        problems: Iterable[tuple[str, str]] = (),
        *,
        sent: int | None = None,
        statuses: Iterable[int] | None = None,
        **more: Any,
    ) -> Case:
        """Judge a case and keep it; a failure is printed at once.

        Args:
            kind: for the counts, such as "kill in a checkpoint write".
            what: was done in this case.
            outcome, problems, sent, statuses: as for :func:`judge`.
            more: whatever else is to be kept, as JSON has it.
        """
        verdict, why = judge(outcome, problems, sent=sent, statuses=statuses)
        case = Case(
            kind, what, outcome.status, outcome.stderr[-4000:], round(outcome.seconds, 3), verdict,
            why, more,
        )  # fmt: skip
        self.cases.append(case)
        if verdict not in GOOD:
            print(f"{verdict}: {kind}: {what}: {why}", file=sys.stderr, flush=True)
        if time.monotonic() - self.written > 3:
            self.write()
        return case

    def write(self) -> None:
        """Write all cases so far."""
        self.written = time.monotonic()
        if self.out is not None:
            document = {**self.summary(), "cases": [asdict(case) for case in self.cases]}
            part = self.out.with_name(f".{self.out.name}.part")
            part.write_text(json.dumps(document, indent=1, default=str) + "\n")
            part.replace(self.out)

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
        kinds: dict[str, Counter[str]] = {}
        for case in self.cases:
            kinds.setdefault(case.kind, Counter())[case.verdict] += 1
        return {
            "attack": self.name,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.started, 1),
            "cpu": round(sum(sum(resource.getrusage(who)[:2]) for who in (0, -1)), 1),
            "count": len(self.cases),
            "outcomes": dict(Counter(case.verdict for case in self.cases)),
            "kinds": {kind: dict(found) for kind, found in kinds.items()},
        }

    def end(self) -> int:
        """Print the table and return the exit status: 1 if a case failed."""
        self.write()
        found = self.summary()
        outcomes = found["outcomes"]
        failed = {verdict: n for verdict, n in outcomes.items() if verdict not in GOOD}
        for kind, each in found["kinds"].items():
            print(f"  {kind}: {', '.join(f'{n} {verdict}' for verdict, n in each.items())}")
        print("| attack | cases | kinds | ok | partial, said | failures | seed | time |")
        print("|---|---|---|---|---|---|---|---|")
        print(
            f"| {self.name} | {len(self.cases)} | {len(found['kinds'])} | {outcomes.get('ok', 0)} "
            f"| {outcomes.get('partial-said', 0)} | "
            f"{', '.join(f'{n} {verdict}' for verdict, n in failed.items()) or 0} | {self.seed} | "
            f"{found['seconds']:.0f} s, "
            f"{found['cpu']:.0f} s of a core |"
        )
        return int(bool(failed))


def begin(doc: str | None, name: str, **defaults: Any) -> tuple[Report, argparse.Namespace]:
    """Read the arguments that all attacks have: --seed, --out, --only KIND, and those given.

    Args:
        doc: the script's docstring.
        name: of the attack, for the table.
        defaults: further options with their defaults, such as ``cases=100`` for ``--cases``.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON with every case")
    parser.add_argument("--only", metavar="WORD", default="", help="only kinds with this word")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for files; default: /tmp")
    for key, value in defaults.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    if options.out is not None:
        options.out = options.out.absolute()
    return Report(name, options.seed, options.out), options


@contextlib.contextmanager
def scratch(options: argparse.Namespace) -> Any:
    """Yield a new folder that is removed at the end."""
    # not a TemporaryDirectory: forks, too, would remove it when they end
    folder = Path(tempfile.mkdtemp(prefix="attack-", dir=options.scratch)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def snapshot(folder: Path) -> dict[str, str]:
    """Return path -> digest of every file below a folder, to see that nothing has changed.

    A folder has the digest "folder", a link the place where it leads.
    """

    def mark(path: Path) -> str:
        if path.is_symlink():
            return f"-> {os.readlink(path)}"
        return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()

    return {path.relative_to(folder).as_posix(): mark(path) for path in sorted(folder.rglob("*"))}


TEMPORARY = re.compile(r"\.\d+(-[0-9a-f]+)?\.|\.(part|tmp|staging|old|incomplete|lock)$")


def leftovers(folder: Path, known: Iterable[str] = ()) -> list[str]:
    """Return the hidden or temporary files and folders below a folder that are not known.

    Args:
        folder: where to look.
        known: relative paths that were there before.
    """
    there = set(known)
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in there and (path.name.startswith(".") or TEMPORARY.search(path.name)):
            found.append(name)
    return found
