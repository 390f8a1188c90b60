"""From references to packages: what loads from where, and what is said where nothing does."""

import json
from pathlib import Path

import pytest
import torch
from packages import make_package
from torch import nn
from zoo_packages import loadable_package

import zoo
from registry import load_config
from registry.atomic import replacing
from registry.build import build_model
from registry.claim import claim
from zoo import index, sources
from zoo.errors import (
    IntegrityError,
    NoWeightsError,
    UnknownEntryError,
)
from zoo.fingerprint import fingerprint
from zoo.package import open_package

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return loadable_package(tmp_path_factory.mktemp("sources") / "tiny")


@pytest.fixture
def registered(folder, tmp_path):
    """An index beside the package, with an alias; forgotten afterwards."""
    found = open_package(folder)
    row = {
        "task": found.config["task"],
        "architecture": found.config["architecture"]["type"],
        "dataset": "puppets",
        "summary": "A tiny one.",
        "package": "bundled/tiny",
        "license": "apache-2.0",
        "digest": found.digest,
    }
    zoo.pull(f"dir:{folder}", dest=tmp_path / "bundled" / "tiny")
    file = tmp_path / "index.json"
    content = {
        "format_version": 1,
        "entries": {"acme-tiny": row},
        "aliases": {"acme-old": {"to": "acme-tiny", "until": "0.3"}},
    }
    file.write_text(json.dumps(content))
    before = dict(index._registered)
    zoo.register_index(file)
    yield tmp_path
    index._registered.clear()
    index._registered.update(before)


def same(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_names_folders_and_paths_give_the_same_weights(registered, folder):
    by_name = zoo.load("acme-tiny")
    assert by_name.entry.name == "acme-tiny"
    assert by_name.package.digest == open_package(folder).digest
    assert same(by_name, zoo.load(f"dir:{folder}"))
    assert same(by_name, zoo.load(Path(folder)))
    with pytest.warns(DeprecationWarning, match="acme-old") as warned:
        assert same(by_name, zoo.load("acme-old"))
    assert len(warned) == 1
    assert "acme-tiny" in str(warned[0].message)
    assert "0.3" in str(warned[0].message)
    with pytest.raises(UnknownEntryError, match="has no revision 'v1'. Leave out"):  # noqa: RUF043
        zoo.load("acme-tiny@v1")


def test_another_package_in_place_of_a_pinned_one_is_refused(registered):
    other = loadable_package(registered / "other", seed=9)
    zoo.pull(f"dir:{other}", dest=registered / "bundled" / "tiny")
    with pytest.raises(IntegrityError, match="is not the package that the index lists"):
        zoo.load("acme-tiny")


def test_pulling_copies_completely_or_not_at_all(registered, folder, tmp_path):
    planned = zoo.pull("acme-tiny", dry_run=True)
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*.*")}
    assert planned.files == files
    assert planned.path is None
    pulled = zoo.pull("acme-tiny", dest=tmp_path / "copy")
    assert pulled.path == tmp_path / "copy"
    assert open_package(tmp_path / "copy").digest == pulled.digest == open_package(folder).digest
    zoo.pull("acme-tiny", dest=tmp_path / "copy")  # again: replaced by the same
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        zoo.pull("acme-tiny", dest=tmp_path / "mine")


def test_info_reads_no_weights(registered):
    weights = registered / "bundled" / "tiny" / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(bytes(size))  # as large as ever
    told = zoo.info("acme-tiny")
    assert told.files["model.safetensors"] == size
    assert told.parameters == told.config["weights"]["model.safetensors"]["parameters"]
    assert told.missing == ()
    with pytest.raises(IntegrityError, match=r"'acme-tiny': model\.safetensors is damaged"):
        zoo.load("acme-tiny")
    assert [line for line in zoo.doctor(cache_dir=registered) if line.startswith("acme-tiny: ")]
    report = zoo.verify("acme-tiny")
    assert not report.ok
    assert "damaged" in report.problems[0]


def test_what_is_known_of_an_entry_prints_in_a_few_lines(folder):
    model = zoo.load(folder)
    assert repr(model.entry) == (
        "Entry('tiny', task='keypoint-detection', dataset='', weights='folder')"
    )
    assert len(repr(zoo.info(folder))) < 900
    assert len(repr(model.package)) < 300
    assert model.package.digest in repr(model.package)


def test_doctor_finds_and_removes_what_killed_writers_left(registered):
    left = registered / "bundled" / ".tiny.999999999-0123abcd.staging"
    left.mkdir()
    assert f"left over: {left}" in zoo.doctor(cache_dir=registered)
    assert left.exists()
    zoo.doctor(fix=True, cache_dir=registered)
    assert not left.exists()
    assert zoo.doctor(cache_dir=registered) == [
        line for line in zoo.doctor(cache_dir=registered) if "left over" not in line
    ]


def test_doctor_removes_below_a_folder_what_nobody_writes_any_more(tmp_path, registered):
    """One of each kind, of writers that are dead and of one that lives."""
    top = tmp_path / "top"
    run = top / "runs" / "mice"
    kept = [
        run / "last.pth",
        run / ".cache" / "part.pth",
        run / "20250101_120000" / "20250101_120000.log",  # of another user of mmengine
        run / "notes.claim",
        run / ".notes.claim",
        top / ".backup.old",
    ]
    dead = [
        run / ".last.0123abcd.part.pth",
        run / "panels" / ".0000006.89abcdef.part.png",
        run / ".claim",
        top / ".demo.01234567.staging" / "config.json",
        top / ".demo.999999999-01234567.staging" / "config.json",  # of a former version
        run / "20260101_120000" / "20260101_120000.log",
        run / "20260101_120000" / "vis_data" / "config.py",
    ]
    old, living = top / ".gone.01234567.old", top / ".live.01234567.staging"
    make_package(old)
    living.mkdir()
    for path in (*kept, *dead):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.name[:4] in ("2026", ".cla") else "content")
    (run / "20250101_120000" / "vis_data").mkdir()
    found = {*dead[:3], *(path.parent for path in dead[3:6]), old}
    with claim(top / ".live.claim"), replacing(run / "best.pth") as writing:
        writing.write_text("half")
        said = [line for line in zoo.doctor(top, cache_dir="none") if str(top) in line]
        assert sorted(said) == sorted(f"left over: {path}" for path in found)
        assert all(path.exists() for path in found)
        zoo.doctor(top, fix=True, cache_dir="none")
        assert writing.read_text() == "half"
        assert living.is_dir()
        assert (top / ".live.claim").is_file()
    assert not any(path.exists() for path in found)
    assert all(path.exists() for path in (*kept, run / "best.pth"))
    assert open_package(top / "gone").digest  # it is the only one
    left = [line for line in zoo.doctor(top, cache_dir="none") if str(top) in line]
    assert left == [f"left over: {living}"]  # whose writer is now gone, too
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        zoo.doctor(run / "last.pth")


