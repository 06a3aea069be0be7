"""The truth of rendered frames in the forms that others read: one module a format, each with

    write(out: Path, records: list[dict], cfg) -> None

which writes below ``out/<format>/``. out: a run's out/ folder (images/<stem>.jpg, ids/<stem>.png, and
depth/<stem>.npz where it was asked for). records: {"split", "row", "truth"} of each frame, as
edgekit/render/records.py makes them. cfg: ``width``, ``height`` (px) and ``hfov_deg`` are read. A folder of
the format that is already there is replaced; the same records give the same bytes.
"""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError, suggestion

FORMATS = {name: f"edgekit.render.formats.{name}" for name in ("coco", "kitti", "yolo", "hdf5", "cityscapes")}
NEEDS = {"hdf5": "h5py"}  # packages that edgekit does not bring along


def check_formats(names: Iterable[str]) -> None:
    """Raises UserError for a name that is not in FORMATS, or whose package is missing: call it before rendering."""
    for name in names:
        if name not in FORMATS:
            raise UserError(
                f"render: no format {name!r}",
                suggestion(name, FORMATS),
                f"formats: any of {', '.join(FORMATS)}",
            )
        if name in NEEDS and not find_spec(NEEDS[name]):
            raise UserError(
                f"render: the format {name} needs {NEEDS[name]}",
                "it is not installed here",
                f"pip install {NEEDS[name]}, or leave {name} out of formats",
            )


def write_formats(names: Iterable[str], out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    """Writes every format named. Raises UserError as ``check_formats`` does, before the first is begun."""
    names = list(dict.fromkeys(names))
    check_formats(names)
    for name in names:
        import_module(FORMATS[name]).write(out, records, cfg)
