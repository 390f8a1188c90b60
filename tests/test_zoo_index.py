"""References, the index, its filters, and the indices of plugins and users."""

import ast
import json
import os
import random
import re
import shutil
import socket
import string
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import zoo
from registry import load_config
from zoo import cli, hub, index
from zoo.errors import AmbiguousReferenceError, NoWeightsError, PluginError, UnknownEntryError
from zoo.index import Entry, find, no_weights_text, register_index
from zoo.listing import names
from zoo.refs import Reference, parse
from zoo.schema import is_repo_id, licence_of

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
OURS = json.loads((ROOT / "zoo/index.json").read_bytes())["entries"]
COMMIT, DIGEST = "8c" * 20, "0a" * 32
ROW = {
    "task": "keypoint-detection",
    "architecture": "pipelines/reconstruction",
    "dataset": "puppets",
    "summary": "A test.",
}
PINNED = {**ROW, "repo_id": "lab/net", "commit": COMMIT, "digest": DIGEST, "license": "mit"}


@pytest.fixture(autouse=True)
def fresh():
    """No test sees what another registered or installed."""
    index._registered.clear()
    index._plugins.cache_clear()
    yield
    index._registered.clear()
    index._plugins.cache_clear()


def write(folder, entries, **more):
    """An index file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.json"
    file.write_text(json.dumps({"format_version": 1, "entries": entries, **more}))
    return file


def package(folder, *results):
    """As much of a package as a listing reads; results are (protocol, metric, value, higher)."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    rows = [
        {
            "dataset": {"id": "puppets", "name": "Puppets", "split": "test"},
            "task": "keypoint-detection",
            "protocol": protocol,
            "metric": metric,
            "unit": "%",
            "higher_is_better": higher,
            "definition": "",
            "value": value,
            "interval": None,
            "n": 64,
            "baselines": {},
            "crop": "none",
            "origin": origin,
            "date": "2026-11-20",
            "library": "0.1.0",
            "command": "",
        }
        for protocol, metric, value, higher, origin in results
    ]
    (folder / "evaluation.json").write_text(json.dumps({"format_version": 1, "results": rows}))


def install(site, name, value, entries=None, index_text=None):
    """A distribution as pip leaves it; its package breaks if it is imported."""
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[keypoint_zoo.entries]\nany = {value}\n")
    module = site / re.split(r"\W", value)[0]
    module.mkdir(exist_ok=True)
    (module / "__init__.py").write_text("raise RuntimeError('imported')")
    if entries is not None:
        write(module, entries)
    if index_text is not None:
        (module / "index.json").write_text(index_text)


# ----------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    ("ref", "revision", "expected"),
    [
        ("factorized-bbc", None, ("name", "factorized-bbc", None)),
        ("factorized-bbc@v1", None, ("name", "factorized-bbc", "v1")),
        ("factorized-bbc", "v1", ("name", "factorized-bbc", "v1")),
        ("factorized-bbc@v1", "v1", ("name", "factorized-bbc", "v1")),
        ("factorized-bbc@refs/pr/1", None, ("name", "factorized-bbc", "refs/pr/1")),
        ("hf:lab/net", None, ("hub", "lab/net", None)),
        ("hf://lab/net", None, ("hub", "lab/net", None)),
        ("hf:lab/net@8c0444bb", None, ("hub", "lab/net", "8c0444bb")),
        ("hf:A1/n.e_t-2", "main", ("hub", "A1/n.e_t-2", "main")),
        ("dir:a/b", None, ("dir", "a/b", None)),
        ("dir:.", None, ("dir", ".", None)),
        ("dir:me@home", None, ("dir", "me@home", None)),
        (Path("a") / "b@c", None, ("dir", str(Path("a", "b@c")), None)),
    ],
)
def test_a_reference_names_one_thing(ref, revision, expected):
    assert parse(ref, revision) == Reference(*expected)


def test_home_is_found_after_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert parse("dir:~/net").value == f"{tmp_path}/net"


FORMS = (
    "the name of a zoo entry, hf:owner/name for a Hub repository, or the path of a package, of "
    "a run's "
    "folder or of its checkpoint (.pth)"
)
NEITHER = (
    "the folder '{}' holds neither a package (manifest.json) nor a run (config.json and last.pth "
    "or best.pth), and there is no zoo entry of that name. Give " + FORMS + "."
)
NO_REPO = (
    "'{}' is not a valid Hub reference. Write hf:owner/name or hf:owner/name@revision "
    "(letters, digits, "
    "'.', '_', '-'), or dir:path for a folder."
)


