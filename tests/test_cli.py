"""keypoint-zoo: what each subcommand answers, as text and as JSON, and its exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hub_server import serve
from hub_state import ALICE
from packages import make_package, package_files
from torch.utils.flop_counter import FlopCounterMode

import zoo
from components.data.annotations import read_coco, read_csv
from registry import load_config
from registry.build import build_model
from tests.runs import ROOT, write_config
from zoo import cli, index, listing, saving
from zoo.answer import Answer, notice
from zoo.folder import write_folder
from zoo.schema import LIBRARY, pretty

SUBCOMMANDS = cli.NAMES


@pytest.fixture
def ask(capsys):
    """Run the command here; return its status and what it wrote to stdout and stderr."""

    def run(*words):
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def answer(ask):
    """Run it with --json, which has to succeed; return the document."""

    def run(*words):
        code, out, err = ask(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def demo(tmp_path):
    """A valid package, which no one can build: two keypoint results and one of a paper."""
    files = package_files("demo", value=1.0, pictures=("a.png",))
    table = json.loads(files["evaluation.json"])
    (row,) = table["results"]
    row |= {"value": 3.25, "baselines": {"predict_mean": 10.5, "untrained": None}}
    table["results"].append({**row, "value": 2.5, "origin": "reported-by-paper", "baselines": {}})
    files["evaluation.json"] = pretty(table)
    write_folder(tmp_path / "demo", files)
    return tmp_path / "demo"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A package that can be built."""
    folder = tmp_path_factory.mktemp("model")
    cfg = load_config(write_config(folder))
    torch.manual_seed(0)
    pipeline = build_model(cfg, to_fill=True).eval()
    return saving.save(pipeline, folder / "tiny", name="tiny", license="mit", cfg=cfg)


# list


def test_list_is_the_index(ask, answer):
    rows = answer("list")
    assert [row["name"] for row in rows] == zoo.names()
    fomm = next(row for row in rows if row["name"] == "fomm-vox")
    assert fomm["config"] == str(ROOT / "configs/fomm_vox.py")
    assert fomm["paper_results"][0]["value"] == 0.043
    code, out, err = ask("list", "fomm-v*", "imm-*", "--exclude", "*flow*", "--dataset", "vox*")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "name          task             dataset    weights  licence  result",
        "fomm-vox      motion-transfer  voxceleb1  none",
        "fomm-vox-adv  motion-transfer  voxceleb1  none",
    ]


def test_every_filter_is_that_of_the_function(answer):
    for words, filters in (
        (("--task", "forecasting"), {"task": "forecasting"}),
        (("--task", "f*", "--task", "pose*"), {"task": ["f*", "pose*"]}),
        (("--architecture", "*/motion_transfer"), {"architecture": "*/motion_transfer"}),
        (("--dataset", "puppets"), {"dataset": "puppets"}),
        (("--license", "*"), {"license": "*"}),
        (("--cached",), {"cached": True}),
        (("--metric", "regression<=50"), {"metric": "regression<=50"}),
    ):
        assert [row["name"] for row in answer("list", *words)] == zoo.names(**filters)


def test_results_are_listed(ask, demo, monkeypatch):
    row = {"task": "keypoint-detection", "architecture": "pipelines/x", "dataset": "d"}
    entry = index.Entry(
        name="x-\x1b[31mred", **row, summary="", license="mit", weights="bundled",
        results=({"protocol": "regression", "value": 3.4567, "unit": "% of image"},),
    )  # fmt: skip
    monkeypatch.setattr(listing, "list_entries", lambda *args, **options: [entry])
    _, out, _ = ask("list")
    cells = re.split(r"  +", out.splitlines()[1])
    assert cells[0] == "x- [31mred"  # nothing that a terminal would obey
    assert cells[3:] == ["bundled", "mit", "regression 3.457 % of image"]


def test_nothing_found_is_said(ask):
    assert ask("list", "nothing*") == (0, "", "no entry matches\n")
    assert ask("list", "nothing*", "--json")[1] == "[]\n"


def test_a_table_is_cut_on_a_terminal_only(ask, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, ask("list", "fomm-vox")[1].splitlines())) > 40
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = ask("list", "fomm-vox")
    assert out.splitlines() == ["name      task             dat", "fomm-vox  motion-transfer  vox"]


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from zoo.cli import main; main(['list', 'fomm*', '--json']); "
        "main(['info', 'fomm-vox']); heavy = {'torch', 'mmengine', 'numpy', 'cv2', "
        "'huggingface_hub', 'torchvision'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# info


