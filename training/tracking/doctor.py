"""What is installed here and what this machine can do, for `palaestra doctor` and for bug reports."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ...envs.machine import usable_cores, usable_memory
from .wandb_login import wandb_login, wandb_mode

# Optional packages by import name, and the extra that installs them.
EXTRAS = {
    "stable_baselines3": "baselines",
    "sb3_contrib": "baselines",
    "ale_py": "atari",
    "mujoco": "mujoco",
    "Box2D": "box2d",
    "minigrid": "minigrid",
    "minatar": "minatar",
    "dm_control": "dm-control",
    "envpool": "envpool",
    "minari": "minari",
    "ray": "ray",
    "tensorboard": "tensorboard",
}


def diagnose() -> dict[str, Any]:
    """Look at versions, devices, threads, optional packages, W&B and disk; imports no optional package."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "palaestra": version("palaestra"),
        "torch": torch.__version__,
        "gymnasium": version("gymnasium"),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "threads": torch.get_num_threads(),
        "cores": usable_cores(),
        "memory_gb": None if (memory := usable_memory()) is None else round(memory / 1e9, 1),
        "wandb": version("wandb"),
        "wandb_login": wandb_login(),
        "wandb_mode": wandb_mode() or None,
        "optional": {name: {"version": installed(name), "extra": extra} for name, extra in EXTRAS.items()},
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def format_diagnosis(diagnosis: dict[str, Any]) -> str:
    """Lay a diagnosis out for reading, with what to install for what is missing."""
    d = diagnosis
    login = f"logged in ({d['wandb_login']})" if d["wandb_login"] else "not logged in (run: wandb login)"
    mode = f", WANDB_MODE={d['wandb_mode']}" if d["wandb_mode"] else ""
    lines = {
        "palaestra": d["palaestra"],
        "python": f"{d['python']} on {d['platform']}",
        "torch": f"{d['torch']}, {'CUDA ' + d['cuda'] if d['cuda'] else 'no CUDA in this build'}",
        "gymnasium": d["gymnasium"],
        "device": ", ".join([d["device"], *d["gpus"]]),
        "threads": f"torch uses {d['threads']}, this process may use {d['cores']} cores",
        "memory": "unknown" if d["memory_gb"] is None else f"this process may use {d['memory_gb']} GB",
        "wandb": f"{d['wandb']}, {login}{mode}",
        "disk": f"{d['free_disk_gb']} GB free here",
    }
    for name, package in d["optional"].items():
        missing = f"missing (pip install 'palaestra[{package['extra']}]')"
        lines[name] = package["version"] or missing
    return "\n".join(f"{name:<18} {value}" for name, value in lines.items())


def installed(name: str) -> str | None:
    """Return the version of an installed package (`?` where it has none), None where it is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
