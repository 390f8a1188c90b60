"""A run's folder becomes a package: what its description, scores and history say; tools/publish."""

from __future__ import annotations

import io
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import serve
from hub_state import ALICE
from PIL import Image

from components.data.video import write_gif
from registry import ConfigError, checkpoint, load_config
from registry.build import build_model
from registry.evaluation import evaluate, write_metrics
from zoo import index, publication, schema
from zoo.answer import size_of
from zoo.errors import PublishRefusedError
from zoo.model import load
from zoo.package import open_package
from zoo.scoring import score

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/factorized_puppets.py"
OPTIONS = {
    "width": 8,
    "image_size": 32,
    "train.iterations": 3,
    "train.seed": 7,
    "data.fit": {
        **{"type": "datasets/puppets", "split": "train", "image_size": 32},
        **{"clips": 2, "frames_per_clip": 6},
    },
    "data.test.clips": 2,
    "data.test.frames_per_clip": 5,
    "evaluate.metrics": {
        "regression": {"type": "metrics/regression", "radius_px": 6, "intercept": True},
        "psnr": {"type": "metrics/psnr"},
    },
}
ROWS = [
    {
        "protocol": "regression",
        "metric": "regression_accuracy",
        "unit": "% within 6 px",
        "value": 61.5,
        "interval": [60.0, 63.25],
        "n": 10,
        "higher_is_better": True,
        "extra": {"without intercept": 50.0, "frames fitted on": 12.0},
        "baselines": {"predict_mean": 20.0, "untrained": float("nan")},
        "crop": "none",
        "selection": "last",
    },
    {
        "protocol": "psnr",
        "metric": "psnr",
        "unit": "dB",
        "value": 21.25,
        "interval": [float("nan"), float("nan")],
        "n": 10,
        "higher_is_better": True,
        "extra": {},
        "baselines": {"copy_source": 20.0, "untrained": 9.5},
        "crop": "none",
        "selection": "last",
    },
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, written as tools/train.py does."""
    work = tmp_path_factory.mktemp("runs") / "factorized_puppets"
    work.mkdir()
    cfg = load_config(CONFIG, OPTIONS)
    torch.manual_seed(0)
    state = build_model(cfg, to_fill=True).state_dict()
    model = {f"pipeline.{key}": value for key, value in state.items()}
    checkpoint.save({"iteration": 3, "config": json.dumps(cfg), "model": model}, work / "last.pth")
    (work / "config.json").write_text(json.dumps(cfg))
    (work / "metrics.json").write_text(json.dumps(ROWS))
    os.utime(work / "metrics.json", (1_000_000_000, 1_000_000_000))  # 2001-09-09
    os.utime(work / "last.pth", (999_999_999, 999_999_999))
    records = [(1, 2.5), (3, 1.25)]  # 2.5 s + 2 x 1.25 s
    lines = [json.dumps({"iteration": i, "seconds_per_iteration": s}) for i, s in records]
    (work / "scalars.jsonl").write_text("\n".join([*lines, '{"iteration": 3, "val_psnr": 2}']))
    (work / "log.txt").write_text(f"10:00:00 {work}: 0.1 M trained parameters on cpu, iterations")
    rng = np.random.default_rng(0)
    write_gif(work / "held_out.gif", rng.integers(0, 256, (4, 160, 480, 3), np.uint8), fps=12)
    return work


@pytest.fixture(scope="module")
def package(finished):
    return publication.package_run(finished, finished / "package", license="apache-2.0")


def test_the_weights_are_those_of_the_run(finished, package):
    model = load(package)
    state = checkpoint.load(finished / "last.pth")["model"]
    assert len(state) == len(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[f"pipeline.{key}"])
    assert model.entry.name == "factorized-puppets"


def test_scores_become_rows_with_their_protocol(package):
    rows = json.loads((package / "evaluation.json").read_text())["results"]
    for row in rows:  # a package knows its config and its overrides
        assert row.pop("command") == "keypoint-zoo evaluate factorized-puppets"
    shared = {
        "dataset": {"id": "puppets", "name": "puppets", "split": "test"},
        "task": "keypoint-detection",
        "n": 10,
        "crop": "none",
        "origin": "ours",
        "date": "2001-09-09",
        "library": schema.LIBRARY,
        "higher_is_better": True,
    }
    assert rows == [
        {
            **shared,
            "protocol": "regression",
            "metric": "regression_accuracy",
            "unit": "% within 6 px",
            "definition": "Error of keypoints regressed from landmark positions, by least squares "
            "on data.fit. radius_px 6, intercept True. Fitted on 12 annotated frames.",
            "value": 61.5,
            "interval": [60.0, 63.25],
            "baselines": {"predict_mean": 20.0, "untrained": None},
        },
        {
            **shared,
            "protocol": "psnr",
            "metric": "psnr",
            "unit": "dB",
            "definition": rows[1]["definition"],
            "value": 21.25,
            "interval": None,
            "baselines": {"copy_source": 20.0, "untrained": 9.5},
        },
    ]
    assert rows[1]["definition"].endswith(".")


def test_the_history_of_the_run(package):
    training = open_package(package).config["training"]
    commit = training.pop("commit", "")
    assert training == {
        "dataset": "puppets",
        "split": "train",
        "steps": 3,
        "selection": "last",
        "seed": 7,
        "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "seconds": 5,
        "config": "factorized_puppets.py",
        "overrides": training["overrides"],
        "library": schema.LIBRARY,
    }
    assert training["overrides"]["width"] == 8
    assert training["overrides"]["train.seed"] == 7
    # those that follow from the number are not repeated
    assert not [key for key in training["overrides"] if key.startswith("model.")]
    again = load_config(CONFIG, {k: v for k, v in training["overrides"].items() if "." not in k})
    assert again["model"] == load_config(CONFIG, OPTIONS)["model"]
    git = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout
    if (ROOT / ".git").exists():
        assert commit.removesuffix("-dirty") == git.strip()


def test_nothing_of_this_machine_is_in_it(finished, package):
    for file in package.rglob("*"):
        if file.suffix in (".json", ".md"):
            text = file.read_text()
            for private in (str(finished), str(Path.home()) + "/", platform.node()):
                assert len(private) < 4 or private not in text, file.name


def test_places_of_someones_files_are_left_out():
    value = {"type": "datasets/frames", "root": "/data/mine", "clips": ["a\\b", 3, "left_hip"]}
    assert publication._public(value) == {
        "type": "datasets/frames",
        "root": "PATH",
        "clips": ["PATH", 3, "left_hip"],
    }


def test_the_picture_is_three_frames_and_small(package):
    data = (package / "assets/preview.png").read_bytes()
    assert len(data) <= 100_000  # of noise: shrunk until it fits
    with Image.open(io.BytesIO(data)) as image:
        assert image.width == pytest.approx(image.height, rel=0.02)  # 480 x (3 x 160)
    assert "assets/preview.png" in (package / "README.md").read_text()


def test_pictures_of_photographs_are_not_published_unasked(finished, tmp_path):
    cfg = load_config(finished / "config.json")
    cfg["data"]["test"]["type"] = "datasets/frames"
    assert publication._pictures(finished, None, cfg) == {}
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "red.png")
    found = publication._pictures(finished, tmp_path / "red.png", cfg)
    with Image.open(io.BytesIO(found["preview.png"])) as image:
        assert image.size == (30, 20)
        assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def inside(tool, *words, monkeypatch):
    """Run a tool in this process, without the seconds that importing torch takes."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    return caught.value.code


def test_rounded_weights_are_scored_anew(finished, tmp_path, monkeypatch):
    """What is scored is what is stored: the package, evaluated by hand, has the same figures."""
    folder = publication.package_run(
        finished, tmp_path / "half", license="mit", name="half", dtype=torch.float16
    )
    found = open_package(folder)
    assert found.config["weights"]["model.safetensors"]["dtype"] == "float16"
    cfg = load_config(finished / "config.json")
    expected = evaluate(load(folder), cfg, selection="last")
    assert [row["value"] for row in found.evaluation["results"]] == pytest.approx(
        [row["value"] for row in expected], rel=1e-4
    )
    assert found.evaluation["results"][0]["value"] != 61.5
    # the tool that scores checkpoints takes the package too
    rows = tmp_path / "rows.json"
    words = (finished / "config.json", "--checkpoint", f"dir:{folder}", "--json", rows)
    assert inside("evaluate", *words, monkeypatch=monkeypatch) == 0
    scored = json.loads(rows.read_text())
    assert scored[0]["selection"] == f"dir:{folder}"
    assert [row["value"] for row in scored] == pytest.approx(
        [row["value"] for row in expected], rel=1e-4
    )
    # which may then be given, instead of scoring once more
    given = publication.package_run(
        finished,
        tmp_path / "given",
        license="mit",
        name="given",
        dtype=torch.float16,
        metrics=rows,
        hardware="an abacus",
    )
    again = open_package(given)
    assert again.evaluation["results"][0]["value"] == scored[0]["value"]
    assert again.config["training"]["hardware"] == "an abacus"


def test_evaluate_refuses_a_model_of_another_config(package, monkeypatch, capsys):
    words = (CONFIG, "--checkpoint", f"dir:{package}")
    assert inside("evaluate", *words, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == (
        f"error: dir:{package} is not the model of {CONFIG}: model.rasterizer.image_size is 32 in "
        "the model and 64 in the config. Leave the config out to use the model's own, or change "
        "that place with --cfg-options.\n"
    )


def test_scores_of_another_config_are_published_with_their_own_protocol(finished, tmp_path):
    """A run without labels, evaluated with those of another config: ``evaluate`` is not in it."""
    work = tmp_path / "no_labels"
    work.mkdir()
    cfg = load_config(finished / "config.json")
    scored = {**cfg, "evaluate": {"metrics": {"mine": {"type": "metrics/psnr"}}}}
    cfg["data"] = dict(cfg["data"])
    del cfg["evaluate"], cfg["data"]["fit"], cfg["data"]["test"]
    (work / "config.json").write_text(json.dumps(cfg))
    (work / "last.pth").write_bytes((finished / "last.pth").read_bytes())
    (tmp_path / "other.json").write_text(json.dumps(scored))
    rows = score(work, tmp_path / "other.json")
    write_metrics(rows, tmp_path / "rows.json")
    made = publication.package_run(
        work, tmp_path / "p", license="mit", name="p", metrics=tmp_path / "rows.json"
    )
    (row,) = open_package(made).evaluation["results"]
    assert (row["protocol"], row["metric"], row["value"]) == ("mine", "psnr", rows[0]["value"])
    assert row["dataset"] == {"id": "puppets", "name": "puppets", "split": "test"}
    assert row["definition"].startswith("PSNR in dB")
    # rows that do not say it, and a config that does not either
    old = [{key: value for key, value in rows[0].items() if key != "of"}]
    write_metrics(old, tmp_path / "rows.json")
    with pytest.raises(
        ConfigError, match=r"rows\.json does not hold the rows .* keypoint-zoo eval"
    ):
        publication.package_run(
            work, tmp_path / "q", license="mit", name="q", metrics=tmp_path / "rows.json"
        )
    (tmp_path / "rows.json").write_text("not JSON")
    with pytest.raises(ConfigError, match=r"rows\.json is not valid JSON: "):
        publication.package_run(
            work, tmp_path / "q", license="mit", name="q", metrics=tmp_path / "rows.json"
        )


def test_a_run_that_is_not_finished(finished, tmp_path):
    work = tmp_path / "half_way"
    work.mkdir()
    cfg = load_config(finished / "config.json", {"train.iterations": 9})
    (work / "config.json").write_text(json.dumps(cfg))
    (work / "last.pth").write_bytes((finished / "last.pth").read_bytes())
    with pytest.raises(
        ConfigError, match=r"last\.pth is at iteration 3 of 9\. Finish the run first"
    ):
        publication.package_run(work, tmp_path / "out", license="mit")
    assert not (tmp_path / "out").exists()


def test_scores_older_than_the_weights_are_refused(finished, tmp_path):
    work = tmp_path / "factorized_puppets"
    shutil.copytree(finished, work)
    os.utime(work / "last.pth", (1_000_000_001, 1_000_000_001))
    with pytest.raises(ConfigError, match=r"metrics\.json is older than .*last\.pth"):
        publication.package_run(work, tmp_path / "p", license="apache-2.0")


def test_what_is_refused(finished, package, tmp_path):
    with pytest.raises(FileExistsError):
        publication.package_run(finished, package, license="mit")
    with pytest.raises(PublishRefusedError, match="licence"):
        publication.package_run(finished, tmp_path / "out", license="")
    with pytest.raises(ConfigError, match=r"no scores 'nowhere\.json'"):
        publication.package_run(finished, tmp_path / "out", license="mit", metrics="nowhere.json")
    (tmp_path / "other.json").write_text('[{"protocol": "regression"}]')
    with pytest.raises(ConfigError, match=r"does not hold the rows of a metrics\.json \(KeyErr"):
        publication.package_run(
            finished, tmp_path / "out", license="mit", metrics=tmp_path / "other.json"
        )
    assert not (tmp_path / "out").exists()


def test_the_command_asks_only_for_paths_that_are_not_published():
    overrides = {"model.width": 8, "data.test.root": "PATH", "train.seed": 1, "losses.a.w": "PATH"}
    assert publication._command("hf:me/mine", Path("a.py"), overrides) == (
        "keypoint-zoo evaluate hf:me/mine --cfg-options data.test.root=PATH"
    )


def test_a_run_of_no_entry(finished, tmp_path):
    """Its config and its options are not known then; the type of its data is."""
    work = tmp_path / "my_own"
    work.mkdir()
    for name in ("config.json", "last.pth", "metrics.json"):
        (work / name).write_bytes((finished / name).read_bytes())
    assert "my-own" not in index.entries()
    found = open_package(publication.package_run(work, tmp_path / "out", license="mit"))
    assert found.config["name"] == "my-own"
    training = found.config["training"]
    assert (training["dataset"], training["split"]) == ("puppets", "train")
    assert not {"config", "overrides", "seconds"} & set(training)
    assert found.evaluation["results"][0]["command"] == (
        "keypoint-zoo evaluate CONFIG --checkpoint my-own"
    )
    assert not (found.root / "assets").exists()


# the command


ASKED = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        sys.stdout.write(f"exit {stop.code}\\n\\n")
"""


def test_the_command_plans_and_publishes(finished, tmp_path):
    out = tmp_path / "out"
    words = [str(ROOT / "tools/publish.py"), str(finished), "--license", "apache-2.0"]
    words += ["--out", str(out)]
    calls = [words, [*words, "alice/puppets", "--dry-run"], [*words, "alice/puppets"]]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    with serve(tmp_path / "hub") as hub:
        env = {**clean, "HF_ENDPOINT": hub.url, "HF_TOKEN": ALICE, "HF_HUB_DISABLE_XET": "1"}
        env |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        env |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "NO_PROXY": "*"}
        done = subprocess.run(
            [sys.executable, "-c", ASKED, json.dumps(calls)],
            env=env,
            capture_output=True,
            text=True,
        )
        assert len(hub.requests("POST .*/commit/")) == 1
        assert len(hub.requests("POST .*/create")) == 1
        assert hub.repos["alice/puppets"].private
        content = hub.content("alice/puppets")
    assert done.returncode == 0, done.stderr
    assert ALICE not in done.stdout + done.stderr
    packed, planned, sent = (part.splitlines() for part in done.stdout.strip().split("\n\n"))
    files = [
        *sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()),
    ]
    files.remove("manifest.json")
    files.append("manifest.json")
    for lines in (packed, planned, sent):
        shown = [line.split() for line in lines[: len(files)]]
        sizes = [size_of((out / file).stat().st_size).split() for file in files]
        if lines is packed:  # its card does not yet say where it will be
            assert [file for file, *_ in shown] == files
        else:
            assert shown == [[file, *size] for size, file in zip(sizes, files)]
        assert lines[len(files)] == f"{out} is complete and loads"
        assert lines[-1] == "exit 0"
    assert len(packed) == len(files) + 2
    total = sum(map(len, content.values())) / 1e6
    plan = f"New private repository {hub.url}/alice/puppets, branch main: {len(files)} files"
    assert planned[-2] == f"{hub.url}/alice/puppets: nothing was sent"
    assert done.stderr.splitlines().count(f"{plan}, {total:.1f} MB") == 2
    assert sent[-2].startswith(f"{hub.url}/alice/puppets/commit/")
    assert content == {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in out.rglob("*")
        if file.is_file()
    }


def test_a_plan_needs_no_network(finished, tmp_path):
    out = tmp_path / "out"
    words = [str(ROOT / "tools/publish.py"), str(finished), "--license", "apache-2.0"]
    words += ["--out", str(out), "alice/puppets"]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "home"),
    }  # no one listens
    env |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "NO_PROXY": "*"}
    calls = json.dumps([[*words, "--dry-run"], words])
    done = subprocess.run(
        [sys.executable, "-c", ASKED, calls], env=env, capture_output=True, text=True
    )
    planned, sent = done.stdout.strip().split("\n\n")
    said = done.stderr.splitlines()
    address = "http://127.0.0.1:9/alice/puppets"
    files = [file for file in out.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    asked, plan = (line for line in said if "repository" in line or "it is unknown" in line)
    assert asked.startswith("http://127.0.0.1:9 does not answer (")
    assert asked.endswith(f"). So it is unknown whether {address} exists, and what it contains.")
    assert plan == (f"private repository {address}, branch main: {len(files)} files, {size:.1f} MB")
    assert planned.splitlines()[-2:] == [f"{address}: nothing was sent", "exit 0"]
    assert sent.splitlines()[-1] == "exit 4"
    assert said[-1].startswith("error: http://127.0.0.1:9 does not answer")


def test_the_command_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    words = (tmp_path / "none", "--license", "mit")
    assert inside("publish", *words, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith(
        f"error: there is no config '{tmp_path}/none/config.json'"
    )


def test_a_crop_around_annotations_is_not_a_crop_of_photographs():
    """BBC Pose is tested with crop="square": its config can be published."""
    from zoo.describe import fit_options

    assert fit_options({"data": {"test": {"crop": "square", "fit": "pad"}}}) == {"fit": "pad"}
    assert fit_options({"data": {"train": {"crop": (1, 2, 3, 4)}}}) == {"crop": [1, 2, 3, 4]}