def test_info_of_a_package(ask, answer, demo):
    code, out, err = ask("info", f"dir:{demo}")
    assert (code, err) == (0, "")
    facts = dict(re.findall(r"^ ?([\w ]+?)  +(\S.*)$", out.split("\n\n")[1], re.MULTILINE))
    assert facts["parameters"] == "8 (float32)"
    assert facts["FLOPs"] == "5,678 per prediction at 32 x 32 pixels"
    assert facts["landmarks"] == "3 discovered"
    assert facts["licence"] == "apache-2.0, of the weights"
    assert facts["where"] == str(demo)
    assert facts["digest"] == zoo.verify(demo).digest
    ours, paper = out.split("\n\n")[2:]
    assert ours.splitlines()[0] == "Measured with this package:"
    head, row = (re.split(r"  +", line.strip()) for line in ours.splitlines()[1:])
    assert head == [
        *("protocol", "metric", "value", "interval", "predict mean", "untrained", "n", "data")
    ]
    assert row == [
        *("regression", "regression_error", "3.25 % of image", "3.25 to 3.69", "10.5"),
        *("640", "Puppets test"),  # the untrained one has none
    ]
    assert paper.startswith("Reported by the paper for its own model, not measured here:")
    assert "2.5 % of image" in paper
    assert "3.25 % of image" not in paper

    found = answer("info", f"dir:{demo}")
    assert [row["value"] for row in found["results"]] == [3.25, 2.5]
    assert found["files"]["README.md"] == (demo / "README.md").stat().st_size
    assert sum(found["files"].values()) == sum(f.stat().st_size for f in demo.rglob("*.*"))
    assert found["path"] == str(demo)


def test_info_counts_what_is_there(answer, model):
    """Parameters and operations, as they are measured on the loaded model."""
    found = answer("info", f"dir:{model}")
    assert found["parameters"] == sum(value.numel() for value in zoo.load(model).parameters())
    loaded = zoo.load(model)
    with FlopCounterMode(display=False) as counter:
        loaded.predict(torch.zeros(1, 3, 32, 32))
    assert found["flops"] == counter.get_total_flops()
    assert found["flops"] > 0


def test_info_of_an_entry_without_weights(ask, answer):
    _, out, _ = ask("info", "fomm-vox")
    assert "weights       none published\n" in out
    line = "keypoint-zoo convert fomm FILE --config fomm-vox --license L --out DIR"
    assert f"convert       {line}\n" in out
    assert f"config        {ROOT / 'configs/fomm_vox.py'}\n" in out
    assert "Measured" not in out
    paper = out.split("\n\n")[-1].splitlines()
    assert paper[0] == "Reported by the paper for its own model, not measured here:"
    assert paper[1].split()[:2] == ["L1", "0.043"]
    found = answer("info", "fomm-vox")
    assert (found["results"], found["parameters"], found["entry"]["weights"]) == ([], None, "none")


def test_info_names_missing_plugins(ask, tmp_path):
    files = package_files()
    described = json.loads(files["config.json"])
    described["plugins"] = [
        {"component": "encoders/acme/net", "distribution": "kp-acme", "requires": "kp-acme>=1"}
    ]
    files["config.json"] = pretty(described)
    write_folder(tmp_path / "p", files)
    _, out, err = ask("info", f"dir:{tmp_path / 'p'}")
    assert "missing" in out, err
    assert "encoders/acme/net, which is in 'kp-acme' according to the entry\n" in out


def test_a_former_name_is_said(ask, tmp_path):
    row = {"task": "forecasting", "architecture": "pipelines/x", "dataset": "d", "summary": "S."}
    file = tmp_path / "index.json"
    rows = {"h5-cli-new": row}
    aliases = {"h5-cli-old": {"to": "h5-cli-new", "until": "0.3"}}
    file.write_text(json.dumps({"format_version": 1, "entries": rows, "aliases": aliases}))
    zoo.register_index(file)
    try:
        code, out, err = ask("info", "h5-cli-old")
    finally:
        index._registered.clear()
    assert code == 0
    assert out.startswith("h5-cli-new: S.\n")
    said = "'h5-cli-old' is now called 'h5-cli-new'; the old name will be removed in 0.3."
    assert err == f"warning: {said}\n"


# packages


