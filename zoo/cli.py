"""The command ``keypoint-zoo``: every answer as text, or with --json as one JSON document.

Each command is a module of ``zoo.commands``: its docstring is its help, ``arguments`` declares its
arguments, ``run`` returns its answer. Answers go to stdout; progress, notices and errors to stderr.
Only here does an error become a line and an exit status. Nothing heavy is imported before a command
needs it.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from zoo.answer import BROKEN_PIPE, INTERRUPTED, Answer, UsageError, notice, plain
from zoo.errors import FAILED, OK, USAGE, ZooError, printable
from zoo.parser import Parser, Printed

COMMANDS = {
    "train and use": ("train", "evaluate", "predict", "animate", "prepare"),
    "share": ("publish", "push", "pull", "convert", "export", "card"),
    "look": ("list", "info", "components", "where"),
    "maintain": ("verify", "doctor", "benchmark", "new-plugin"),
}
EXIT_CODES = """\
exit status:
  0  success              4    no network, or offline and not in the cache
  1  a check failed, a    5    the Hub refused this account
     process died, or     6    needs another version, a plugin or other weights
     memory ran out       7    done, but part of an input could not be read
  2  wrong arguments,     130  interrupted; 143 by SIGTERM
     files or values      141  broken pipe
  3  entry not found"""


NAMES = tuple(name for names in COMMANDS.values() for name in names)
# Of OpenCV and FFmpeg, which read them when they are imported: our own lines say what is wrong with
# a file, and a small file must not become a huge picture.
DECODERS = {
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(1 << 28),
}
LOOK: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,
    "epilog": EXIT_CODES,
    "allow_abbrev": False,
    "conflict_handler": "resolve",  # a command may define its own --json
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: its words; None for those of the process.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    for name, value in DECODERS.items():
        os.environ.setdefault(name, value)
    with _stoppable() as stops:
        try:
            return _answered(words, stops)
        except KeyboardInterrupt:  # while the answer was written
            return 128 + stops[-1] if stops else INTERRUPTED


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end the command by a KeyboardInterrupt, so that it cleans up.

    Yields:
        The signals that came. While one is being obeyed, further ones are ignored.
    """
    came: list[int] = []

    def stop(number: int, _: Any) -> None:
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                return  # on the way out
            error = error.__context__
        came.append(number)
        raise KeyboardInterrupt

    def unraised(found: Any) -> None:
        if issubclass(found.exc_type, KeyboardInterrupt):  # in __del__ or a callback: come again
            again = threading.Timer(0.1, signal.raise_signal, [came[-1] if came else signal.SIGINT])
            again.daemon = True
            again.start()
        else:
            hook(found)

    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    main = threading.current_thread() is threading.main_thread()
    found = [s for s in usual if main and signal.getsignal(s) is usual[s]]
    hook, sys.unraisablehook = sys.unraisablehook, unraised
    for number in found:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        sys.unraisablehook = hook
        for number in found:
            signal.signal(number, usual[number])
        if came and found:  # another Ctrl-C must not disturb Python's own end
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _answered(words: Sequence[str], stops: Sequence[int]) -> int:
    """Run one command and return its exit status; ``stops`` are the signals that have come."""
    json_file = None
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.showwarning = lambda message, *_, **__: notice(f"warning: {message}")
            # a former name: by default Python shows this warning to developers only
            warnings.filterwarnings("default", "'.*' is now called", DeprecationWarning)
            # of registry/usual.py: said of each input, not once
            warnings.filterwarnings("always", ".* unlike those that the model was trained on")
            options = _parsed(words)
            run, json_file = options.pop("run"), options.pop("json")
            if json_file:  # progress is not part of the document
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            answer: Answer = run(**options)
    except BaseException if stops else KeyboardInterrupt as error:  # noqa: B030
        # once a signal has come: a library may have turned it into an error of its own
        said = str(error) if isinstance(error, KeyboardInterrupt) else ""
        code = 128 + stops[-1] if stops else INTERRUPTED
        usual = "interrupted" if code == INTERRUPTED else "stopped by SIGTERM"
        answer = _failed(error, said or usual, code)
    except Printed:  # --help and --version
        return _written("", OK)
    except SystemExit as error:  # of a plugin, or a library: the command has not done its work
        answer = _failed(error, f"something called exit({error.code!r:.200})", USAGE)
    except ZooError as error:
        answer = _failed(error, str(error), error.exit_code)
    except (OSError, ValueError, FloatingPointError) as error:
        answer = _failed(error, str(error), USAGE)
    except AttributeError as error:
        from registry.contract import MissingFieldError  # not sooner: this imports torch

        if not isinstance(error, MissingFieldError):
            raise
        answer = _failed(error, str(error), USAGE)
    except Exception as error:
        from registry.errors import run_error

        if (told := _lost(error) or run_error(error)) is None:
            raise
        answer = _failed(told, str(told), FAILED)
    notice("", passing=True)  # what stands there
    text = "\n".join(map(printable, answer.lines))
    document = json.dumps(plain(answer.document), indent=2, allow_nan=False)
    if isinstance(json_file, str):
        from registry.atomic import replacing

        try:
            with replacing(json_file) as temporary:
                temporary.write_text(f"{document}\n", encoding="utf-8")
        except OSError as error:  # the answer itself is still printed
            answer = _failed(error, str(error), USAGE)
    elif "--json" in words:  # even if the other words are wrong
        text = document
    return _left(_written(f"{text}\n" if text else "", answer.code))


