"""The progress bar: in place on a terminal, moving between steps; few plain lines elsewhere."""

from __future__ import annotations

import re
import sys

import pytest

from registry import progress
from tests.runs import on_terminal

SLOW = """
import time
from registry.progress import bar, say
with bar(2, "training", "it", slow=True) as shown:
    shown.note = "error 0.25"
    shown.update()
    time.sleep(2.5)
    say("a line")
    shown.update()
"""


@pytest.mark.parametrize("columns", [80, 0])  # 0: a terminal that does not know its width
def test_a_bar_moves_between_steps_on_a_terminal(columns):
    code, shown = on_terminal([sys.executable, "-c", SLOW], columns)
    assert code == 0, shown
    states = [state.strip() for state in shown.split("\r")]
    assert all(len(state.split("\n")[0]) <= 80 for state in states)
    waiting = [s for s in states if "error 0.25 |" in s and " 1/2 it, " in s]
    clocks = {re.search(r", (\d\d:\d\d), \d\d:\d\d left$", s)[1] for s in waiting}
    assert {"00:01", "00:02"} <= clocks  # nothing but time passed
    assert "\x1b[Ka line" in states  # on its own, not behind the bar
    last = states[-1]
    assert re.match(r"training: error 0.25 \|█+\| 2/2 it, \S+ s/it, 00:0\d, 00:00 left$", last)


def test_elsewhere_there_are_few_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINES", 0.0)
    steps = progress.bar(iter("abc"), "reading", "letters")
    steps.delay = 0
    assert list(steps) == ["a", "b", "c"]
    lines = capsys.readouterr().err.split("\n")
    assert lines.pop() == ""
    assert [line.split(", ")[0] for line in lines[:3]] == [
        f"reading: {n} letters" for n in (1, 2, 3)
    ]
    assert not [line for line in lines if "\r" in line or "\x1b" in line]


def test_what_is_done_at_once_needs_no_line(capsys):
    assert list(progress.bar([1, 2], "reading")) == [1, 2]
    progress.say("done")
    assert capsys.readouterr() == ("", "done\n")


def test_time_left_is_what_the_pace_says(monkeypatch, capsys):
    """10 of 40 steps in 5 s: 0.5 s a step, 15 s left."""
    shown = progress.bar(40, "training", "it", slow=True)
    now = shown.start_t
    monkeypatch.setattr(shown, "_time", lambda: now + 5.0)
    shown.delay, shown.n = 0, 10
    assert str(shown) == "training: 10/40 it, 0.5 s/it, 00:05, 00:15 left"
    shown.close()
    fast = progress.bar(None, "reading")
    now = fast.start_t
    monkeypatch.setattr(fast, "_time", lambda: now + 5.0)
    fast.n, fast.note = 20, "clip 3,"
    assert str(fast) == "reading: clip 3, 20 frames, 4 frames/s, 00:05"
    fast.close()