@pytest.mark.parametrize(
    ("ref", "revision", "text"),
    [
        *(
            (
                ref,
                None,
                f"there is no 'lab/model'. For a Hub repository write 'hf:{ref}'; otherwise "
                f"give {FORMS}.",
            )
            for ref in ("lab/model", "lab/model@v1")
        ),
        ("./a/b/c", None, f"there is no './a/b/c'. Give {FORMS}."),
        *((ref, None, NEITHER.format(ref)) for ref in ("here/there", "./here", "here")),
        *(
            (
                f"configs/x{end}",
                None,
                f"'configs/x{end}' is a config and has no weights. Give the "
                "folder of its run, or a checkpoint (.pth).",
            )
            for end in (".py", ".json")
        ),
        ("hf:net", None, NO_REPO.format("hf:net")),
        ("hf:lab/../net", None, NO_REPO.format("hf:lab/../net")),
        ("hf:lab/net/tree", None, NO_REPO.format("hf:lab/net/tree")),
        ("hf:lab/nét", None, NO_REPO.format("hf:lab/nét")),
        ("net@", None, "'net@' has no revision after the @. Add one, or drop it."),
        (
            "net@v1",
            "v2",
            "'net@v1' names the revision 'v1', but revision= is 'v2'. Give only one.",
        ),
        (
            "dir:a",
            "v1",
            "the folder 'a' cannot have the revision 'v1'. Leave out the revision, or write "
            "hf:owner/name "
            "for a Hub repository.",
        ),
        ("dir:", None, "'dir:' has no path. Write dir:path, or dir:. for the current folder."),
        ("", None, f"'' is not a reference. Write {FORMS}."),
        (" net", None, f"' net' is not a reference. Write {FORMS}."),
        ("https://hub/lab/net", None, f"'https://hub/lab/net' is not a reference. Write {FORMS}."),
        (7, None, f"7 is not a reference. Write {FORMS}."),
    ],
)
def test_what_could_be_two_things_or_is_none_is_refused(ref, revision, text, tmp_path, monkeypatch):
    (tmp_path / "here" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AmbiguousReferenceError) as error:
        parse(ref, revision)
    assert str(error.value) == text


def test_a_name_of_the_zoo_stays_one_beside_a_run_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "factorized-bbc").mkdir()
    (tmp_path / "factorized-bbc/config.json").touch()
    monkeypatch.chdir(tmp_path)
    assert parse("factorized-bbc") == Reference("name", "factorized-bbc", None)
    assert parse("./factorized-bbc") == Reference("run", "./factorized-bbc", None)
    assert parse("dir:factorized-bbc") == Reference("run", "factorized-bbc", None)


def test_paths_are_told_by_what_lies_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, files in (
        ("runs/new", ["config.json"]),
        ("runs/old@2", ["config.json", "last.pth"]),
        ("package", ["config.json", "manifest.json", "model.safetensors"]),
        ("torn", ["config.json", "model.safetensors"]),
    ):
        (tmp_path / name).mkdir(parents=True)
        for file in files:
            (tmp_path / name / file).touch()
    for ref in ("runs/new", "runs/old@2", "runs/old@2/last.pth", "no/such.pth"):
        assert parse(ref) == parse(Path(ref)) == parse(f"dir:{ref}") == ("run", ref, None)
    assert parse("package") == parse(Path("package")) == ("dir", "package", None)
    assert parse("dir:torn") == ("dir", "torn", None)  # a package, but not a whole one
    with pytest.raises(
        AmbiguousReferenceError, match="the folder 'runs/new' cannot have the revision"
    ):
        parse("runs/new", "v1")


def test_repository_names_are_those_of_the_hub():
    good = ["a/b", "lab/net.v2", "_l/n_", "l/" + "n" * 96]
    bad = ["a", "a/", "/a", "a/b/c", "a/-b", "a/b.", "a/b--c", "a..b/c", "a b/c", "l/" + "n" * 97]
    assert [name for name in good + bad if is_repo_id(name)] == good


# ---------------------------------------------------------------------------------- our own rows


def test_every_config_has_a_row_and_every_row_a_config():
    variants = {name for name, row in OURS.items() if "config" in row}
    assert {path.stem.replace("_", "-") for path in CONFIGS} == set(OURS) - variants
    for name in variants:
        row = OURS[name]
        assert find(name).config == find(row["config"]).config
        assert find(name).options == row["options"]
        cfg, base = load_config(find(name).config, row["options"]), load_config(find(name).config)
        count = int(name.rsplit("-", 1)[1])
        assert (cfg["num_landmarks"], cfg["model"]["encoder"]["num_landmarks"]) == (count, count)
        assert base["num_landmarks"] != count
        assert find(name).summary == row["summary"]
        assert str(count) in row["summary"]
    assert find("factorized-bbc").config == ROOT / "configs/factorized_bbc.py"


