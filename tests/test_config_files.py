"""Files that are not configs, mistakes in configs, and plugins beside saved configs."""

import json
import os
import sys

import pytest

from registry import ConfigError, load_config
from registry.job import Job
from registry.runner import train
from tests.runs import write_config
from tests.test_property_config import POSE


def refused(path, options=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, options)
    line = str(caught.value)
    assert line.isprintable()
    return line


@pytest.fixture
def pose(tmp_path):
    path = tmp_path / "pose.py"
    path.write_text(POSE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ": a config needs the sections 'model' and 'train'."),
        (b"\x7fELF\0\0\x01", " is not a config, but a binary or very large file."),
        (b"x" * (2**24 + 1), " is not a config, but a binary or very large file."),
        ("\n\nx = 'é'".encode("latin-1"), ": line 3 is not UTF-8. Save the file as UTF-8."),
        ("x = 1".encode("utf-16"), " is not a config, but a binary or very large file."),
        (b"exit()", ": SystemExit"),
        (b"raise SystemExit(0)", ": SystemExit: 0"),
        (b"raise GeneratorExit", ": GeneratorExit"),
        (b"def f(): f()\nf()", ": RecursionError: maximum recursion depth exceeded"),
        (b"x = " + b"(" * 500 + b")" * 500, ": SyntaxError: too many nested parentheses"),
        (b"x = 10**400", ": x must be a number from -2**62 to 2**62, not 1"),
        (b"x = 10**5000", ": x must be a number from -2**62 to 2**62, not this int."),
        (b"x = float('nan')", ": x must be a number from -2**62 to 2**62, not nan."),
        (b"x = dict(y=[1, float('inf')])", ": x.y[1] must be a number"),
        (b"x = {1: 2}", ": x: the key 1 must be a string."),
        (b"x = b'1'", ": x must not be a bytes: JSON cannot hold it."),
        (b"x = '\\ud800'", ": x: '\\ud800' is not valid Unicode."),
        (b"x = []\nx.append(x)", ": RecursionError"),
        (b"plugins = None", ": 'plugins' must be a list, not None."),
        (b"data = []", ": the section 'data' must be a dict, not []."),
    ],
)
def test_what_is_not_a_config_is_refused_in_one_line(content, said, tmp_path):
    path = tmp_path / "it.py"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}{said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' occurs twice in the same dict. Keep one."),
        ('{"a": NaN}', "a must be a number from -2**62 to 2**62, not nan."),
        ('{"a": [-Infinity]}', "a[0] must be a number from -2**62 to 2**62, not -inf."),
        ("[" * 100_000, "RecursionError"),
        ('{"a":' * 99 + "1" + "}" * 99, "more than 50 dicts and lists in each other."),
        ('{"a": ' + "9" * 5000 + "}", "ValueError: Exceeds the limit"),
    ],
)
def test_saved_configs_that_are_damaged(content, said, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    line = refused(path)
    assert line.startswith(f"{path}: ")
    assert said in line


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_places_that_are_not_files(tmp_path):
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "loop.py").symlink_to("loop.py")
    for name in ("folder.py", "pipe.py", "loop.py"):
        assert refused(tmp_path / name).startswith(f"there is no config '{tmp_path / name}'.")
    assert refused("/dev/zero").startswith("there is no config '/dev/zero'.")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_mark_and_line_ends_of_windows(mark, ending, pose):
    wanted = load_config(pose)
    pose.write_bytes((mark + POSE.replace("\n", ending)).encode())
    assert load_config(pose) == wanted


def test_what_a_config_prints_does_not_mix_with_the_answer(pose, capsys):
    pose.write_text(f"{POSE}\nprint('hello')\n", encoding="utf-8")
    assert load_config(pose)["train"]["iterations"] == 2
    assert capsys.readouterr() == ("", "hello\n")


def test_configs_that_start_from_each_other(tmp_path):
    for name, other in (("a", "b"), ("b", "a"), ("c", "c")):
        text = f"{POSE}\ntrain['init'] = dict(bottleneck='{other}')\n"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    assert refused(tmp_path / "a.py").endswith("train.init: b -> a -> b never ends.")
    assert refused(tmp_path / "c.py").endswith("train.init: c -> c never ends.")


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a/b", "", ".", "a\0b", "a\nb"])
def test_an_origin_is_a_plain_name(name, pose):
    line = refused(pose, {"train.init": {"bottleneck": name}})
    assert line == f"train.init: {name!r} is not the name of a config."