def _lost(error: Exception) -> Exception | None:
    """Return an error that names the process of a distributed run whose end caused this one."""
    launch = sys.modules.get("registry.launch")
    watch = launch.watch() if launch is not None else None
    said = watch.lost(error) if watch is not None else ""
    return launch.RunError(f"{said}.") if launch is not None and said else None


def _failed(error: BaseException, message: str, code: int) -> Answer:
    if message.startswith("Caught "):  # a loader process's traceback, which ends with the error
        message = message.strip().splitlines()[-1].partition(": ")[2]
    message = " ".join(message.split())
    message = message if len(message) <= 2000 else f"{message[:2000]} ..."
    notice(message if code > 128 else f"error: {message}")
    what = {"class": type(error).__name__, "message": message, "exit_code": code}
    return Answer({"error": what}, (), code)


def _written(text: str, code: int) -> int:
    """Write the answer; return its status, or that of a failed write."""
    out = sys.stdout
    if out is None:  # closed from the start
        return code
    try:
        encoding = out.encoding or "utf-8"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except OSError as error:
        # do not try to write the rest of the buffer again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        notice(f"error: the answer cannot be written: {error}")
        return USAGE
    return code


def _left(code: int) -> int:
    """End a process of a distributed run: gloo sometimes aborts when the interpreter exits."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return code
    from registry.launch import end_children

    end_children()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _parsed(words: Sequence[str]) -> dict[str, Any]:
    """Return the options of the command named first, and its ``run``.

    Raises:
        UsageError: the command does not exist, or does not take these words.
    """
    if words and words[0] in NAMES:
        module = _module(words[0])
        parser = Parser(prog=f"keypoint-zoo {words[0]}", description=_help(module), **LOOK)
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")
        module.arguments(parser)
        nested = parser._subparsers is not None  # argparse cannot mix options with these
        parse = parser.parse_args if nested else parser.parse_intermixed_args
        return {**vars(parse(words[1:])), "run": module.run}
    from zoo.schema import LIBRARY

    lines = ["Unsupervised keypoints: train, use and share models."]
    for title, names in COMMANDS.items():
        lines += ["", f"{title}:"]
        for name in names:
            lines.append(f"  {name:12}{_help(_module(name)).splitlines()[0]}")
    lines += ["", "For more see `keypoint-zoo COMMAND --help`."]
    parser = Parser(prog="keypoint-zoo", description="\n".join(lines), **LOOK)
    parser.add_argument("--version", action="version", version=LIBRARY)
    parser.add_argument("command", metavar="COMMAND", choices=NAMES)
    parser.parse_args([word for word in words[:1] if word != "--json"])
    raise UsageError("no command. See `keypoint-zoo --help`.")


def _module(name: str) -> Any:
    return import_module(f"zoo.commands.{name.replace('-', '_')}")


def _help(module: Any) -> str:
    """Return a command's docstring; ``python -OO`` has removed it, but not from the source."""
    if module.__doc__ is None:
        from registry.docs import docstring  # not sooner: it imports mmengine

        return docstring(module)
    return str(module.__doc__).strip()
