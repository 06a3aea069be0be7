"""The scenes of a run on disk: each written as it is sampled, read again where its frames come in.

A scene's spec is some hundred kilobytes: a run of thousands does not hold them all.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_text
from edgekit.library import Prompt
from edgekit.render.config import RenderConfig
from edgekit.render.records import files_of, finished, record_frame
from edgekit.render.spec import Spec, sample_scene, spec_text

HELD = 16  # specs in memory: those whose frames are under way


class Scenes:
    """``records`` holds, by stem, the record of every finished frame."""

    def __init__(self, cfg: RenderConfig, out: Path, prompt: Prompt):
        self.cfg, self.out, self.prompt = cfg, out, prompt
        self.records: dict[str, dict[str, Any]] = {}
        self._paths: list[str] = []
        self._lost: set[str] = set()
        self.spec = lru_cache(HELD)(lambda path: read_json(path))

    def orders(self) -> Iterator[dict[str, Any]]:
        """Samples every scene and gives a worker's order for those that have frames to draw.

        Raises UserError where the folder holds another scene of the same name.
        """
        models = str(Path(self.cfg.assets).resolve().parent) if self.cfg.assets else ""
        for seed in range(self.cfg.seed, self.cfg.seed + self.cfg.scenes):
            path = self._write(sample_scene(self.cfg, seed))
            spec, missing = self.spec(path), []
            self._paths.append(path)
            for frame in spec["frames"]:
                if not (finished(self.out, spec, frame) and self._readable(path, frame["index"])):
                    missing.append(frame["index"])
            if missing:
                yield {"spec": path, "out": str(self.out), "frames": missing, "models": models}

    def record(self, path: str, index: int) -> None:
        """Takes a finished frame in."""
        spec = self.spec(path)
        frame = spec["frames"][index]
        self.records[frame["stem"]] = record_frame(self.out, spec, frame, self.prompt)

    def _readable(self, path: str, index: int) -> bool:
        """Takes a frame of an earlier start in; False where a crash of the machine has cut its ids off."""
        try:
            self.record(path, index)
        except OSError:
            return False
        return True

    def leave_out(self, path: str) -> None:
        """What a scene that is left out has written: it belongs to no table, and not to the digest."""
        spec = self.spec(path)
        for file in [
            Path(path),
            *(file for frame in spec["frames"] for file in files_of(self.out, spec, frame)),
        ]:
            file.unlink(missing_ok=True)
        self._lost.add(path)

    def whole(self) -> Iterator[tuple[Spec, list[dict[str, Any]]]]:
        """(spec, its records) of every scene that is not left out: a scene is given whole or not at all."""
        for path in self._paths:
            if path not in self._lost:
                spec = self.spec(path)
                yield spec, [self.records[frame["stem"]] for frame in spec["frames"]]

    def _write(self, spec: Spec) -> str:
        """scenes/<scene>.json, written where it is not there: what the worker draws from."""
        path, text = self.out / "scenes" / f"{spec['scene']}.json", spec_text(spec)
        found = path.read_text(errors="replace") if path.exists() else ""
        if found != text and text.startswith(found):  # not there, or cut off by a crash of the machine
            write_text(path, text)
        elif found != text:  # labels come from our spec, frames from the file: they must be one
            raise UserError(
                f"render: {path} is not the scene of this recipe and seed",
                "another edgekit, which draws other scenes, began this run, or the file was changed",
                "finish it with that one, or begin anew with --force, which moves it aside",
            )
        return str(path)
