"""The render station: scenes from seeds, frames from a Blender process, labels from geometry."""

import os
from pathlib import Path
from typing import Any

from edgekit.core.errors import GateError
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.library import default_prompt
from edgekit.render.blender import blender_python, bpy_version
from edgekit.render.config import RenderConfig
from edgekit.render.formats import check_formats, write_formats
from edgekit.render.launch import render_scenes
from edgekit.render.scenes import Scenes
from edgekit.render.tables import licence_of, write_drive, write_tables


def render(cfg: RenderConfig, run: Run) -> dict[str, Any]:
    """Renders what is missing below run.out and writes the Dataset (and Drives); returns the Dataset's info.

    Resumes: a frame whose files are there is not rendered again, and the specs depend on the recipe alone.
    Raises UserError without a Blender environment, or where another edgekit began the run; GateError
    when too many scenes fail.
    """
    check_formats(cfg.formats)
    python = blender_python(cfg.blender_python)
    bpy, prompt = bpy_version(python), default_prompt(cfg.student_library)
    run.made_with["bpy"] = bpy
    licence = licence_of(cfg)  # read now: at the end the manifest may be gone
    _clear_leftovers(run.out)
    total = cfg.scenes * cfg.frames_per_scene
    run.say(f"{total} frames in {cfg.scenes} scenes; bpy {bpy}, {cfg.workers} worker(s)")
    scenes, cpu_s = Scenes(cfg, run.out, prompt), []

    with bar("render", total, "frame") as shown:

        def on_line(order: dict[str, Any], line: dict[str, Any]) -> None:
            if line["event"] == "frame":
                scenes.record(order["spec"], line["index"])
                cpu_s.append(line["cpu_s"])
                run.log("frame", stem=line["stem"], cpu_s=line["cpu_s"], wall_s=line["wall_s"])
            shown.update(len(scenes.records) - shown.n)

        failed = render_scenes(
            scenes.orders(),
            python,
            cfg.workers,
            cfg.frames_per_worker,
            cfg.frame_timeout_s,
            run.path / "worker.log",
            on_line,
            int(cfg.failed_scenes_max * cfg.scenes),
        )
        shown.update(len(scenes.records) - shown.n)
    _check(run, cfg, failed)
    for failure in failed:
        scenes.leave_out(failure["spec"])
    records = [record for _, rows in scenes.whole() for record in rows]
    info = write_tables(run.out, cfg, records, bpy, prompt, licence)
    write_formats(cfg.formats, run.out, records, cfg)
    if cfg.mode == "drive":
        for spec, rows in scenes.whole():
            write_drive(run.out, spec, rows, licence)
    if cpu_s:
        run.say(f"{len(cpu_s)} frames rendered, {sum(cpu_s) / len(cpu_s):.2f} cpu-s each")
    return info


def _check(run: Run, cfg: RenderConfig, failed: list[dict[str, Any]]) -> None:
    for failure in failed:
        run.note(f"scene left out: {Path(failure['spec']).stem}: {failure['why']}")
    if len(failed) > int(cfg.failed_scenes_max * cfg.scenes):
        raise GateError(
            f"render: {len(failed)} of {cfg.scenes} scenes failed",
            f"at most {cfg.failed_scenes_max:.0%} may (failed_scenes_max); the last: {failed[-1]['why']}",
            f"read {run.path / 'worker.log'}, mend the cause and run again: finished frames are kept",
        )


def _clear_leftovers(out: Path) -> None:
    """Half-written files of a killed worker: they would count in the run's digest."""
    for folder in (out, out / "images", out / "ids", out / "depth"):
        for entry in list(os.scandir(folder)) if folder.is_dir() else []:
            if entry.name.endswith(".tmp") or (entry.name.startswith(".") and entry.name.endswith(".exr")):
                os.unlink(entry.path)