def test_pull_copies_a_package(ask, answer, demo, tmp_path):
    ref, dest = f"dir:{demo}", tmp_path / "copy"
    total = sum(file.stat().st_size for file in demo.rglob("*.*"))
    code, out, _ = ask("pull", ref, "--dry-run", "--dest", dest)
    assert code == 0
    assert out.splitlines()[-1] == f"{total / 1e3:.1f} kB; nothing was fetched"
    assert not dest.exists()
    found = answer("pull", ref, "--dest", dest)
    assert found["path"] == str(dest)
    assert (dest / "manifest.json").read_bytes() == (demo / "manifest.json").read_bytes()
    assert sum(found["files"].values()) == total


def test_verify(ask, answer, model, demo):
    found = answer("verify", f"dir:{model}", "--deep")
    assert found["ok"]
    assert max(found["differences"].values()) == 0
    code, out, _ = ask("verify", f"dir:{demo}")
    assert code == 0
    assert out.startswith(f"dir:{demo}: 7 files are intact, digest ")
    (demo / "LICENSE").write_text("not mine")
    code, out, err = ask("verify", f"dir:{demo}")
    assert (code, err) == (1, "")
    assert re.fullmatch(r"problem: .*'LICENSE' is in .*\n", out)
    code, out, _ = ask("verify", f"dir:{demo}", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)


def test_an_answer_that_cannot_be_written_is_one_line_and_still_printed(ask, monkeypatch, tmp_path):
    monkeypatch.setattr("zoo.commands.evaluate.run", lambda **_: Answer({}, ["the scores"]))
    (tmp_path / "there.json").mkdir()
    code, out, err = ask("evaluate", "x", "--json", tmp_path / "there.json")
    assert (code, out) == (2, "the scores\n")
    assert err.count("\n") == 1
    assert "Is a directory" in err
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]


def test_doctor(ask, monkeypatch):
    state = {"kept": "x: damaged", "rest": "left over: y"}

    def doctor(below, *, fix=False):
        assert below is None
        found = list(state.values())
        if fix:
            state.pop("rest", None)
        return found

    monkeypatch.setattr("zoo.sources.doctor", doctor)
    assert ask("doctor") == (1, "x: damaged\nleft over: y\n", "")
    code, out, _ = ask("doctor", "--fix", "--json")
    assert (code, json.loads(out)) == (
        1, {"findings": ["x: damaged", "left over: y"], "left": ["x: damaged"]}
    )  # fmt: skip
    state["rest"] = "left over: y"
    assert ask("doctor", "--fix")[1] == "x: damaged\nleft over: y (removed)\n"
    state.clear()
    assert ask("doctor", "--fix") == (0, "nothing is broken or left over\n", "")


def test_card_is_that_of_the_package(ask, answer, model):
    text = (model / "README.md").read_text()
    assert ask("card", model)[1] == text
    assert answer("card", model) == {"card": text}


def test_edited_notes_go_into_the_package(ask, model, tmp_path):
    zoo.pull(f"dir:{model}", dest=tmp_path / "mine")
    card = tmp_path / "mine" / "README.md"
    card.write_text(
        card.read_text().replace("<!-- notes -->\n", "<!-- notes -->\nMind the legs.\n")
    )
    code, out, err = ask("verify", f"dir:{tmp_path}/mine")
    assert (code, "if you edited its notes, run keypoint-zoo card DIR --write" in out + err) == (
        1,
        True,
    )
    assert ask("card", tmp_path / "mine", "--write")[0] == 0
    assert ask("verify", f"dir:{tmp_path}/mine")[0] == 0
    assert "Mind the legs." in card.read_text()


def test_convert_hands_everything_over(ask, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        "zoo.convert.convert", lambda *args, **options: calls.append((args, options)) or args[2]
    )
    (tmp_path / "text").write_text("All rights reversed.")
    words = ("convert", "fomm", "vox.tar", "--out", "new", "--license", "other", "--license-text")
    code, out, _ = ask(*words, tmp_path / "text", "--config", "fomm-vox")
    assert (code, out) == (0, "new\n")
    options = {"license": "other", "license_text": "All rights reversed.", "config": "fomm-vox"}
    assert calls == [(("fomm", "vox.tar", "new"), options)]


def picture(path, width=60, height=40):
    rng = np.random.default_rng(0)
    assert cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3), np.uint8))
    return path


def test_export(ask, model, tmp_path):
    out, image = tmp_path / "tiny.pt", picture(tmp_path / "a.png")
    words = ("export", f"dir:{model}", "--format", "torchscript", "--out", out, "--images", image)
    code, said, err = ask(*words)
    assert code == 0, err
    first, second = said.splitlines()
    assert first == f"{out}: images -> xy, score"
    assert re.fullmatch(r"maximum difference from the model: xy \d\S*, score \d\S*", second)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = zoo.load(model).predict(pixels).landmarks.xy
    found = torch.jit.load(out)(pixels)
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected)


