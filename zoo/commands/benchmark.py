"""Measure speed side by side in one run.

Every variant runs once per round, so that a machine whose speed drifts affects
them alike. Prints medians, and ratios to the first variant of each group. Only
ratios from the same run are comparable.
"""

from __future__ import annotations

import argparse

from zoo.answer import Answer, notice


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="default: torch's own choice")


def run(rounds: int, threads: int | None) -> Answer:
    """Answer the command."""
    if rounds < 1 or (threads is not None and threads < 1):
        raise ValueError("--rounds and --threads must be at least 1.")
    notice("importing torch ...", passing=True)
    import torch

    from zoo.benchmarks import measure

    torch.set_num_threads(threads or torch.get_num_threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    title = f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads"
    lines, document = [f"{title}, {rounds} rounds"], {}
    for group, medians in measure(rounds, device):
        notice(f"measured: {group}", passing=True)
        first = next(iter(medians.values()))
        lines += ["", group]
        for name, seconds in medians.items():
            lines.append(f"  {name:42} {1000 * seconds:9.1f} ms   {first / seconds:6.2f} x")
        document[group] = medians
    return Answer(document, lines)
