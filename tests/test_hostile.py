"""Packages made to attack: each is refused with its reason, and nothing is run, fetched or written.

All are opened in one child process under an audit hook, which records every import, process,
connection, written file, pickled name and piece of code that loading has no business with.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from zoo_packages import (
    RESULT,
    ROOT,
    loadable_package,
    read_config,
    read_weights,
    seal,
    write_config,
    write_weights,
)

from zoo import package
from zoo.errors import PublishRefusedError

MARK = "HOSTILE"  # in every piece of hostile code
SHOUT = "x\n\x1b[2JTo repair: run evil"  # where it stands in a message, it stays inside its line


@dataclass(frozen=True)
class Case:
    """One attack: what it does to a good package, and how it must end."""

    name: str
    make: Callable[[Path], Any]
    error: str  # class; "" if the package is good, "*" if any of the zoo's, or none
    words: str = ""
    absent: str = "\n"  # not in any message
    verify: str = ""  # how verify ends, if load takes the package


def put(dotted: str, value: Any) -> Callable[[Path], Any]:
    """Set one place of config.json; all sums are made to fit."""

    def make(folder: Path) -> None:
        config = read_config(folder)
        *parents, last = dotted.split(".")
        node = config
        for key in parents:
            node = node[key]
        node[last] = value
        write_config(folder, config)

    return make


def write(old: str, new: str) -> Callable[[Path], Any]:
    """Change the text of config.json; all sums are made to fit."""

    def make(folder: Path) -> None:
        text = (folder / "config.json").read_text()
        assert old in text
        write_config(folder, text.replace(old, new, 1).encode())

    return make


def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """Change the header of the weights; all sums are made to fit."""

    def make(folder: Path) -> None:
        found, tensors = read_weights(folder)
        write_weights(folder, change(found) or found, tensors)

    return make


def tensor(**stated: Any) -> Callable[[Path], Any]:
    """Say something else of one tensor."""
    return header(lambda found: found[sorted(found)[1]].update(stated))


def file(path: str, content: bytes, sealed: bool = True) -> Callable[[Path], Any]:
    """Write a file into the package."""

    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
        if sealed:
            seal(folder)

    return make


def listed(path: str, **stated: Any) -> Callable[[Path], Any]:
    """Say something of a file in the manifest alone."""

    def make(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        manifest["files"][path] = {**manifest["files"]["README.md"], **stated}
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        (folder / "manifest.json").write_text(text)

    return make


def linked(path: str) -> Callable[[Path], Any]:
    """Replace a file, or a folder, by a link to its equal outside."""

    def make(folder: Path) -> None:
        outside = folder.parent / "secret" / folder.name
        if path == "assets":
            file("assets/a.png", b"PNG")(folder)
        outside.parent.mkdir(exist_ok=True)
        shutil.move(folder / path, outside)
        (folder / path).symlink_to(outside, target_is_directory=outside.is_dir())

    return make


def only_pickles(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(Bomb.pickled())


def full(folder: Path, *, sealed: bool) -> None:
    (folder / "assets").mkdir()
    for i in range(1000):
        (folder / "assets" / f"{i}.png").write_bytes(b"")
    if sealed:
        seal(folder)


def plugin(component: str, **claims: str) -> Callable[[Path], Any]:
    """Need a component of a distribution that is not installed."""
    stated = {"component": component, "distribution": "kp-acme", "requires": "kp-acme>=0.2"}

    def make(folder: Path) -> None:
        config = read_config(folder)
        config["architecture"]["args"]["encoder"] = {"type": component}
        config["plugins"] = [{**stated, **claims}]
        write_config(folder, config)

    return make


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"echo {MARK} > pwned",)

    @staticmethod
    def pickled() -> bytes:
        return pickle.dumps({"state_dict": Bomb()})


def bomb_of_torch(folder: Path) -> None:
    torch.save({"state_dict": Bomb()}, folder / "model.safetensors")
    seal(folder)


def golden(
    outputs: dict[str, Any] | None, tolerance: str = "0.001", inputs: bool = True
) -> Callable[[Path], Any]:
    """Replace the fingerprint by the same input with other outputs."""

    def make(folder: Path) -> None:
        path = folder / "golden.safetensors"
        if outputs is None:
            torch.save({"state_dict": Bomb()}, path)
        else:
            old = safetensors.torch.load_file(path)
            kept = {key: value for key, value in old.items() if inputs and key.startswith("input.")}
            metadata = {"format": "pt", "tolerance": tolerance}
            safetensors.torch.save_file({**kept, **outputs}, path, metadata)
        seal(folder)

    return make


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def overlap(found: dict[str, Any]) -> None:
    """Let the second of two tensors of one size lie upon the first."""
    by_size: dict[Any, Any] = {}
    for key in sorted(key for key in found if key != "__metadata__"):
        twin = by_size.setdefault((found[key]["dtype"], str(found[key]["shape"])), key)
        if twin != key:
            found[key]["data_offsets"] = found[twin]["data_offsets"]
            return


ARGS, ENCODER = "architecture.args", "architecture.args.encoder"
NO_PART, NOT_JSON = "cannot be part of a model", "is not valid JSON"
TYPES = [  # never looked up, whatever they name
    "os.getcwd",
    "builtins.exec",
    "evil_module.Evil",
    "torch.hub.load",
    "components.encoders.imm.Imm",
    "datasets/frames",
    "metrics/psnr",
    "hooks/panels",
    "losses/perceptual",
    "critics/multiscale_patch",
    "priors/unpaired_poses",
    "../evil_module",
    "/etc/passwd",
    "",
    {"type": "os.getcwd"},
    ["os.getcwd"],
    None,
    7,
]
UNKNOWN = [  # of a role a model has, and no component
    "encoders/../../evil_module",
    "encoders/evil_module",
    "encoders/imm.Imm",
    "encoders/__init__",
    "encoders/",
    f"encoders/{SHOUT}",
    "encoders/" + "x" * 100_000,
]
FRAMEWORKS = {  # how other libraries let a config name code
    "_target_": "os.system",
    "_partial_": True,
    "auto_map": {"AutoModel": "evil_module.Evil"},
    "custom_imports": {"imports": ["evil_module"]},
    "_base_": ["/etc/passwd"],
    "_delete_": True,
    "trust_remote_code": True,
    "hooks": ["evil_module"],
}
CASES = [
    # good ones: what the others change is all that is wrong with them
    Case("untouched", lambda folder: None, ""),
    Case("another description", put("training.a", None), ""),
    Case("another header", header(lambda found: None), ""),
    # weights that are none
    Case("pickle", file("model.safetensors", Bomb.pickled()), "IntegrityError", "never loaded"),
    Case("torch pickle", bomb_of_torch, "IntegrityError", "never loaded"),
    Case("only pickles", only_pickles, "UnsafeWeightsError", "which are never loaded"),
    *(
        Case(
            f"listed {name}", file(name, Bomb.pickled()), "IntegrityError", "cannot be a file of a"
        )
        for name in ("pytorch_model.bin", "extra.pt", "modeling.py", "assets/evil.py", ".env")
    ),
    *(
        Case(f"extra {name}", file(name, Bomb.pickled(), False), "IntegrityError", "manifest")
        for name in ("pytorch_model.bin", "extra.pt", "modeling.py", "assets/evil.py")
    ),
    Case("no header", file("model.safetensors", b""), "IntegrityError", "not a safetensors file"),
    Case(
        "header of 2**63 bytes",
        file("model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"),
        "IntegrityError",
        "not a safetensors file",
    ),
    Case(
        "header of 9 MB",
        header(lambda found: {**found, "__metadata__": {"pad": "x" * (9 << 20)}}),
        "IntegrityError",
        "not a safetensors file",
    ),
    Case("header no object", header(lambda found: b"[1]"), "IntegrityError", "must be an object"),
    Case("deep header", header(lambda f: nested(10_000).encode()), "IntegrityError", NOT_JSON),
    Case("overlapping tensors", header(overlap), "IntegrityError", "model.safetensors"),
    Case(
        "tensor beyond the end",
        tensor(data_offsets=[0, 1 << 40]),
        "IntegrityError",
        "model.safetensors",
    ),
    Case("negative offsets", tensor(data_offsets=[-8, 0]), "IntegrityError", "model.safetensors"),
    Case("negative shape", tensor(shape=[-3]), "IntegrityError", "model.safetensors"),
    Case("vast shape", tensor(shape=[10**9] * 40), "IntegrityError", "model.safetensors"),
    Case("long shape", tensor(shape=[10**4000] * 400), "IntegrityError", "model.safetensors"),
    *(
        Case(f"kind {dtype!r}"[:60], tensor(dtype=dtype), "IntegrityError", "model.safetensors")
        for dtype in ("", "F31", SHOUT, "F32" * 100_000)
    ),
    Case(
        "shouting key",
        header(lambda f: f.update({SHOUT: f.pop(sorted(f)[1])})),
        "WeightsMismatchError",
        "1 unexpected",
    ),
    Case(
        "long key",
        header(lambda f: f.update({"a" * 1_000_000: f.pop(sorted(f)[1])})),
        "WeightsMismatchError",
        "1 unexpected",
    ),
    # names of code
    *(
        Case(f"type {t!r}"[:60], put(f"{ENCODER}.type", t), "IntegrityError", NO_PART)
        for t in TYPES
    ),
    *(
        Case(f"part {t!r}"[:60], put(f"{ENCODER}.type", t), "MissingArchitectureError", "Available")
        for t in UNKNOWN
    ),
    *(
        Case(f"pipeline {t!r}"[:60], put("architecture.type", t), "IntegrityError", NO_PART)
        for t in TYPES
        if isinstance(t, str)
    ),
    Case("pipeline is a list", put("architecture.type", ["os"]), "IntegrityError", "must be str"),
    Case("pipeline is an encoder", put("architecture.type", "encoders/imm"), "IntegrityError"),
    Case("type among args", put(f"{ARGS}.type", "encoders/imm"), "IntegrityError"),
    Case("type of a list's item", put(f"{ARGS}.flip_pairs", [{"type": "os.getcwd"}]), "*"),
    *(
        Case(f"key {key}", put(key, value), "IntegrityError", f"unknown key '{key}'")
        for key, value in FRAMEWORKS.items()
    ),
    *(
        Case(f"argument {key}", put(f"{ENCODER}.{key}", value), "IntegrityError", "no argument")
        for key, value in FRAMEWORKS.items()
    ),
    Case("plugins to import", put("plugins", ["evil_module"]), "IntegrityError", "an object"),
    Case("architecture to import", put("architecture.plugins", ["evil_module"]), "IntegrityError"),
    # plugins
    Case(
        "plain plugin",
        plugin("encoders/acme/x"),
        "MissingArchitectureError",
        "If you trust it, pip install 'kp-acme>=0.2'. Nothing was installed.",
    ),
    *(
        Case(
            f"plugin of {claim!r}",
            plugin("encoders/acme/x", requires=claim),
            "MissingArchitectureError",
            "Nothing was installed",
            absent="pip install",
        )
        for claim in (
            "git+https://evil.example/x",
            "evil @ https://evil.example/x",
            "--index-url=https://evil.example kp-acme",
            "-r/etc/passwd",
            "kp-acme\npip install evil",
            "kp-acme; touch pwned",
            "kp-acme' && touch 'pwned",
            "../evil",
        )
    ),
    Case(
        "shouting distribution",
        plugin("encoders/acme/x", distribution=SHOUT),
        "MissingArchitectureError",
        "Nothing was installed",
    ),
    # an entry's own words, in messages
    *(
        Case(f"shouting {place}", put(f"{place}.{SHOUT}", 1), "IntegrityError")
        for place in ("components", "keypoints.groups", "architecture", ENCODER, "preprocess")
    ),
    Case("shouting file", file(f"{SHOUT}.png", b"", False), "IntegrityError", "manifest"),
    Case("shouting name", put("name", SHOUT), "IntegrityError", "cannot be the name of an entry"),
    Case("shouting task", put("task", SHOUT), "IntegrityError", "must be one of"),
    Case("shouting value", put(f"{ENCODER}.width", SHOUT), "IntegrityError", "cannot be built"),
    Case(
        "shouting metadata",
        header(lambda f: f["__metadata__"].update({SHOUT: 1})),
        "IntegrityError",
    ),
    # JSON
    Case(
        "depth 10 000",
        write('"training": {', f'"training": {{"a": {nested(10_000)},'),
        "IntegrityError",
        NOT_JSON,
    ),
    Case(
        "depth 100",
        write('"training": {', f'"training": {{"a": {nested(100)},'),
        "IntegrityError",
        "deeper than 32",
    ),
    Case("2 MiB", put("training.a", "x" * (2 << 20)), "IntegrityError", "larger than"),
    *(
        Case(f"number {n}", write('"version": 1', f'"version": {n}'), "IntegrityError", NOT_JSON)
        for n in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "01", "0x10")
    ),
    Case(
        "a key twice",
        write('"task"', '"name": "b", "task"'),
        "IntegrityError",
        "'name' is repeated",
    ),
    Case(
        "one of many keys twice",
        write(
            '"training": {',
            '"training": {' + "".join(f'"{i}":0,' for i in range(80_000)) + '"79999":1,',
        ),
        "IntegrityError",
        "'79999' is repeated",
    ),
    Case("no object", lambda f: write_config(f, b"[]"), "IntegrityError", "format_version"),
    Case("no UTF-8", lambda f: write_config(f, b'{"\xff": 1}'), "IntegrityError", NOT_JSON),
    Case("no JSON", lambda f: write_config(f, b"import os"), "IntegrityError", NOT_JSON),
    Case("empty", lambda f: write_config(f, b""), "IntegrityError", NOT_JSON),
    *(
        Case(f"{name}: {text[:20]!r}", file(name, text), "IntegrityError")
        for name in ("evaluation.json",)
        for text in (b"", b"[]", b'{"format_version": 1, "results": [NaN]}', nested(5000).encode())
    ),
    Case("format 99", put("format_version", 99), "FormatTooNewError", "has format 99"),
    Case("manifest 99", lambda f: seal(f, format_version=99), "FormatTooNewError", "format 99"),
    *(
        Case(f"format {v!r}", put("format_version", v), "IntegrityError")
        for v in (-1, 0, "1", 1.5, True, None, [])
    ),
    Case("format word", put("format", "hostile"), "IntegrityError", "must be 'keypoint-zoo'"),
    Case("library 99", put("min_library", "99.0"), "FormatTooNewError", "needs keypoint-zoo >= 99"),
    Case("library 10**5000", put("min_library", "9" * 5000), "*"),
    # sizes
    *(
        Case(f"{place} = {value!r}"[:60], put(f"{ARGS}.{place}", value), "IntegrityError")
        for place in ("encoder.width", "encoder.num_landmarks", "rasterizer.image_size")
        for value in (65537, 10**9, -(10**9), 10**30)
    ),
    Case(
        "unknown depth", put(f"{ENCODER}.depth", 10**9), "IntegrityError", "must be at most 16384"
    ),
    *(
        Case(f"{place} = {value!r}"[:60], put(f"{ARGS}.{place}", value), "*")
        for place in ("encoder.width", "rasterizer.stride", "rasterizer.variance", "decoder.width")
        for value in (65536, 1e308, True, None, "9" * 30, [1] * 5_000, {})
    ),
    *(
        Case(f"deep {part}"[:60], put(ENCODER, {**part, "num_landmarks": 3}), "IntegrityError")
        for part in (
            {"type": "encoders/unet", "widths": [1] * 5_000},
            {"type": "encoders/keypoint_hourglass", "depth": 65536},
        )
    ),
    Case("image 10**9", put("preprocess.image_size", 10**9), "IntegrityError", "1 ... 4096"),
    Case("image 10**9 drawn", put(f"{ARGS}.rasterizer.image_size", 10**9), "IntegrityError"),
    # other models and files
    Case("base elsewhere", put("training.base", "hf:evil/model"), ""),
    Case("encoder elsewhere", put(ENCODER, "hf:evil/model"), "*"),
    *(
        Case(
            f"timm {name} {weights}",
            put(
                ENCODER,
                {
                    "type": "encoders/timm_features",
                    "num_landmarks": 3,
                    "name": name,
                    "weights": weights,
                },
            ),
            error,
        )
        for name, weights, error in (
            ("hf-hub:evil/x", "random", "IntegrityError"),
            ("hf-hub:evil/x.y", "timm", "IntegrityError"),
            ("local-dir:/etc", "random", "IntegrityError"),
            ("resnet18", "timm", "*"),
            ("resnet18.a1_in1k", "timm", "*"),
            ("resnet18", "/etc/passwd", "*"),
        )
    ),
    # the folder
    *(
        Case(f"lists {path!r}", listed(path), "IntegrityError", "cannot be a file of a package")
        for path in (
            *("../../evil", "/etc/passwd", "assets\\..\\evil.png", "assets/../config.json"),
            *("C:evil.png", "assets/./a.png", "assets//a.png", "assets/a/b.png", "./README.md"),
            *("assets/\n.png", "assets/..png/../../a.png", "manifest.json/a.png", ""),
        )
    ),
    Case("lists itself", listed("manifest.json"), "IntegrityError"),
    Case("wrong size", listed("README.md", size=3), "IntegrityError", "instead of 3"),
    Case("negative size", listed("README.md", size=-1), "IntegrityError", "instead of -1"),
    Case("size of 10**30", listed("README.md", size=10**30), "IntegrityError", "instead of 1000"),
    Case("wrong sum", listed("README.md", sha256="0" * 64), "IntegrityError", "sha256 is"),
    Case("sum is no text", listed("README.md", sha256=None), "IntegrityError", "must be str"),
    Case("another name", lambda f: seal(f, name="other"), "IntegrityError", "belongs to 'other'"),
    Case(
        "name as path",
        put("name", "../../evil"),
        "IntegrityError",
        "cannot be the name of an entry",
    ),
    Case("1000 listed files", lambda f: full(f, sealed=True), "IntegrityError", "at most 64"),
    Case("1000 further files", lambda f: full(f, sealed=False), "IntegrityError", "manifest"),
    *(
        Case(f"link {path}", linked(path), "IntegrityError", Path(path).name)
        for path in ("README.md", "model.safetensors", "manifest.json", "assets")
    ),
    Case("link beside", lambda f: (f / "etc").symlink_to("/etc"), "IntegrityError"),
    Case("pipe", lambda f: os.mkfifo(f / "LICENSE"), "IntegrityError"),
    # keypoints
    *(
        Case(f"keypoints.{key}: {value!r}"[:60], put(f"keypoints.{key}", value), "IntegrityError")
        for key, values in {
            "edges": ([[0, 3]], [[-1, 0]], [[0, 0]], [[0]], [[0, 1, 2]], [0, 1], [["0", "1"]]),
            "flip_pairs": ([[0, 1], [1, 2]], [[0, 3]], [[0, 0]], [[True, 2]]),
            "names": (["a"], ["a", "a", "b"], ["a", "b", "c\n"], ["a", "b", ""], ["a", "b", 3]),
            "groups": ({"foreground": [3]}, {"foreground": [-1]}, [0]),
            "count": (0, -3, 4, 10**9, 3.0, True),
            "semantics": ("anatomical", ""),
        }.items()
        for value in values
    ),
]

CHILD = """
import json, os, resource, signal, socket, subprocess, sys

