"""200 mistakes in configs: as --cfg-options of shipped configs, and as .py and .json files.

A mistake must be one line that names the place, with status 2, before the first iteration, and no
folder may have been made. Each case says whether it is a mistake (``refuse``), right (``ok``) or
could be seen either way (``either``: then a success must be a whole run).

    python tests/attacks/configs.py --seed 7 --out configs.json
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cases
from cases import Case
from common import Outcome

# a run of one iteration on a few frames: what is right then takes seconds
QUICK = ["train.iterations=1", "train.batch_size=2", "train.panels_every=0", "evaluate.max_items=2"]
SMALL = [*QUICK, *(f"data.{name}.clips=2" for name in ("train", "fit", "val", "test"))]
WORK = ["--work-dir", "work"]

# section -> option -> wrong values
TRAIN = {
    "iterations": ["x", "-1", "0", "1.5", "none", "[1]", "nan", "true"],
    "batch_size": ["0", "-1", "none", "x", "1.5", "'2'"],
    "lr": ["x", "none", "nan", "-1", "[1]", "1e400"],
    "betas": ["0.9", "x,y", "[0.9]", "[1.5,0.9]", "[0.9,0.9,0.9]", "[-1,0.9]", "none"],
    "weight_decay": ["-1", "x"],
    "clip": ["-1", "x"],
    "clip_each": ["5", "x"],
    "groups": [
        "5", "{'nosuch':{}}", "{'generator':5}", "{'generator':{'lr':'x'}}",
        "{'generator':{'foo':1}}", "{'generator':{'betas':5}}", "{'generator':{'lr':-1}}",
        "{'generator':{'weight_decay':'x'}}", "{1:{}}",
    ],
    "lr_factors": ["5", "x", "[[1]]", "[[1,2,3]]", "[['a',1]]", "none", "[[1,'x']]"],
    "ema": ["x", "-1", "2", "1.5"],
    "init": [
        "5", "x", "{'forward':'factorized_puppets'}", "{'encoder':'nosuch'}",
        "{'nosuch':'factorized_puppets'}", "{'encoder':5}", "{'encoder':''}",
        "{'encoder':'../../x'}",
    ],
    "amp": ["5", "x"],
    "seed": ["x", "-1", "1.5"],
    "log_every": ["x", "-1", "1.5"],
    "checkpoint_every": ["-1"],
    "hooks": ["5", "x", "[5]", "[{}]", "[{'type':'hooks/nosuch'}]", "[{'type':'encoders/unet'}]"],
    "iteration": ["1"],
}  # fmt: skip
DATA = {
    "train": ["none", "5", "x", "{}", "{'type':5}", "{'type':'datasets/nosuch'}",
              "{'type':'encoders/unet'}", "{'type':'os.getcwd'}", "{'image_size':64}"],
    "test": ["5", "{'type':'datasets/frames','root':'nosuch',"
             "'image_size':64}"],
    "fit": ["5", "[]"],
    "workers": ["-1", "x", "1.5"],
    "optional": ["x", "['val']", "5"],
    "prior": ["5"],
    "prior_size": ["0", "-1", "x"],
    "transforms": ["5", "[5]", "[{'type':'transforms/nosuch'}]", "[{'type':'metrics/l1'}]", "{}",
                   "[{'type':'transforms/color_jitter','hue':'x'}]"],
    "train.split": ["nosuch", "5"],
    "train.pair_range": ["5", "[1]", "[31,8]", "[-1,3]", "x", "[1,2,3]"],
    "train.clips": ["0", "-1", "x", "1.5"],
    "train.frames_per_clip": ["0", "x", "-3"],
    "train.image_size": ["32", "x", "0"],
    "train.background": ["nosuch", "5"],
    "train.seed": ["x"],
    "train.foo": ["1"],
    "tran.split": ["test"],
}  # fmt: skip
MODEL = {
    "type": ["5", "pipelines/nosuch", "encoders/unet", "os.getcwd", "none"],
    "encoder": ["none", "5", "x", "{}", "{'type':'encoders/unet'}"],
    "bottleneck": ["none", "[]"],
    "decoder": ["none", "5"],
    "encoder.type": ["encoders/nosuch", "decoders/spade", "os.getcwd", "5", "unet"],
    "encoder.num_landmarks": ["0", "-1", "x", "1.5", "none", "17"],
    "encoder.widths": ["x", "[]", "[0,0,0]", "['a','b','c']", "5", "[8,-8,8]"],
    "encoder.first": ["0", "-1", "x"],
    "encoder.widths.9": ["1"],
    "encoder.widths.x": ["1"],
    "bottleneck.covariance": ["nosuch", "5"],
    "bottleneck.variance": ["-1", "x"],
    "bottleneck.temperature": ["x", "[]", "0"],
    "bottleneck.grid": ["nosuch"],
    "rasterizer.image_size": ["0", "x", "128", "none"],
    "rasterizer.kernel": ["nosuch"],
    "appearance_encoder.reduction": ["nosuch"],
    "appearance_encoder.features": ["x", "-4"],
    "decoder.width": ["0", "-1", "x"],
    "decoder.hidden": ["0", "x"],
    "compositor.mask_bias": ["x"],
    "compositor.mask_widths": ["x", "5"],
    "prior": ["5", "{'type':'priors/nosuch'}"],
    "foo": ["1"],
}
LOSSES = {
    "perceptual": ["none", "5", "x", "{}"],
    "perceptual.type": ["losses/nosuch", "metrics/l1"],
    "perceptual.weight": ["x", "none", "nan"],
    "perceptual.taps": ["x", "['nosuch']", "[]", "5"],
    "perceptual.weights": ["nosuch", "5"],
    "perceptual.width": ["0", "x"],
    "perceptual.foo": ["1"],
    "more": ["none", "{'type':'losses/adversarial'}", "{'type':'losses/pixel','of':'nosuch'}"],
}
EVALUATE = {
    "metrics": ["{'a':5}", "5", "[]", "x", "{'a':None}", "{'a':{}}", "none",
                "{'a':{'type':'metrics/nosuch'}}", "{'a':{'type':'losses/pixel'}}",
                "{'a':{'type':'metrics/state_error'}}"],
    "max_items": ["0", "-1", "x", "1.5"],
    "fit_items": ["0", "x"],
    "batch_size": ["0", "x"],
    "foo": ["1"],
    "metrics.regression.origin": ["nosuch", "5"],
    "metrics.nosuch.origin": ["x"],
}  # fmt: skip
TOP = {
    "model": ["none", "5", "x", "{}"],
    "losses": ["none", "5", "{}", "x"],
    "data": ["5", "none", "[]"],
    "train": ["5", "none", "{}"],
    "evaluate": ["5", "x", "[]"],
    "image_size": ["0", "-1", "x", "33", "7", "1", "none", "1.5", "[64,64]"],
    "num_landmarks": ["0", "-1", "x", "none"],
    "width": ["0", "x"],
    "plugins": ["none", "5", "['nosuch_module']", "nosuch_module", "[5]"],
    "foo": ["1"],
    "foo.bar": ["1"],
}
# of other configs: (config, option, value)
OTHERS = [
    ("keypointgan_puppets_regressor", "model.rasterizer.edges", "[[0,99]]"),
    ("keypointgan_puppets_regressor", "model.rasterizer.edges", "[[0]]"),
    ("keypointgan_puppets_regressor", "model.rasterizer.edges", "5"),
    ("keypointgan_puppets_regressor", "edges", "[[0,'a']]"),
    ("keypointgan_puppets", "evaluate.metrics.direct.flip_pairs", "[[3,99]]"),
    ("keypointgan_puppets", "model.prior.critic", "none"),
    ("keypointgan_puppets", "model.prior.history", "-1"),
    ("keypointgan_puppets", "data.prior", "none"),
    ("keypointgan_puppets", "losses.critic", "none"),
    ("fomm_puppets", "model.motion", "none"),
    ("fomm_puppets", "model.motion.num_landmarks", "11"),
    ("fomm_puppets", "model.decoder.downs", "9"),
    ("fomm_puppets", "losses.deformed.of", "nosuch"),
    ("fomm_puppets", "data.transforms", "[]"),
    ("fomm_puppets", "losses.perceptual.scales", "[0]"),
    ("fomm_puppets", "losses.perceptual.tap_weights", "[1]"),
    ("imm_puppets", "model.rasterizer.stride", "7"),
    ("imm_puppets", "model.rasterizer.stride", "0"),
    ("imm_puppets", "model.decoder.appearance_channels", "3"),
    ("lorenz_puppets", "model.encoder.num_landmarks", "x"),
    ("monkeynet_puppets", "model.motion.num_landmarks", "0"),
    ("i2v_puppets", "data.train.pair_range", "[9]"),
    ("forecast_puppets", "data.train.length", "0"),
    ("forecast_puppets", "model.seen", "0"),
    ("forecast_puppets", "train.init", "{'image_pipeline':'nosuch:pipeline'}"),
]
# words that cannot be options
WORDS = [
    "train.lr",
    "=1",
    "train..lr=1",
    ".=1",
    "train.=1",
    "größe=1",
    f"{'a' * 300}=1",
    "train.lr=" + "[" * 200 + "]" * 200,
    "model.encoder.widths.-1=5",
    "train\n.lr=1",
]
# right, or a matter of taste
RIGHT = ["train.lr=0", "num_landmarks=1", "train.ema=none", "data.train.pair_range=[1,2]",
         "model.encoder.widths=64,64,32", "losses.perceptual.weight=0.5",
         "train.amp=false"]  # fmt: skip
DOUBTFUL = ["losses.perceptual.weight=-1", "train.clip=0", "train.lr_factors=[[5,1],[2,1]]",
            "train.lr_factors=[[1,-1]]", "train.ema=1", "bottleneck=1",
            "train.weight_decay=nan", "train.seed=2**70", "plugins=['json']",
            "train.hooks=[{'type':'hooks/summary'}]", "train.clip=nan", "data.workers=1",
            "model.bottleneck.variance=nan", "model.rasterizer=none", "model.compositor=none",
            "model.appearance_encoder=none", "image_size=96", "model.encoder.num_landmarks=true",
            "train.log_every=0",
            "model.compositor.mask_widths=[]", "evaluate.metrics={}"]  # fmt: skip


def early(_: Path, outcome: Outcome) -> str | None:
    """Say whether a command failed only after the first iteration."""
    late = outcome.status != 0 and "[1/" in outcome.stderr
    return "it failed after the first iteration" if late else None


def whole(folder: Path, _: Outcome) -> str | None:
    """Say what a finished run lacks."""
    lost = [name for name in ("config.json", "last.pth") if not (folder / "work" / name).is_file()]
    return f"there is no {lost[0]}" if lost else None


def case(
    kind: str, what: str, words: Sequence[str], expect: str = "refuse", names: Sequence[str] = (),
    **more: Any,
) -> Case:  # fmt: skip
    """Return a case of ``train``."""
    return Case(kind, what, ["train", *words], expect, names=names, check=whole, after=early,
                absent=("work", "work_dirs"), timeout=90 if expect == "refuse" else 240,
                memory=4, **more)  # fmt: skip


def option(kind: str, config: str, key: str, value: str, expect: str = "refuse") -> Case:
    """Return a case with one option."""
    words = [word for word in key.split(".") if not word.isdigit()]
    inside = re.findall(r"[a-z_]+", value) if expect == "refuse" and value[0] in "{[" else []
    small = SMALL if config in ("factorized_puppets", "imm_puppets") else QUICK[:3]
    names = (words[-1], *inside, *(words[-2:-1] if len(words) > 2 else ()), "'foo'")
    names += (value,) if "/" in value else ()  # a name that is not registered
    if kind == "other configs":  # what one part gives does not fit the next, which is named
        names = (*names, "model.")
    return case(
        kind,
        f"{config} {key}={value}"[:90],
        [config, *WORK, "--cfg-options", *small, f"{key}={value}"],
        expect,
        names if expect == "refuse" else (),
    )


def options(rng: random.Random) -> Iterator[Case]:
    """Yield mistakes on the command line: every place, and of its wrong values some."""
    sections = {"train": TRAIN, "data": DATA, "model": MODEL, "losses": LOSSES,
                "evaluate": EVALUATE, "": TOP}  # fmt: skip
    for section, table in sections.items():
        for key, values in table.items():
            count = max(1, round(0.6 * len(values)))
            for value in rng.sample(values, count):
                dotted = f"{section}.{key}" if section else key
                yield option(section or "top", "factorized_puppets", dotted, value)
    for config, key, value in OTHERS:
        yield option("other configs", config, key, value)
    for word in WORDS:
        yield case("words", f"{word[:40]!r}", ["factorized_puppets", *WORK, "--cfg-options", word])
    for word in rng.sample(RIGHT, 5):
        key, _, value = word.partition("=")
        yield option("right", "factorized_puppets", key, value, "ok")
    for word in rng.sample(DOUBTFUL, 14):
        key, _, value = word.partition("=")
        yield option("doubtful", "factorized_puppets", key, value, "either")
    for word in ("factorised_puppets", "", "nosuch.py", "configs", "a/b", "x" * 300, "-x"):
        yield case("words", f"config {word[:20]!r}", [word, *WORK])


def python_files() -> Iterator[tuple[str, str | bytes, str]]:
    """Yield what, content and expectation of a .py config."""
    good = cases.TINY.replace("iterations=3", "iterations=1")
    yield "right", good, "ok"
    yield "with a UTF-8 mark", b"\xef\xbb\xbf" + good.encode(), "either"
    yield "with Windows line ends", good.replace("\n", "\r\n"), "ok"
    yield "empty", "", "refuse"
    yield "a docstring alone", '"""Nothing."""\n', "refuse"
    yield "a syntax error", good + "\nx = (\n", "refuse"
    yield "an import", "import os\n" + good, "refuse"
    yield "_base_", good + "\n_base_ = ['x.py']\n", "refuse"
    yield "exit()", good + "\nexit(0)\n", "refuse"
    yield "SystemExit", good + "\nraise SystemExit('bye')\n", "refuse"
    yield "SystemExit(0)", good + "\nraise SystemExit(0)\n", "refuse"
    yield "its own BaseException", good + "\nraise BaseException('x')\n", "refuse"
    yield "1 / 0", good + "\nx = 1 / 0\n", "refuse"
    yield "recursion", good + "\ndef f(): return f()\nx = f()\n", "refuse"
    yield "__import__", good + "\nx = __import__('os').getcwd()\n", "either"
    yield "a function", good + "\nmodel['x'] = lambda: 1\n", "refuse"
    yield "a set", good.replace("(0.5, 0.999)", "{0.5, 0.999}"), "refuse"
    yield "an object", good.replace("iterations=1", "iterations=object()"), "refuse"
    yield "a class", good + "\nclass A: pass\n", "either"
    yield "NaN", good.replace("1e-3", "float('nan')"), "refuse"
    yield "infinity", good.replace("1e-3", "float('inf')"), "refuse"
    yield "not UTF-8", good.replace("tiny", "gr\xf6\xdfe").encode("latin-1"), "refuse"
    yield "NUL", good + "\0", "refuse"
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(50), "refuse"
    yield "UTF-16", good.encode("utf-16"), "refuse"
    yield "a name twice", good + "\nimage_size = 64\n", "refuse"
    yield "model a list", "model = []\ntrain = dict(iterations=1, batch_size=1, lr=1)\n", "refuse"
    yield "no train", good.split("\ntrain = ")[0], "refuse"
    yield "no model", "train = dict(iterations=1, batch_size=1, lr=1)\n", "refuse"
    yield "no data", good.split("\ndata = ")[0] + "\ntrain = dict(iterations=1, batch_size=1, " \
        "lr=1)\n", "refuse"  # fmt: skip
    yield "an unknown section", good + "\noptimizer = dict(type='SGD')\n", "refuse"
    yield "deep nesting", good + "\nx = " + "[" * 90 + "]" * 90 + "\n", "either"
    yield "deeper nesting", good + "\nx = " + "[" * 5000 + "]" * 5000 + "\n", "refuse"
    yield "an integer of 5000 digits", good + f"\nx = {'9' * 5000}\n", "refuse"
    yield (
        "integer keys",
        good.replace("losses = dict(", "losses = dict(**{1: 2}) or dict("),
        "either",
    )
    yield "a part that contains itself", good + "\nmodel['encoder']['x'] = model\n", "refuse"
    yield "data that is missing", good.replace("datasets/puppets\", image", "datasets/frames\", "
                                               "root='nosuch', image"), "refuse"  # fmt: skip
    yield "a dotted type", good.replace("encoders/image_to_skeleton", "subprocess.call"), "refuse"


def leaves(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything in a tree, except of the tree itself."""
    if not isinstance(node, (dict, list)):
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*place, key)
        yield from leaves(value, (*place, key))