def test_an_installed_package_has_its_configs_inside(tmp_path, monkeypatch):
    inside = tmp_path / "zoo/configs/factorized_bbc.py"
    inside.parent.mkdir(parents=True)
    inside.write_text('"""One line.\n\nMore."""\n')
    (tmp_path / "configs").mkdir()  # somebody else's
    (tmp_path / "configs/imm_bbc.py").write_text("")
    monkeypatch.setattr(index, "HERE", tmp_path / "zoo")
    assert index._config("factorized-bbc", index.HERE) == (inside, "One line.")
    assert index._config("imm-bbc", index.HERE) == (None, "")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_row_says_what_its_config_says(path):
    tasks = {
        "reconstruction": "keypoint-detection",
        "motion_transfer": "motion-transfer",
        "forecast": "forecasting",
        "pose_autoencoder": "pose-regression",
    }
    entry = find(path.stem.replace("_", "-"))
    doc = ast.get_docstring(ast.parse(path.read_text()))
    cfg = load_config(path)
    assert entry.architecture == cfg["model"]["type"]
    assert entry.task == tasks[entry.architecture.split("/")[1]]
    hyphens = re.compile(r"\b([a-z0-9]+(?:_\w+)+)(?:\.py)?\b")
    assert entry.summary == hyphens.sub(lambda m: m[1].replace("_", "-"), doc.splitlines()[0])
    on_puppets = "datasets/puppets" in json.dumps(cfg["data"])
    assert (entry.dataset == "puppets") == on_puppets
    assert (entry.data_licence == "generated by this project, Apache-2.0") == on_puppets
    assert all((entry.paper, entry.data_licence, entry.how, entry.summary))
    assert entry.how.endswith(".")
    assert not entry.data_licence.endswith(".")
    # numbers of papers are those of the docstring, and as uncertain
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", doc)}
    assert {result["value"] for result in entry.paper_results} <= numbers
    if any(result.get("recalled") for result in entry.paper_results):
        assert "recalled" in doc
    official = re.search(r"Official checkpoint: keypoint-zoo convert (\w+)", doc)
    assert (entry.converter if entry.converter in ("fomm", "monkeynet") else None) == (
        official and official[1]
    )


def test_numbers_of_papers_by_hand():
    def values(name):
        return [(r["metric"], r["value"], r["source"]) for r in find(name).paper_results]

    assert values("keypointgan-h36m") == [("direct", 2.73, "table 1")]
    assert values("factorized-bbc") == [
        ("accuracy", 78.8, "table 1"),
        ("accuracy_corner", 79.16, "table 3"),
    ]
    assert [value for _, value, _ in values("fomm-vox")] == [0.043, 1.294, 0.14]
    assert [value for _, value, _ in values("monkeynet-taichi")] == [0.05, 2.53, 17.4, 0.21]
    assert not values("factorized-bbc-10")
    assert values("factorized-h36m-8") == [("containment", 2.5, "figure 2b")]
    assert values("factorized-h36m-12") == [("containment", 4.8, "figure 2b")]
    assert values("factorized-h36m-baseline-temp-8") == [("containment", 0.3, "figure 2b")]
    assert values("factorized-h36m-baseline-temp-12") == [("containment", 0.4, "figure 2b")]
    recalled = "from memory, not checked"
    assert values("imm-celeba-30") == [("mafl", 2.58, recalled)]
    assert values("imm-celeba-50") == [("mafl", 2.54, recalled)]
    assert not any(entry.paper_results for entry in zoo.list(dataset="puppets"))
    assert sum(bool(entry.paper_results) for entry in index.entries().values()) == 42


def test_four_rows_are_bundled_and_say_their_licence():
    bundled = {name: row for name, row in OURS.items() if "package" in row}
    assert {name: (row["package"], row["license"]) for name, row in bundled.items()} == {
        f"{paper}-puppets": (f"bundled/{paper}-puppets", "apache-2.0")
        for paper in ("keypointgan", "factorized", "fomm", "forecast")
    }
    for entry in index.entries().values():
        there = (ROOT / "zoo/bundled" / entry.name / "manifest.json").is_file()
        assert entry.weights == ("bundled" if there else "none")
        assert entry.license == ("apache-2.0" if there else None)
        assert entry.folder == (ROOT / "zoo/bundled" / entry.name if there else None)


# ------------------------------------------------------------------------------------- listings


def test_lists_are_in_natural_order():
    assert names("factorized-bbc*", exclude="*baseline*") == [
        "factorized-bbc",
        "factorized-bbc-10",
        "factorized-bbc-20",
        "factorized-bbc-40",
        "factorized-bbc-no-mask",
        "factorized-bbc-text",
    ]
    assert names("factorized-h36m*", exclude=["*-temp*"]) == [
        "factorized-h36m",
        "factorized-h36m-8",
        "factorized-h36m-12",
    ]


