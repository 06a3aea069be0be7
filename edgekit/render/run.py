"""The render station: scenes from seeds, frames from a Blender process, labels from geometry."""

import os
from pathlib import Path
from typing import Any

from edgekit.core.errors import GateError, UserError
from edgekit.core.files import write_text
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.library import default_prompt
from edgekit.render.config import RenderConfig
from edgekit.render.launch import blender_python, bpy_version, render_scenes
from edgekit.render.records import files_of, finished, record_frame
from edgekit.render.spec import Spec, sample_scene, spec_text
from edgekit.render.tables import write_drive, write_tables


def render(cfg: RenderConfig, run: Run) -> dict[str, Any]:
    """Renders what is missing below run.out and writes the Dataset (and Drives); returns the Dataset's info.

    Resumes: a frame whose files are there is not rendered again, and the specs depend on the recipe alone.
    Raises UserError without a Blender environment, or where another edgekit began the run; GateError
    when too many scenes fail.
    """
    python = blender_python(cfg.blender_python)
    bpy, prompt = bpy_version(python), default_prompt(cfg.student_library)
    run.made_with["bpy"] = bpy
    out = run.out
    _clear_leftovers(out)
    specs = [sample_scene(cfg, cfg.seed + k) for k in range(cfg.scenes)]
    by_path, orders, records = {}, [], {}
    for spec in specs:
        path = _scene_file(out, spec)
        by_path[str(path)] = spec
        missing = []
        for frame in spec["frames"]:
            if finished(out, spec, frame):
                records[frame["stem"]] = record_frame(out, spec, frame, prompt)
            else:
                missing.append(frame["index"])
        if missing:
            orders.append({"spec": str(path), "out": str(out), "frames": missing})
    total = sum(len(spec["frames"]) for spec in specs)
    run.say(
        f"{total} frames in {cfg.scenes} scenes, {len(records)} already there; "
        f"bpy {bpy}, {cfg.workers} worker(s)"
    )
    cpu_s = []

    with bar("render", total, "frame", initial=len(records)) as shown:

        def on_line(order: dict[str, Any], line: dict[str, Any]) -> None:
            if line["event"] != "frame":
                return
            spec = by_path[order["spec"]]
            records[line["stem"]] = record_frame(out, spec, spec["frames"][line["index"]], prompt)
            cpu_s.append(line["cpu_s"])
            run.log("frame", stem=line["stem"], cpu_s=line["cpu_s"], wall_s=line["wall_s"])
            shown.update()

        failed = render_scenes(
            orders,
            python,
            cfg.workers,
            cfg.frames_per_worker,
            cfg.frame_timeout_s,
            run.path / "worker.log",
            on_line,
            int(cfg.failed_scenes_max * cfg.scenes),
        )
    _check(run, cfg, specs, failed)
    for failure in failed:
        _remove(out, Path(failure["spec"]), by_path[failure["spec"]])
    lost = {by_path[f["spec"]]["scene"] for f in failed}
    whole = [spec for spec in specs if spec["scene"] not in lost]  # a scene is given whole or not at all
    rows = {spec["scene"]: [records[frame["stem"]] for frame in spec["frames"]] for spec in whole}
    info = write_tables(out, cfg, [r for scene in rows.values() for r in scene], bpy, prompt)
    if cfg.mode == "drive":
        for spec in whole:
            write_drive(out, spec, rows[spec["scene"]])
    if cpu_s:
        run.say(f"{len(cpu_s)} frames rendered, {sum(cpu_s) / len(cpu_s):.2f} cpu-s each")
    return info


def _check(run: Run, cfg: RenderConfig, specs: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
    for failure in failed:
        run.note(f"scene left out: {Path(failure['spec']).stem}: {failure['why']}")
    if len(failed) > int(cfg.failed_scenes_max * cfg.scenes):
        raise GateError(
            f"render: {len(failed)} of {len(specs)} scenes failed",
            f"at most {cfg.failed_scenes_max:.0%} may; the last: {failed[-1]['why']}",
            f"read {run.path / 'worker.log'}, mend the cause and run again: finished frames are kept",
        )


def _scene_file(out: Path, spec: Spec) -> Path:
    """scenes/<scene>.json, written where it is not there: what the worker draws from."""
    path, text = out / "scenes" / f"{spec['scene']}.json", spec_text(spec)
    if not path.exists():
        write_text(path, text)
    elif path.read_text() != text:  # labels come from our spec, frames from the file: they must be one
        raise UserError(
            f"render: {path} is not the scene of this recipe and seed",
            "another edgekit, which draws other scenes, began this run",
            "finish it with that one, or begin anew with --force, which moves it aside",
        )
    return path


def _remove(out: Path, scene_file: Path, spec: Spec) -> None:
    """What a scene that is left out has written: it belongs to no table, and not to the digest."""
    for path in [scene_file, *(path for frame in spec["frames"] for path in files_of(out, spec, frame))]:
        path.unlink(missing_ok=True)


def _clear_leftovers(out: Path) -> None:
    """Half-written files of a killed worker: they would count in the run's digest."""
    for folder in (out, out / "images", out / "ids", out / "depth"):
        for entry in list(os.scandir(folder)) if folder.is_dir() else []:
            if entry.name.endswith(".tmp") or (entry.name.startswith(".") and entry.name.endswith(".exr")):
                os.unlink(entry.path)
