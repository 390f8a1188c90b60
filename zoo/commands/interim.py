"""Until training reports itself."""

from typing import Any


def report(job: Any) -> None:
    """Evaluate, print the table, write the animation."""
    from components.data.video import write_gif
    from components.drawing import held_out
    from registry.evaluation import table
    from registry.progress import say

    if rows := job.score():
        write_gif(job.work_dir / "held_out.gif", held_out(job), fps=12)
        say(f"{job.work_dir}/metrics.json, held-out frames in {job.work_dir}/held_out.gif")
        say(table(rows))