MISTAKES = [
    ({"evaluate.metrics": {"a": 5}}, "evaluate.metrics.a must be a component"),
    ({"evaluate.metrics": {"a": {"type": "metrics/nme"}}}, "there is no metric 'metrics/nme'."),
    ({"evaluate.metrics.direct.keypoints": [99]}, "evaluate.metrics.direct (metrics/keypoint_err"),
    ({"evaluate.metrics.direct.flip_pairs": [[0, 99]]}, "evaluate.metrics.direct (metrics/keypoi"),
    ({"evaluate.metrics.direct.landmarks": [99]}, "evaluate.metrics.direct"),
    ({"model.decoder": None}, "model.decoder of pipelines/reconstruction must be a component"),
    ({"model.rasterizer.sigma": float("nan")}, "model.rasterizer.sigma of rasterizers/skeleton"),
    ({"model.rasterizer.edges": 5}, "model.rasterizer.edges of rasterizers/skeleton must be a l"),
    ({"model.rasterizer.edges": [[0, "a"]]}, "model.rasterizer.edges[0][1] of rasterizers/skele"),
    ({"model.encoder.width": 60000}, "weights take more than half the memory"),
    ({"model.encoder.width": 10**9}, "must be an integer of at most 65536"),
    ({"losses": {"x": None}}, "losses.x must be a component"),
    ({"losses": {"train": {"type": "losses/prior_points"}}}, "attribute 'train' already exists"),
    ({"losses": {"a.b": {"type": "losses/prior_points"}}}, "got: a.b"),
    ({"train.init": {"forward": "imm_video"}}, "train.init: the model has no part 'forward'."),
    ({"train.groups": {"generator": {"lr": "x"}}}, "train.groups.generator.lr must be a number"),
    ({"train.groups": {"generater": {}}}, "'generater' must be one of the groups"),
    ({"train.groups": {"generator": {"momentum": 1}}}, "has no argument 'momentum'."),
    ({"train.betas": [1.0, 1.0]}, "train.betas[0] must be a number of at most 0.999999"),
    ({"train.hooks": [{"type": "hooks/panels"}]}, "train.hooks[0]: hooks/panels needs 'every'."),
    ({"train.workers": 1}, "there is no key 'train.workers'."),
    ({"data.workers": 10**6}, "data.workers must be an integer of at most 999"),
    (
        {"data.val": {"type": "datasets/standin"}, "train.evaluate_every": 5},
        "data.val: datasets/standin needs",
    ),
    ({"data.prior_size": 99}, "data.prior_size is 99, but there are"),
]


@pytest.mark.parametrize(("options", "said"), MISTAKES)
def test_a_mistake_is_one_line_before_training_and_leaves_no_folder(
    options, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys.modules["registry.build"], "_memory", lambda: 2**28)
    with pytest.raises(ConfigError) as caught:
        train(load_config(write_config(tmp_path), options), tmp_path / "runs" / "one")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


def test_plugins_that_are_none_are_refused(pose):
    cfg = load_config(pose) | {"plugins": None}
    assert refused(cfg) == "the config: 'plugins' must be a list, not None."


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A downloaded run whose config.json names a module that came along."""
    folder = tmp_path / "downloaded"
    (folder / "inner").mkdir(parents=True)
    config = load_config(write_config(tmp_path))
    for module in ("came_along", "inner/part", "inner/__init__"):
        mark = folder.parent / "it_ran"
        (folder / f"{module}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / "mine_already.py").write_text("")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(folder)

    def save(*plugins):
        text = json.dumps({**config, "plugins": list(plugins)})
        (folder / "config.json").write_text(text, encoding="utf-8")
        return folder

    yield save
    for name in ("came_along", "inner", "inner.part", "mine_already", "linked"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", ["came_along", "inner.part", "inner", "linked"])
def test_code_that_came_with_a_run_is_not_imported(module, run_folder, tmp_path):
    from zoo.model import open_run

    folder = run_folder(module)
    (tmp_path / "linked.py").symlink_to(folder / "came_along.py")
    for ref in (folder, str(folder), "."):
        with pytest.raises(ConfigError) as caught:
            open_run(ref)
        assert "lies in the folder of a saved config" in str(caught.value)
        assert str(caught.value).startswith(f"plugins: cannot import '{module}': ")
    assert not (tmp_path / "it_ran").exists()
    assert module not in sys.modules


def test_code_of_an_origin_that_came_with_a_run_is_not_imported_either(run_folder, tmp_path):
    folder = run_folder()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["origins"] = {"first": {**config, "plugins": ["came_along"]}}
    config["train"]["init"] = {"bottleneck": "first"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "lies in the folder of a saved config" in refused(folder / "config.json")
    assert not (tmp_path / "it_ran").exists()


def test_modules_of_the_user_still_work_for_a_saved_run(run_folder):
    from zoo.model import open_run

    assert open_run(run_folder("mine_already", "json")).config["plugins"] == [
        "mine_already",
        "json",
    ]


def test_a_config_that_the_user_names_may_have_its_module_beside_it(run_folder, tmp_path):
    folder = run_folder()
    text = (tmp_path / "tiny.py").read_text(encoding="utf-8")
    (folder / "own.py").write_text(f'{text}\nplugins = ["came_along"]\n', encoding="utf-8")
    assert load_config(folder / "own.py")["plugins"] == ["came_along"]
    assert (tmp_path / "it_ran").exists()


def test_a_module_that_is_imported_already_works(run_folder):
    import importlib

    folder = run_folder("came_along")
    importlib.import_module("came_along")  # the user trusts it
    assert load_config(folder / "config.json")["plugins"] == ["came_along"]


def test_the_config_without_mistakes_starts(tmp_path):
    """The mistakes above are the only reason for a refusal."""
    assert Job(load_config(write_config(tmp_path)), tmp_path / "run").scored
