"""The documentation tells the truth: what it says to type is typed, what it names is there.

Blocks of a page run in order, in a folder with a clip, pictures and labels. Shell lines go through
the command line's own ``main``; trainings are shortened, see ``shorten``. A block that cannot run
here stands below a comment ``<!-- not run: reason -->``: its words are parsed and its config read.
"""

from __future__ import annotations

import ast
import csv
import re
import runpy
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from hub_server import serve
from hub_state import ALICE

import registry
import registry.config
from components.data.video import write_video
from zoo.cli import _parsed, main
from zoo.commands import where

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")}
WRITTEN = {  # files that a page says its commands write
    "README.md": ["work_dirs/clip/curve.png", "results/clip_landmarks.mp4", "moved.mp4"],
    "docs/start.md": [
        *(f"results/clip_landmarks.{suffix}" for suffix in ("mp4", "csv", "json")),
        "results/photo_landmarks.png",
        *(
            f"work_dirs/keypointgan_puppets/{name}"
            for name in ("config.json", "last.pth", "best.pth", "curve.png", "held_out.gif")
        ),
        *(
            f"work_dirs/keypointgan_puppets/{name}"
            for name in ("metrics.json", "log.txt", "scalars.jsonl", "usual.json")
        ),
        "scores.json",
    ],
    "docs/own_video.md": [
        *(f"work_dirs/mine/{name}" for name in ("curve.png", "training_frames.gif")),
        *(f"results/clip_landmarks.{suffix}" for suffix in ("mp4", "csv")),
        "work_dirs/labelled/metrics.json",
    ],
    "docs/zoo.md": ["work_dirs/mine/package/manifest.json", "downloaded/model.safetensors"],
}
EXTRAS = {"onnx", "test", "dev", "tensorboard"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ------------------------------------------------------------------- what the blocks work with


def shorten(node):
    """Let a resolved config train for a moment: 2400 iterations become 2, on little data."""
    if isinstance(node, list):
        return [shorten(value) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: shorten(value) for key, value in node.items()}
    if "iterations" in node and "lr" in node and node["iterations"] > 20:
        node["lr_factors"] = []
        node["iterations"] = max(1, node["iterations"] // 1000)
        node["batch_size"] = min(node["batch_size"], 2)
    if node.get("type") == "datasets/puppets":
        node |= {"clips": 2, "frames_per_clip": 6, "pair_range": None}
    if "metrics" in node and "type" not in node:
        limits = {key: min(node.get(key) or 4, 4) for key in ("max_items", "fit_items")}
        node |= limits
    return node


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the pages speak of; trainings in it are short."""
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")  # of a checkout, as the first command has it
    puppets = registry.build(
        {"type": "datasets/puppets", "split": "test", "clips": 3, "frames_per_clip": 16}
    )

    def frame(index: int) -> np.ndarray:
        return cv2.resize(puppets.image(index), (96, 80))

    for clip, name in enumerate(("clip.mp4", "clips/one.mp4", "clips/two.mp4")):
        Path(name).parent.mkdir(exist_ok=True)
        write_video(name, [frame(16 * clip + t) for t in range(8)], 25)
    for folder in ("frames", "photos"):
        Path(folder).mkdir()
        for i in range(8):
            cv2.imwrite(f"{folder}/{i}.png", frame(2 * i)[..., ::-1])
    cv2.imwrite("photo.jpg", frame(20)[..., ::-1])
    cv2.imwrite("other.jpg", frame(34)[..., ::-1])
    for name, chosen in {"fit": range(0, 8, 2), "test": range(1, 8, 2), "poses": range(8)}.items():
        with open(f"{name}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(
                ["file", *(f"{n}_{axis}" for n in puppets.keypoint_names for axis in "xy")]
            )
            for i in chosen:
                xy = (puppets.keypoints(2 * i) + 1) / 2 * (96, 80) - 0.5
                rows.writerow([f"{i}.png", *xy.ravel().round(2)])

    resolved = registry.config._resolved
    monkeypatch.setattr(registry.config, "_resolved", lambda *a, **k: shorten(resolved(*a, **k)))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A Hub on the loopback, with alice logged in."""
    from huggingface_hub import constants, hf_api

    folder = tmp_path_factory.mktemp("server")
    with serve(folder / "hub") as running:
        for name, value in {
            "ENDPOINT": running.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": running.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        # made when it is imported, maybe by an earlier test
        monkeypatch.setattr(hf_api.api, "endpoint", running.url)
        monkeypatch.setenv("HF_TOKEN", ALICE)
        monkeypatch.setenv("NO_PROXY", "*")
        yield running


# ------------------------------------------------------------------------------- running blocks


def commands(block: str) -> list[list[str]]:
    """Return the words of each command of a shell block, comments left out."""
    lines = block.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while "&&" in words:
            found.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        found.append(words)
    return [words for words in found if words]


def ours(words: list[str]) -> list[str] | None:
    """Return what follows ``keypoint-zoo``, or its other names; None for another command."""
    for i, word in enumerate(words):
        if Path(word).name == "keypoint-zoo" and words[0] != "pip":
            return words[i + 1 :]
        if word == "-m" and words[i + 1 : i + 2] == ["zoo"]:
            return words[i + 2 :]
        if match := re.fullmatch(r"tools/(\w+)\.py", word):
            return [match[1], *words[i + 1 :]]
    return None


def run_shell(block: str, page: Path) -> None:
    for words in commands(block):
        where_ = f"{ids(page)}: {shlex.join(words)}"
        if words[0] == "pip":
            check_install(words)
        elif (own := ours(words)) is not None:
            code = main(own)
            assert code == 0, f"{where_} ended with {code}"
        elif words != ["pytest"]:
            pytest.fail(f"{where_}: neither run nor marked <!-- not run: reason -->")


def parse_shell(block: str, page: Path) -> None:
    """Parse the words of a block that is not run, and read its config with its options."""
    for words in commands(block):
        if words[0] == "pip":
            check_install(words)
        elif (own := ours(words)) is not None:
            config = (options := _parsed(own)).get("config")
            if config and Path(str(config)).stem == str(config):
                pairs = registry.config.parse_options(options.get("cfg_options", []))
                registry.load_config(config.replace("-", "_"), pairs)
        else:
            assert words[0] in ("cd", "pytest"), f"{ids(page)}: {shlex.join(words)}"


def check_install(words: list[str]) -> None:
    """Compare the words of an installation with what pyproject.toml calls things."""
    assert words[:2] == ["pip", "install"], words
    for word in words[2:]:
        match = re.fullmatch(r"(-e|\.|keypoint-zoo)(?:\[(\w+)\])?|\.\[(\w+)\]", word)
        assert match, words
        assert {match[2], match[3]} - {None} <= EXTRAS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Hub's client, in its threads
@pytest.mark.filterwarnings("ignore:.*unlike those that the model was trained on:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_of_a_page_runs(page, place, hub):
    names: dict = {"__name__": "page"}
    for reason, language, block in BLOCK.findall(text_of(page)):
        if language == "bash":
            (parse_shell if reason else run_shell)(block, page)
        elif language == "python":
            assert not reason, "Python blocks are run"
            if file := re.match(r"# (\w+\.py)\n", block):  # a file to be written
                Path(file[1]).write_text(block)
                continue
            exec(compile(block, f"{ids(page)}: {block[:60]}", "exec"), names)
        elif language == "toml":  # of a plugin, as examples/plugin has it
            example = (ROOT / "examples/plugin/pyproject.toml").read_text()
            assert all(line in example for line in block.splitlines() if line.startswith("["))
        else:
            assert language == "text", f"{ids(page)}: a block of {language or 'nothing'}"
    missing = [name for name in WRITTEN.get(ids(page), ()) if not (place / name).is_file()]
    assert not missing


# ----------------------------------------------------------------------- what the pages refer to


def without_blocks(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text_of(page)), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "examples/plugin/README.md"], ids=ids)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page))):
        if re.match(r"https?://", target):
            assert re.fullmatch(r"https?://[\w.-]+\.[a-z]{2,}(/[\w./%#?=&~+-]*)?", target), target
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{ids(page)}: {target}"
        assert found.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(found), f"{ids(page)}: {target}"


