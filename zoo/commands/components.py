"""List the components that models are built from, or describe one.

Without an argument: all roles and their components. With a role (encoders):
what each of its components does. With a name (encoders/unet): its arguments,
shapes, source, and the configs that use it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from typing import Any

from zoo.answer import Answer, UsageError

# where a new line begins in these sections; all other text is wrapped
STARTS = {"Shapes": r"\n(?=\()", "Raises": r"\n(?=\w+: )", "Example": r"\n"}

EXAMPLES = ("encoders", "encoders/unet")
LETTERS = {
    **{"B": "batch", "T": "time", "K": "landmarks", "J": "annotated keypoints"},
    **{"D": "appearance channels", "C": "feature channels", "S": "numbers of a state"},
    **{"H": "image height", "W": "image width", "h": "map height", "w": "map width"},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument(
        "what",
        nargs="?",
        metavar="ROLE|NAME",
        help="encoders, encoders/unet; default: all roles",
    )


def run(what: str | None = None) -> Answer:
    """Answer the command without importing any component."""
    from registry.errors import did_you_mean
    from registry.roles import ROLES

    if what is None:
        return _roles()
    if what in ROLES:
        return _names(what)
    role = what.partition("/")[0]
    if role in ROLES and what in ROLES[role].names():
        return _one(what)
    if role in ROLES:
        raise UsageError(
            f"there is no {ROLES[role].singular} '{what}'.{did_you_mean(what, _known(role))}"
        )
    known = [name for role in ROLES for name in _known(role)]
    same = [name for name in known if name.endswith(f"/{what}")]
    hint = f" Did you mean '{same[0]}'?" if same else did_you_mean(what, ROLES)
    raise UsageError(f"there is no role or component '{what}'.{hint}")


def _roles() -> Answer:
    from registry import plugins
    from registry.roles import ROLES

    rows, lines, problems = [], [], plugins.ignored(ROLES)
    for role in ROLES:
        own, others = [], []
        for name in _known(role):
            entries = plugins.provided(name)
            if not entries:
                own.append(name.partition("/")[2])
                continue
            others.append(f"{name.partition('/')[2]} ({plugins.distribution(entries[0])})")
            if isinstance(found := _sheet(name), str):
                problems.append(found)
        rows.append({"role": role, "meaning": _meaning(role), "names": _known(role)})
        lines += [*_filled(f"{role}: {_meaning(role)}", "", "    "), *_filled(", ".join(own), "  ")]
        lines += [line for other in others for line in _filled(other, "  ", "    ")]
        lines.append("")
    lines += [line for problem in problems for line in _filled(f"broken: {problem}", "", "    ")]
    lines += ["For details:", *(f"  keypoint-zoo components {what}" for what in EXAMPLES)]
    return Answer({"roles": rows, "problems": problems}, lines)


def _names(role: str) -> Answer:
    rows, lines = [], _filled(f"{role}: {_meaning(role)}", "", "    ")
    for name in _known(role):
        found, by = _sheet(name), _provider(name)
        summary = f"broken: {found}" if isinstance(found, str) else found.summary
        rows.append({"name": name, "provider": by, "summary": summary})
        lines += ["", name + (f"  ({by})" if by != "keypoint-zoo" else "")]
        lines += _filled(summary, "    ")
    return Answer({"role": role, "meaning": _meaning(role), "components": rows}, lines)


def _one(name: str) -> Answer:
    from registry.docs import sheet

    found, by, configs = sheet(name), _provider(name), _configs(name)
    papers = _papers(found.sections.get("Source", ""))
    lines = [name + (f"  ({by})" if by != "keypoint-zoo" else ""), *_filled(found.summary, "  ")]
    for paragraph in found.text.split("\n\n") if found.text else ():
        lines += ["", *_filled(paragraph, "  ")]
    lines += ["", "Arguments:" if found.arguments else "Arguments: none"]
    for one in found.arguments:
        default = "required" if one.default is None else f"default {one.default}"
        lines += _filled(f"{one.name}: {one.kind}, {default}".replace(": ,", ":"), "  ", "    ")
        lines += _filled(one.meaning, "      ")
    for title, text in found.sections.items():
        lines += ["", f"{title}:"]
        for part in re.split(STARTS[title], text) if title in STARTS else [text]:
            lines += _filled(part, "  ", "      ")
        if title == "Shapes":
            used = [key for key in LETTERS if re.search(rf"\b{key}\b", text)]
            legend = ", ".join(f"{key} {LETTERS[key]}" for key in used)
            lines += _filled(legend, "  ", "      ")
        if title == "Source":
            for key, paper in papers.items():
                lines += _filled(f"{key}: {paper}", "  ", "      ")
    lines += ["", f"Used by {len(configs)} shipped configs{':' if configs else ''}"]
    lines += _filled(", ".join(configs), "  ")
    lines += ["", "File:", f"  {found.file}:{found.line}"]
    document = {
        "name": name,
        "provider": by,
        "summary": found.summary,
        "text": found.text,
        "arguments": [one._asdict() for one in found.arguments],
        **{title.lower(): text for title, text in found.sections.items()},
        "papers": papers,
        "configs": configs,
        "file": str(found.file),
        "line": found.line,
    }
    return Answer(document, lines)


def _known(role: str) -> list[str]:
    from registry.roles import ROLES

    return ROLES[role].names()


def _meaning(role: str) -> str:
    """Return what the components of a role do: the first line of its protocol."""
    from registry.docs import docstring
    from registry.protocols import PROTOCOLS

    return _plain(docstring(PROTOCOLS[role][0]).splitlines()[0])


def _sheet(name: str) -> Any:
    """Return the sheet of a name; if it is broken, the reason as text."""
    from registry.docs import sheet
    from registry.errors import ConfigError

    try:
        return sheet(name)
    except ConfigError as error:
        return str(error)


def _provider(name: str) -> str:
    from registry import plugins

    return ", ".join(map(plugins.distribution, plugins.provided(name))) or "keypoint-zoo"


def _configs(name: str) -> list[str]:
    """Return the names of the zoo's configs, including those of plugins, that use ``name``."""
    from zoo.index import entries

    folders = {entry.config.parent for entry in entries().values() if entry.config}
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    written = re.compile(rf"""["']{re.escape(name)}["']""")
    return [file.stem for file in files if written.search(file.read_text(encoding="utf-8"))]


def _papers(source: str) -> dict[str, str]:
    """Return the citation of each paper in a ``Source``, if an entry has it."""
    from zoo.index import entries

    keys = dict.fromkeys(part.split()[0] for part in source.split(";") if part.split())
    found = {}
    for key in keys:
        for entry in entries().values():
            cited = f"{key}-" in entry.name or entry.paper.lower().startswith(f"{key} ")
            if cited and entry.paper and ";" not in entry.paper:
                found[key] = entry.paper
                break
    return found


def _plain(text: str) -> str:
    """Return a docstring's text without its markup."""
    return " ".join(re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text).replace("``", "").split())


def _filled(text: str, first: str, further: str | None = None) -> list[str]:
    """Return a text as lines no wider than the terminal, at most 100 columns."""
    return textwrap.wrap(
        _plain(text),
        min(shutil.get_terminal_size().columns, 100),
        initial_indent=first,
        subsequent_indent=first if further is None else further,
        break_long_words=False,
        break_on_hyphens=False,
    )
