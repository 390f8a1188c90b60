"""Joining a launcher's process group, and noticing when another process of it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from registry.errors import ConfigError, RunError

BEAT = 1.0  # seconds between two signs of life
GRACE = 5.0  # seconds after which a process without one has died, once a connection was lost
START = timedelta(minutes=10)  # until all processes have started
# Never reached: a process that waits for the first one, which evaluates, is not late. Whether one
# is late, Watch decides.
COLLECTIVES = timedelta(days=30)
LOST = re.compile("gloo|nccl|connection|broken pipe|socket|store|timed out|peer", re.IGNORECASE)
# what a process does in an iteration, in this order
STAGES = (
    "preparing",
    "loading data",
    "forward pass",
    "backward pass",
    "hooks",
    "end of the iteration",
    "checkpoint",
)


class Watch(threading.Thread):
    """Signs of life: a thread in each process writes its own to the store and reads the others'.

    A process is lost if it has given no sign of life for the timeout (it died or was stopped), or
    if no process got further for as long and it is the one behind (it hangs). The first process may
    take any time for its hooks, such as validation, and every process for its preparation, as long
    as there are signs of life. A process that can no longer raise an error, because it waits for
    the lost one, is ended with one line and status 1.

    Attributes:
        timeout: seconds; ``train.timeout``.
        advice: what the line says at its end, such as which checkpoint is the last.
    """

    def __init__(self, rank: int, ranks: int) -> None:
        super().__init__(name="signs of life", daemon=True)
        self.rank, self.ranks = rank, ranks
        self.timeout = 600.0
        self.advice: Callable[[], str] = str
        self.verdict = ""
        self.now: tuple[Any, ...] = (0, 0, False)  # iteration, stage, has ended
        self.beats = 0
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self.keys = [f"keypoint-zoo/{attempt}/{each}" for each in range(ranks)]
        # a connection of its own: the process group's is locked while it waits
        self.store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=30),
        )
        # what is known of each process, when its last sign of life came, since when it is there
        self.seen: dict[int, tuple[list[Any], float, float]] = {}
        self.start()

    def at(self, iteration: int, stage: str) -> None:
        """Say what this process does now."""
        self.now = (iteration, STAGES.index(stage), False)

    def end(self, error: BaseException | None = None) -> None:
        """Say that this process needs no other one any more, or which error ended it."""
        self.now = (*self.now[:2], True)
        if error is not None and not self.verdict:
            what = f"{type(error).__name__}: {_first(error)}"
            self.verdict = f"process {self.rank} of {self.ranks} ended with an error ({what})"
        with contextlib.suppress(RuntimeError, ValueError):
            self._beat()

    def run(self) -> None:
        """Exchange signs of life until a process is lost; then give the main thread some time."""
        while not self.verdict:
            time.sleep(BEAT)
            try:
                self._beat()
            except (RuntimeError, ValueError) as error:  # the process that holds the store ended
                self.verdict = f"the first process, or its launcher, ended ({_first(error)})"
            else:
                self.verdict = self.verdict or self._late(self.timeout)
        if not self.now[2]:
            with contextlib.suppress(RuntimeError, ValueError):
                self._beat()  # so that the others say the same
        time.sleep(GRACE)  # in which the error of a lost connection comes, if any
        if not self.now[2]:
            sys.stderr.write(f"error: {self.verdict}. {self.advice()}\n")
            sys.stderr.flush()
            end_children()
            os._exit(1)

    def lost(self, error: BaseException) -> str:
        """Return which process was lost, if an error says that a connection was."""
        mine = isinstance(error, RuntimeError) and not isinstance(error, RunError)
        if not mine or not LOST.search(str(error)):
            return ""
        started = time.monotonic()
        while not self.verdict and time.monotonic() - started < GRACE:
            time.sleep(BEAT / 10)
            now = time.monotonic()
            silent = [r for r, own in list(self.seen.items()) if now - own[1] > 3 * BEAT]
            if silent and now - started > 3 * BEAT:
                self.verdict = self._died(min(silent))
        return self.verdict or f"another process ended or cannot be reached ({_first(error)})"

    def _beat(self) -> None:
        self.beats += 1
        own = [self.beats, *self.now, self.verdict]
        self.store.set(self.keys[self.rank], json.dumps(own))
        for rank, key in enumerate(self.keys):
            if rank not in self.seen and not self.store.check([key]):
                continue  # it has only just started
            found, now = json.loads(self.store.get(key)), time.monotonic()
            before, heard, since = self.seen.get(rank, ([0] * 5, now, now))
            moved = found[1:4] != before[1:4]
            heard = heard if found[0] == before[0] else now
            self.seen[rank] = (found, heard, now if moved else since)
            if rank != self.rank and found[4] and not self.verdict:
                self.verdict = found[4]

    def _late(self, timeout: float) -> str:
        """Return which process is late, if one is."""
        now = time.monotonic()
        working = {rank: own for rank, own in self.seen.items() if not own[0][3]}
        for rank, (_, heard, _) in working.items():
            if rank != self.rank and now - heard > timeout:
                return self._died(rank)
        if not working:
            return ""
        last = min(own[0][1:3] for own in working.values())
        behind = [rank for rank, own in working.items() if own[0][1:3] == last]
        iteration, stage = last
        free = ("preparing",) if behind[0] else ("preparing", "hooks", "checkpoint")
        if STAGES[stage] in free or now - max(own[2] for own in working.values()) <= timeout:
            return ""  # while one still moves, what is known of the others may be a second old
        who = f"process {behind[0]} has" if len(behind) < self.ranks else "all processes have"
        return (
            f"{who} been at iteration {iteration}, {STAGES[stage]}, for {timeout:g} s "
            "(train.timeout)"
        )

    def _died(self, rank: int) -> str:
        found, heard, _ = self.seen[rank]
        place = f"iteration {found[1]}, {STAGES[found[2]]}" if found[1] else "its preparation"
        return (
            f"process {rank} of {self.ranks} died or was stopped: there is no sign of life since "
            f"{time.monotonic() - heard:.0f} s, the last was from {place}"
        )


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def end_children() -> None:
    """End the loader processes of this process, before it leaves without Python's clean-up."""
    for child in multiprocessing.active_children():
        child.terminate()


