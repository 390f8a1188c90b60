"""200 damaged, malformed and hostile checkpoints through evaluate, predict, --resume and publish.

Single flipped bits, cut and lengthened files, exchanged and compressed records, records that
inflate, parts of a wrong kind written again as a whole file, and pickles that would run code. Each
goes through one of the four commands, in turn. A result is right only if it equals that of the
undamaged checkpoint; a refusal names the file and changes nothing in the run's folder.

    python tests/attacks/checkpoints.py --seed 7 --out checkpoints.json
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
from cases import Case
from common import Outcome

COMMANDS: dict[str, list[str]] = {
    "evaluate": ["evaluate", "run", "--json"],
    "predict": ["predict", "run", "picture.png", "--out", "found"],
    "resume": ["train", "run/config.json", "--work-dir", "run", "--resume",
               "--cfg-options", "train.iterations=4"],
    "publish": ["publish", "run", "--license", "apache-2.0", "--dry-run"],
}  # fmt: skip
ALL = tuple(COMMANDS)
WEIGHTS = ("evaluate", "predict", "publish")  # read the weights alone
MARKER = "code-ran"


def result(command: str, folder: Path, outcome: Outcome) -> Any:
    """Return what a command computed, in a form to compare."""
    if command == "evaluate":
        rows = json.loads(outcome.stdout)
        rows = rows if isinstance(rows, list) else rows.get("results", rows)
        return [{k: row[k] for k in ("protocol", "value", "n") if k in row} for row in rows]
    if command == "predict":
        return (folder / "found/picture_landmarks.csv").read_text()
    if command == "publish":
        data = (folder / "run/package/model.safetensors").read_bytes()
        return data[8 + int.from_bytes(data[:8], "little") :]  # without the config's sum
    with zipfile.ZipFile(folder / "run/last.pth") as file:  # the numbers alone, without torch
        return {
            name.split("/", 1)[1]: file.read(name)
            for name in file.namelist()
            if "/data/" in name and not name.endswith("/data/")
        }


def compare(command: str, wanted: Any) -> Callable[[Path, Outcome], str | None]:
    """Return a check that a result equals that of the undamaged checkpoint."""

    def check(folder: Path, outcome: Outcome) -> str | None:
        found = result(command, folder, outcome)
        return None if found == wanted else f"{command} gives another result"

    return check


def safe(folder: Path, _: Outcome) -> str | None:
    """Say whether code in a file ran."""
    return "code in the checkpoint ran" if (folder / MARKER).exists() else None


# --- damage to the bytes ----------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    """Return the data with one bit flipped."""
    out = bytearray(data)
    out[at // 8] ^= 1 << (at % 8)
    return bytes(out)


def repacked(
    data: bytes,
    change: Callable[[str, bytes], bytes | None] = lambda name, content: content,
    order: Callable[[list[str]], list[str]] = list,
    method: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """Return the archive with records changed (None: left out), ordered or compressed anew."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in order(old.namelist()):
            if (content := change(name, old.read(name))) is not None:
                new.writestr(name, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name twice is meant
            for name, content in (extra or {}).items():
                new.writestr(name, content)
    return out.getvalue()


def records(data: bytes) -> list[str]:
    """Return the names of the tensors' records, largest first."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        found = [i for i in file.infolist() if "/data/" in i.filename and i.file_size]
    return [i.filename for i in sorted(found, key=lambda i: -i.file_size)]


def exchange(data: bytes, a: str, b: str) -> bytes:
    """Return the archive with the contents of two records exchanged."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        both = {a: file.read(b), b: file.read(a)}
    return repacked(data, lambda name, content: both.get(name, content))


def bytes_damaged(data: bytes, rng: random.Random) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield kind, what, content and expectation."""
    for _ in range(72):
        at = rng.randrange(8 * len(data))
        yield "flipped bit", f"bit {at}", flipped(data, at), "refuse"
    for record in rng.sample(records(data), 8):  # surely in the numbers
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            info = file.getinfo(record)
        head = data[info.header_offset : info.header_offset + 30]
        start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        at = 8 * start + rng.randrange(8 * info.file_size)
        yield "flipped bit", f"bit {at} in {record}", flipped(data, at), "refuse"
    for length in (0, 1, 4, 100, len(data) - 1, len(data) - 22):
        yield "cut", f"{length} bytes", data[:length], "refuse"
    for _ in range(12):
        length = rng.randrange(len(data))
        yield "cut", f"{length} bytes", data[:length], "refuse"
    a = rng.randrange(1000, len(data) // 2)
    hole = data[:a] + bytes(4096) + data[a + 4096 :]
    yield "cut", "4096 zero bytes in the middle", hole, "refuse"
    yield "cut", "4096 bytes missing in the middle", data[:a] + data[a + 4096 :], "refuse"
    yield "cut", "only zero bytes", bytes(len(data)), "refuse"
    for count in (1, 4, 4096, len(data)):
        tail = rng.randbytes(count)
        yield "lengthened", f"{count} bytes behind", data + tail, "either"
        yield "lengthened", f"{count} bytes before", tail + data, "either"
    yield "lengthened", "the file twice", data + data, "either"
    names = records(data)
    same = names[:40]
    for _ in range(6):
        a, b = rng.sample(same, 2)
        yield "records", f"{a} and {b} exchanged", exchange(data, a, b), "refuse"
    for name in rng.sample(names, 2):
        gone = repacked(data, lambda n, c, name=name: None if n == name else c)
        yield "records", f"{name} missing", gone, "refuse"
        short = repacked(data, lambda n, c, name=name: c[:-4] if n == name else c)
        yield "records", f"{name} short", short, "refuse"
        zero = repacked(data, lambda n, c, name=name: bytes(len(c)) if n == name else c)
        yield "records", f"{name} all zero", zero, "refuse"
    backwards = repacked(data, order=lambda names: names[::-1])
    yield "records", "in another order", backwards, "either"
    twice = repacked(data, extra={names[0]: rng.randbytes(64)})
    yield "records", "one name twice", twice, "refuse"
    up = repacked(data, extra={"../../escaped": b"x", "/tmp/escaped": b"x"})
    yield "records", "further names outside", up, "either"
    yield "compressed", "deflate", repacked(data, method=zipfile.ZIP_DEFLATED), "either"
    yield "compressed", "bzip2", repacked(data, method=zipfile.ZIP_BZIP2), "either"
    yield "compressed", "lzma", repacked(data, method=zipfile.ZIP_LZMA), "either"
    zeros = bytes(600 << 20)
    for name in (names[0], names[-1]):
        big = repacked(data, lambda n, c, name=name: zeros if n == name else c,
                       method=zipfile.ZIP_DEFLATED)  # fmt: skip
        yield "inflates", f"{name} to 600 MB", big, "refuse"
    more = repacked(data, method=zipfile.ZIP_DEFLATED, extra={"archive/data/999": zeros})
    yield "inflates", "a record that nothing uses", more, "either"
    pkl = repacked(data, lambda n, c: c + zeros if n.endswith("data.pkl") else c,
                   method=zipfile.ZIP_DEFLATED)  # fmt: skip
    yield "inflates", "600 MB behind the pickle", pkl, "either"


# --- malformed parts in a whole file ----------------------------------------------------------


def malformed() -> Iterator[tuple[str, tuple[str, ...], Callable[[dict[str, Any]], Any]]]:
    """Yield what, the commands that must refuse it, and a function that returns the new state."""
    import torch

    def put(**parts: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda state: {**state, **parts}

    def gone(*names: str) -> Callable[[dict[str, Any]], Any]:
        return lambda state: {k: v for k, v in state.items() if k not in names}

    def each(part: str, change: Callable[[str, Any], Any]) -> Callable[[dict[str, Any]], Any]:
        """Change every tensor of the model or of the average."""
        return lambda s: {**s, part: {k: change(k, v) for k, v in s[part].items()}}

    def within(*path: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
        def change(state: dict[str, Any]) -> dict[str, Any]:
            *parents, last = path
            node: Any = state
            for key in parents:
                node = node[key]
            if value is KeyError:
                del node[last]
            else:
                node[last] = value(node[last]) if callable(value) else value
            return state

        return change

    def config(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda s: {**s, "config": json.dumps(change(json.loads(s["config"])))}

    resume = ("resume",)
    for name, value in {
        "a list": [1, 2], "None": None, "a number": 5, "empty": {}, "integer keys": {1: 2},
        "nested": {"pipeline": {"encoder": torch.zeros(3)}}, "text": "weights",
        "a tensor": torch.zeros(3),
    }.items():  # fmt: skip
        yield f"model is {name}", resume, put(model=value)
        yield f"model is {name}, no average", ALL, put(model=value, ema=None)
    for name, value in {
        "a list": [1], "a number": 5, "integer keys": {1: torch.zeros(1)}, "text": "x",
        "a tensor": torch.ones(3),
    }.items():  # fmt: skip
        yield f"average is {name}", ALL, put(ema=value)
    yield "average missing", resume, gone("ema")
    yield "average None", resume, put(ema=None)
    yield "average empty", resume, put(ema={})
    for part in ("model", "ema"):
        who = resume if part == "model" else ALL
        yield f"{part}: texts", who, each(part, lambda k, v: "x")
        yield f"{part}: numbers", who, each(part, lambda k, v: 1.0)
        yield f"{part}: None", who, each(part, lambda k, v: None)
        yield f"{part}: int64", who, each(part, lambda k, v: v.to(torch.int64))
        yield f"{part}: complex", who, each(part, lambda k, v: v.to(torch.complex64))
        yield f"{part}: bool", who, each(part, lambda k, v: v.to(torch.bool))
        yield f"{part}: sparse", who, each(part, lambda k, v: v.to_sparse())
        yield f"{part}: on meta", who, each(part, lambda k, v: v.to("meta"))
        yield f"{part}: lists", who, each(part, lambda k, v: v.tolist())
        yield f"{part}: one axis more", who, each(part, lambda k, v: v[None])
        yield f"{part}: one key renamed", who, (
            lambda s, part=part: {**s, part: {f"{k}x": v for k, v in s[part].items()}})  # fmt: skip
        yield f"{part}: quantised", who, each(
            part,
            lambda k, v: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8)
            if v.is_floating_point() else v)  # fmt: skip
        yield f"{part}: huge by stride 0", who, each(
            part, lambda k, v: torch.zeros(1).expand(10**12))  # fmt: skip
        yield f"{part}: NaN", (), each(
            part, lambda k, v: v * float("nan") if v.is_floating_point() else v)  # fmt: skip
    for name, value in {
        "text": "three", "None": None, "negative": -1, "a fraction": 1.5, "huge": 10**30,
        "a list": [3], "NaN": float("nan"), "a tensor": torch.zeros(2),
    }.items():  # fmt: skip
        yield f"iteration is {name}", resume, put(iteration=value)
    yield "iteration missing", resume, gone("iteration")
    for name, value in {
        "missing": KeyError, "None": None, "a dict": {}, "not JSON": "{", "a JSON list": "[1]",
        "JSON null": "null", "deep": "[" * 100_000 + "]" * 100_000, "empty": "",
        "empty object": "{}", "bytes": b"{}",
    }.items():  # fmt: skip
        change = gone("config") if value is KeyError else put(config=value)
        yield f"config is {name}", resume, change
    yield "config: model null", resume, config(lambda c: {**c, "model": None})
    yield "config: train null", resume, config(lambda c: {**c, "train": None})
    yield "config: data a list", resume, config(lambda c: {**c, "data": []})
    yield "config: a plugin", (), config(lambda c: {**c, "plugins": ["antigravity"]})
    yield "config: plugins null", (), config(lambda c: {**c, "plugins": None})
    yield (
        "config: another width",
        resume,
        config(
            lambda c: {
                **c,
                "model": {**c["model"], "encoder": {**c["model"]["encoder"], "width": 3}},
            }
        ),
    )
    yield "config: a dotted type", resume, config(
        lambda c: {**c, "model": {**c["model"], "type": "os.getcwd"}})  # fmt: skip
    for name, value in {"None": None, "a list": [], "empty": {}, "text": "adam"}.items():
        yield f"optimizer is {name}", resume, put(optimizer=value)
    yield "optimizer: no groups", resume, within("optimizer", "param_groups", value=[])
    yield "optimizer: groups None", resume, within("optimizer", "param_groups", value=None)
    yield "optimizer: state None", resume, within("optimizer", "state", value=None)
    yield "optimizer: state a list", resume, within("optimizer", "state", value=[])
    yield "optimizer: rate a text", (), within("optimizer", "param_groups", 0, "lr", value="x")
    yield "optimizer: rate missing", (), within(
        "optimizer", "param_groups", 0, "lr", value=KeyError)  # fmt: skip
    yield "optimizer: betas a number", (), within(
        "optimizer", "param_groups", 0, "betas", value=1)  # fmt: skip
    yield "optimizer: numbers of other parameters", resume, within(
        "optimizer", "param_groups", 0, "params", value=[10**6])  # fmt: skip
    yield "optimizer: moments of another shape", resume, within(
        "optimizer", "state", value=lambda s: {
            k: {**v, "exp_avg": torch.zeros(7)} for k, v in s.items()})  # fmt: skip
    yield "optimizer: moments texts", resume, within(
        "optimizer", "state", value=lambda s: {
            k: {**v, "exp_avg": "x"} for k, v in s.items()})  # fmt: skip
    yield "optimizer: steps missing", resume, within(
        "optimizer", "state", value=lambda s: {
            k: {n: x for n, x in v.items() if n != "step"} for k, v in s.items()})  # fmt: skip
    for name, value in {
        "None": None, "empty": [], "a dict": {}, "two": [{}, {}], "text": "x", "numbers": [1],
        "without parts": [{}],
    }.items():  # fmt: skip
        yield f"ranks is {name}", resume, put(ranks=value)
    yield "ranks missing", resume, gone("ranks")
    own = ("ranks", 0)
    yield "buffers None", resume, within(*own, "buffers", value=None)
    yield "buffers texts", resume, within(*own, "buffers", value={"a": "b"})
    yield "buffers integer keys", resume, within(*own, "buffers", value={1: torch.zeros(1)})
    yield "random None", resume, within(*own, "random", value=None)
    for part, value in {
        "torch": None, "torch ": torch.zeros(5), "torch  ": torch.zeros(5, dtype=torch.uint8),
        "numpy": None, "numpy ": ["MT19937"], "numpy  ": ["x", torch.zeros(624), 1, 0, 0.0],
        "numpy   ": ["MT19937", torch.zeros(5), 1, 0, 0.0],
        "numpy    ": ["MT19937", torch.zeros(624), 10**9, 0, 0.0],
        "python": None, "python ": [3, [1, 2], None], "python  ": [9, [0] * 625, None],
        "python   ": ["x"], "python    ": [3, ["a"] * 625, None], "cuda": None, "cuda ": "x",
    }.items():  # fmt: skip
        who = () if part.startswith("cuda") else resume
        yield f"generator of {part.strip()} is {str(value)[:40]}", who, within(
            *own, "random", part.strip(), value=value)  # fmt: skip
    yield "ema_count a text", resume, put(ema_count="x")
    yield "ema_count missing", resume, gone("ema_count")
    yield "the whole is a list", ALL, lambda state: list(state)
    yield "the whole is a tensor", ALL, lambda state: torch.zeros(3)
    yield "the whole is None", ALL, lambda state: None
    yield "the whole has integer keys", ALL, lambda state: {1: 2}
    yield "the whole is the model", ALL, lambda state: state["model"]
    yield "further parts", (), put(more={"a": [1, 2]}, more2="x")


# --- pickles that would run code --------------------------------------------------------------


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(data: bytes, state: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield what and content; each would make a file if it were unpickled without care."""
    import builtins
    import subprocess
    from functools import partial

    touch = f"touch {MARKER}"
    calls = {
        "os.system": Runs(os.system, touch),
        "eval": Runs(builtins.eval, f"open('{MARKER}', 'w')"),
        "exec": Runs(builtins.exec, f"open('{MARKER}', 'w')"),
        "open": Runs(builtins.open, MARKER, "w"),
        "subprocess": Runs(subprocess.check_call, ["touch", MARKER]),
        "partial": Runs(partial(os.system, touch)),
        "shutil.copy": Runs(shutil.copy, "run/config.json", MARKER),
        "os.mkdir": Runs(os.mkdir, MARKER),
    }
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        root = file.namelist()[0].split("/")[0]
    for name, call in calls.items():
        yield f"{name}, plain pickle", pickle.dumps({"model": call}, 2)
        text = pickle.dumps({**dict.fromkeys(state), "model": call}, 2)
        inside = repacked(data, lambda n, c, t=text: t if n.endswith("data.pkl") else c)
        yield f"{name}, in the archive", inside
    old = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + pickle.dumps({}, 2)
    yield "os.system, old format", old + pickle.dumps(calls["os.system"], 2)
    protocol = b"cposix\nsystem\n(S'" + touch.encode() + b"'\ntR."
    yield "os.system, protocol 0", protocol
    yield "os.system behind the pickle", repacked(
        data, lambda n, c: c + protocol if n.endswith("data.pkl") else c)  # fmt: skip
    script = b"PK" + protocol
    yield "not an archive after all", script
    extra = {f"{root}/code/__torch__.py": b"import os; os.system('touch code-ran')",
             f"{root}/constants.pkl": pickle.dumps((calls["os.system"],), 2)}  # fmt: skip
    yield "as TorchScript", repacked(data, extra=extra)


def cases_of(rng: random.Random, shared: Path) -> Iterator[Case]:
    """Yield 200 cases or a few more."""
    run = cases.trained(shared)
    image = shared / "picture.png"

    def picture() -> None:
        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 255, (48, 40, 3), np.uint8)
        Image.fromarray(pixels).save(image)

    cases.run(picture)
    data = (run / "last.pth").read_bytes()
    wanted = {}
    for name, words in COMMANDS.items():
        folder = shared / name
        folder.mkdir()
        shutil.copytree(run, folder / "run")
        shutil.copy(image, folder)
        outcome = cases.run(words, cwd=folder)
        if outcome.status != 0:
            raise RuntimeError(f"{name} of the undamaged run: {outcome.stderr}")
        wanted[name] = result(name, folder, outcome)
    turn = 0

    def case(kind: str, what: str, make: Callable[[Path], Any], expect: Any) -> Case:
        nonlocal turn
        turn += 1
        name = ALL[turn % 4]
        if isinstance(expect, tuple):  # the commands that must refuse
            expect = "refuse" if name in expect else "either"

        def prepare(folder: Path) -> None:
            shutil.copytree(run, folder / "run")
            shutil.copy(image, folder)
            make(folder / "run/last.pth")
            # a disk that rots leaves the time as it was: publishing compares times
            shutil.copystat(run / "last.pth", folder / "run/last.pth")

        # other weights, as stated
        free = ("NaN", "average missing", "average None", "average empty")
        like = None if any(word in what for word in free) else compare(name, wanted[name])
        return Case(
            kind, f"{what}: {name}", COMMANDS[name], expect, names=("last.pth", "checkpoint"),
            never=("weights_only=False", "weights_only=`False`", "weights_only` argument"),
            make=prepare, check=like, kept=("run",), absent=("found", "run/package"), after=safe,
            accepted="silent loss", timeout=90, memory=1.0)  # fmt: skip

    for kind, what, content, expect in bytes_damaged(data, rng):
        yield case(kind, what, lambda path, content=content: path.write_bytes(content), expect)

    def resaved(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import torch

            from registry import checkpoint

            state = change(torch.load(io.BytesIO(data), weights_only=True))
            try:  # as the library writes it, with whatever seal it has
                checkpoint.save(state, path)
            except Exception:
                torch.save(state, path)

        return make

    every = list(malformed())
    turn = rng.randrange(4)
    for what, who, change in every:
        # most parts are read by --resume alone: two of three of these go there
        if who == ("resume",) and rng.random() < 2 / 3:
            turn = ALL.index("resume") - 1
        yield case("malformed part", what, resaved(change), who)
    found: dict[str, Any] = {}
    keys = ("iteration", "config", "model", "ema", "ema_count", "optimizer", "ranks")
    found = dict.fromkeys(keys)
    for what, content in hostile(data, found):
        expect = "either" if "behind" in what or "TorchScript" in what else "refuse"
        yield case(
            "hostile pickle", what, lambda p, content=content: p.write_bytes(content), expect
        )


if __name__ == "__main__":
    sys.exit(cases.main("checkpoints", __doc__, cases_of))