good, mark, rows = sys.argv[1], sys.argv[2], json.load(sys.stdin)
inside, secret = os.path.realpath("."), os.path.realpath("secret")
sys.path[:0] = [os.path.abspath("modules")]  # evil_module lies in wait here

import safetensors.torch
import timm
import zoo

zoo.load("dir:" + good)
zoo.info("dir:" + good)
assert zoo.verify("dir:" + good, deep=True).ok
KNOWN = {name.split(".")[0] for name in sys.modules} | sys.stdlib_module_names
PARTS = {"io", "layers", "ops", "encoders", "bottlenecks", "rasterizers", "decoders"}
PARTS |= {"compositors", "predictors", "pipelines"}
NEVER = ("subprocess", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty")
NEVER += ("socket", "urllib", "http", "ftplib", "pickle", "os.remove", "os.rename", "os.mkdir")
NEVER += ("os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate", "shutil", "os.utime")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
seen, watching = [], False


def watch(event, args):
    global watching
    if not watching:
        return
    watching = False  # what follows is our own
    try:
        if bad(event, args):
            seen.append(f"{event} {args!r}"[:200])
    finally:
        watching = True


def bad(event, args):
    if event == "import":
        parts = args[0].split(".")
        foreign = parts[0] == "components" and len(parts) > 1 and parts[1] not in PARTS
        return parts[0] not in KNOWN or parts[0] == "evil_module" or foreign
    if event == "open":
        if not isinstance(args[0], (str, bytes)):
            return False
        path, mode = os.path.realpath(os.fsdecode(args[0])), args[1] or ""
        writes = set(mode) & set("wax+") or (args[2] or 0) & WRITES
        return writes and path != os.devnull or path.startswith((secret, "/etc/passwd"))
    if event == "compile":
        return mark in str(args[0]) or str(args[1]).startswith(inside)
    if event == "exec":
        return getattr(args[0], "co_filename", "").startswith(inside)
    return event.startswith(NEVER)


def attempt(call, *args, **options):
    global watching
    watching = True
    try:
        found = call(*args, **options)
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__]
        return {"error": bases[0], "ours": "ZooError" in bases, "text": str(error)}
    finally:
        watching = False
    error = "" if getattr(found, "ok", True) else "reported"
    return {"error": error, "ours": True, "text": " ".join(getattr(found, "problems", []))}