def test_readme_is_short_and_its_first_screen_says_how_to_start():
    lines = text_of(README).splitlines()
    assert len(lines) <= 200
    screen = "\n".join(lines[:45])
    assert "pip install -e . && python tools/train.py configs/keypointgan_puppets.py" in screen
    assert "pip install -e '.[test]' && pytest" in screen
    assert "docs/figures/puppets.gif" in screen
    assert "keypoint-zoo train " in screen


def test_readme_names_every_page_and_every_folder():
    text = text_of(README)
    for page in PAGES[1:]:
        assert f"]({page.relative_to(ROOT).as_posix()})" in text, page
    folders = [path for path in ROOT.glob("*/") if (path / "__init__.py").is_file()]
    parts = [path for path in (ROOT / "components").iterdir() if path.is_dir()]
    for folder in (*folders, *parts):
        assert f"{folder.name}/" in text or folder.name[0] in "_.", folder
    for name in ("configs", "tools", "docs", "examples", "tests"):
        assert f"{name}/" in text


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_what_is_named_exists(page):
    text = text_of(page)
    folders = "tools|configs|registry|components|zoo|tests|examples|docs"
    for path in re.findall(rf"(?<![\w/])((?:{folders})/[\w/]+\.(?:py|json|md|gif))\b", text):
        examples = ("components/encoders/tiny.py", "configs/NAME.py")
        assert (ROOT / path).is_file() or path in examples, path
    if page.name == "changes.md":  # names of the past
        return
    families = "keypointgan|factorized|forecast|imm|lorenz|fomm|monkeynet|i2v|crossbreed"
    for name in re.findall(rf"`((?:{families})_\w+)`", text):
        assert name in CONFIGS, f"{ids(page)}: {name}"
    roles = "|".join(registry.ROLES)
    for name in re.findall(rf"`((?:{roles})/\w+)`", text):
        file = ROOT / f"components/{name}.py"
        assert file.is_file() or name == "encoders/tiny", f"{ids(page)}: {name}"