def test_filters_take_globs_and_any_of_several():
    assert len(zoo.list()) == len(OURS)
    assert names(["LORENZ-*", "imm-bbc"], exclude=("*puppets", "*deep*")) == [
        "imm-bbc",
        "lorenz-bbc",
        "lorenz-cathead",
        "lorenz-celeba",
        "lorenz-h36m",
        "lorenz-video",
    ]
    assert names(task="motion-transfer", dataset=("bair", "uva-*")) == [
        "fomm-bair",
        "fomm-nemo",
        "monkeynet-bair",
        "monkeynet-nemo",
    ]
    assert names(architecture="*forecast", dataset="Puppets") == [
        "forecast-puppets",
        "forecast-puppets-gru",
        "i2v-puppets",
    ]
    assert names(word for word in ("imm-celeba", "imm-bbc")) == ["imm-bbc", "imm-celeba"]
    assert names("nothing-*") == []


@pytest.fixture
def measured(tmp_path):
    """Three packages with results, one of them another's, and one pinned on the Hub."""
    package(
        tmp_path / "packages/a",
        ("regression", "regression_error", 3.0, False, "ours"),
        ("pck", "pck@6", 60.0, True, "ours"),
    )
    package(
        tmp_path / "packages/b",
        ("regression", "regression_error", 5.0, False, "ours"),
        ("pck", "pck@6", 80, True, "ours"),
    )
    package(tmp_path / "packages/c", ("regression", "regression_error", 1.0, False, "third-party"))
    rows = {
        f"test-{key}": {**ROW, "dataset": "test", "package": f"packages/{key}", "license": licence}
        for key, licence in (("a", "mit"), ("b", "apache-2.0"), ("c", "mit"))
    }
    rows["test-gone"] = {**ROW, "dataset": "test", "package": "packages/gone", "license": "mit"}
    rows["test-hub"] = {**PINNED, "dataset": "test"}
    aliases = {"trial-a": {"to": "test-a", "until": "0.3"}}
    file = write(tmp_path, rows, aliases=aliases)
    register_index(file)
    return file


def test_registered_entries_have_their_packages(measured):
    a, gone, remote = (find(f"test-{key}") for key in ("a", "gone", "hub"))
    assert (a.weights, a.license, a.folder) == ("bundled", "mit", measured.parent / "packages/a")
    assert [result["value"] for result in a.results] == [3.0, 60.0]
    assert a.provider == str(measured)
    # forgotten package-data must not look like weights that nobody published
    assert (gone.weights, gone.folder) == ("bundled", measured.parent / "packages/gone")
    assert gone.results == ()
    with pytest.raises(UnknownEntryError, match="no folder"):
        zoo.load("test-gone")
    assert (remote.weights, remote.license) == ("hub", "mit")
    assert (remote.repo_id, remote.commit, remote.digest) == ("lab/net", COMMIT, DIGEST)
    assert find("test-c").results == ()  # measured by others
    assert not a.config


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (("regression", "<=", 5), ["test-a", "test-b"]),
        ("regression<=5", ["test-a", "test-b"]),
        ("regression < 5", ["test-a"]),
        ("Regression_Error==3", ["test-a"]),
        ("regression>3.0", ["test-b"]),
        (("pck@6", ">=", 60), ["test-a", "test-b"]),
        ("pck@6>=61", ["test-b"]),
        ("psnr>0", []),
    ],
)
def test_entries_are_filtered_by_our_results(measured, metric, expected):
    assert names("test-*", metric=metric) == expected


def test_entries_are_filtered_by_licence_and_sorted_by_results(measured):
    assert names("test-*", license="mit", exclude="*gone") == ["test-a", "test-c", "test-hub"]
    assert names(license=["apache*"], dataset="test") == ["test-b"]
    order = ["test-b", "test-a", "test-c", "test-gone", "test-hub"]
    assert names("test-*", sort="pck@6") == order
    assert names("test-*", sort="regression") == ["test-a", "test-b", *order[2:]]
    with pytest.raises(
        ValueError, match=r"^sort: none of these entries has a result 'speed'\. Sort by "
    ):
        names("test-*", sort="speed")


@pytest.mark.parametrize("metric", ["regression", "<5", "a=5", ("a", "~", 5), ("a", 5), "a<b"])
def test_a_filter_that_is_none_is_named(metric):
    with pytest.raises(ValueError, match=f"^metric {re.escape(repr(metric))} must be like "):
        zoo.list(metric=metric)


def test_what_needs_no_network_can_be_listed(measured, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "is_cached", lambda *pin: bool(asked.append(pin)) or len(asked) > 1)
    assert names("test-*", cached=True) == ["test-a", "test-b", "test-c"]
    assert names("test-*", cached=True) == ["test-a", "test-b", "test-c", "test-hub"]
    assert names("test-*", cached=False) == ["test-gone"]
    assert asked == [("lab/net", COMMIT)] * 3


