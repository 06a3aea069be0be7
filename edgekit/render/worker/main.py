# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""The Blender process. One JSON line in a scene ({"spec": path, "out": folder, "frames": [indices], "models":
folder of the user's own}), one JSON line out a finished frame. Reads and writes files, imports nothing of edgekit."""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
import traceback
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
# Blender chatters on stdout: keep the pipe for ourselves and send whatever it prints to stderr
PIPE = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

# a killed launcher takes its worker along, in the middle of a frame (elsewhere: after that frame)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

# one core for a worker: OIDN starts a thread for each core it may use, and they spin
# (448x252, 4 samples: 5.6 cpu-s a frame against 2.6)
if "--core" in sys.argv:
    os.sched_setaffinity(0, {int(sys.argv[sys.argv.index("--core") + 1])})

import bpy  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import effects  # noqa: E402
import files  # noqa: E402
from greenery import build_trees  # noqa: E402
from houses import build_houses  # noqa: E402
from land import build_land  # noqa: E402
from people import People  # noqa: E402
from posts import build_posts  # noqa: E402
from roadworks import Works  # noqa: E402
from signals import Signals  # noqa: E402
from studio import Headlights, airlight, build_camera, build_sky, set_up  # noqa: E402
from vehicles import Vehicles  # noqa: E402

SCHEMA = "edgekit/scene/2"


def say(**line):
    PIPE.write(json.dumps(line) + "\n")
    PIPE.flush()


def build(spec):
    """(what is arranged anew for each frame, the camera)"""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_sky(spec["conditions"])
    cameras = [(frame["camera"]["x"], frame["camera"]["y"]) for frame in spec["frames"]]
    build_land(spec)
    build_houses(spec, cameras)
    build_trees(spec, cameras)
    build_posts(spec, cameras)
    actors = [make(spec) for make in (Signals, Vehicles, People, Works, Headlights)]
    camera = build_camera(spec)
    set_up(spec)
    return actors, camera


def render(spec, frame, actors, camera, out):
    began, cpu = time.monotonic(), sum(os.times()[:2])
    pose, radians = frame["camera"], 3.141592653589793 / 180
    for actor in actors:
        actor.arrange(frame)
    camera.location = (pose["x"], pose["y"], pose["z"])
    camera.rotation_euler = ((90 + pose["pitch_deg"]) * radians, 0, pose["yaw_deg"] * radians)
    scene = bpy.context.scene
    # persistent data keep the seed of the first frame drawn: name one, so that a resumed scene has it too
    scene.cycles.seed = spec["frames"][0]["seed"] & 0x7FFFFFFF
    bpy.context.view_layer.update()
    bpy.ops.render.render()
    raw = f"{out}/.{frame['stem']}.{os.getpid()}.exr"
    bpy.data.images["Render Result"].save_render(raw, scene=scene)
    parts = files.read_exr(raw)
    os.unlink(raw)
    screen, quality = develop(spec, frame, parts)
    if not spec["passes"]["depth"]:
        parts.pop("depth", None)
    files.write_frame(out, frame["stem"], parts, screen, quality)
    say(
        event="frame", scene=spec["scene"], index=frame["index"], stem=frame["stem"],
        cpu_s=round(sum(os.times()[:2]) - cpu, 2), wall_s=round(time.monotonic() - began, 2),
        rgb_sha256=hashlib.sha256(screen.tobytes()).hexdigest(),
    )  # fmt: skip


def develop(spec, frame, parts):
    """(screen image, JPEG quality): weather and camera over the linear light; ids and depth stay."""
    conditions, hfov, rgb = spec["conditions"], spec["image"]["hfov_deg"], parts["rgb"]
    asked, weather = conditions.get("effects", {}), conditions["weather"]
    if asked:
        rgb = effects.before(rgb, parts.get("depth"), asked, frame, hfov, airlight(conditions))
    if weather == "rain":
        rgb = files.streaks(rgb, frame["seed"])
    if asked:
        rgb = effects.within(rgb, asked, frame, spec["seed"], hfov, weather in ("rain", "snow"))
    return files.to_screen(rgb), asked.get("jpeg_quality", 95)


def main():
    parent = os.getppid()
    say(event="ready", bpy=bpy.app.version_string, pid=os.getpid())
    for line in sys.stdin:
        order = json.loads(line)
        try:
            with open(order["spec"]) as file:
                spec = json.load(file)
            if spec["schema"] != SCHEMA:
                raise ValueError(f"scene schema is {spec['schema']}; this worker reads {SCHEMA}")
            for asset in spec["assets"]:  # a spec names them by their place in the manifest's folder
                asset["path"] = os.path.join(order["models"], asset["path"])
            began = sum(os.times()[:2])
            actors, camera = build(spec)
            build_cpu = round(sum(os.times()[:2]) - began, 2)
            for frame in spec["frames"]:
                if os.getppid() != parent:  # the launcher is gone: nobody would hear us
                    return
                if frame["index"] in order["frames"]:
                    render(spec, frame, actors, camera, order["out"])
            say(event="scene", scene=spec["scene"], build_cpu_s=build_cpu)
        except BrokenPipeError:
            return
        except Exception as error:
            traceback.print_exc()
            say(event="failed", spec=order["spec"], why=f"{type(error).__name__}: {error}")


main()
