"""The parser of all command lines, which suggests the right word for a mistyped one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from zoo.answer import UsageError


class Printed(SystemExit):
    """--help or --version has printed its answer; any other SystemExit is an error."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises :class:`zoo.answer.UsageError`, with a suggestion if any.

    Options cannot be abbreviated: an option added later must not change what a script does.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith(("?", ".")) else "."
        raise UsageError(f"{message}{end} See `{self.prog} --help`.")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise Printed(status)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse the words like argparse, but check the options first.

        argparse would first complain about the word after a mistyped option, or leave the option
        to the parent parser, which does not know the right one.

        Raises:
            UsageError: an option is unknown, or there is another mistake.
        """
        words = sys.argv[1:] if args is None else list(args)
        known = self._option_string_actions
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break  # the rest is for the subparser
            name = word.partition("=")[0]
            is_option = name.startswith("--") or (name[:1] == "-" and name[1:3].isalpha())
            short = name[:2] in known and not name.startswith("--")  # -j4
            if is_option and not short and name not in known and " " not in name:
                self.error(f"there is no option {name}.{suggestion(name, known)}")
        return super().parse_known_args(words, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse's own message differs between versions of Python
        if action.choices is None or value in action.choices:
            return
        words = [str(choice) for choice in action.choices]
        hint = suggestion(str(value), words)
        if action.option_strings:
            self.error(f"{'/'.join(action.option_strings)} cannot be '{value}'.{hint}")
        named = action.metavar or action.dest
        what = "command" if named == argparse.SUPPRESS else str(named).lower()
        self.error(f"there is no {what} '{value}'.{hint}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean '--work-dir'?`` for a mistyped or shortened word, or all options."""
    from registry.errors import did_you_mean  # not sooner: it imports mmengine

    known = sorted(name for name in known if not name.startswith("-") or name.startswith("--"))
    bare = word.strip("-")
    longer = [name for name in known if bare and name.strip("-").startswith(bare)]
    if len(longer) == 1:
        return f" Did you mean '{longer[0]}'?"
    return did_you_mean(f"--{bare}" if word.startswith("-") else word, known)
