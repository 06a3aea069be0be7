"""GenerateConfig: which generator paints what, how often, into which Dataset."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.label import SLOTS
from edgekit.core.recipe import Config, Plan


class Ask(Config):
    """``count`` pictures of a label (a DiT's) or of a prompt (all others').

    tags: of their rows. slots: what the label shall say, since it was asked for; every other slot is unknown.
    """

    label: str | None = None
    prompt: str | None = None
    tags: list[str] = []
    slots: dict[str, str] = {}
    count: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Ask:
        if (self.label is None) == (self.prompt is None):
            raise ValueError("ask with a label or with a prompt: exactly one of the two")
        for slot, value in self.slots.items():
            if value not in SLOTS.get(slot, ()):
                raise ValueError(f"slots: {slot}={value!r} is no slot and value of a scene label")
        return self

    @property
    def words(self) -> str:
        return self.label if self.label is not None else self.prompt or ""


class GenerateConfig(Config):
    """A generator (and an Adapter) in, a Dataset out.

    steps, guidance, sampler: of the sampling (sampler: ddim, ddpm or euler; absent: the generator's own).
    width, height: of the Dataset's images, multiples of 28; a picture is squeezed or stretched to them.
    splits: shares of the pictures. student_library: the prompt that the rows hold.
    """

    inputs: ClassVar[tuple[str, ...]] = ("base", "adapter")

    base: str
    adapter: str | None = None
    ask: list[Ask] = Field(min_length=1)
    steps: int = Field(25, ge=1)
    guidance: float = 2.0
    sampler: Literal["ddim", "ddpm", "euler"] | None = None
    seed: int = 0
    batch: int = Field(8, ge=1)
    precision: Literal["fp32", "bf16"] | None = None  # None: that of the adapter's base, else fp32
    width: int = 448
    height: int = 252
    splits: dict[Literal["train", "dev", "test"], float] = {"train": 1.0}
    student_library: str = "library"
    threads: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> GenerateConfig:
        for side in (self.width, self.height):
            if side % 28 or side < 56:
                raise ValueError(f"width={self.width}, height={self.height}: multiples of 28, 56 at least")
        if abs(sum(self.splits.values()) - 1) > 1e-6 or min(self.splits.values()) < 0:
            raise ValueError(f"splits must be shares that sum to 1, got {self.splits}")
        return self

    def plan(self) -> Plan:
        from edgekit.generators.cost import CPU, GPU, cost_of

        cost, pictures = cost_of(self.base), sum(ask.count for ask in self.ask)
        guided = 2 if self.guidance != 1 else 1
        speed = GPU if cost.big else CPU * min(self.threads, 2)
        width = 2 if self.precision == "bf16" or (self.precision is None and cost.big) else 4
        return Plan(
            memory_gb=round(
                width * (cost.denoiser + cost.others) / 1e9 + 0.3 * cost.flop / 1e12 * self.batch + 0.6, 1
            ),
            disk_gb=round(pictures * self.width * self.height / 1e9 + 0.01, 2),
            minutes=round(pictures * self.steps * guided * cost.flop / speed / 60 + 0.2, 1),
            notes=(
                f"{pictures} pictures of {self.steps} steps, {guided} passes each of {cost.flop / 1e9:.3g} GFLOP; "
                + ("one GPU at 35 % of 300 TFLOP/s" if cost.big else "CPU cores at 25 GFLOP/s"),
                "an estimate from these sizes, not a measurement",
            ),
        )
