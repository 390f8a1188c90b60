"""The documentation of components, read from their files without importing them.

``keypoint-zoo components`` prints it, and ``keypoint-zoo where`` finds equations in it. Importing
every component would take seconds, and would fail for plugins that cannot be imported.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from registry import plugins
from registry.errors import ConfigError

SECTIONS = ("Args", "Attributes", "Shapes", "Range", "Raises", "Example", "Source", "Differs")
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):(.*)$")


class Argument(NamedTuple):
    """One argument of a component's constructor."""

    name: str
    kind: str  # its annotation; the values if it is a Literal: "'batch' | 'none'"
    default: str | None  # as written in the code; None if it must be given
    meaning: str


class Sheet(NamedTuple):
    """The documentation of one component, from its file."""

    name: str  # registered: encoders/unet
    summary: str  # first sentence
    text: str  # the rest before the first section, paragraphs separated by empty lines
    arguments: tuple[Argument, ...]
    sections: dict[str, str]  # Shapes, Range, Raises, Example, Source, Differs, if present
    file: Path
    line: int  # of the class


def sheet(name: str) -> Sheet:
    """Read the documentation of a component without importing it.

    Args:
        name: registered name, one of :meth:`registry.roles.Role.names`.

    Raises:
        ConfigError: its file cannot be read or does not define it; or, for a plugin, two
            distributions provide it or a module that it imports is not installed.
    """
    provided = plugins.provided(name)
    if not provided:
        file = plugins.file_of(f"components.{name.replace('/', '.')}")
        if file is None:
            raise ConfigError(f"there is no component '{name}'.")
        return _read(name, file, None)
    owners = " and ".join(sorted(plugins.distribution(entry) for entry in provided))
    if len(provided) > 1:
        raise ConfigError(f"'{name}' is provided by {owners}. Uninstall one of them.")
    try:
        module, attribute = plugins.target(provided[0])
        file = plugins.file_of(module)
        if file is None:
            raise ConfigError(f"there is no module '{module}'.")
        if missing := lacking(file):
            raise ConfigError(f"it imports '{missing[0]}', which is not installed.")
        return _read(name, file, attribute)
    except ConfigError as error:
        raise ConfigError(f"'{name}' of the plugin {owners} cannot be used: {error}") from error


def _read(name: str, file: Path, own_name: str | None) -> Sheet:
    tree = _tree(file)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    chosen = [node for node in classes if node.name == own_name or name in _registered(node)]
    if not chosen:
        raise ConfigError(f"{file} does not register a class as '{name}'.")
    node = chosen[0]
    summary, text, sections = parse(ast.get_docstring(node) or "")
    arguments = tuple(_arguments(node, tree, _meanings(sections.pop("Args", ""))))
    return Sheet(name, summary, text, arguments, sections, file, node.lineno)


def parse(docstring: str) -> tuple[str, str, dict[str, str]]:
    r"""Split a dedented docstring into summary, further text and sections.

    Example:
        >>> parse("Add.\n\nTwice.\n\nShapes:\n    (B) -> (B)\nDiffers: no")
        ('Add.', 'Twice.', {'Shapes': '(B) -> (B)', 'Differs': 'no'})
    """
    head: list[str] = []
    found: dict[str, list[str]] = {}
    lines = head
    for line in docstring.splitlines():
        if heading := _HEADING.match(line):
            lines = found.setdefault(heading[1], [])
            line = heading[2]
        elif line and lines is not head and not line.startswith(" "):
            lines = head  # text after a section
        lines.append(line)
    summary, _, text = "\n".join(head).strip().partition("\n\n")
    sections = {key: _dedented(lines) for key, lines in found.items()}
    return " ".join(summary.split()), text.strip(), sections


def sources(*files: Path) -> Iterator[tuple[str, Path, int, str]]:
    """Yield every entry of every ``Source:`` line of all docstrings of these files.

    Yields:
        The entry ("keypointgan eq 2"), and file, line and name of what it documents.

    Raises:
        ConfigError: a file cannot be read.
    """
    for file in files:
        for node, name in documented(_tree(file), file.stem):
            for line in re.findall(r"^Source:(.*)$", ast.get_docstring(node) or "", re.MULTILINE):
                for entry in line.split(";"):
                    yield entry.strip(), file, getattr(node, "lineno", 1), name


def documented(
    node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str, inside: str = ""
) -> Iterator[tuple[ast.Module | ast.ClassDef | ast.FunctionDef, str]]:
    """Yield a module, its classes and its functions, each with its name (``Class.method``)."""
    yield node, name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            yield from documented(child, inside + child.name, f"{inside}{child.name}.")


