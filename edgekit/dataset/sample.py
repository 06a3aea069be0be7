"""One row of a Dataset: messages and images in ms-swift's form, the label and where it came from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekit.core.label import TASKS, SceneLabel, to_answer
from edgekit.engine.chat import IMAGE

Source = Literal["vlm", "smoothed", "motion", "expert", "render", "asked", "human"]
Status = Literal["kept", "changed", "dropped", "review"]

SPLITS = ("train", "dev", "test")


class TaskMark(BaseModel):
    """Where a task's slots come from, how sure (0..1), what was done, and every step before.

    A ``dropped`` task is not learned from and not scored: its truth is not visible, or not trusted.
    """

    model_config = ConfigDict(extra="forbid")

    source: Source
    confidence: float = 1.0
    status: Status = "kept"
    history: list[dict[str, Any]] = Field(default_factory=list)


class Sample(BaseModel):
    """A row of train/dev/test.jsonl (contract: Dataset). Image paths are relative to the Dataset."""

    model_config = ConfigDict(extra="forbid")

    id: str
    messages: list[dict[str, str]] = Field(min_length=2)
    images: list[str] = Field(min_length=1)
    label: SceneLabel
    tasks: dict[str, TaskMark]
    weight: float = 1.0
    drive: str | None = None
    scene: str
    frame: int = 0
    t_s: float = 0.0
    speed_mps: float | None = None
    tags: list[str] = Field(default_factory=list)
    prompt: dict[str, str] = Field(default_factory=dict)
    teacher: str | None = None

    @classmethod
    def of(cls, *, prompt_text: str, label: SceneLabel, source: Source, **fields: Any) -> Sample:
        """A row from a prompt, a label and one source for all tasks (``tasks=`` overrides)."""
        fields.setdefault("tasks", {task: TaskMark(source=source) for task in TASKS})
        return cls(messages=messages(prompt_text, label), label=label, **fields)

    @property
    def user_text(self) -> str:
        """The instruction, without the image mark."""
        return self.messages[0]["content"].removeprefix(IMAGE)


def messages(prompt_text: str, label: SceneLabel) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": IMAGE + prompt_text.removeprefix(IMAGE)},
        {"role": "assistant", "content": to_answer(label)},
    ]