_watch: Watch | None = None


def watch() -> Watch | None:
    """Return what watches the other processes; None unless the run is distributed."""
    return _watch


def join_processes(launcher: str) -> None:
    """Join the process group of torchrun, Slurm or MPI, by NCCL with GPUs and gloo without."""
    if launcher == "none" or dist.is_initialized():
        return
    names = {
        "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
        "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    }
    if launcher not in names:
        raise ConfigError(f"--launcher: '{launcher}' must be one of none, {', '.join(names)}.")
    for ours, theirs in zip(names["pytorch"], names[launcher]):
        if theirs not in os.environ:
            raise ConfigError(
                f"--launcher {launcher}: {theirs} is not set. Start the command with that launcher."
            )
        os.environ[ours] = os.environ[theirs]
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        nodes = subprocess.run(
            ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]],
            capture_output=True,
            text=True,
        )
        os.environ["MASTER_ADDR"] = nodes.stdout.split()[0]
    if launcher == "mpi" and "MASTER_ADDR" not in os.environ:
        local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
        if local != os.environ["WORLD_SIZE"]:
            raise ConfigError("--launcher mpi on several nodes: set MASTER_ADDR to the first node.")
    os.environ.setdefault("MASTER_ADDR", platform.node())
    os.environ.setdefault("MASTER_PORT", "29500")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    global _watch
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, ranks = next(rendezvous("env://", timeout=START))
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the processes did not find each other within {START} at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({_first(error)}). Start as "
            "many as WORLD_SIZE says, with the same MASTER_ADDR and MASTER_PORT."
        ) from error
    dist.init_process_group(
        backend,
        store=PrefixStore("process_group", store),
        rank=rank,
        world_size=ranks,
        timeout=COLLECTIVES,
    )
    if ranks > 1:
        _watch = Watch(rank, ranks)