def json_files(rng: random.Random, good: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield what, content and expectation of a config.json."""
    text = json.dumps(good)
    yield "right", text, "ok"
    for what, content in {
        "empty": "", "null": "null", "a list": "[]", "a number": "5", "a text": '"x"',
        "cut": text[:99],
        "NaN": text.replace("0.001", "NaN"), "infinity": text.replace("0.001", "Infinity"),
        "1e400": text.replace("0.001", "1e400"), "UTF-16": text.encode("utf-16"),
        "not UTF-8": b'{"model": "\xff"}', "deep": "[" * 100_000 + "]" * 100_000,
        "deep inside": '{"model": ' + '{"a":' * 900 + "1" + "}" * 901,
        "an empty object": "{}", "an unknown section": json.dumps({**good, "more": {}}),
        "plugins null": json.dumps({**good, "plugins": None}),
        "a plugin that is missing": json.dumps({**good, "plugins": ["nosuch_module"]}),
    }.items():  # fmt: skip
        yield what, content, "refuse"
    yield "origins a list", json.dumps({**good, "origins": [1]}), "either"
    yield "origins null", json.dumps({**good, "origins": None}), "either"
    for section in ("model", "train", "losses", "data"):
        yield f"{section} missing", json.dumps({k: v for k, v in good.items() if k != section}), \
            "refuse"  # fmt: skip
        yield f"{section} null", json.dumps({**good, section: None}), "refuse"
        yield f"{section} a list", json.dumps({**good, section: [1]}), "refuse"
    places = list(leaves({k: v for k, v in good.items() if isinstance(v, dict)}))
    for place in rng.sample(places, 24):
        tree = json.loads(text)
        *parents, last = place
        node = tree
        for key in parents:
            node = node[key]
        value = rng.choice(
            (None, [], {}, "x", -1, True, [[1]], {"type": 5}, 1e308, "\u0000", [None])
        )
        what = f"{'.'.join(map(str, place))} = {value!r}"
        if rng.random() < 0.25 and isinstance(node, dict):
            del node[last]
            what = f"{'.'.join(map(str, place))} missing"
        else:
            node[last] = value
        yield what, json.dumps(tree), "either"


def files(rng: random.Random, shared: Path) -> Iterator[Case]:
    """Yield mistakes in files."""
    run = cases.trained(shared)
    good = json.loads((run / "config.json").read_text())
    good["train"]["iterations"] = 1
    named = ("mine.", "train", "model", "data", "losses", "evaluate", "plugins", "origins")
    for what, content, expect in python_files():
        data = content if isinstance(content, bytes) else content.encode()
        yield case(".py file", what, ["mine.py", *WORK], expect, named,
                   make=lambda _, data=data: Path("mine.py").write_bytes(data))  # fmt: skip
    for what, content, expect in json_files(rng, good):
        data = content if isinstance(content, bytes) else content.encode()
        yield case(".json file", what, ["mine.json", *WORK], expect, named,
                   make=lambda _, data=data: Path("mine.json").write_bytes(data))  # fmt: skip
    for suffix in (".py", ".json"):
        for what, make in {
            "a folder": os.mkdir, "a named pipe": os.mkfifo,
            "a loop of links": lambda name: os.symlink(name, name),
            "a link to /dev/zero": lambda name: os.symlink("/dev/zero", name),
        }.items():  # fmt: skip
            yield case("kind of file", f"{what} as {suffix}", [f"mine{suffix}", *WORK],
                       names=("mine",), make=lambda _, m=make, s=suffix: m(f"mine{s}"))  # fmt: skip
    for suffix in (".yaml", ".txt", ""):
        name = f"folder/mine{suffix}"
        yield case("kind of file", f"suffix {suffix!r}", [name, *WORK],
            "either", names=("mine",),
                   make=lambda _, n=name: (os.mkdir("folder"), Path(n).write_text(cases.TINY)),
                   )  # fmt: skip
    yield case("words", "--data nosuch", ["factorized_puppets", "--data", "nosuch", *WORK],
               names=("nosuch",))  # fmt: skip
    yield case(
        "words",
        "a work dir that is a file",
        ["mine.py", "--work-dir", "mine.py"],
        make=lambda _: Path("mine.py").write_text(cases.TINY),
        kept=("mine.py",),
    )
    yield case(
        "words",
        "a work dir below a file",
        ["mine.py", "--work-dir", "mine.py/a"],
        make=lambda _: Path("mine.py").write_text(cases.TINY),
        kept=("mine.py",),
    )

    def copied(folder: Path) -> None:
        shutil.copytree(run, folder / "old")

    for what, words in {
        "another width": ["old/config.json", "--work-dir", "old", "--resume", "--cfg-options",
                          "model.encoder.width=3"],
        "fewer iterations": ["old/config.json", "--work-dir", "old", "--resume", "--cfg-options",
                             "train.iterations=1"],
        "another batch size": ["old/config.json", "--work-dir", "old", "--resume", "--cfg-options",
                               "train.batch_size=3"],
        "no --resume": ["old/config.json", "--work-dir", "old", "--cfg-options", "train.lr=1"],
        "a missing checkpoint": ["old/config.json", "--work-dir", "old", "--resume", "nosuch.pth",
                                 "--cfg-options", "train.lr=1"],
        "another config": ["factorized_puppets", "--work-dir", "old", "--resume"],
        "a mistake": ["old/config.json", "--work-dir", "old", "--resume", "--cfg-options",
                      "train.clip=x"],
    }.items():  # fmt: skip
        yield case("refused resume", what, words, make=copied, kept=("old",))


def cases_of(rng: random.Random, shared: Path) -> Iterator[Case]:
    """Yield all cases."""
    yield from options(rng)
    yield from files(rng, shared)


if __name__ == "__main__":
    sys.exit(cases.main("configs", __doc__, cases_of))
