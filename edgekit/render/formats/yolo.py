"""YOLO: out/yolo/images|labels/<split>/ and data.yaml; boxes of what is seen, in shares of the image."""

from pathlib import Path
from typing import Any

from edgekit.core.files import write_text
from edgekit.render.formats.frame import THINGS, Thing, by_split, frames_of, fresh, link


def write(out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    """A frame without things has an empty label file, as trainers expect of a background picture."""
    folder = fresh(out, "yolo")
    for split, frames in by_split(frames_of(out, records)).items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for frame in frames:
            link(frame.image, folder / "images" / split / frame.image.name)
            lines = [line(thing, cfg.width, cfg.height) for thing in frame.shown()]
            write_text(folder / "labels" / split / f"{frame.stem}.txt", "".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(THINGS))
    # without `path` the folders are looked for beside this file, wherever it is moved to
    write_text(
        folder / "data.yaml", f"train: images/train\nval: images/dev\ntest: images/test\nnames:\n{names}"
    )


def line(thing: Thing, width: int, height: int) -> str:
    """``class u v w h``: centre and size in shares of the image."""
    u0, v0, u1, v1 = thing["box_visible"]
    shares = ((u0 + u1) / 2 / width, (v0 + v1) / 2 / height, (u1 - u0) / width, (v1 - v0) / height)
    return " ".join([str(THINGS.index(thing["class"])), *(f"{share:.6f}" for share in shares)]) + "\n"