def test_predict_takes_every_kind_of_model(ask, answer, model, tmp_path):
    """A package, by reference and by its bare folder."""
    image = picture(tmp_path / "a.png")
    (row,) = answer("predict", f"dir:{model}", image, "--out", tmp_path / "one")
    keypoints = zoo.load(model).keypoints
    assert row == {
        "input": str(image),
        "table": str(tmp_path / "one/a_landmarks.csv"),
        "coco": str(tmp_path / "one/a_landmarks.json"),
        "drawn": [str(tmp_path / "one/a_landmarks.png")],
        "frames": 1,
        "checked": 0,
        "unusual": 0,
        "stated": 1,
        "landmarks": keypoints["count"],
    }
    head, line = (tmp_path / "one/a_landmarks.csv").read_text().splitlines()
    axes = ("x", "y", "score")
    names = [f"{name}_{axis}" for name in keypoints["names"] for axis in axes]
    assert head.split(",") == ["file", "width", "height", *names]
    code, out, err = ask("predict", model, image, "--out", tmp_path / "two")
    assert (code, out) == (0, "")
    assert err == f"{tmp_path}/two/a_landmarks.csv: 1 frames, {keypoints['count']} landmarks\n"
    assert (tmp_path / "two/a_landmarks.csv").read_text().splitlines()[1] == line
    # a file where the folder of the results should be: said before the model is loaded
    code, _, err = ask("predict", "no-such-model", image, "--out", image)
    assert code == 2
    assert err == f"error: --out '{image}' is a file. Give a folder for the results.\n"


def test_limbs_are_written_as_the_skeleton_of_coco_keypoints(answer, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60, 3), 90, np.uint8))
    (done,) = answer(
        "predict", "keypointgan-puppets", tmp_path / "a.png", "--out", tmp_path / "out"
    )
    assert done["coco"] == str(tmp_path / "out/a_landmarks.json")
    coco, table = read_coco(done["coco"]), read_csv(done["table"])
    assert (coco.names, coco.files) == (table.names, table.files)
    assert np.array_equal(coco.xy, table.xy)
    model = zoo.load("keypointgan-puppets")
    assert [list(edge) for edge in coco.edges] == model.keypoints["edges"]
    assert len(coco.edges) == 14


# the Hub

ASKED = """
import contextlib, io, json, sys
from zoo import cli
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = cli.main(words)
    sys.stdout.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\\n")
"""


