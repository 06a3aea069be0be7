"""Few-shot examples: what a picture showed, in words, and the answer that it asks for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgekit.core.label import SLOTS, SceneLabel, to_answer

# A slot that an example does not name: looked, and absent. The speed is never left to a default.
ABSENT = {slot: values[0] for slot, values in SLOTS.items()} | {
    "light": "none", "light_arrow": "none", "light_kind": "none", "recommended_speed_kmh": "",
}  # fmt: skip
FORMS = {
    "en": "Example, not this image: {facts} Answer: {answer}",
    "zh": "示例（不是本图）：{facts}答案：{answer}",
}


class Example(BaseModel):
    """facts: what such an image shows, in words; answer: the slots that are not absent, and the speed.

    Slots that are not named are ``none`` or ``no``. Raises pydantic.ValidationError for a slot or a word outside
    the vocabulary, or a label that contradicts itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: str = Field(min_length=1, max_length=600)
    answer: dict[str, str]

    @field_validator("answer", mode="before")
    @classmethod
    def _words(cls, answer: Any) -> Any:
        """YAML reads a speed as a number."""
        if not isinstance(answer, dict):
            return answer
        return {k: str(v) if type(v) is int else v for k, v in answer.items()}

    @model_validator(mode="after")
    def _a_label(self) -> Example:
        if "recommended_speed_kmh" not in self.answer:
            raise ValueError("an example's answer names recommended_speed_kmh")
        self.label()
        return self

    def label(self) -> SceneLabel:
        return SceneLabel(**(ABSENT | self.answer))

    def text(self, language: str) -> str:
        """The example as it stands in a prompt, its answer canonical."""
        return FORMS[language].format(facts=self.facts, answer=to_answer(self.label()))
