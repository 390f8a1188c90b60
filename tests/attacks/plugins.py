"""50 broken plugins through list, components, info and train.

Each plugin is a distribution in a folder on ``sys.path``: metadata, entry points and a module or an
index. A broken plugin must not break what does not use it: ``list``, ``components`` and ``info``
still give their whole answer. What uses it ends with one line that names the plugin.

    python tests/attacks/plugins.py --seed 7 --out plugins.json
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
from cases import Case
from common import Outcome

METADATA = "Metadata-Version: 2.1\nName: acme-keypoints\nVersion: 1.2\n"
COMPONENTS = '[keypoint_zoo.components]\n"encoders/acme/net" = acme_keypoints:Net\n'.replace(
    '"', ""
)
ENTRIES = "[keypoint_zoo.entries]\nacme = acme_index:index\n"
USES = cases.TINY.replace(
    'appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8)',
    'appearance_encoder=dict(type="encoders/acme/net", out_channels=8)',
).replace("iterations=3", "iterations=1")
HEAD = '''"""A plugin."""
import os, sys, warnings, time
import torch
from torch import nn
from registry import *
from registry import ENCODERS, DECODERS, LOSSES, METRICS, HOOKS, TRANSFORMS, DATASETS
from registry.contract import Encoding, Landmarks
'''
NET = '''
@ENCODERS.register_module("encoders/acme/net")
class Net(nn.Module):
    """One convolution of stride 8.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, out_channels, H/8, W/8)
    """

    def __init__(self, *, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, out_channels, 8, 8)

    def forward(self, image):
        return Encoding(maps=self.conv(image))
'''
INIT = "        self.conv = nn.Conv2d(3, out_channels, 8, 8)"
RETURN = "        return Encoding(maps=self.conv(image))"
LOOK = {
    "list": (["list"], "factorized-puppets"),
    "components": (["components"], "compositors"),
    "components encoders": (["components", "encoders"], "encoders/unet"),
    "info": (["info", "factorized-puppets"], "parameters"),
}


def site(folder: Path) -> Path:
    """Return the folder of the distributions, with metadata that is right."""
    place = folder / "site"
    (place / "acme_keypoints-1.2.dist-info").mkdir(parents=True)
    (place / "acme_keypoints-1.2.dist-info/METADATA").write_text(METADATA)
    return place


def component(code: str | bytes, entries: str | bytes = COMPONENTS) -> Callable[[Path], None]:
    """Return what makes a distribution with one module."""

    def make(folder: Path) -> None:
        place = site(folder)
        data = code if isinstance(code, bytes) else code.encode("utf-8", "surrogatepass")
        (place / "acme_keypoints.py").write_bytes(data)
        raw = entries if isinstance(entries, bytes) else entries.encode()
        (place / "acme_keypoints-1.2.dist-info/entry_points.txt").write_bytes(raw)
        (folder / "uses.py").write_text(USES)

    return make


def index(content: Any, entries: str = ENTRIES) -> Callable[[Path], None]:
    """Return what makes a distribution with one index; a function makes the file itself."""

    def make(folder: Path) -> None:
        place = site(folder)
        (place / "acme_keypoints-1.2.dist-info/entry_points.txt").write_text(entries)
        (place / "acme_index").mkdir()
        (place / "acme_index/__init__.py").write_text("raise SystemExit('never imported')\n")
        file = place / "acme_index/index.json"
        if callable(content):
            content(file)
        else:
            text = content if isinstance(content, (str, bytes)) else json.dumps(content)
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        (folder / "uses.py").write_text(USES)

    return make


def on_path() -> None:
    """Put the distributions on the path of the command's process."""
    sys.path.insert(0, str(Path("site").absolute()))


def answers(word: str) -> Callable[[Path, Outcome], str | None]:
    """Return a check that a command gave its answer."""
    return lambda _, outcome: None if word in outcome.stdout else f"the answer lacks {word!r}"


