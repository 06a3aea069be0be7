"""TuneConfig: which generator learns which frames, by which method, how long."""

from __future__ import annotations

from string import Formatter
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from edgekit.core.recipe import Config, Plan, build, change
from edgekit.generators.adapters.config import AdaLora, AdapterMethod
from edgekit.generators.config import NanoGenerator
from edgekit.tune.study.config import Study

WORDS = ("weather", "time", "tags")  # of a frame, that a template may name


class Condition(Config):
    """What a frame's picture is asked with. The base decides which: a DiT has labels, the others texts.

    label: the class of a frame, out of its tags. caption: its text, where the Dataset has no description of it
    or ``descriptions`` is false.
    """

    label: str = "{weather} {time}"
    caption: str = "a street, {weather}, {time}"
    descriptions: bool = True

    @field_validator("label", "caption")
    @classmethod
    def _known(cls, template: str) -> str:
        named = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        if strange := sorted(named - set(WORDS)):
            raise ValueError(f"{{{strange[0]}}} is none of {', '.join(f'{{{w}}}' for w in WORDS)}")
        return template


class Train(Config):
    """batch: pictures of one pass; accumulate: passes of one step. final_share: of the learning rate, at the
    cosine's end (1: constant after the warm-up). clip: of the gradient's norm, ema: of the trained tensors; 0 leaves
    either out. drop: the share of pictures that learn without their condition. flip: the chance of a mirror image,
    never of a frame whose condition tells left from right.
    """

    steps: int = Field(200, ge=1)
    batch: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(1e-4, ge=0)
    warmup_steps: int = Field(10, ge=0)
    final_share: float = Field(1.0, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    ema: float = Field(0.999, ge=0, lt=1)
    drop: float = Field(0.1, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    save_every: int = Field(50, ge=1)
    threads: int = Field(2, ge=1)


class Objective(Config):
    """object_weight: added weight of the error inside objects' boxes (DriveDiTFit eq. 17); objects: their
    classes in truth.jsonl, empty for all. stages: progressive goes through DriveDiTFit's noise schedules.
    interval: from <= t < to, the times that are learned; all where it is absent.
    """

    object_weight: float = Field(0.0, ge=0)
    objects: list[str] = []
    min_cells: int = Field(1, ge=1)
    stages: Literal["fixed", "progressive"] = "fixed"
    interval: tuple[float, float] | None = None


class Ssei(Config):
    """Where new labels of ``driveditfit`` start (label_start: ssei): at the most similar class of the base.

    encoder: histogram (colours: a stand-in), or a folder or hub name of a CLIP model. The base's classes are
    seen in ``class_data``'s frames, else in ``paint`` pictures of each that the base paints in ``steps``.
    """

    encoder: str = "histogram"
    per: int = Field(100, ge=1)
    paint: int = Field(4, ge=1)
    steps: int = Field(20, ge=1)


class Report(Config):
    """frames: how many the loss is measured on, per tenth of the noise times; samples: columns of
    samples.png, painted in ``steps`` at ``guidance``."""

    frames: int = Field(16, ge=1)
    samples: int = Field(6, ge=1)
    steps: int = Field(20, ge=1)
    guidance: float = 2.0


class TuneConfig(Config):
    """A generator and Datasets in, an Adapter out; or, from ``nano``, a whole generator.

    With ``study`` it gives bases and comparisons of many such tunings instead (edgekit/tune/study).
    """

    inputs: ClassVar[tuple[str, ...]] = ("base", "data", "adapter_from", "class_data")

    base: str | None = None
    nano: NanoGenerator | None = None
    data: list[str] = []
    adapter_from: str | None = None
    class_data: list[str] = []
    method: AdapterMethod
    condition: Condition = Field(default_factory=Condition)
    train: Train = Field(default_factory=Train)
    objective: Objective = Field(default_factory=Objective)
    ssei: Ssei = Field(default_factory=Ssei)
    report: Report = Field(default_factory=Report)
    study: Study | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> TuneConfig:
        if self.study:
            return self._whole_study()
        if not self.data:
            raise ValueError("data names no Dataset to learn from")
        if (self.base is None) == (self.nano is None):
            raise ValueError("name a base, or the sizes of a nano one: exactly one of the two")
        if self.nano and self.method.kind != "full":
            raise ValueError(
                f"a nano base knows nothing yet: method {self.method.kind} has nothing to adapt; set method.kind: full"
            )
        if self.nano and self.adapter_from:
            raise ValueError("adapter_from goes with a base; leave out nano")
        if self.adapter_from and self.method.kind == "adalora":
            raise ValueError(
                "adapter_from: an adalora's ranks are pruned for good in its own training; begin anew"
            )
        self._alive()
        return self

    def _alive(self) -> None:
        """Raises ValueError for keys that nothing would read."""
        method = self.method
        if getattr(method, "label_start", None) != "ssei" and (self.class_data or self.ssei != Ssei()):
            raise ValueError(
                "class_data and ssei are read with method.label_start: ssei alone; leave them out"
            )
        if method.kind == "adalora" and method.steps not in (AdaLora().steps, self.train.steps):
            raise ValueError(f"method.steps={method.steps}: a tuning prunes over train.steps; leave it out")

    def _whole_study(self) -> TuneConfig:
        if self.study.kind == "bases":
            if self.base or self.nano or self.data:
                raise ValueError(
                    "study.kind: bases draws its own data for study.nano; leave out base, nano, data"
                )
            return self
        if self.nano or not self.base:
            raise ValueError("study.kind: arms asks for base, a run of study.kind: bases, and for no nano")
        if ("drives" in self.study.targets) != bool(self.data):
            raise ValueError("study.targets: drives and data, its Datasets, go together")
        for arm in self.study.arms:
            self.inner(arm, data=["-"])
        return self

    def inner(self, arm: str | None, **changed: Any) -> TuneConfig:
        """The recipe of one training of the study. Raises UserError where the arm's changes are not valid."""
        raw = self.model_dump(mode="json") | {"study": None} | changed
        of = f"study arm {arm!r}"
        return build(TuneConfig, change(raw, self.study.arms[arm] if arm else {}, of), of)

    def plan(self) -> Plan:
        from edgekit.generators.cost import cost_of
        from edgekit.tune.plan import plan_tuning

        train, shown, study = self.train, self.report, self.study
        looks = 2 * 10 * shown.frames + 2 * (2 if shown.guidance != 1 else 1) * shown.samples * shown.steps
        if getattr(self.method, "label_start", None) == "ssei" and not self.class_data:
            looks += 2 * cost_of(self.base, self.nano).classes * self.ssei.paint * self.ssei.steps
        nanos, steps, times, notes = [self.nano], [train.steps], 1, ()
        if study and study.kind == "bases":
            nanos = list(study.nano.values())
            steps = [study.steps.get(name, train.steps) for name in study.nano]
        elif study:
            nanos, times = (
                [NanoGenerator()],
                len(study.on) * len(study.targets) * len(study.arms) * len(study.seeds),
            )
            looks += 10 * study.held_out + study.samples * study.steps
            notes = (f"a study: {times} trainings one after another, of a nano base's usual size",)
        plans = [
            plan_tuning(
                base=None if study else self.base, nano=nano, method=self.method.kind, batch=train.batch,
                passes=train.accumulate * count, bf16=train.precision == "bf16",
                checkpointing=train.gradient_checkpointing, threads=train.threads, looks=looks,
            )
            for nano, count in zip(nanos, steps, strict=True)
        ]  # fmt: skip
        largest = max(plans, key=lambda plan: plan.memory_gb)
        return Plan(
            largest.memory_gb,
            round(times * sum(plan.disk_gb for plan in plans), 2),
            round(times * sum(plan.minutes for plan in plans), 1),
            (*notes, *largest.notes),
        )
