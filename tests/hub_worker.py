"""The real client in a process of its own, where it can be cut off from the world, or killed.

The process imports zoo and client once. Calls that are to be killed run in forks of it, which
start within milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
sleep = time.sleep


class Failed(Exception):
    """A call raised: ``kind`` is the class, ``trace`` the whole traceback with its causes."""

    def __init__(self, kind: str, text: str, cause: str, trace: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.cause, self.trace = kind, text, cause, trace


class Worker:
    """Calls functions by name (``zoo.hub.push``) in another process.

    Args:
        endpoint: URL of the Hub.
        home: folder of the client's cache and of its token.
        path: folders that come first when it imports.
        **environment: more variables.
    """

    def __init__(self, endpoint: str, home: Path, path: tuple = (), **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.errors = home, home / "stderr"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        clean |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        clean |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*", **environment}
        clean["PYTHONPATH"] = os.pathsep.join(map(str, (*path, ROOT)))
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=clean,
                cwd=home,
                text=True,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def ask(self, **what):
        self.process.stdin.write(json.dumps(what, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def __call__(self, name: str, *args, **kwargs):
        """Call and return the result as JSON has it.

        Raises:
            Failed: it raised.
        """
        return unpack(self.ask(name=name, args=args, kwargs=kwargs))

    def fail(self, name: str, *args, **kwargs) -> Failed:
        """Call what must raise, and return what it raised."""
        try:
            result = self(name, *args, **kwargs)
        except Failed as error:
            return error
        raise AssertionError(f"{name} returned {result}")

    def together(self, *calls: dict) -> list:
        """Start calls, dicts of name, args and kwargs, at once, each in a process.

        Returns:
            Their results, Failed where one raised.
        """
        answers = self.ask(together=calls)
        results = []
        for answer in answers:
            try:
                results.append(unpack(answer))
            except Failed as error:
                results.append(error)
        return results

    def killed(self, after: float, call: dict) -> bool:
        """Start a call in a process and kill that after some seconds; False if it was faster."""
        return self.ask(kill=after, **call)

    def killed_by(self, call: dict) -> bool:
        """Perform a call in a process that somebody else kills; False if nobody did."""
        return self.ask(kill=None, **call)

    def kill(self) -> None:
        """Kill the process of the call that ``killed_by`` is performing; from another thread."""
        os.kill(int((self.home / "child").read_text()), signal.SIGKILL)


def unpack(answer: dict):
    if "kind" in answer:
        raise Failed(**answer)
    return answer["result"]


def perform(name: str, args: list, kwargs: dict) -> dict:
    """Call and describe the outcome."""
    module, _, function = name.rpartition(".")
    try:
        work = getattr(sys.modules[module] if module else sys.modules[__name__], function)
        result = work(*args, **kwargs)
        plain = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result
        if isinstance(result, list):  # entries
            plain = [one._asdict() if hasattr(one, "_asdict") else one for one in result]
        return {"result": json.loads(json.dumps(plain, default=as_plain))}
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        cause = type(error.__cause__).__name__
        return {"kind": type(error).__name__, "text": str(error), "cause": cause, "trace": trace}


def as_plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


def announced_push(*args, **kwargs) -> dict:
    """Push, and return what was announced, too."""
    from zoo import hub

    lines: list[str] = []
    pushed = hub.push(*args, announce=lines.append, **kwargs)
    return {**dataclasses.asdict(pushed), "announced": lines}


def state() -> dict:
    """Say what is loaded."""
    import huggingface_hub

    return {"client": huggingface_hub.__version__, "torch": "torch" in sys.modules}


def fetch(repo_id: str, *, weights: bool = True, **access) -> tuple[Path, str]:
    from zoo import hub, refs

    return hub.fetch(repo_id, refs.Access(**access), weights=weights)


def locate(ref: str, *, weights: bool = True, **access):
    from zoo import refs, sources

    return sources.locate(ref, refs.Access(**access), weights=weights)


def verify_remote(repo_id: str, commit: str, folder: str, token: str) -> list[str]:
    from zoo import hub, package

    return hub.verify_remote(repo_id, commit, package.open_package(folder), token)


def set_timeout(seconds: float) -> None:
    from zoo import hub

    hub.TIMEOUT = seconds


def fork(call: dict) -> tuple[int, int]:
    """Perform a call in a fork; return its process and the pipe with the outcome."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(read)
            Path("child").write_text(str(os.getpid()))
            with os.fdopen(write, "w") as out:
                out.write(json.dumps(perform(**call)))
        finally:
            os._exit(0)
    os.close(write)
    return child, read


def together(calls: list[dict]) -> list[dict]:
    answers = []
    for child, read in [fork(call) for call in calls]:
        with os.fdopen(read) as source:
            answers.append(json.loads(source.read()))
        os.waitpid(child, 0)
    return answers


def kill(after: float | None, **call) -> bool:
    child, read = fork(call)
    if after is not None:
        sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(read)
    return os.WIFSIGNALED(status)


def main() -> None:
    from zoo import hub, sources  # noqa: F401

    time.sleep = lambda seconds: sleep(min(seconds, 0.02))  # the client's, before it tries again
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints
    for line in sys.stdin:
        asked = json.loads(line)
        if "together" in asked:
            answer = together(asked["together"])
        elif "kill" in asked:
            answer = kill(asked.pop("kill"), **asked)
        else:
            answer = perform(**asked)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