def test_the_hub_is_listed_by_the_same_filters(monkeypatch):
    def entry(name, licence):
        attributes = {**ROW, "license": licence, "weights": "hub", "provider": "the Hub"}
        return Entry(name=f"hf:{name}", repo_id=name, commit=COMMIT, **attributes)

    there = [entry("lab/net-10", "mit"), entry("lab/net-9", "mit"), entry("b/other", None)]
    monkeypatch.setattr(hub, "list_hub", lambda: there)
    assert names(source="hub") == ["hf:b/other", "hf:lab/net-9", "hf:lab/net-10"]
    assert names(["net-*", "b/*"], source="hub", license="MIT") == ["hf:lab/net-9", "hf:lab/net-10"]
    assert names("LAB/*", exclude="hf:*-9", source="hub") == ["hf:lab/net-10"]
    with pytest.raises(ValueError, match=r"^source must be 'index' or 'hub', not 'web'\.$"):
        zoo.list(source="web")


# ---------------------------------------------------------------------------------------- names


def test_an_alias_warns_once_per_use_where_it_is_used(measured):
    text = "'trial-a' is now called 'test-a'; the old name will be removed in 0.3."
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert find("trial-a") is find("test-a")
        assert [(w.category, str(w.message)) for w in caught] == [(DeprecationWarning, text)]
        assert caught[0].filename == __file__  # not ours: such warnings are hidden by default
    assert "trial-a" not in names()
    assert index.is_known("trial-a")


def test_an_unknown_name_is_told_what_to_do():
    with pytest.raises(UnknownEntryError) as error:
        find("factorised-bbc")
    text = str(error.value)
    start = "There is no zoo entry 'factorised-bbc'. Did you mean: factorized-bbc, "
    assert text.startswith(start)
    assert text.endswith(
        "? See `keypoint-zoo list` for all. For a Hub repository write hf:owner/name, for a folder "
        "dir:path."
    )
    assert isinstance(error.value, KeyError)
    with pytest.raises(UnknownEntryError, match=r"^There is no zoo entry 'xyz'\. See "):
        find("xyz")
    with pytest.raises(UnknownEntryError, match=r"Did you mean: keypointgan-h36m\?"):
        find("keypointgan_h36m")
    with pytest.raises(UnknownEntryError, match=r"Did you mean: keypointgan-h36m\?"):
        find("KeypointGAN-H36M")


def edits(name, rng):
    """One edit of each kind and one of two edits, at random places."""
    letters = string.ascii_lowercase + string.digits + "-_"

    def delete(word):
        i = rng.randrange(len(word))
        return word[:i] + word[i + 1 :]

    def substitute(word):
        i = rng.randrange(len(word))
        return word[:i] + rng.choice(letters) + word[i + 1 :]

    def transpose(word):
        i = rng.randrange(len(word) - 1)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]

    kinds = (delete, substitute, transpose)
    yield from (edit(name) for edit in kinds)
    yield rng.choice(kinds)(rng.choice(kinds)(name))


def test_a_name_with_one_or_two_wrong_letters_is_suggested():
    rng = random.Random(0)
    tried, missed, not_first = 0, [], 0
    for name in OURS:
        for wrong in edits(name, rng):
            if wrong in OURS:
                continue
            with pytest.raises(UnknownEntryError) as error:
                find(wrong)
            meant = re.search(r"Did you mean: (.*?)\?", str(error.value))
            suggested = meant[1].split(", ") if meant else []
            tried += 1
            missed += [(wrong, name)] if name not in suggested else []
            not_first += suggested[:1] != [name]
    assert tried > 3.5 * len(OURS)
    assert missed == []
    assert not_first < 0.03 * tried  # 10 against 20, and the like


def test_who_asks_for_weights_that_are_not_there_is_told_the_ways():
    assert no_weights_text(find("factorized-bbc")) == (
        "No weights of 'factorized-bbc' are published. Data: BBC Pose cannot be redistributed; "
        "get it from its provider. Train it: keypoint-zoo train factorized_bbc; "
        "convert the "
        "official checkpoint: keypoint-zoo convert factorized FILE --config factorized-bbc "
        "--license L --out DIR; or take the "
        "untrained model: zoo.load('factorized-bbc', pretrained=False)."
    )
    bare = Entry(name="acme-net", **{**ROW, "dataset": "x"})
    assert no_weights_text(bare) == (
        "No weights of 'acme-net' are published. Or take the untrained model: "
        "zoo.load('acme-net', pretrained=False)."
    )
    own = bare._replace(how="Ask acme.", data_licence="free")
    assert no_weights_text(own) == (
        "No weights of 'acme-net' are published. Data: free. Ask acme; or take the untrained "
        "model: zoo.load('acme-net', pretrained=False)."
    )


