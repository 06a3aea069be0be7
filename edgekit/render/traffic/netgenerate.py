"""Networks made by SUMO's netgenerate, where eclipse-sumo is installed.

Options: https://sumo.dlr.de/docs/netgenerate.html. Grids alone; spiders are left out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import ConfigDict, Field

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config


class GridConfig(Config):
    model_config = ConfigDict(frozen=True)
    columns: int = Field(2, ge=1, le=20)
    rows: int = Field(2, ge=1, le=20)
    block_m: float = Field(120.0, ge=40, le=1000)  # from junction to junction
    attach_m: float = Field(90.0, ge=40, le=1000)  # of the open ends
    lanes: int = Field(2, ge=1, le=4)  # each way
    lane_m: float = Field(3.3, ge=2.5, le=5)
    limit_kmh: int = Field(50, ge=10, le=120)
    sidewalk_m: float = Field(3.0, ge=0, le=8)  # 0: no pavements and no crossings
    signalled: bool = True  # all junctions or none
    cycle_s: int = Field(60, ge=30, le=180)


def tidy(text: str, said: str) -> str:
    """A .net.xml without its indentation and its header, in which SUMO writes the date and paths; said: instead."""
    lines = text[text.index("<net ") :].splitlines()
    return "\n".join([f"<!-- {said} -->", *(line.strip() for line in lines if line.strip())]) + "\n"


def find_tool(name: str) -> str:
    """netgenerate or netconvert: beside this Python, in SUMO_HOME, or on the PATH. Raises UserError."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    if "SUMO_HOME" in os.environ:
        places.insert(1, str(Path(os.environ["SUMO_HOME"]) / "bin"))
    found = shutil.which(name, path=os.pathsep.join(places))
    if not found:
        raise UserError(
            f"render: no network can be made: there is no {name}",
            "it is neither beside this Python, nor in SUMO_HOME/bin, nor on the PATH",
            "pip install eclipse-sumo==1.28.0, or use a shipped network: x, t, grid, toll",
        )
    return found


def generate_grid(config: GridConfig, out: Path) -> Path:
    """Writes a .net.xml, the same for the same config and SUMO.

    Raises UserError without netgenerate, or when it fails.
    """
    tool = find_tool("netgenerate")
    options = {
        "grid": "true", "grid.x-number": config.columns, "grid.y-number": config.rows, "grid.length": config.block_m,
        "grid.attach-length": config.attach_m, "default.lanenumber": config.lanes, "default.lanewidth": config.lane_m,
        "default.speed": round(config.limit_kmh / 3.6, 3),
        "default-junction-type": "traffic_light" if config.signalled else "priority",
        "tls.cycle.time": config.cycle_s, "no-turnarounds": "true", "junctions.internal-link-detail": 10,
        "junctions.limit-turn-speed": 2.5, "default.junctions.radius": 6,
        "offset.disable-normalization": "true",
    }  # fmt: skip
    if config.sidewalk_m:
        options |= {
            "sidewalks.guess": "true", "crossings.guess": "true", "default.sidewalk-width": config.sidewalk_m,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "grid.net.xml"
        command = [tool, *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True)
        if done.returncode or not made.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise UserError(
                "render: netgenerate failed", lines[0], "check the grid's keys, or use a shipped network"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(tidy(made.read_text(), "made by netgenerate"))
    return out
