"""Wavefront OBJ: vertices and faces, and the files that its materials name.

Source: Wavefront's Advanced Visualizer manual, appendices B1 (OBJ) and MTL.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit.render.meshfiles import Model, ModelError, ModelFiles, check_finite, check_triangles

TEXTURES = ("map_", "bump", "norm", "refl", "disp", "decal")
# options of a texture line, and how many words follow each (o, s, t: up to three numbers)
OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2,
    "-texres": 1, "-type": 1, "-o": 3, "-s": 3, "-t": 3,
}  # fmt: skip


def read_obj(files: ModelFiles) -> Model:
    """Raises ModelError."""
    places, used, triangles = array("d"), array("q"), 0
    for number, words in _lines(files.found[0]):
        try:
            if words[0] == b"v":
                x, y, z = words[1:4]
                places.extend((float(x), float(y), float(z)))
            elif words[0] == b"f" and len(words) > 3:
                count, corners = len(places) // 3, [int(word.split(b"/", 1)[0]) for word in words[1:]]
                corners = [k - 1 if k > 0 else count + k for k in corners]
                if min(corners) < 0 or max(corners) >= count:
                    raise ModelError(
                        f"line {number}: a face names vertices that are not among the {count} before it",
                        "export it again",
                    )
                used.extend(corners)
                triangles += len(corners) - 2
            elif words[0] == b"mtllib":
                _libraries(files, words[1:])
        except ModelError:
            raise
        except ValueError:
            text = b" ".join(words)[:60].decode(errors="replace")
            raise ModelError(f"line {number} is not OBJ: {text!r}", "export it again") from None
    check_triangles(triangles)
    beside = files.found[0].with_suffix(".mtl")
    if beside.is_file():  # the importer looks there too
        _textures(files, beside.name)
    points = np.array(places).reshape(-1, 3)
    check_finite(points)
    return Model(points[np.unique(used)], triangles, tuple(files.found))


def _lines(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """(number, words) of each line that has any; a backslash at its end joins the next one to it."""
    held = b""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = held + line.rstrip()
            held = line[:-1] + b" " if line.endswith(b"\\") else b""
            if not held and (words := line.split()):
                yield number, words


def _libraries(files: ModelFiles, words: list[bytes]) -> None:
    """One name with blanks in it, or several names."""
    text = b" ".join(words).decode(errors="replace")
    for name in [text] if (files.folder / text).is_file() else text.split():
        _textures(files, name.replace("\\", "/"))


def _textures(files: ModelFiles, library: str) -> None:
    path = files.claim(library, "")
    base = path.parent.relative_to(files.folder).as_posix()
    for line in path.read_text(errors="replace").splitlines():
        key, *words = line.split() or [""]
        if not key.lower().startswith(TEXTURES):
            continue
        while words and words[0] in OPTIONS:
            most, words = OPTIONS[words[0]], words[1:]
            taken = 0
            while taken < most and words[taken:] and (most < 3 or _number(words[taken])):
                taken += 1
            words = words[taken:]
        if words:
            files.claim(" ".join(words).strip('"').replace("\\", "/"), "" if base == "." else base)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
