"""keypoint-zoo components: what it reads is what the classes are; plugins; 80 columns."""

import ast
import inspect
import json
import subprocess
import sys
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from registry import ROLES, docs, plugins
from registry.errors import ConfigError
from zoo.answer import UsageError, plain
from zoo.commands import components

NAMES = [name for role in ROLES.values() for name in role.names()]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_what_the_class_takes(name):
    cls = ROLES[name.split("/")[0]].get(name)
    sheet = docs.sheet(name)
    taken = inspect.signature(cls).parameters
    assert [one.name for one in sheet.arguments] == list(taken)
    for one in sheet.arguments:
        default = taken[one.name].default
        assert (one.default is None) == (default is inspect.Parameter.empty), one
        if one.default is not None:
            try:
                written = ast.literal_eval(one.default)
            except ValueError:  # the name of a constant
                written = default
            assert written == default, one
        assert one.meaning, f"{name}: the docstring's Args lacks '{one.name}'"
    assert sheet.file == docs.Path(inspect.getsourcefile(cls))
    assert sheet.summary == " ".join(inspect.getdoc(cls).split("\n\n")[0].split())
    hints = get_type_hints(cls.__init__) if sheet.arguments else {}
    for one in sheet.arguments:
        if get_origin(hints[one.name]) is Literal:
            assert one.kind == " | ".join(map(repr, get_args(hints[one.name])))


@pytest.mark.parametrize("what", [None, *ROLES, *NAMES])
def test_it_fits_a_terminal_of_80_columns(what):
    lines = components.run(what).lines
    file = lines[-1] if what in NAMES else ""  # a path is kept whole, to be copied
    assert [line for line in lines if len(line) > 80 and line != file] == []
    assert not [line for line in lines if "``" in line or line != line.rstrip()]


def test_roles_and_their_names():
    answer = components.run()
    listed = {row["role"]: row["names"] for row in answer.document["roles"]}
    assert listed == {role: table.names() for role, table in ROLES.items()}
    assert "encoders: Image -> maps of landmarks, a pose image or an appearance." in answer.lines
    assert "  affine, gaussian, monkeynet, separable, skeleton_regressor" in answer.lines
    assert answer.document["problems"] == []


def test_a_role_lists_what_each_name_is():
    lines = components.run("encoders").lines
    at = lines.index("encoders/unet")
    assert lines[at + 1] == "    U-Net of four levels down and three up."


def test_a_name_says_all_about_it():
    answer = components.run("encoders/unet")
    text = "\n".join(answer.lines)
    for part in (
        "encoders/unet\n  U-Net of four levels down and three up.\n",
        "  first: int, default 6\n      width of the first ",
        "  num_landmarks: int, required\n",
        "Shapes:\n  (B, 3, H, W) -> Encoding with maps (B, K, H/2, W/2), features (B, 4 first,\n",
        "  B batch, K landmarks, H image height, W image width\n",
        "Source:\n  factorized eq 3; ",
        "\n  factorized: Dundar, Shih et al., ",
        "factorized_video",
        "components/encoders/unet.py:",
    ):
        assert part in text
    assert "keypointgan_puppets" not in text
    document = json.loads(json.dumps(plain(answer.document)))
    assert document["arguments"][1]["default"] == "6"
    assert document["source"].startswith("factorized eq 3; ")
    assert "ECCV 2020" in document["papers"]["factorized"]


def test_which_configs_use_it():
    used = components.run("encoders/timm_features").document["configs"]
    assert used == ["factorized_puppets_timm"]
    # a name that begins with another one's is not that one
    assert "keypointgan_h36m" not in components.run("losses/equivariance").document["configs"]


def test_what_a_shape_names_is_explained():
    lines = components.run("predictors/lstm").lines
    assert "  B batch, T time, K landmarks" in lines


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("encoders/unt", "there is no encoder 'encoders/unt'. Did you mean 'encoders/unet'?"),
        ("encoder", "there is no role or component 'encoder'. Did you mean 'encoders'?"),
        ("unet", "there is no role or component 'unet'. Did you mean 'encoders/unet'?"),
        ("losses/", "there is no loss 'losses/'. Known: losses/adversarial, "),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(what, said):
    with pytest.raises(UsageError) as caught:
        components.run(what)
    assert str(caught.value).startswith(said)


def test_no_component_and_no_torch_is_imported():
    code = (
        "import sys; from zoo.commands.components import run; run(); run('encoders/stem'); "
        "print([m for m in sys.modules if m == 'torch' or m.startswith('components.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


GOOD = '''
"""A part of a third party."""
from torch import nn
from registry import ENCODERS


@ENCODERS.register_module("encoders/acme/fancy")
class Fancy(nn.Module):
    """Fancy maps.

    Args:
        width: of it.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, h, w)
    """

    def __init__(self, *, width: int = 3) -> None: ...
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put distributions on the path: their names, their modules, their entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def one(name, entry_points, **modules):
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[keypoint_zoo.components]\n{entry_points}\n")
        plugins._components.cache_clear()

    yield one
    plugins._components.cache_clear()


def test_a_plugin_is_listed_with_its_distribution_and_not_imported(install):
    install("kp-acme", "encoders/acme/fancy = acme_good:Fancy", acme_good=GOOD)
    assert "  acme/fancy (kp-acme 1.2)" in components.run().lines
    lines = components.run("encoders").lines
    assert lines[lines.index("encoders/acme/fancy  (kp-acme 1.2)") + 1] == "    Fancy maps."
    answer = components.run("encoders/acme/fancy")
    assert answer.document["provider"] == "kp-acme 1.2"
    assert "  width: int, default 3" in answer.lines
    assert "Used by 0 shipped configs" in answer.lines
    assert "acme_good" not in sys.modules


@pytest.mark.parametrize(
    ("entry", "text", "said"),
    [
        ("kp_lost:Fancy", None, "there is no module 'kp_lost'."),
        ("kp_here:Fancy", "import no_such_library\n", "it imports 'no_such_library', which is not"),
        ("kp_here:Fancy", "def broken(:\n", "cannot be read: invalid syntax"),
        (
            "kp_here:Fancy",
            "class Other: ...\n",
            "does not register a class as 'encoders/acme/fancy'.",
        ),
    ],
)
def test_a_broken_plugin_gets_a_line_and_hides_nothing(install, entry, text, said):
    modules = {} if text is None else {"kp_here": text}
    # a module per case: those read once are kept
    install("kp-acme", f"encoders/acme/fancy = {entry}", **modules)
    docs._tree.cache_clear()
    [problem] = components.run().document["problems"]
    assert problem.startswith("'encoders/acme/fancy' of the plugin kp-acme 1.2 cannot be used: ")
    assert said in problem
    lines = components.run("encoders").lines
    assert lines[lines.index("encoders/acme/fancy  (kp-acme 1.2)") + 1].startswith("    broken: ")
    assert "encoders/unet" in lines
    with pytest.raises(ConfigError, match=r"kp-acme 1\.2 cannot be used"):
        components.run("encoders/acme/fancy")


def test_two_plugins_of_one_name_and_names_that_are_ignored(install):
    install("kp-acme", "encoders/acme/fancy = acme_good:Fancy", acme_good=GOOD)
    install("kp-other", "encoders/acme/fancy = acme_good:Fancy\nencoder/acme/odd = acme_good:Fancy")
    ignored, twice = components.run().document["problems"]
    assert ignored.startswith("'encoder/acme/odd' of the plugin kp-other 1.2 is ignored: ")
    assert twice == (
        "'encoders/acme/fancy' is provided by kp-acme 1.2 and kp-other 1.2. Uninstall one of them."
    )