def test_the_licence_of_a_card():
    assert licence_of("---\ntags:\n- a\nlicense: 'mit'\n---\ntext") == "mit"
    assert licence_of("---\ntags:\n- a\n---\nlicense: mit\n") is None
    assert licence_of("license: mit\n---\n") is None


# --------------------------------------------------------------------------- indices of others


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "index.json is not valid JSON"),
        ('{"format_version": 1, "entries": {"a": 1, "a": 2}}', "the key 'a' is repeated"),
        ('{"format_version": 2, "entries": {}}', "has format 2; this version"),
        ('{"entries": {}}', "format_version must be 1, not None"),
        ('{"format_version": 1, "rows": {}}', "index.json: unknown key 'rows'"),
        ({"a": {**ROW, "code": "x"}}, "index.json: entries: a: unknown key 'code'"),
        ({"a": {"task": "x"}}, "index.json: entries: a: 'architecture' is missing"),
        (
            {"a": {**ROW, "task": "x"}},
            "index.json: a: task 'x' must be one of keypoint-detection, ",
        ),
        (
            {"a": {**ROW, "summary": ""}},
            "index.json: a: the summary is missing, and there is no config with one",
        ),
        ({"A b": ROW}, "index.json: A b: 'A b' cannot be the name of an entry"),
        ({"a": {**ROW, "package": "../x"}}, "a: package must be a folder below the index's folder"),
        ({"a": {**ROW, "package": "/x"}}, "a: package must be a folder below the index's folder"),
        ({"a": {**PINNED, "commit": "main"}}, "needs repo_id, commit (40 digits) and digest"),
        ({"a": {**PINNED, "repo_id": "net"}}, "needs repo_id, commit (40 digits) and digest"),
        ({"a": {**PINNED, "package": "x"}}, "needs repo_id, commit (40 digits) and digest"),
        (
            {"a": {**ROW, "repo_id": "lab/net"}},
            "needs repo_id, commit (40 digits) and digest",
        ),
        (None, "there is no "),
    ],
)
def test_an_index_that_is_none_is_refused_and_nothing_added(tmp_path, text, reason):
    file = tmp_path / "index.json"
    if isinstance(text, dict):
        write(tmp_path, {"good": ROW, **text})
    elif text is not None:
        file.write_text(text)
    with pytest.raises(PluginError) as error:
        register_index(file)
    assert str(error.value).startswith(f"the index {file} cannot be read: ")
    assert reason in str(error.value)
    assert len(names()) == len(OURS)


@pytest.mark.parametrize("aliases", [{"a": "b"}, {"good": "good"}])
def test_an_alias_leads_to_an_entry_and_is_none(tmp_path, aliases):
    rows = {old: {"to": new, "until": "0.3"} for old, new in aliases.items()}
    with pytest.raises(
        PluginError, match=r"'\w+' is the name of an entry, or does not lead to one\.$"
    ):
        register_index(write(tmp_path, {"good": ROW}, aliases=rows))


def test_a_registered_name_must_be_free_but_may_be_read_again(tmp_path):
    first = write(tmp_path / "1", {"acme-a": ROW})
    register_index(first)
    write(tmp_path / "1", {"acme-a": ROW, "acme-b": ROW})
    register_index(str(first))
    assert names("acme-*") == ["acme-a", "acme-b"]
    second = write(tmp_path / "2", {"acme-c": ROW, "acme-a": ROW})
    with pytest.raises(PluginError) as error:
        register_index(second)
    assert str(error.value) == f"{second}: 'acme-a' is already an entry of {first}."
    with pytest.raises(PluginError, match=r"'imm-bbc' is already an entry of keypoint-zoo\.$"):
        register_index(write(tmp_path / "3", {"imm-bbc": ROW}))
    assert names("acme-*") == ["acme-a", "acme-b"]


def test_two_hundred_entries_are_listed(tmp_path):
    register_index(write(tmp_path, {f"many-{i}": ROW for i in range(200)}))
    assert names("many-*") == [f"many-{i}" for i in range(200)]
    assert len(zoo.list(dataset="puppets", exclude="*-1?", metric=None)) > 180


def test_a_plugin_adds_entries_and_is_not_imported(tmp_path, monkeypatch):
    rows = {"acme-net": {**ROW, "package": "packages/net", "license": "mit"}}
    install(tmp_path, "kp-acme", "acme_keypoints:index", rows)
    package(tmp_path / "acme_keypoints/packages/net")
    monkeypatch.syspath_prepend(tmp_path)
    entry = find("acme-net")
    assert (entry.provider, entry.weights, entry.license) == ("kp-acme 1.2", "bundled", "mit")
    assert entry.folder == tmp_path / "acme_keypoints/packages/net"
    assert "acme_keypoints" not in sys.modules
    assert len(zoo.list()) == len(OURS) + 1
    assert index.problems() == []