def test_every_config_is_in_the_tables_of_papers():
    table = "\n".join(re.findall(r"^\|.*\|$", text_of(ROOT / "docs/papers.md"), re.M))
    text = text_of(ROOT / "docs/papers.md")
    missing = {name for name in CONFIGS if f"`{name}`" not in table}
    assert {name for name in missing if "_text" not in name or f"`{name}`" not in text} == set()


def test_equation_index_is_what_the_command_prints():
    text = text_of(ROOT / "docs/papers.md")
    rows = re.findall(r"^\| ([a-z0-9]+ \w+) \| (\[`.*) \|$", text, re.M)
    shown = {equation: set(links.split(", ")) for equation, links in rows}
    wanted: dict[str, set[str]] = {}
    for place in where.places(ROOT):
        if place.kind == "eq":
            path, _, name = place.code.partition(" ")
            link = f"[`{name}`](../{path.partition(':')[0]})"
            wanted.setdefault(f"{place.paper} {place.number}", set()).add(link)
    assert shown == wanted


def test_every_option_of_a_config_is_explained():
    text = text_of(ROOT / "docs/configs.md")
    for section in registry.config.SECTIONS.values():
        for name in section.__annotations__:
            assert f"`{name}`" in text, name


def test_metrics_and_competitors_are_all_explained():
    from components.competitors import NAMES

    text = text_of(ROOT / "docs/evaluation.md")
    metrics = (path.stem for path in (ROOT / "components/metrics").glob("[a-z]*.py"))
    assert all(f"`metrics/{name}`" in text for name in metrics)
    assert all(f"`{name}`" in text for name in NAMES)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_in_a_sentence_are_understood(page):
    spans = re.findall(r"`((?:keypoint-zoo|tools/\w+\.py) [^`]+)`", without_blocks(text_of(page)))
    for span in spans:
        words = shlex.split(span.replace("...", ""))
        if "--help" not in words and len(words) > 2:
            _parsed(ours(words))


def test_messages_of_troubleshooting_are_those_of_the_code():
    """Every quoted message is made by the code; "..." stands for what is filled in."""
    said = []
    for folder in ("registry", "components", "zoo"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    said.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "...") for part in node.values)
                    said.append("".join(p if isinstance(p, str) else "..." for p in parts))
    for message in re.findall(r"^\| `(.+?)` \|", text_of(ROOT / "docs/troubleshooting.md"), re.M):
        pattern = ".*".join(map(re.escape, message.split("...")))
        assert any(re.search(pattern, text, re.S) for text in said), message


def test_figure_is_small_and_is_what_the_command_makes(tmp_path):
    from PIL import Image

    figures = list((ROOT / "docs/figures").iterdir())
    assert sum(figure.stat().st_size for figure in figures) < 1.5e6
    made = runpy.run_path(str(ROOT / "docs/make_figures.py"))
    made["main"](tmp_path)
    with Image.open(figures[0]) as kept, Image.open(tmp_path / figures[0].name) as new:
        assert kept.n_frames == new.n_frames > 10
        for number in (0, 7):
            kept.seek(number)
            new.seek(number)
            shown = (np.asarray(one.convert("RGB"), np.float32) for one in (kept, new))
            assert abs(next(shown) - next(shown)).mean() < 2