def docstring(thing: Any) -> str:
    """Return the dedented docstring of a module or class, also under ``python -OO``, from its file.

    Raises:
        ConfigError: the interpreter has removed it, and its file cannot be read.
    """
    if sys.flags.optimize < 2:
        return inspect.cleandoc(vars(thing).get("__doc__") or "")
    try:
        tree = _tree(Path(inspect.getfile(thing)))
    except (OSError, TypeError) as error:
        raise ConfigError(f"the docstring of {thing} cannot be read: {error}") from error
    wanted = thing.__qualname__ if isinstance(thing, type) else ""
    for node, name in documented(tree, ""):
        if name == wanted:
            return ast.get_docstring(node) or ""
    raise ConfigError(f"the docstring of {thing} cannot be read: its file does not define it.")


def lacking(file: Path) -> list[str]:
    """Return the modules that a file imports at its top level and that are not installed."""
    imported = [
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in _tree(file).body
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for alias in node.names
    ]
    return [name for name in dict.fromkeys(imported) if not _is_there(name)]


def _is_there(module: str) -> bool:
    first = module.partition(".")[0]
    try:
        # submodules of other packages may be created at import; only ours are looked up as files
        return (plugins.file_of(module) if first in _OURS else find_spec(first)) is not None
    except (ImportError, ValueError):
        return False


_OURS = ("registry", "components", "zoo")


@cache
def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), file.name)
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _registered(node: ast.ClassDef) -> set[str]:
    """Return the names that a class's decorators register it under."""
    calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
    given = (arg for call in calls for arg in call.args if isinstance(arg, ast.Constant))
    return {str(arg.value) for arg in given}


def _dedented(lines: list[str]) -> str:
    first, *others = lines or [""]
    indent = min((len(x) - len(x.lstrip()) for x in others if x.strip()), default=0)
    return "\n".join([first.strip(), *(line[indent:].rstrip() for line in others)]).strip()


def _meanings(text: str) -> dict[str, str]:
    """Return what an ``Args:`` section says about each name; ``lr, betas: ...`` covers both."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if start := re.match(r"(\w+(?:, \w+)*):(.*)$", line):
            names, line = start[1].split(", "), start[2]
        for name in names:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


def _arguments(
    node: ast.ClassDef, tree: ast.Module, meanings: dict[str, str]
) -> Iterator[Argument]:
    found = _constructor(node, tree)
    if found is None:
        return
    call, home = found
    given = [*call.args.args[1:], *call.args.kwonlyargs]
    positional: list[ast.expr | None] = [None] * (len(call.args.args) - 1)
    if call.args.defaults:
        positional = [*positional, *call.args.defaults][-len(positional) :] if positional else []
    for argument, default in zip(given, [*positional, *call.args.kw_defaults]):
        kind = _kind(argument.annotation, home) if argument.annotation else ""
        shown = None if default is None else ast.unparse(default)
        yield Argument(argument.arg, kind, shown, meanings.get(argument.arg, ""))


def _constructor(node: ast.ClassDef, tree: ast.Module) -> tuple[ast.FunctionDef, ast.Module] | None:
    """Return ``__init__`` of a class or its nearest base class with one, and that module."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return child, tree
    for base in node.bases:
        at = _defined(base.id, tree) if isinstance(base, ast.Name) else None
        if at is not None and isinstance(at[0], ast.ClassDef):
            found = _constructor(at[0], at[1])
            if found is not None:
                return found
    return None


def _kind(annotation: ast.expr, tree: ast.Module) -> str:
    """Return an annotation as text; for a ``Literal``, also a named one, its values."""
    if isinstance(annotation, ast.Name):
        at = _defined(annotation.id, tree)
        if at is not None and isinstance(at[0], ast.Assign) and _is_literal(at[0].value):
            return _kind(at[0].value, at[1])
    if isinstance(annotation, ast.BinOp):
        return f"{_kind(annotation.left, tree)} | {_kind(annotation.right, tree)}"
    if _is_literal(annotation):
        inner = annotation.slice  # type: ignore[attr-defined]
        values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        return " | ".join(ast.unparse(value) for value in values)
    return ast.unparse(annotation)


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"


def _defined(name: str, tree: ast.Module) -> tuple[ast.stmt, ast.Module] | None:
    """Return the statement that defines a name in a module, followed through our own imports."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, tree
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node, tree
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            module = node.module or ""
            if module.partition(".")[0] not in _OURS:
                return None
            file = plugins.file_of(module)
            return _defined(name, _tree(file)) if file is not None else None
    return None