def test_an_installed_plugins_config_is_built_and_a_registered_one_is_not(tmp_path, monkeypatch):
    install(tmp_path, "kp-acme", "acme:index", {"acme-imm": ROW})
    monkeypatch.syspath_prepend(tmp_path)
    loose = tmp_path / "loose"
    for folder in (tmp_path / "acme", loose):
        (folder / "configs").mkdir(parents=True)
        shutil.copy(ROOT / "configs/imm_puppets.py", folder / "configs/acme_imm.py")
    register_index(write(loose, {"loose-imm": ROW}))
    shutil.copy(ROOT / "configs/imm_puppets.py", loose / "configs/loose_imm.py")
    assert find("acme-imm").config == tmp_path / "acme/configs/acme_imm.py"
    model, ours = zoo.build("acme-imm"), zoo.build("imm-puppets")
    assert str(model) == str(ours)
    assert model.entry.name == "acme-imm"
    with pytest.raises(NoWeightsError, match=r"configs/acme_imm\.py"):
        zoo.load("acme-imm")
    with pytest.raises(NoWeightsError, match=r"'loose-imm'"):  # Python beside a file of data
        zoo.build("loose-imm")


def test_a_plugin_does_not_hide_our_entries_nor_another_plugins(tmp_path, monkeypatch):
    install(tmp_path, "kp-acme", "acme:index", {"fomm-vox": ROW, "acme-net": ROW, "imm-bbc": ROW})
    install(tmp_path, "kp-bolt", "bolt:index", {"acme-net": ROW, "bolt-net": ROW})
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = index.entries()
        assert zoo.list()
    texts = [
        "keypoint-zoo and kp-acme 1.2 both have fomm-vox, imm-bbc; that of keypoint-zoo is used.",
        "kp-acme 1.2 and kp-bolt 1.2 both have acme-net; that of kp-acme 1.2 is used.",
    ]
    assert [str(w.message) for w in caught] == [f"keypoint-zoo: {text}" for text in texts]
    assert index.problems() == texts
    assert found["fomm-vox"].dataset == "voxceleb1"
    assert [found[name].provider for name in ("acme-net", "bolt-net")] == [
        "kp-acme 1.2",
        "kp-bolt 1.2",
    ]


