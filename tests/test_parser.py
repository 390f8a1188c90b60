"""Mistyped words of a command line: what the answer suggests."""

import pytest

from zoo.answer import UsageError
from zoo.parser import Parser


@pytest.fixture(params=["parse_args", "parse_intermixed_args"])
def one_command(request):
    """A parser as each command has: options may stand between the positional words."""
    parser = Parser(prog="keypoint-zoo predict")
    parser.add_argument("ref")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--out-dir")
    parser.add_argument("-j", type=int)
    return getattr(parser, request.param)


def test_a_command_of_its_own(one_command):
    found = one_command(["model", "a", "b", "--out-dir", "d", "-j4"])
    assert (found.ref, found.inputs, found.out_dir, found.j) == ("model", ["a", "b"], "d", 4)
    with pytest.raises(UsageError) as caught:
        one_command(["model", "a", "--outdir", "d"])
    hint = "Did you mean '--out-dir'? See `keypoint-zoo predict --help`."
    assert str(caught.value) == f"there is no option --outdir. {hint}"


def test_options_may_stand_between_positional_words():
    parser = Parser(prog="p")
    parser.add_argument("ref")
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--out")
    found = parser.parse_intermixed_args(["model", "--out", "d", "a", "b"])
    assert (found.ref, found.inputs, found.out) == ("model", ["a", "b"], "d")
    with pytest.raises(UsageError, match="unrecognized arguments: c"):
        Parser(prog="p").parse_intermixed_args(["c"])


def command_line():
    parser = Parser(prog="keypoint-zoo")
    parser.add_argument("--version", action="version", version="1")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    train = commands.add_parser("train")
    train.add_argument("config")
    train.add_argument("--work-dir")
    train.add_argument("--cfg-options", nargs="+", default=[])
    train.add_argument("-j", "--jobs", type=int)
    train.add_argument("--launcher", choices=("none", "pytorch"), default="none")
    commands.add_parser("evaluate")
    return parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train c --workdir x", "there is no option --workdir. Did you mean '--work-dir'?"),
        ("train c --workdir=x", "there is no option --workdir. Did you mean '--work-dir'?"),
        (
            "train --workdir x",
            "there is no option --workdir. Did you mean '--work-dir'?",
        ),  # before CONFIG
        ("train c --cfg a=1", "there is no option --cfg. Did you mean '--cfg-options'?"),
        ("train c --work", "there is no option --work. Did you mean '--work-dir'?"),
        ("train c -work-dir x", "there is no option -work-dir. Did you mean '--work-dir'?"),
        ("train c --launcher torch", "--launcher cannot be 'torch'. Did you mean"),
        ("trian c", "there is no command 'trian'. Did you mean 'train'?"),
        ("eval", "there is no command 'eval'. Did you mean 'evaluate'?"),
        ("--versoin", "there is no option --versoin. Did you mean '--version'?"),
        ("train c d", "unrecognized arguments: d"),
        ("train", "the following arguments are required: config"),
        ("", "the following arguments are required: COMMAND"),
        ("train c -j many", "argument -j/--jobs: invalid int value: 'many'"),
    ],
)
def test_a_mistyped_word_is_refused_with_the_right_one(words, said):
    with pytest.raises(UsageError) as caught:
        command_line().parse_args(words.split())
    assert str(caught.value).startswith(said)
    inner = words.startswith("train") and not said.startswith("unrecognized")
    prog = "keypoint-zoo train" if inner else "keypoint-zoo"
    assert str(caught.value).endswith(f"See `{prog} --help`.")


def test_what_is_right_is_parsed_as_ever():
    words = ["train", "c.py", "--cfg-options", "a.b=-1", "--work-dir=x", "-j", "-1"]
    found = command_line().parse_args(words)
    assert found.config == "c.py"
    assert (found.cfg_options, found.work_dir, found.jobs) == (["a.b=-1"], "x", -1)
    assert command_line().parse_args(["train", "--", "--odd.py"]).config == "--odd.py"
