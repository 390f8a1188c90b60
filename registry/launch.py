"""Joining a launcher's process group."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import timedelta

import torch
from torch import distributed as dist

from registry.errors import ConfigError


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
    # the other processes wait while the first one evaluates
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=12))