@pytest.mark.parametrize(
    ("value", "text", "reason"),
    [
        ("broken:index", None, "there is no {}/broken/index.json."),
        ("broken:index", "{", "{}/broken: index.json is not valid JSON: Expecting property name "),
        (
            "broken:index",
            '{"format_version": 1, "entries": {"a": {}}}',
            "entries: a: 'task' is missing.",
        ),
        (
            "broken.part:index",
            None,
            "its entry point 'broken.part:index' must have the form 'package:index'.",
        ),
        (
            "json.decoder",
            None,
            "its entry point 'json.decoder' must have the form 'package:index'.",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_breaks_nothing(tmp_path, monkeypatch, value, text, reason):
    install(tmp_path, "kp-broken", value, index_text=text)
    install(tmp_path, "kp-acme", "acme:index", {"acme-net": ROW})
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(zoo.list()) == len(OURS) + 1
        assert find("acme-net").provider == "kp-acme 1.2"
    start = "The index of kp-broken 1.2 cannot be read, so its entries are missing: "
    assert [str(w.message)[:80] for w in caught] == [f"keypoint-zoo: {start}"[:80]]
    assert caught[0].filename == __file__
    (problem,) = index.problems()
    assert problem.startswith(start)
    assert reason.format(tmp_path) in problem
    with pytest.raises(UnknownEntryError) as error:
        find("broken-net")
    assert str(error.value).endswith(f"for a folder dir:path. {problem}")


def test_a_plugin_without_its_package_is_broken(tmp_path, monkeypatch):
    install(tmp_path, "kp-gone", "gone:index")
    (tmp_path / "gone/__init__.py").unlink()
    (tmp_path / "gone").rmdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="^keypoint-zoo: The index of kp-gone 1.2 cannot be read"):
        zoo.list()
    assert index.problems()[0].endswith("there is no package 'gone'.")


def test_listing_imports_nothing_heavy_and_asks_for_plugins_only_if_there_are_any(tmp_path):
    install(tmp_path / "site", "kp-acme", "acme:index", {"acme-net": ROW})
    code = (
        "import sys; sys.path[:0] = {}; import json, zoo; found = len(zoo.list('*', task='*'));"
        "sys.stdout.write(json.dumps([found, *sys.modules]))"
    )
    for folders, plugins in (([str(ROOT)], 0), ([str(ROOT), str(tmp_path / "site")], 1)):
        done = subprocess.run(
            # -S: without the environment, whose plugins are not known here
            [sys.executable, "-S", "-c", code.format(folders)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
        )
        found, *modules = json.loads(done.stdout)
        assert found == len(OURS) + plugins
        heavy = {"torch", "numpy", "mmengine", "huggingface_hub", "safetensors", "registry"}
        assert not heavy & set(modules)
        assert not {"acme", "components", "difflib", "zoo.package", "zoo.hub"} & set(modules)
        assert ("importlib.metadata" in modules) == bool(plugins)


# --------------------------------------------------------------------------- hostile indices

OVERRIDE, ESCAPE = "\u202e", "\x1b[2J"  # shows the rest backwards; clears a terminal


@pytest.mark.parametrize("kind", ["pipe", "socket", "endless", "folder", "loop", "link", "huge"])
@pytest.mark.parametrize("which", ["index.json", "evaluation.json"])
def test_a_file_of_an_index_that_is_not_plain(which, kind, tmp_path, recwarn, monkeypatch):
    home = tmp_path / "home"
    index_file = write(home, {"acme-a": {**ROW, "package": "a"}, "acme-b": ROW})
    package(home / "a", ("pck", "pck@6", 3.0, False, "ours"))
    file = index_file if which == "index.json" else home / "a" / which
    shutil.copy(file, tmp_path / "outside.json")
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "socket":
        monkeypatch.chdir(file.parent)  # the name must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(file.name)
    elif kind == "endless":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "link":
        file.symlink_to(tmp_path / "outside.json")
    else:
        with open(file, "wb") as opened:
            opened.truncate(1 << 40)
    if which == "evaluation.json":
        register_index(index_file)  # its entries are listed, without results
        assert [entry.results for entry in zoo.list("acme-*")] == [(), ()]
        (warning,) = {str(one.message) for one in recwarn}
        assert warning.startswith(f"keypoint-zoo: the index of {index_file}: ")
    elif kind == "link":
        register_index(index_file)  # the user gave it
        assert len(zoo.list("acme-*")) == 2
    else:
        with pytest.raises(PluginError) as error:
            register_index(index_file)
        assert str(error.value).startswith(f"the index {index_file} cannot be read: ")
        assert zoo.list("acme-*") == []


@pytest.mark.parametrize("bad", [ESCAPE, OVERRIDE, "\0", "\n", "\x9b2J"])
@pytest.mark.parametrize(
    "place", ["summary", "paper", "package", "how", "data_licence", "dataset", "options", "results"]
)
def test_what_a_terminal_would_obey_is_refused(place, bad, tmp_path):
    told = {**ROW, place: f"a{bad}b"}
    if place == "options":
        told["options"] = {"a": {f"b{bad}": 1}}
    if place == "results":
        del told["results"]
        reported = dict.fromkeys(("dataset", "metric", "unit", "setting"), "x")
        told["paper_results"] = [{**reported, "source": bad, "value": 1}]
    with pytest.raises(PluginError, match="characters that cannot be printed") as error:
        register_index(write(tmp_path, {"acme-a": told}))
    assert str(error.value).isprintable()


@pytest.mark.filterwarnings("default")
def test_a_hostile_index_of_a_plugin_is_named_and_others_work(tmp_path, monkeypatch, capsys):
    install(tmp_path, "kp-acme", "acme:index", {"acme-net": {**ROW, "summary": f"a{ESCAPE}"}})
    install(tmp_path, "kp-bolt", "bolt:index", {"bolt-net": ROW})
    install(tmp_path, "kp-cave", "cave:index", {"cave-net": ROW})
    (tmp_path / "cave/index.json").unlink()
    os.mkfifo(tmp_path / "cave/index.json")
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["list", "*-net"]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["name", "bolt-net"]
    told = [line for line in shown.err.splitlines() if "cannot be read" in line]
    assert [line.split("index of ")[1].split()[0] for line in told] == ["kp-acme", "kp-cave"]
    assert "\x1b" not in shown.err + shown.out


def test_what_a_package_says_cannot_steer_a_terminal(tmp_path, capsys):
    file = write(tmp_path, {"acme-a": {**ROW, "package": "a"}})
    package(tmp_path / "a", (f"p{ESCAPE}", f"m{OVERRIDE}", 3.0, False, "ours"))
    register_index(file)
    for words in (["list", "acme-*"], ["info", "acme-a"], ["verify", str(tmp_path / "a")]):
        cli.main(words)
        shown = capsys.readouterr()
        assert all(line.isprintable() for line in f"{shown.out}{shown.err}".splitlines())


def test_a_number_that_no_float_can_be(tmp_path):
    row = {"dataset": "x", "metric": "m", "unit": "u", "setting": "", "source": "", "value": 1}
    file = write(tmp_path, {"acme-a": {**ROW, "paper_results": [row]}})
    file.write_text(file.read_text().replace('"value": 1', f'"value": {10**400}'))
    with pytest.raises(PluginError, match="is too large"):
        register_index(file)
