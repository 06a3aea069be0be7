"""An ONNX detector that is open: picture in, boxes in the picture's own pixels out."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from edgekit.core.box import Box
from edgekit.core.errors import UserError, suggestion
from edgekit.mine.experts.config import ExpertConfig, Input
from edgekit.mine.experts.heads import decode, strongest, suppressed, unlike

GREY = 114  # what a letterbox is filled with: YOLO's own
MOST_NAMES = 100_000  # characters of a file's metadata that are read


class Fit(NamedTuple):
    """Where the picture lies in the network's input: its size there, and its corner, in pixels of the input."""

    width: int
    height: int
    left: int
    top: int

    def back(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (n, 4) x0 y0 x1 y1 in pixels of the input → of a picture of ``size`` (width, height), cut at its
        edges."""
        scale = np.array([size[0] / self.width, size[1] / self.height] * 2)
        corner = np.array([self.left, self.top] * 2)
        return np.clip((boxes - corner) * scale, 0, np.array([*size, *size]))


def place(size: tuple[int, int], spec: Input) -> Fit:
    """The Fit of a picture of ``size`` (width, height): all of the input, or in its middle with its own shape."""
    if spec.fit == "stretch":
        return Fit(spec.width, spec.height, 0, 0)
    scale = min(spec.width / size[0], spec.height / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return Fit(width, height, (spec.width - width) // 2, (spec.height - height) // 2)


def picture(image: np.ndarray, spec: Input, fit: Fit) -> np.ndarray:
    """RGB uint8 (H, W, 3) → float32 (1, height, width, 3), or (1, 3, height, width) for nchw."""
    scaled = Image.fromarray(image).resize((fit.width, fit.height), Image.Resampling.BILINEAR)
    out = np.full((spec.height, spec.width, 3), GREY, dtype=np.float32)
    out[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = np.asarray(scaled)
    out = (out / 255 * (spec.high - spec.low) + spec.low - np.float32(spec.mean)) / np.float32(spec.std)
    out = out[..., ::-1] if spec.colour == "bgr" else out
    return np.ascontiguousarray(out.transpose(2, 0, 1) if spec.layout == "nchw" else out)[None]


class OnnxExpert:
    """edgekit.mine.experts.config.Expert over onnxruntime, one image at a time on the CPU.

    Raises UserError for a file that cannot be opened, that takes another input, whose outputs are not those of its
    head or hold scores that are no numbers, or that has other classes than the recipe names; the shapes are tried
    with one grey picture.
    """

    def __init__(self, config: ExpertConfig):
        self.config, self.file = config, Path(config.model)
        self.name = config.name or self.file.stem
        self.sees = frozenset(config.classes.values())
        self.session = self._open()
        self.input, self.dtype = self._input()
        spec = config.input
        grey = np.full((spec.height, spec.width, 3), GREY, dtype=np.uint8)
        outputs = self._outputs(grey)
        if why := unlike(config.head, outputs, config.activation):
            raise self._misfit(why)
        self.things = self._things(self._decoded(outputs)[0].shape[1])

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Box]]:
        """Boxes per image, best first. images: RGB uint8 (H, W, 3) of any size."""
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> list[Box]:
        config, spec = self.config, self.config.input
        scores, shares = self._decoded(self._outputs(image))
        found = strongest(scores, shares, list(self.things), config.score, 10 * config.most)
        names = np.array([self.things[c] for c in found.columns.tolist()], dtype=object)
        # DETR gives each thing once by itself: only one box of two classes that are one thing to us goes.
        stays = suppressed(found.boxes, names, 0.99 if config.head == "detr" else config.iou)[: config.most]
        size = (image.shape[1], image.shape[0])
        inside = found.boxes[stays] * np.array([spec.width, spec.height] * 2)
        boxes = place(size, spec).back(inside, size)
        return [
            Box(name, *map(float, box), float(score))
            for name, box, score in zip(names[stays], boxes, found.scores[stays], strict=True)
            if box[2] > box[0] and box[3] > box[1]  # what lay in the letterbox's grey has no area left
        ]

    def _outputs(self, image: np.ndarray) -> list[np.ndarray]:
        spec = self.config.input
        fed = picture(image, spec, place((image.shape[1], image.shape[0]), spec)).astype(self.dtype)
        return self.session.run(None, {self.input: fed})

    def _decoded(self, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(scores (n, C), boxes (n, 4) in shares of the input)."""
        config, spec = self.config, self.config.input
        try:
            return decode(config.head, outputs, (spec.width, spec.height), config.activation, config.columns)
        except ValueError as error:
            raise self._misfit(str(error)) from None

    def _misfit(self, why: str) -> UserError:
        names = ", ".join(output.name for output in self.session.get_outputs())
        return UserError(
            f"expert {self.name}: {self.file.name} does not fit head: {self.config.head}",
            f"{why} (named {names[:80]})",
            "set head, columns and activation to what the file has, export it again in float32, or name another",
        )

    def _open(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.config.threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises many kinds; each means that the file is not to be had
            why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            why = why if self.file.is_file() else "there is no such file"
            raise UserError(
                f"expert {self.name}: {self.file} cannot be opened", why, "set model to an ONNX file"
            ) from None

    def _input(self) -> tuple[str, str]:
        """Its input's name and numpy type."""
        spec, taken = self.config.input, self.session.get_inputs()
        sides = (spec.height, spec.width)
        wanted = (1, *sides, 3) if spec.layout == "nhwc" else (1, 3, *sides)
        types = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(float16)": "float16"}
        fits = (
            len(taken) == 1
            and len(taken[0].shape) == 4
            and all(
                not isinstance(have, int) or have == want
                for have, want in zip(taken[0].shape, wanted, strict=True)
            )
            and taken[0].type in types
        )
        if not fits:
            told = "; ".join(f"{i.name} {i.type} {i.shape}" for i in taken)
            raise UserError(
                f"expert {self.name}: {self.file.name} takes another input",
                f"it takes {told}; the recipe says one image of {list(wanted)}",
                "set input.width, input.height and input.layout to what the file takes",
            )
        return taken[0].name, types[taken[0].type]

    def _things(self, columns: int) -> dict[int, str]:
        """Column → our name for it."""
        names = self.config.names or self._own_names()
        out = {}
        for key, thing in self.config.classes.items():
            if isinstance(key, str) and key not in (names or []):
                hint = suggestion(key, names) if names else "it tells no names of its columns"
                raise UserError(
                    f"expert {self.name}: {self.file.name} has no class {key!r}",
                    f"it has {columns} classes; {hint}",
                    "name one of its classes, give its column's number, or give names",
                )
            column = names.index(key) if isinstance(key, str) else key
            if not 0 <= column < columns or (names and len(names) != columns):
                had = f"and {len(names)} names are given" if names else f"numbered 0 to {columns - 1}"
                raise UserError(
                    f"expert {self.name}: {self.file.name} has other classes than the recipe says",
                    f"its scores have {columns} columns, {had}; {key!r} should be {thing}",
                    "set classes (and names) to this file's, or name another file",
                )
            out[column] = thing
        return out

    def _own_names(self) -> list[str] | None:
        """The classes' names in the file's metadata, as Ultralytics writes them: {0: 'person', …}."""
        text = self.session.get_modelmeta().custom_metadata_map.get("names", "")[:MOST_NAMES]
        try:
            names = ast.literal_eval(text)
            return [str(names[i]) for i in range(len(names))]
        except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
            return None
