"""shapes.py against what it stands for: the meshes of the worker, read out of Blender."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edgekit.render
from edgekit.render.blender import blender_python
from edgekit.render.shapes import HEIGHT_M, SIZE_M, STRIDE_M, hull
from edgekit.render.traffic.motion import SIZES
from tests.unit.render.blender import NEEDS_BLENDER

WORKER = Path(edgekit.render.__file__).parent / "worker"
NEAR_M = 0.03  # how tight a hull is asked to be
PERSON_M = 1.75
CASES = {
    f"{kind} {length}": (kind, length, width, HEIGHT_M[kind])
    for kind in SIZES
    for length, width in SIZES[kind]
}
CASES |= {
    name: (name, *SIZE_M[name], HEIGHT_M[name])
    for name in ("cone", "barrier", "debris", "head", "sign", "rider")
}
CASES |= {name: ("person", *SIZE_M[name], PERSON_M) for name in ("standing", "walking")}
MESHES = """
import json, sys
import bpy
sys.path.insert(0, sys.argv[1])
import bikes, bodies, people, posts, roadworks, signals
makers = {"car": bodies.car, "truck": bodies.truck, "bus": bodies.bus,
          "bicycle": bikes.bicycle, "motorcycle": bikes.motorcycle}
still = {"cone": roadworks.cone, "barrier": roadworks.barrier, "debris": roadworks.box, "head": signals.head_mesh,
         "sign": lambda: posts.sign_face(50), "rider": lambda: bikes.rider(1)}
found = {}
for name, (kind, *size) in json.loads(sys.argv[2]).items():
    if kind in makers:
        mesh = makers[kind](*size, (0.3, 0.02, 0.02), True)
    elif kind == "person":
        mesh = people.person_mesh((0.3, 0.02, 0.02), 1, name == "walking")
    else:
        mesh = still[kind]()
    found[name] = [list(v.co) for v in mesh.vertices]
json.dump(found, open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """{case: (n, 3) vertices}, as the worker makes them."""
    out = tmp_path_factory.mktemp("shapes") / "meshes.json"
    command = [blender_python(""), "-c", MESHES, str(WORKER), json.dumps(CASES), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return {name: np.array(points) for name, points in json.loads(out.read_text()).items()}


def directions(count=500):
    """Evenly over the sphere, and the six axes: (count + 6, 3)."""
    k = np.arange(count)
    z, turn = 1 - (2 * k + 1) / count, k * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z * z)
    return np.vstack([np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1), np.eye(3), -np.eye(3)])


@pytest.mark.blender
@pytest.mark.parametrize("case", CASES)
@NEEDS_BLENDER[1]
def test_a_hull_wraps_the_mesh_and_no_more(meshes, case):
    """In every direction the mesh and its hull reach equally far."""
    points, around = hull(*CASES[case]), directions()
    mesh, wrap = (around @ np.array(p).T for p in (meshes[case], points))
    off = mesh.max(axis=1) - wrap.max(axis=1)
    assert off.max() < NEAR_M, (off.max(), around[off.argmax()])
    assert off.min() > -NEAR_M, (off.min(), around[off.argmin()])


@pytest.mark.parametrize("case", CASES)
def test_a_hull_is_as_large_as_the_thing(case):
    kind, length, width, height = CASES[case]
    points = np.array(hull(kind, length, width, height))
    size = points.max(axis=0) - points.min(axis=0)
    low = 0.27 if kind == "rider" else 0.0  # a rider's feet
    assert size == pytest.approx([width, length, height - low], abs=0.03)
    if kind not in ("head", "sign"):
        assert points[:, 2].min() == pytest.approx(low, abs=0.01)  # it stands on the ground


def test_a_person_grows_with_its_height_and_strides_when_long():
    still, tall = (np.array(hull("person", 0.0, 0.0, h)) for h in (1.5, 1.8))
    assert tall == pytest.approx(still * 1.2)
    assert SIZE_M["standing"][0] < STRIDE_M < SIZE_M["walking"][0]


def test_a_longer_car_is_longer_and_nothing_else():
    short, long = (np.array(hull("car", length, 1.8, 1.46)) for length in (4.3, 4.5))
    assert np.ptp(long, axis=0) - np.ptp(short, axis=0) == pytest.approx([0, 0.2, 0])


def test_an_unknown_kind_is_an_error():
    with pytest.raises(KeyError):
        hull("tram", 30.0, 2.6, 3.5)