def at_import() -> dict[str, str | bytes]:
    """Return what a module may do when it is imported, by description."""
    deep = "x = " + "(" * 3000 + ")" * 3000
    return {
        "sys.exit()": "import sys\nsys.exit()\n",
        "sys.exit(0)": HEAD + NET + "sys.exit(0)\n",
        "sys.exit(3)": "import sys\nsys.exit(3)\n",
        "SystemExit('text')": "raise SystemExit('the text')\n",
        "SystemExit of a tuple": "raise SystemExit((1, 2))\n",
        "GeneratorExit": "raise GeneratorExit\n",
        "its own BaseException": "class E(BaseException): pass\nraise E('x')\n",
        "ImportError": "raise ImportError('libacme.so.3 is missing')\n",
        "a missing module": "import nosuch_module\n",
        "a missing name": "from registry import nosuch\n",
        "itself": "from acme_keypoints import Net\n",
        "a syntax error": "class Net(:\n",
        "an indentation error": "  x = 1\n y = 2\n",
        "NUL": b"x = '\0'\n",
        "not UTF-8": b"x = '\xff'\n",
        "nested too deeply": deep,
        "RecursionError": "def f(): f()\nf()\n",
        "MemoryError": "raise MemoryError\n",
        "an error without a text": "raise ValueError\n",
        "an error whose text fails": "class E(Exception):\n def __str__(self): 1/0\nraise E\n",
        "an error with escape codes": "raise ValueError('\\x1b[31mred\\x07\\0')\n",
        "an error of 1 MB": "raise ValueError('x' * 2**20)\n",
        "an error of many lines": "raise ValueError('line\\n' * 99)\n",
        "a lone surrogate": "raise ValueError('\\udcff')\n",
        "StopIteration": "raise StopIteration\n",
        "UnicodeDecodeError": "b'\\xff'.decode()\n",
        "nothing registered": "class Net: pass\n",
        "Net missing": HEAD + NET.replace("class Net", "class Other"),
        "another name": HEAD + NET.replace("encoders/acme/net", "encoders/acme/other"),
        "in the wrong role": HEAD + NET.replace("@ENCODERS", "@DECODERS"),
        "our name": HEAD + NET.replace("encoders/acme/net", "encoders/stem"),
        "a function": HEAD + "@ENCODERS.register_module('encoders/acme/net')\ndef Net(*, "
                             "out_channels): return None\n",
        "a number": HEAD + "Net = 5\nENCODERS.module_dict['encoders/acme/net'] = 5\n",
        "registered twice": HEAD + NET + NET,
    }  # fmt: skip


def in_use() -> dict[str, str]:
    """Return modules that import well and fail when used, by description."""
    returns = {
        "None": "None", "a tensor": "self.conv(image)", "a dict": "{'maps': self.conv(image)}",
        "maps None": "Encoding(maps=None)",
        "another shape": "Encoding(maps=self.conv(image)[:, :3])",
        "too few axes": "Encoding(maps=self.conv(image)[0])",
        "half the batch": "Encoding(maps=self.conv(image)[:1])",
        "NaN": "Encoding(maps=self.conv(image) * float('nan'))",
        "infinity": "Encoding(maps=self.conv(image) + float('inf'))",
        "integers": "Encoding(maps=self.conv(image).long())",
        "complex numbers": "Encoding(maps=self.conv(image).to(torch.complex64))",
        "meta": "Encoding(maps=self.conv(image).to('meta'))",
        "no gradient": "Encoding(maps=self.conv(image).detach())",
        "landmarks": "Landmarks(xy=self.conv(image).flatten(2)[:, :2].transpose(1, 2))",
        "NumPy": "Encoding(maps=self.conv(image).detach().numpy())",
        "a generator": "(x for x in [1])",
    }  # fmt: skip
    found = {
        f"returns {name}": HEAD + NET.replace(RETURN, f"        return {value}")
        for name, value in returns.items()
    }
    does = {
        "KeyError": "raise KeyError('x')", "SystemExit": "raise SystemExit(0)",
        "StopIteration": "raise StopIteration", "RecursionError": "return self.forward(image)",
        "an assertion": "assert False", "an in-place change": "image.zero_(); return Encoding("
        "maps=self.conv(image))", "an OSError": "raise OSError(28, 'No space left on device')",
    }  # fmt: skip
    found |= {f"forward: {n}": HEAD + NET.replace(RETURN, f"        {c}") for n, c in does.items()}
    makes = {
        "KeyError": "raise KeyError('x')", "SystemExit": "raise SystemExit('bye')",
        "nothing": "pass", "a huge layer": "self.conv = nn.Linear(10**6, 10**6)",
    }  # fmt: skip
    found |= {f"constructor: {n}": HEAD + NET.replace(INIT, f"        {c}")
              for n, c in makes.items()}  # fmt: skip
    found |= {
        "no out_channels": HEAD + NET.replace("*, out_channels: int", "").replace(
            "3, out_channels", "3, 8"),
        "a further argument": HEAD + NET.replace("*, out", "*, more: int, out"),
        "not a module": HEAD + NET.replace("(nn.Module)", "").replace(
            "        super().__init__()\n", ""),
        "forward without arguments": HEAD + NET.replace("forward(self, image)", "forward(self)"),
        "no forward": HEAD + NET.replace("def forward", "def backward"),
    }  # fmt: skip
    return found


