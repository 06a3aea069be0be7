"""Where the side environments lie, and whether one is whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgekit.core.environments.contents import wanted
from edgekit.core.errors import UserError
from edgekit.core.files import read_json

SCHEMA = "edgekit/environment/1"
_STAMP = "edgekit.json"


def folder_of(name: str) -> Path:
    """``$EDGEKIT_ENVS/<name>``, else ``<sys.prefix>/side/<name>``; it need not exist."""
    root = os.environ.get("EDGEKIT_ENVS")
    return (Path(root).expanduser() if root else Path(sys.prefix) / "side") / name


def stamp_of(name: str) -> Path:
    """The file that is written last: it exists = the environment is whole."""
    return folder_of(name) / _STAMP


def is_whole(name: str) -> bool:
    """Stamped, with the pins that this edgekit wants, and its interpreter is still there."""
    stamp = stamp_of(name)
    if not stamp.is_file() or not interpreter(name).exists():
        return False
    data = read_json(stamp)
    return data.get("schema") == SCHEMA and data.get("digest") == wanted(name).digest()


def interpreter(name: str) -> Path:
    return folder_of(name) / "bin" / "python"


def clean_environ() -> dict[str, str]:
    """``os.environ`` for a side environment's Python: it must not find the packages of this one.

    Bytecode is kept, for a first import without it takes minutes.
    """
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def python_of(name: str) -> Path:
    """The interpreter of a whole environment. Raises UserError where ``edgekit setup`` is needed."""
    if is_whole(name):
        return interpreter(name)
    if stamp_of(name).is_file():
        why = f"the one in {folder_of(name)} was made by another edgekit, with other versions"
    elif interpreter(name).exists():
        why = f"the one in {folder_of(name)} is not complete"
    else:
        why = f"there is none in {folder_of(name)}"
    raise UserError(f"the {name} environment is missing", why, f"run: edgekit setup {name}")
