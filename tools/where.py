#!/usr/bin/env python
"""Find the code of an equation: ``tools/where.py keypointgan 2``.

Reads the ``Source:`` lines of all docstrings, such as ``Source: keypointgan eq 2; imm sec 3``.
"""

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("eq", "sec", "fig", "table")
ENTRY = re.compile(rf"([a-z]\w*) ({'|'.join(KINDS)}) (\w+(?:\.\w+)*)")


class Place(NamedTuple):
    """A part of a paper, and the code that follows it."""

    paper: str
    kind: str
    number: str
    code: str  # file:line name

    def order(self):
        """Equations first, and 2 before 10 before F.1."""
        parts = self.number.split(".")
        return KINDS.index(self.kind), [(not p.isdigit(), p.rjust(9)) for p in parts], self.code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paper", help="key of a paper: keypointgan, factorized ...")
    parser.add_argument(
        "place",
        nargs="*",
        help="2 or eq 2, fig 20, table 1, sec 5 (also 5.1 ...); everything if left out",
    )
    args = parser.parse_args()
    found = sorted((p for p in places(ROOT) if p.paper == args.paper), key=Place.order)
    if not found:
        papers = sorted({place.paper for place in places(ROOT)})
        return fail(f"no paper '{args.paper}'; papers are {', '.join(papers)}.")
    chosen = found
    if args.place:
        kind, number = ["eq", *args.place][-2:]
        chosen = [p for p in found if p.kind == kind and f"{p.number}.".startswith(f"{number}.")]
    if not chosen:
        there = ", ".join(dict.fromkeys(f"{p.kind} {p.number}" for p in found))
        return fail(f"nothing names {args.paper} {' '.join(args.place)}; there is {there}.")
    for place in chosen:
        print(f"{place.kind} {place.number:<4} {place.code}")
    return 0


def places(root):
    """Return every well-formed entry of every ``Source:`` line."""
    entries = ((ENTRY.fullmatch(entry), code) for entry, code in sources(root))
    return [Place(*match.groups(), code) for match, code in entries if match]


def sources(root):
    """Yield (entry, "file:line name") of all docstrings below components/ and registry/."""
    for path in sorted([*root.glob("components/**/*.py"), *root.glob("registry/**/*.py")]):
        file = path.relative_to(root).as_posix()
        for node, name in documented(ast.parse(path.read_text(encoding="utf-8")), path.stem):
            for line in re.findall(r"^Source:(.*)$", ast.get_docstring(node) or "", re.MULTILINE):
                for entry in line.split(";"):
                    yield entry.strip(), f"{file}:{getattr(node, 'lineno', 1)} {name}"


def documented(node, name, inside=""):
    """Yield a module, its classes and its functions, each with its name."""
    yield node, name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            yield from documented(child, inside + child.name, f"{inside}{child.name}.")


def fail(text):
    print(f"error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
