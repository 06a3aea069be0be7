"""ExpertConfig: which detector, what its columns mean, how it wants its pictures. Light: no model is opened here.

A stranger's package brings a detector of its own by the entry-point group ``edgekit.experts``: a subclass of
``Detector`` with a ``kind`` of its own and ``opens``, the function that makes an Expert of it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Union

from pydantic import Field, field_validator, model_validator

from edgekit.core.box import Box
from edgekit.core.recipe import Config

if TYPE_CHECKING:
    import numpy as np

# What a box may be: the words that the fusion knows. car: any vehicle.
Thing = Literal["light", "cone", "barrier", "person", "cyclist", "debris", "car", "zebra"]


class Expert(Protocol):
    """A detector that is open. sees: the things that it can find at all; of the others it says nothing."""

    name: str
    sees: frozenset[str]

    def detect(self, images: list[np.ndarray]) -> list[list[Box]]:
        """Boxes of RGB uint8 (H, W, 3) images of any size, in pixels of each, best first."""
        ...


class Detector(Config):
    """What every kind of detector has."""

    opens: ClassVar[str]  # "module:function", called with the config; gives an Expert

    kind: str
    name: str | None = None  # how it is called in the history and in the reliability; None: its file's name


class Input(Config):
    """How a network wants its picture: RGB scaled to low..high, then (x - mean) / std."""

    width: int = Field(300, ge=16, le=4096)
    height: int = Field(300, ge=16, le=4096)
    layout: Literal["nhwc", "nchw"] = "nhwc"
    colour: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["stretch", "letterbox"] = "stretch"  # letterbox: the shape is kept, the rest is grey 114
    low: float = 0.0  # what black and white become
    high: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _whole(self) -> Input:
        if self.low >= self.high or min(self.std) <= 0:
            raise ValueError(f"low {self.low} must be below high {self.high}, and std {self.std} above 0")
        return self


class ExpertConfig(Detector):
    """Any ONNX detector with an SSD, YOLO or DETR head (edgekit/mine/experts/heads.py gives their outputs).

    classes: a column of the scores, or a name of ``names`` → what it is to us; several may be one thing.
    """

    opens: ClassVar[str] = "edgekit.mine.experts.detector:OnnxExpert"

    kind: Literal["onnx"] = "onnx"
    model: str  # an ONNX file
    head: Literal["ssd", "yolo", "detr"]
    classes: dict[int | str, Thing] = Field(min_length=1)
    columns: int | None = Field(None, ge=1)  # how many classes the scores hold; None: as many as the file has
    names: list[str] | None = (
        None  # of the columns, in order; None: the file's own metadata, where it has some
    )
    input: Input = Field(default_factory=Input)
    activation: Literal["auto", "none", "sigmoid", "softmax"] = "auto"  # auto: softmax for detr, else none
    score: float = Field(0.3, gt=0, lt=1)  # boxes below it are left out
    iou: float = Field(0.5, gt=0, lt=1)  # of two boxes of one thing that overlap more, the better one stays
    most: int = Field(100, ge=1, le=1000)  # boxes of an image
    threads: int = Field(1, ge=0)  # 0: the runtime's own choice

    @field_validator("classes", mode="before")
    @classmethod
    def _columns(cls, value: Any) -> Any:
        """A column's number stays one where a resolved recipe, whose keys are words, is read again."""
        if not isinstance(value, dict):
            return value
        return {int(k) if isinstance(k, str) and k.isdecimal() else k: v for k, v in value.items()}


def _kinds() -> dict[str, type[Detector]]:
    found: list[type[Detector]] = [ExpertConfig]
    found += [point.load() for point in entry_points(group="edgekit.experts")]
    return {cls.model_fields["kind"].default: cls for cls in found}


KINDS: dict[str, type[Detector]] = _kinds()
# What a recipe's `experts:` is a list of. pydantic wants two kinds before it lets one word choose.
AnyExpert: Any = (
    Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")] if len(KINDS) > 1 else ExpertConfig  # noqa: UP007
)


class Corridor(Config):
    """The ego path as a trapezoid of the image, in shares of its width and height; a thing is in the way where the
    middle of its box's foot lies in it. The default fits a forward camera with its horizon a little above the middle.
    """

    top: float = Field(0.5, ge=0, lt=1)  # from the horizon
    bottom: float = Field(1.0, gt=0, le=1)
    centre: float = Field(0.5, ge=0, le=1)
    half_top: float = Field(0.04, gt=0, le=1)  # half widths there
    half_bottom: float = Field(0.35, gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Corridor:
        if self.top >= self.bottom:
            raise ValueError(
                f"top {self.top} is not above bottom {self.bottom} (0 is the image's upper edge)"
            )
        return self

    def holds(self, x: float, y: float) -> bool:
        """Whether a point, in shares of width and height, lies in it."""
        if not self.top <= y <= self.bottom:
            return False
        down = (y - self.top) / (self.bottom - self.top)
        return abs(x - self.centre) <= self.half_top + down * (self.half_bottom - self.half_top)


class FusionConfig(Config):
    """How a mining recipe's experts are heard."""

    margin: float = Field(0.2, ge=0, lt=1)  # by which the better of two that disagree must be more probable
    corridor: Corridor = Field(default_factory=Corridor)


def open_expert(config: Detector) -> Expert:
    """Opens a detector of any kind. Raises UserError for a file that cannot be opened or has another shape."""
    module, _, function = config.opens.partition(":")
    return getattr(import_module(module), function)(config)