def online(endpoint, home, *calls, **more):
    """Run commands in a process whose Hub is another, and which never sees this one's token."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", "PYTHONPATH": str(ROOT), **more}
    words = json.dumps([[str(word) for word in call] for call in calls])
    done = subprocess.run(
        [sys.executable, "-c", ASKED, words], env=env, cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_the_hub(demo, tmp_path):
    repo, home = "alice/demo", tmp_path / "home"
    home.mkdir()
    push = ("push", demo, repo)
    with serve(tmp_path / "hub") as hub:
        planned, made, same, refused, listed, told, pulled, verified = online(
            hub.url,
            home,
            (*push, "--tag", "v1", "--dry-run"),
            (*push, "--tag", "v1", "--message", "First", "--json"),
            push,
            (*push, "--public"),
            ("list", "--hub", "--json"),
            ("info", f"hf:{repo}", "--json"),
            ("pull", f"hf:{repo}", "--revision", "v1", "--dest", tmp_path / "got"),
            ("verify", f"hf:{repo}", "--against", "hub"),
            HF_TOKEN=ALICE,
        )
        (hidden,) = online(hub.url, home, ("info", "hf:alice/none", "--json"))
        fault = {"status": 403, "code": "GatedRepo"}
        hub.fault(r"GET /api/models/alice/demo", times=9, **fault)
        (gated,) = online(hub.url, home, ("info", f"hf:{repo}", "--json"), HF_TOKEN=ALICE)
    (gone,) = online("http://127.0.0.1:9", home, ("info", f"hf:{repo}", "--json"))
    (offline,) = online(
        "http://127.0.0.1:9", home, ("pull", "hf:alice/other", "--offline", "--json")
    )
    plan = f"New private repository {hub.url}/{repo}, branch main: 7 files, 0.0 MB; tag v1\n"
    assert (planned[0], planned[2]) == (0, plan)
    assert planned[1].endswith(f"{hub.url}/{repo} (private): would be published\n")
    assert (made[0], made[2]) == (0, plan)
    done = json.loads(made[1])
    assert (done["changed"], done["visibility"], len(done["commit"])) == (True, "private", 40)
    assert same[0] == 0
    assert same[1].endswith("(private): already up to date; nothing to send\n")
    assert (refused[0], refused[1]) == (2, "")
    assert refused[2].endswith(
        "exists and is private, which publishing does not change. Change it at "
        f"{hub.url}/{repo}/settings, or leave out the visibility.\n"
    )
    assert [row["name"] for row in json.loads(listed[1])] == [f"hf:{repo}"]
    assert told[0] == 0, told
    assert json.loads(told[1])["commit"] == done["commit"]
    assert json.loads(told[1])["parameters"] == 8
    assert pulled[:2] == (0, pulled[1])
    assert pulled[1].endswith(f" checked: {tmp_path / 'got'}\n")
    assert (tmp_path / "got/manifest.json").read_bytes() == (demo / "manifest.json").read_bytes()
    assert verified[0] == 0, verified
    kinds = ("UnknownEntryError", "AccessError", "HubUnreachableError", "NotCachedError")
    for found, kind, code in zip((hidden, gated, gone, offline), kinds, (3, 5, 4, 4)):
        error = json.loads(found[1])["error"]
        assert (found[0], error["class"], error["exit_code"]) == (code, kind, code)
        assert found[2] == f"error: {error['message']}\n"
    assert ALICE not in "".join(str(part) for part in (planned, made, same, refused, gated))


# errors


def test_errors_are_one_line_and_one_document(ask, demo, tmp_path):
    too_new = make_package(tmp_path / "new")
    manifest = json.loads((too_new / "manifest.json").read_text())
    (too_new / "manifest.json").write_text(json.dumps({**manifest, "format_version": 9}))
    (demo / "model.safetensors").unlink()
    for words, code, kind, text in (
        (("info", "fom-vox"), 3, "UnknownEntryError", "Did you mean: fomm-vox"),
        (("info", "a/b"), 2, "AmbiguousReferenceError", "For a Hub repository write 'hf:a/b'"),
        (("pull", "fomm-vox"), 3, "NoWeightsError", "Train it: keypoint-zoo train fomm_vox"),
        (("pull", f"dir:{demo}"), 1, "IncompleteEntryError", "1 of 7 files are missing"),
        (("pull", f"dir:{too_new}"), 6, "FormatTooNewError", "has format 9; this version"),
        (("list", "--metric", "x"), 2, "ValueError", "must be like 'regression<=5'"),
        (("card", tmp_path / "none"), 3, "UnknownEntryError", "no folder"),
        (("predict", "x.py", demo, "--out", "z"), 2, "AmbiguousReferenceError", "is a config"),
        (("info",), 2, "UsageError", "required: REF. See `keypoint-zoo info --help`."),
        (("lst",), 2, "UsageError", "there is no command 'lst'. Did you mean 'list'?"),
        ((), 2, "UsageError", "required: COMMAND"),
    ):
        found, out, err = ask(*words)
        assert (found, out) == (code, ""), words
        assert err.startswith("error: ")
        assert text in err
        assert err.count("\n") == 1
        found, out, again = ask(*words, "--json")
        assert (found, again.count("\n")) == (code, 1)
        error = json.loads(out)["error"]
        assert {"class": kind, "exit_code": code} == {k: error[k] for k in ("class", "exit_code")}
        assert text in error["message"]


def test_help_tells_the_exit_statuses(ask):
    for words in ((), *((name,) for name in SUBCOMMANDS)):
        code, out, _ = ask(*words, "--help")
        assert code == 0
        for text in (
            "exit status:",
            "0  success",
            "1  a check failed",
            "6    needs another version",
            "7    done, but part of an input could not be read",
        ):
            assert text in out
    assert all(f"\n  {name} " in ask("--help")[1] for name in SUBCOMMANDS)
    assert ask("--version")[:2] == (0, f"{LIBRARY}\n")


@pytest.mark.parametrize("words", [(), *((name,) for name in SUBCOMMANDS), ("prepare", "flow")])
def test_help_fits_80_columns(ask, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = ask(*words, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_every_tool_is_its_command():
    for tool in (ROOT / "tools").glob("*.py"):
        text = tool.read_text()
        assert f'main(["{tool.stem}", *sys.argv[1:]])' in text
        assert text.count("\n") < 20
        assert tool.stem in SUBCOMMANDS


def test_an_answer_goes_into_a_file(ask, tmp_path, monkeypatch):
    rows = [{"protocol": "x", "value": 1.5}]
    monkeypatch.setattr("zoo.commands.evaluate.run", lambda **_: Answer(rows, ["a table"]))
    assert ask("evaluate", "x", "--json", tmp_path / "new/rows.json") == (0, "a table\n", "")
    assert json.loads((tmp_path / "new/rows.json").read_text()) == rows
    assert json.loads(ask("evaluate", "x", "--json")[1]) == rows


def test_what_is_said_on_the_way_is_not_part_of_the_document(ask, monkeypatch):
    monkeypatch.setattr("zoo.commands.list.run", lambda **_: print("so far") or Answer([1], ()))
    assert ask("list", "--json")[1:] == ("[\n  1\n]\n", "so far\n")
    assert ask("list")[1] == "so far\n"


def test_a_repository_may_follow_the_options(ask, monkeypatch):
    monkeypatch.setattr("zoo.commands.publish.run", lambda **options: Answer(options["repo"], ()))
    assert json.loads(ask("publish", "run", "--license", "mit", "me/x", "--json")[1]) == "me/x"


def test_the_error_of_a_loader_process_is_its_last_line(ask, monkeypatch):
    def run(**_):
        raise OSError(
            "Caught OSError in DataLoader worker process 0.\nTraceback:\nOSError: no disk\n"
        )

    monkeypatch.setattr("zoo.commands.list.run", run)
    assert ask("list") == (2, "", "error: no disk\n")


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_json(ask, name):
    assert "--json" in ask(name, "--help")[1]


def test_numbers_that_json_lacks_become_null(ask, monkeypatch):
    report = Answer({"a": float("inf"), "b": [float("nan"), 1.5]}, ())
    monkeypatch.setattr("zoo.commands.list.run", lambda **_: report)
    assert json.loads(ask("list", "--json")[1]) == {"a": None, "b": [None, 1.5]}


# the shell


def shell(line):
    """Run a line of shell in which $zoo is the command."""
    env = {**os.environ, "zoo": f"{sys.executable} -m zoo"}
    return subprocess.run(
        ["sh", "-c", line], env=env, cwd=ROOT, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("words", [("list",), ("list", "--json")])
def test_a_reader_that_has_gone(words):
    """As in ``keypoint-zoo list | head -1``."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *words],
        cwd=ROOT,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$zoo list >&-", 0, "", ""),
        ("$zoo --help >&-", 0, "", None),
        ("$zoo list nothing 2>&-", 0, "", ""),
        ("$zoo info nothing-like-it 2>&-", 3, "", ""),
        ("$zoo info nothing-like-it >&- 2>&-", 3, "", ""),
        ("$zoo list > /dev/full", 2, "", "error: the answer cannot be written: [Errno 28] No "),
    ],
)
def test_closed_and_full_streams(line, code, out, err):
    done = shell(line)
    assert (done.returncode, done.stdout) == (code, out)
    assert "Traceback" not in done.stderr
    assert err is None or done.stderr.startswith(err)
    assert done.stderr.count("\n") <= 1 or err is None


def test_an_error_goes_to_a_closed_stderr_and_the_document_to_stdout():
    done = shell("$zoo info nothing-like-it --json 2>&-")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["class"] == "UnknownEntryError"


def test_names_that_the_terminal_cannot_show():
    done = shell("PYTHONIOENCODING=ascii PYTHONUTF8=0 $zoo info fomm-vox")
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_interrupted():
    code = (
        "import os, signal, sys; from zoo import cli; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job ignores it
        "import zoo.commands.list as one; "
        "one.run = lambda **_: signal.raise_signal(signal.SIGINT); "
        "sys.exit(cli.main(['list', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert json.loads(done.stdout)["error"]["exit_code"] == 130


def test_progress_is_for_terminals(capsys, monkeypatch):
    notice("1 frame", passing=True)
    notice("done")
    assert capsys.readouterr().err == "done\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    notice("1 frame", passing=True)
    notice("done")
    assert capsys.readouterr().err == "\r\x1b[K1 frame\r\x1b[Kdone\n"


def test_the_tool_is_the_command(tmp_path):
    words = [sys.executable, ROOT / "tools/predict.py", "nothing-like-it", ROOT, "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("error: There is no zoo entry 'nothing-like-it'.")