def test_who_asks_for_unpublished_weights_is_told_what_to_do():
    with pytest.raises(NoWeightsError) as caught:
        zoo.load("factorized-bbc")
    text = str(caught.value)
    assert text == index.no_weights_text(index.find("factorized-bbc"))
    for words in (
        "BBC Pose",
        "keypoint-zoo train factorized_bbc",
        "keypoint-zoo convert factorized FILE",
        "zoo.load('factorized-bbc', pretrained=False)",
    ):
        assert words in text


def test_the_untrained_model_is_that_of_its_config():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    untrained = zoo.build("factorized-bbc-10")
    torch.set_rng_state(state)
    cfg = load_config(ROOT / "configs" / "factorized_bbc.py", {"num_landmarks": 10})
    expected = build_model(cfg, to_fill=True)
    assert same(untrained, expected)
    assert not untrained.training
    assert same(zoo.load("lorenz-puppets", pretrained=False), zoo.build("lorenz-puppets")) is False
    assert untrained.entry.name == "factorized-bbc-10"
    assert untrained.keypoints["count"] == 10


def operations(model, image_size):
    """Count two for every multiplication in convolutions and linear layers, by hooks."""
    found = []

    def convolution(module, inputs, output):
        kernel = module.weight[0].numel()
        found.append(2 * kernel * output.numel())

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(convolution)
    model.predict(torch.rand(1, 3, image_size, image_size))
    return sum(found)


@pytest.mark.parametrize("name", ["fomm-puppets", "factorized-puppets", "imm-puppets"])
def test_stated_operations_are_those_of_the_layers(name):
    model = zoo.build(name)
    _, _, stated = fingerprint(model, {"image_size": 64, "fit": "stretch"})
    # antialiasing is a convolution that is no layer
    assert stated == pytest.approx(operations(model, 64), rel=1e-3)


def test_every_function_that_is_promised_is_there():
    assert all(callable(getattr(zoo, name)) for name in zoo.__all__)
    assert "pipelines/forecast" in zoo.architectures()
    assert sources.Info is type(zoo.info("fomm-vox"))
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = zoo.loda