def too_slow(*_):
    raise BaseException("too slow")


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


sys.addaudithook(watch)
signal.signal(signal.SIGALRM, too_slow)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 30),) * 2)
results = {}
for name, folder in rows.items():
    seen.clear()
    before, ref = memory(), "dir:" + folder
    signal.alarm(30)
    try:
        row = {
            "load": attempt(zoo.load, ref),
            "verify": attempt(zoo.verify, ref, deep=True),
            "info": attempt(zoo.info, ref),
        }
    except BaseException as error:
        stopped = {"error": str(error), "ours": False, "text": ""}
        row = dict.fromkeys(("load", "verify", "info"), stopped)
    signal.alarm(0)
    row |= {"seen": list(seen), "memory": memory() - before, "pwned": os.path.exists("pwned")}
    results[name] = row

seen.clear()  # and the watcher does see what it is there for


class Unpickled:
    def __reduce__(self):
        return print, ()


import pickle

for attack in (
    lambda: __import__("evil_module"),
    lambda: __import__("components.datasets.puppets"),
    lambda: subprocess.run(["true"]),
    lambda: os.system("true"),
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: pickle.loads(pickle.dumps(Unpickled())),
    lambda: open("written", "w").close(),
    lambda: open("secret/here").close(),
    lambda: exec(compile("1 # " + mark, "config", "exec")),
):
    attempt(attack)
