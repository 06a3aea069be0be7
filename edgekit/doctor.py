"""``edgekit doctor``: what is installed, what fits this machine, and the command that mends the rest."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

from edgekit import __version__
from edgekit.core.environments import WANTED, folder_of, python_of
from edgekit.core.errors import EdgekitError
from edgekit.core.inputs import missing
from edgekit.core.places import shipped
from edgekit.core.recipe import Plan, find_recipe, load_recipe, recipes_of

# What `edgekit road` uses of the main environment: extra -> modules.
MAIN = {
    "train": ("torch", "transformers", "peft", "accelerate", "safetensors"),
    "quantize": ("llmcompressor", "compressed_tensors"),
    "export": ("onnx", "onnxscript"),
    "onnxruntime": ("onnxruntime",),
    "opencv": ("cv2",),
    "video": ("av",),
    "serve": ("fastapi", "uvicorn"),
    "openai": ("openai",),
}
# Shared libraries that bpy asks for, and the Debian packages that hold them.
LIBRARIES = {
    "X11": "libx11-6", "Xext": "libxext6", "Xrender": "libxrender1", "Xfixes": "libxfixes3", "Xi": "libxi6",
    "xkbcommon": "libxkbcommon0", "SM": "libsm6", "ICE": "libice6", "GL": "libgl1",
}  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def report() -> str:
    """The whole report as text; imports nothing heavy."""
    memory, free = memory_gb()
    disk = shutil.disk_usage(".").free / 1e9
    cards = gpus()
    lines = [
        f"edgekit {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"  cores     {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        f"  memory    {memory:.1f} GB, {free:.1f} GB free",
        f"  disk      {disk:.1f} GB free here",
        f"  GPU       {'; '.join(cards) or 'none (everything nano runs on the CPU)'}",
        "",
        "installed",
        *(row(extra, *missing_modules(extra)) for extra in MAIN),
        *(row(f"env {name}", *side(name)) for name in WANTED),
        row("system", *system()),
        row("browser", *browser()),
        "",
        "shipped recipes on this machine (memory, disk, time: their own plans)",
        *(f"  {line}" for line in fits(free, disk)),
    ]
    return "\n".join(lines)


def row(name: str, found: str, mend: str) -> str:
    return f"  {name:12} {found}" + (f"\n  {'':12}   -> {mend}" if mend else "")


def missing_modules(extra: str) -> tuple[str, str]:
    missing = [m for m in MAIN[extra] if find_spec(m) is None]
    if missing:
        return f"missing: {', '.join(missing)}", f"pip install 'edgekit[{extra}]'"
    return "ok", ""


def side(name: str) -> tuple[str, str]:
    """A side environment's state and the command that makes it."""
    try:
        python_of(name)
        return f"ok ({folder_of(name)})", ""
    except EdgekitError as error:
        return error.why, f"edgekit setup {name}"


def system() -> tuple[str, str]:
    missing = [package for library, package in LIBRARIES.items() if find_library(library) is None]
    if sys.platform == "linux" and missing:
        return f"missing libraries: {', '.join(missing)}", f"apt-get install {' '.join(missing)}"
    return "ok", ""


def browser() -> tuple[str, str]:
    """Chromium and its driver: the demo's page is tested in it; nothing else wants them."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found and shutil.which("chromedriver"):
        return f"ok ({found})", ""
    return "no Chromium with chromedriver (only tests want it)", "apt-get install chromium chromium-driver"


def gpus() -> list[str]:
    """Name and memory of each NVIDIA card, by nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return []
    asked = subprocess.run(
        [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True
    )
    return asked.stdout.strip().splitlines() if asked.returncode == 0 else []


def memory_gb() -> tuple[float, float]:
    """(all, free) memory in GB; nan where the system does not tell."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return tuple(int(rows[key].split()[0]) * 1024 / 1e9 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError):
        return float("nan"), float("nan")


def plans() -> dict[str, tuple[Plan, list[str]] | str]:
    """``verb/recipe`` -> (Plan, inputs that are missing) of every shipped recipe, or why it cannot be read."""
    found: dict[str, tuple[Plan, list[str]] | str] = {}
    verbs = sorted(p.name for p in shipped("recipes").iterdir() if p.is_dir())
    for verb, name in ((v, name) for v in verbs for name in recipes_of(v)):
        kind = getattr(importlib.import_module(f"edgekit.{verb}.config"), f"{verb.title()}Config")
        try:
            config = load_recipe(kind, find_recipe(name, verb))
            found[f"{verb}/{name}"] = config.plan(), missing(config)
        except EdgekitError as error:
            found[f"{verb}/{name}"] = f"{error.what}: {error.why}"
    return found


def fits(memory: float, disk: float) -> list[str]:
    lines = []
    for name, told in plans().items():
        if isinstance(told, str):
            lines.append(f"{name:28} {told}")
            continue
        plan, lacking = told
        short = [
            f"{what}: {want:g} GB wanted, {have:.0f} GB free"
            for what, want, have in (("memory", plan.memory_gb, memory), ("disk", plan.disk_gb, disk))
            if want > have
        ]
        cost = f"{plan.memory_gb:g} GB, {plan.disk_gb:g} GB, {plan.minutes:g} min"
        fit = "does not fit: " + "; ".join(short) if short else "fits"
        if lacking:
            many = f"inputs {', '.join(lacking)} are" if len(lacking) > 1 else f"input {lacking[0]} is"
            fit += f"; its {many} not there yet"
        lines.append(f"{name:28} {cost:32} {fit}")
    return lines
