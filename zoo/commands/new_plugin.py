"""Create a plugin to start from: a component, a config, tests.

`keypoint-zoo new-plugin acme` writes the folder keypoint-zoo-acme: a
distribution with the component encoders/acme/convnext, a config that trains it,
a zoo entry, and tests.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from registry.atomic import explaining
from zoo.answer import Answer, UsageError
from zoo.folder import staging

# the files of the template (examples/plugin of a checkout), without its trained model
FILES = (
    "README.md",
    "pyproject.toml",
    "keypoint_zoo_example/__init__.py",
    "keypoint_zoo_example/convnext.py",
    "keypoint_zoo_example/index.json",
    "keypoint_zoo_example/configs/example_convnext_regressor.py",
    "tests/test_component.py",
)
OWNED = ("package", "license")  # keys that only an entry with weights has


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("name", metavar="NAME", help="prefix of all its names, such as acme")
    parser.add_argument("--out", metavar="DIR", help="default: keypoint-zoo-NAME")


def run(name: str, out: str | None = None) -> Answer:
    """Answer the command: write the folder, atomically.

    Args:
        name: letters, digits and dashes, as in the name of a distribution.
        out: the folder, which must not exist.

    Raises:
        UsageError: the name is not valid.
        FileExistsError: the folder exists.
    """
    dashed = checked(name)
    plain = dashed.replace("-", "_")
    folder = Path(out or f"keypoint-zoo-{dashed}")
    if folder.is_symlink() or folder.exists():
        raise FileExistsError(f"{folder} already exists. Give another --out DIR.")
    with staging(folder.absolute()) as made, explaining(folder):
        files = write(made, dashed)
        made.rename(folder)
    config = f"keypoint_zoo_{plain}/configs/{plain}_convnext_regressor.py"
    part = f"encoders/{plain}/convnext"
    following = [
        f"cd {folder}",
        "pip install -e '.[test]'",
        "pytest",
        f"keypoint-zoo components {part}",
        f"keypoint-zoo train {config}",
    ]
    lines = [f"{folder}: a plugin of {len(files)} files; README.md says how to make it yours."]
    lines += ["Next:", *(f"  {line}" for line in following)]
    document = {"path": folder, "files": files, "component": part, "config": config}
    return Answer({**document, "next": following}, lines)


def checked(name: str) -> str:
    """Return the name of a plugin in lower case, its parts joined by dashes.

    Raises:
        UsageError: it cannot be part of the names of a distribution and of a module.
    """
    dashed = re.sub(r"[-_.]+", "-", name.lower()).removeprefix("keypoint-zoo-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", dashed) or len(dashed) > 40:
        raise UsageError(
            f"'{name}' cannot be the name of a plugin. Use at most 40 letters, digits and dashes, "
            "a letter first, such as 'acme' or 'acme-lab'."
        )
    return dashed


def write(folder: Path, dashed: str) -> list[str]:
    """Write the template under another name; return the paths of its files."""
    home = template()
    written = []
    for path in FILES:
        text = (home / path).read_text(encoding="utf-8")
        if path.endswith("index.json"):
            index = json.loads(text)
            for row in index["entries"].values():
                for key in OWNED:
                    del row[key]
            text = json.dumps(index, indent=2) + "\n"
        file = folder / renamed(path, dashed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(renamed(text, dashed), encoding="utf-8")
        written.append(file.relative_to(folder).as_posix())
    return written


def renamed(text: str, dashed: str) -> str:
    """Replace the template's name: with dashes next to dashes, otherwise with underscores."""
    text = re.sub(r"(?<=-)example|example(?=-)", dashed, text)
    return text.replace("example", dashed.replace("-", "_"))


def template() -> Path:
    """Return the folder of the template: beside this module in a wheel, else in the checkout."""
    home = Path(__file__).resolve().parents[1]
    return home / "template" if (home / "template").is_dir() else home.parent / "examples/plugin"
