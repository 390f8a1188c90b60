"""tools/where.py: from a paper's equation to the code, without importing any of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.commands.where import Place, places

ROOT = Path(__file__).parents[1]
ENTRY = r"(keypointgan|factorized|fomm|lee|imm|lorenz|monkeynet|lmdis) (eq|sec|fig|table) [\w.]+"


def where(*args):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "where.py", *args], capture_output=True, text=True
    )


def code_at(line):
    """The line of source that a line of output points to."""
    file, number = re.search(r"(\S+):(\d+) ", line).groups()
    return (ROOT / file).read_text().splitlines()[int(number) - 1].strip()


@pytest.mark.parametrize(
    ("place", "file", "definition"),
    [
        (["2"], "components/rasterizers/skeleton.py", "class Skeleton"),
        (["eq", "7"], "components/losses/prior_points.py", "class PriorPoints"),
        (["fig", "20"], "components/critics/multiscale_patch.py", "class MultiscalePatch"),
        (["sec", "F.2"], "components/losses/redraw.py", "class Redraw"),
        (["table", "1"], "components/metrics/keypoint_error.py", "class KeypointError"),
    ],
)
def test_a_place_of_the_paper_leads_to_its_code(place, file, definition):
    result = where("keypointgan", *place)
    assert result.returncode == 0
    lines = [line for line in result.stdout.splitlines() if f" {file}:" in line]
    assert any(code_at(line).startswith(definition) for line in lines), result.stdout


def test_a_section_includes_its_subsections_and_nothing_else():
    kinds = {line.split()[0] for line in where("keypointgan", "sec", "5").stdout.splitlines()}
    numbers = {line.split()[1] for line in where("keypointgan", "sec", "5").stdout.splitlines()}
    assert kinds == {"sec"}
    assert {"5", "5.6"} <= numbers
    assert all(number.split(".")[0] == "5" for number in numbers)


def test_without_a_place_everything_comes_in_the_order_of_the_paper():
    lines = where("keypointgan").stdout.splitlines()
    found = [tuple(line.split()[:2]) for line in lines]
    assert found.index(("eq", "2")) < found.index(("eq", "7")) < found.index(("sec", "3.2"))
    assert found.index(("sec", "5.6")) < found.index(("sec", "F.1")) < found.index(("fig", "2"))
    assert found.index(("fig", "2")) < found.index(("fig", "12")) < found.index(("table", "1"))


def test_an_unknown_paper_is_an_error_that_lists_the_papers():
    result = where("keypointgun", "2")
    assert result.returncode == 2
    assert not result.stdout
    assert result.stderr.startswith("error: there is no paper 'keypointgun'. Known: ")
    assert "keypointgan" in result.stderr


def test_an_unknown_place_is_an_error_that_lists_the_places():
    result = where("keypointgan", "99")
    assert result.returncode == 2
    assert "no docstring names keypointgan 99. Known: eq 1, eq 2" in result.stderr


def test_names_and_lines_of_modules_classes_and_methods(tmp_path):
    (tmp_path / "components" / "ops").mkdir(parents=True)
    (tmp_path / "components" / "ops" / "one.py").write_text(
        '"""Module.\n\nSource: lee eq 10; lee eq 2\n"""\n'
        "import not_installed\n\n\n"
        "@not_installed.decorator\nclass A:\n    def f(self):\n"
        '        """Method.\n\n        Source: lee eq 3\n        """\n'
    )
    assert [tuple(place) for place in sorted(places(tmp_path), key=Place.order)] == [
        ("lee", "eq", "2", "components/ops/one.py:1 one"),
        ("lee", "eq", "3", "components/ops/one.py:10 A.f"),
        ("lee", "eq", "10", "components/ops/one.py:1 one"),
    ]


def test_every_source_line_of_the_project_can_be_found():
    # any line that begins so, in a docstring or not: a misplaced one would be lost
    lines = [
        (path, line.strip())
        for folder in ("components", "registry")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if line.strip().startswith("Source:")
    ]
    entries = [(path, e) for path, line in lines for e in line.removeprefix("Source:").split(";")]
    assert len(entries) > 50
    for path, entry in entries:
        assert re.fullmatch(rf" {ENTRY}", entry), f"{path}: Source:{entry}"
    papers = {entry.split()[0] for _, entry in entries}
    listed = [line for paper in papers for line in where(paper).stdout.splitlines()]
    assert len(listed) == len(entries)
