"""DistillConfig: who teaches, who learns, from what, how long."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan, build, change
from edgekit.distill.plan import plan_training
from edgekit.models.nano import NanoConfig


class Student(Config):
    """Where the student starts.

    nano: a new model of these sizes; shrink: the teacher with fewer decoder layers, the known
    layer-dropping start (DistilBERT, Sanh et al. 2019); checkpoint: the recipe's ``student_from``.
    """

    kind: Literal["nano", "shrink", "checkpoint"] = "shrink"
    nano: NanoConfig = Field(default_factory=NanoConfig)
    decoder_layers: list[int] = [0, 3]


class Loss(Config):
    """alpha·T²·KL + (1−alpha)·CE on the answer's tokens."""

    alpha: float = Field(0.5, ge=0, le=1)
    temperature: float = Field(2.0, gt=0)
    divergence: Literal["forward", "reverse", "js"] = "forward"
    # The answer's skeleton is given by the grammar: its tokens teach little beside the values.
    skeleton_weight: float = Field(0.05, ge=0)


class Dense(Config):
    """An auxiliary loss on the vision tokens: which 28×28 cells hold a lit lamp, a cone, …

    Needs rendered data with class-id maps. ``warmup_steps`` train the vision tower on it alone.
    """

    weight: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    warmup_crop: tuple[int, int] = (224, 140)  # width, height: what a warm-up step sees of a frame
    warmup_batch: int = 32
    positive_weight: float = 8.0
    min_pixels: int = 4


class Augment(Config):
    """shift in pixels, zoom and light as fractions, noise in grey levels, mirror as a probability (never of a
    frame whose label tells left from right)."""

    shift: float = 0.0
    zoom: float = 0.0
    light: float = 0.0
    noise: float = 0.0
    mirror: float = Field(0.0, ge=0, le=1)


class Train(Config):
    steps: int = Field(200, ge=0)
    batch: int = Field(16, ge=1)
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.05
    clip: float = 1.0
    final_share: float = 0.05  # of the learning rate, at the cosine's end
    precision: Literal["fp32", "bf16"] = "fp32"
    freeze_vision_tower: bool = False
    save_every: int = Field(100, ge=1)
    dev_every: int = Field(200, ge=1)
    threads: int = 2


class Lora(Config):
    """LoRA on top of the distilled weights (paper eq. 2), through PEFT; steps: 0 leaves it out."""

    steps: int = Field(0, ge=0)
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    learning_rate: float = 5e-4
    target_modules: str = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class Study(Config):
    """Arms (what each changes, ``key.sub: value``; the first is the control) by seeds."""

    arms: dict[str, dict[str, str | float | int | bool]] = Field(min_length=2)
    seeds: list[int] = Field([0, 1, 2], min_length=1)


class DistillConfig(Config):
    """Data and a teacher in, a Checkpoint out (and ``before/``: the student before learning).

    With ``study`` it gives study.json instead: every arm and seed, scored on ``test_data``'s test split.
    """

    inputs: ClassVar[tuple[str, ...]] = ("teacher", "student_from", "data", "test_data")

    teacher: str | None = None
    student_from: str | None = None
    data: list[str] = Field(min_length=1)
    student: Student = Field(default_factory=Student)
    loss: Loss = Field(default_factory=Loss)
    dense: Dense = Field(default_factory=Dense)
    augment: Augment = Field(default_factory=Augment)
    train: Train = Field(default_factory=Train)
    lora: Lora = Field(default_factory=Lora)
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    study: Study | None = None
    test_data: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> DistillConfig:
        if self.loss.alpha > 0 and not self.teacher:
            raise ValueError("loss.alpha > 0 asks for a teacher; set teacher, or loss.alpha: 0")
        if self.student.kind == "shrink" and not self.teacher:
            raise ValueError("student.kind: shrink asks for a teacher to shrink")
        if self.student.kind == "checkpoint" and not self.student_from:
            raise ValueError("student.kind: checkpoint asks for student_from")
        if self.study and not self.test_data:
            raise ValueError("study asks for test_data: a Dataset whose test split scores the arms")
        if self.test_data and not self.study:
            raise ValueError("test_data is looked at by a study alone; leave it out, or add study")
        if self.student_from and self.student.kind != "checkpoint":
            raise ValueError(
                "student_from is read with student.kind: checkpoint alone; set that, or leave it out"
            )
        for name in self.study.arms if self.study else ():
            self.arm(name, self.study.seeds[0])
        return self

    def arm(self, name: str, seed: int) -> DistillConfig:
        """The recipe of one training of the study. Raises UserError where the arm's changes are not valid."""
        raw = self.model_dump(mode="json") | {"study": None, "test_data": None, "seed": seed}
        where = f"study arm {name!r}"
        return build(DistillConfig, change(raw, self.study.arms[name], where), where)

    def plan(self) -> Plan:
        study = self.study
        return plan_training(
            teacher=self.teacher,
            start=self.student_from or (self.teacher if self.student.kind == "shrink" else None),
            taught=self.loss.alpha > 0, batch=self.train.batch, steps=self.train.steps,
            lora_steps=self.lora.steps, bf16=self.train.precision == "bf16",
            tower_frozen=self.train.freeze_vision_tower, save_dtype=self.save_dtype,
            runs=len(study.arms) * len(study.seeds) if study else 1,
        )  # fmt: skip
