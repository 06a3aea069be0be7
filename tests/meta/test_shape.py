"""The shape of the tree: floors, sizes, names, licences, nothing of anybody's machine."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [path for path in sorted((ROOT / "edgekit").rglob("*.py"))]
WORKER = ROOT / "edgekit" / "render" / "worker"
TEXT = {
    ".py",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".json",
    ".jsonl",
    ".html",
    ".css",
    ".js",
    ".sh",
    ".jinja",
    "",
}


def tracked() -> list[Path]:
    """Files of the product: what git tracks or would; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        found = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        left_out = {".venv", ".git", "runs", "build", "dist", "__pycache__"}
        found = [p for p in ROOT.rglob("*") if not left_out & set(p.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


def test_a_package_imports_from_below_only():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_ruff_is_content():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_files_are_short():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in PRODUCT}
    long = {str(path): n for path, n in lengths.items() if n > 500}
    assert not long
    assert statistics.median(lengths.values()) <= 150


def test_no_file_has_a_name_that_says_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
    bad = [
        p for p in tracked() if {part.lower() for part in (*p.relative_to(ROOT).parts[:-1], p.stem)} & vague
    ]
    assert bad == []


def test_nothing_of_anybodys_machine_is_written_down():
    # Built here from parts, so that this file does not find itself.
    homes = "|".join(["root/", "work/", r"home/\w+/", r"Users/\w+/", "opt/pypi", "opt/wheels"])
    place = re.compile(f"(?<![\\w.])/({homes})")
    found = []
    for path in tracked():
        if path.suffix in TEXT and path.name != "LICENSE":
            text = path.read_text(errors="ignore")
            found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in place.finditer(text)]
    assert found == []


def test_nothing_is_left_for_later():
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    found = [str(p.relative_to(ROOT)) for p in tracked() if p.suffix == ".py" and marks.search(p.read_text())]
    assert found == []


def imports(path: Path) -> set[str]:
    """Top names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def modules(path: Path) -> set[str]:
    """Whole names of all modules that a file imports, wherever in it, for types alone too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module} | {
        alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names
    }


def test_a_plan_knows_no_config_and_only_its_config_knows_it():
    plans = [path for path in PRODUCT if path.name == "plan.py"]
    assert len(plans) >= 5
    for path in plans:
        station = f"edgekit.{path.parent.name}"
        assert not {name for name in modules(path) if name == station or name.startswith(f"{station}.config")}
        users = [p for p in PRODUCT if f"{station}.plan" in modules(p)]
        assert users == [path.with_name("config.py")]


def test_bpy_lives_in_the_worker_alone_and_its_files_say_gpl():
    with_bpy = [path for path in PRODUCT if {"bpy", "bmesh", "mathutils"} & imports(path)]
    assert with_bpy, "no file imports bpy: this test looks in the wrong place"
    assert [p for p in with_bpy if WORKER not in p.parents] == []
    for path in WORKER.glob("*.py"):
        assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text().splitlines()[0], path
        assert "edgekit" not in imports(path), f"{path}: GPL code and ours talk through pipes and files only"


@pytest.mark.parametrize("module", ["pickle", "torchvision", "timm", "joblib", "dill"])
def test_modules_that_are_not_used_at_all(module):
    # serve's side environment asks for torchvision by name, in its import check; no file imports it.
    found = [str(p.relative_to(ROOT)) for p in PRODUCT if module in imports(p)]
    assert found in ([], ["edgekit/core/environments/torchvision_ops.py"])


def test_weights_are_never_unpickled():
    found = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "np.load",
                "numpy.load",
            ):
                safe = {"weights_only": "True"} if "torch" in ast.unparse(node.func) else {}
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if (
                    any(given.get(k) != v for k, v in safe.items())
                    or given.get("allow_pickle", "False") != "False"
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_the_licence_ships():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    text = (WORKER / "COPYING").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text and "Version 3, 29 June 2007" in text
    assert "END OF TERMS AND CONDITIONS" in text