json.dump({"cases": results, "control": list(seen)}, sys.stdout)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a good package, a module in wait and something nobody may read."""
    folder = tmp_path_factory.mktemp("hostile")
    loadable_package(folder / "good")
    (folder / "modules").mkdir()
    (folder / "modules" / "evil_module.py").write_text(f"open('pwned', 'w').write('{MARK}')")
    (folder / "secret").mkdir()
    (folder / "secret" / "here").write_text(MARK)
    return folder


@pytest.fixture(scope="module")
def outcome(place) -> dict[str, Any]:
    """What opening every package did."""
    rows = {}
    for i, case in enumerate(CASES):
        folder = place / f"package{i}"
        shutil.copytree(place / "good", folder)
        case.make(folder)
        rows[case.name] = str(folder)
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(place / "cache")}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(place / "good"), MARK],
        input=json.dumps(rows),
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def test_the_watcher_sees_what_it_is_there_for(outcome):
    events = [line.split(" ")[0] for line in outcome["control"]]
    for event in ("import", "subprocess.Popen", "os.system", "socket.getaddrinfo", "compile"):
        assert event in events
    for event in ("pickle.find_class", "open"):
        assert event in events
    text = "\n".join(outcome["control"])
    for word in ("'evil_module'", "components.datasets", "'written'", "secret/here"):
        assert word in text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_packages_are_refused_and_do_nothing(case, outcome):
    row = outcome["cases"][case.name]
    assert row["seen"] == []
    assert row["memory"] < 500  # MB
    assert not row["pwned"]
    for found in (row["load"], row["verify"], row["info"]):
        assert found["ours"], found
        assert case.absent not in found["text"]
        assert found["text"].isprintable()
        assert len(found["text"]) < 5000
    if case.error != "*":
        assert row["load"]["error"] == case.error, row["load"]
        assert case.words in row["load"]["text"]
        # verify reports some damage, and raises the rest
        refused = {case.error, "reported"} if case.error else {case.verify}
        assert row["verify"]["error"] in refused, row["verify"]


def test_names_of_cases_are_different():
    assert len({case.name for case in CASES}) == len(CASES) >= 15


SECRETS = {
    "token": ("README.md", b"\nhf_" + b"a" * 34 + b"\n", "contains an access token"),
    "token in results": ("evaluation.json", b"", "contains an access token"),
    "home": ("README.md", b"\nsee /home/somebody/data\n", "contains a private path"),
    "leftover": (".tmpAbC123", b"half", "is not part of the package"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_private_is_published(name, place, tmp_path):
    path, further, words = SECRETS[name]
    folder = tmp_path / "package"
    shutil.copytree(place / "good", folder)
    old = (folder / path).read_bytes() if (folder / path).exists() else b""
    if path == "evaluation.json":
        row = {**RESULT, "command": "push --token hf_" + "b" * 34}
        old = json.dumps({"format_version": 1, "results": [row]}).encode()
    (folder / path).write_bytes(old + further)
    if name != "leftover":
        seal(folder)
    with pytest.raises(PublishRefusedError, match=words) as caught:
        package.check_publishable(package.open_package(folder))
    assert "aaaa" not in str(caught.value)
    assert "bbbb" not in str(caught.value)


def front_matter(text: str) -> Callable[[bytes], bytes]:
    return lambda card: b"---\n" + text.encode() + b"---\n" + card.split(b"---\n", 2)[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (front_matter("library_name: x\n"), "the licence of the weights is missing"),
        (
            front_matter("library_name: x\n# license: mit\n"),
            "the licence of the weights is missing",
        ),
        (front_matter('license: ""\n'), "the licence of the weights is missing"),
        (front_matter("license:\ntags: [a]\n"), "the licence of the weights is missing"),
        (front_matter("x_license: mit\n"), "the licence of the weights is missing"),
        (lambda card: b"# A model\n\nlicense: mit\n", "the licence of the weights is missing"),
        (
            lambda card: front_matter("tags: [a]\n")(card) + b"\nlicense: mit\n",
            "the licence of the weights is missing",
        ),
        (front_matter("license: other\n"), "needs a LICENSE file"),
    ],
)
def test_a_licence_is_read_from_the_front_matter_alone(change, words, place, tmp_path):
    folder = tmp_path / "package"
    shutil.copytree(place / "good", folder)
    (folder / "README.md").write_bytes(change((folder / "README.md").read_bytes()))
    seal(folder)
    with pytest.raises(PublishRefusedError, match=words):
        package.check_publishable(package.open_package(folder))


@pytest.mark.parametrize(("bits", "kind"), [(b"\xff\xff\xff\x7f", "nan"), (b"\0\0\x80\x7f", "inf")])
def test_weights_that_are_not_finite_are_not_published(bits, kind, place, tmp_path):
    folder = tmp_path / "package"
    shutil.copytree(place / "good", folder)
    header, tensors = read_weights(folder)
    key = next(k for k, t in sorted(header.items()) if t.get("dtype") == "F32")
    start = header[key]["data_offsets"][0]
    write_weights(folder, header, tensors[:start] + bits + tensors[start + 4 :])
    with pytest.raises(PublishRefusedError, match=f"the weights of '{key}' are not all finite"):
        package.check_publishable(package.open_package(folder))