def metadata() -> dict[str, Callable[[Path], None]]:
    """Return broken metadata, by description."""
    info = "site/acme_keypoints-1.2.dist-info"
    good = component(HEAD + NET)

    def after(change: Callable[[Path], Any]) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            good(folder)
            change(folder / info)

        return make

    def points(content: str | bytes) -> Callable[[Path], None]:
        return component(HEAD + NET, content)

    def replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
        def change(place: Path) -> None:
            (place / "entry_points.txt").unlink()
            make(place / "entry_points.txt")

        return after(change)

    def again(folder: Path) -> None:
        good(folder)
        second = folder / "site/second_keypoints-3.dist-info"
        second.mkdir()
        (second / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 3\n")
        (second / "entry_points.txt").write_text(COMPONENTS)

    return {
        "two distributions with one name": again,
        "no METADATA": after(lambda place: (place / "METADATA").unlink()),
        "METADATA empty": after(lambda place: (place / "METADATA").write_bytes(b"")),
        "METADATA not UTF-8": after(lambda place: (place / "METADATA").write_bytes(b"Name: \xff")),
        "no name": after(lambda place: (place / "METADATA").write_text("Version: 1\n")),
        "name with escape codes": after(
            lambda place: (place / "METADATA").write_text("Name: a\x1b[31mb\nVersion: 1\n")),
        "entry points not UTF-8": points(COMPONENTS.encode() + b"\xff = \xfe:x\n"),
        "entry points without a section": points("encoders/acme/net = acme_keypoints:Net\n"),
        "entry points without =": points("[keypoint_zoo.components]\nencoders/acme/net\n"),
        "a value that is not module:name": points(
            "[keypoint_zoo.components]\nencoders/acme/net = not a module!\n"),
        "an empty value": points("[keypoint_zoo.components]\nencoders/acme/net =\n"),
        "a missing module": points("[keypoint_zoo.components]\nencoders/acme/net = nosuch:Net\n"),
        "a name with escape codes": points(
            "[keypoint_zoo.components]\nencoders/acme/a\x1b[31mb = acme_keypoints:Net\n"),
        "a name that leads up": points(
            "[keypoint_zoo.components]\nencoders/../../x = acme_keypoints:Net\n"),
        "a section twice": points(COMPONENTS + COMPONENTS),
        "entry points a folder": replaced(os.mkdir),
        "entry points a loop of links": replaced(lambda file: os.symlink(file.name, file)),
        "a distribution that is a file": after(
            lambda place: (place.parent / "b-1.dist-info").write_text("x")),
    }  # fmt: skip


def indices() -> dict[str, Callable[[Path], None]]:
    """Return broken indices, by description."""
    row = {"task": "keypoint-detection", "architecture": "pipelines/reconstruction",
           "dataset": "bbc-pose", "summary": "One sentence."}  # fmt: skip

    def rows(**change: Any) -> dict[str, Any]:
        return {"format_version": 1, "entries": {"acme-net": {**row, **change}}}

    def package(**files: Any) -> Callable[[Path], None]:
        """Write an index with a package whose evaluation.json is made by a function."""

        def make(file: Path) -> None:
            file.write_text(json.dumps(rows(package="models/acme-net")))
            (file.parent / "models/acme-net").mkdir(parents=True)
            files["make"](file.parent / "models/acme-net/evaluation.json")

        return make

    contents: dict[str, Any] = {
        "not JSON": "{", "empty": "", "a list": "[]", "null": "null", "deep": "[" * 50_000,
        "not UTF-8": b'{"a": "\xff"}', "a key twice": '{"format_version": 1, "format_version": 1}',
        "NaN": '{"format_version": NaN}', "2 MB": json.dumps(rows(summary="x" * 2**21)),
        "format 99": {**rows(), "format_version": 99}, "entries a list": {"format_version": 1,
                                                                         "entries": [row]},
        "a row null": {"format_version": 1, "entries": {"acme-net": None}},
        "a row without a task": {"format_version": 1, "entries": {"acme-net": {"summary": "x"}}},
        "a name with escape codes": {"format_version": 1, "entries": {"a\x1b[31mb": row}},
        "a name that leads up": {"format_version": 1, "entries": {"../../x": row}},
        "escape codes in the summary": rows(summary="a\x1b[31mred\x07"),
        "NUL in the summary": rows(summary="a\0b"),
        "NUL in the package": rows(package="a\0b"),
        "escape codes in the dataset": rows(dataset="a\x1b]0;title\x07"),
        "a package that leads up": rows(package="../../.."),
        "a package of 5000 characters": rows(package="a" * 5000),
        "options a text": rows(options="x"),
        "a config that leads up": rows(config="../../x"),
        "our name": {"format_version": 1, "entries": {"factorized-puppets": row}},
        "an alias to nothing": {**rows(), "aliases": {"old": {"to": "nosuch", "until": "1"}}},
        "an alias of our name": {**rows(), "aliases": {
            "factorized-puppets": {"to": "acme-net", "until": "1"}}},
        "a named pipe": os.mkfifo, "a folder": os.mkdir,
        "a loop of links": lambda file: os.symlink(file.name, file),
        "a link to /dev/zero": lambda file: os.symlink("/dev/zero", file),
        "a link to /dev/full": lambda file: os.symlink("/dev/full", file),
        "missing": lambda file: None,
        "scores that are a named pipe": package(make=os.mkfifo),
        "scores that are /dev/zero": package(make=lambda file: os.symlink("/dev/zero", file)),
        "scores that are a loop of links": package(make=lambda file: os.symlink(file.name, file)),
        "scores not JSON": package(make=lambda file: file.write_text("{")),
    }  # fmt: skip
    return {name: index(content) for name, content in contents.items()} | {
        "an entry point that is not package:index": index(
            rows(), "[keypoint_zoo.entries]\na = b\n"
        ),
        "a missing package": index(rows(), "[keypoint_zoo.entries]\na = nosuch:index\n"),
        "a package of the library": index(rows(), "[keypoint_zoo.entries]\na = zoo:index\n"),
    }


def cases_of(rng: random.Random, _: Path) -> Iterator[Case]:
    """Yield two cases of every plugin, four of some."""

    def look(kind: str, what: str, make: Any, name: str) -> Case:
        words, word = LOOK[name]
        return Case(kind, f"{what}: {name}", words, "ok", make=make, check=answers(word),
                    before=on_path, timeout=20)  # fmt: skip

    def train(
        kind: str, what: str, make: Any, expect: str = "refuse", *names: str, **more: Any
    ) -> Case:  # fmt: skip
        words = ["train", "uses.py", "--work-dir", "work"]
        more.setdefault("absent", ("work",))
        return Case(
            kind,
            f"{what}: train",
            words,
            expect,
            ("acme", "second", *names),
            make=make,
            before=on_path,
            timeout=60,
            memory=4,
            accepted="silent loss",
            **more,
        )

    turn = rng.randrange(4)
    every = list(LOOK)
    right = component(HEAD + NET)
    yield train(
        "right",
        "a plugin that works",
        right,
        "ok",
        check=lambda f, o: None if (f / "work/last.pth").is_file() else "no run",
    )
    for name in LOOK:
        yield look("right", "a plugin that works", right, name)
    for what, code in at_import().items():
        turn += 1
        make = component(code)
        yield train("at import", what, make, "either" if what in ("our name",) else "refuse")
        yield look("at import", what, make, every[turn % 4])
    # out of the reach of any program that imports a plugin: it must do its work all the same
    noise = {
        "writes to both outputs": "import os\nos.write(1, b'noise\\n')\nos.write(2, b'noise\\n')\n",
        "prints and warns": "import warnings\nprint('noise')\nwarnings.warn('careful')\n",
        "changes the folder": "import os\nos.chdir('/')\n",
        "closes its input": "import sys\nsys.stdin = None\n",
    }
    for what, code in noise.items():
        turn += 1
        make = component(code + HEAD + NET)
        yield train("noise", what, make, "either")
        yield look("noise", what, make, every[turn % 4])
    for what, code in in_use().items():
        # these are numbers, not mistakes in wiring: the run may begin, and must stop or be right
        free = what in ("forward: an in-place change", "returns no gradient", "returns integers")
        numbers = what in ("returns NaN", "returns infinity")
        # what the part returns fails in the part that takes it
        yield train(
            "in use",
            what,
            component(code),
            "either" if free else "refuse",
            "appearance",
            "model",
            "iteration",
            "image encoder",
            "No space left",  # what the plugin said
            absent=() if free or numbers else ("work",),
        )
    for what, make in metadata().items():
        turn += 1
        uses = what in ("two distributions with one name", "a missing module", "an empty value")
        yield train("metadata", what, make, "refuse" if uses else "either")
        yield look("metadata", what, make, every[turn % 4])
        yield look("metadata", what, make, "components")
    for what, make in indices().items():
        turn += 1
        yield look("index", what, make, "list")
        yield look("index", what, make, every[turn % 4])
        yield Case("index", f"{what}: info acme-net", ["info", "acme-net"], "either", make=make,
                   before=on_path, timeout=20)  # fmt: skip


if __name__ == "__main__":
    sys.exit(cases.main("plugins", __doc__, cases_of))
