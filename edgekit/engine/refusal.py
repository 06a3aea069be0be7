"""What a port says instead of an answer, and whether it is about one question or about the port."""

from __future__ import annotations

import json
import re

from edgekit.core.errors import UserError
from edgekit.engine.answerer import Answer

# About a question: its picture (a filter), its length, its turns. Not about the key, the model or the load.
OF_ONE = {400, 413, 422}
SHOWN = 120  # characters of a refusal that an answer's text holds

_SAID = re.compile(r"HTTP \d{3}: ")


class Refused(UserError):
    """The port answered, and not with words of a model.

    said: in short, where it is about this one question, so that the next one may well be answered; else None.
    """

    def __init__(self, what: str, why: str, do: str, said: str | None = None):
        super().__init__(what, why, do)
        self.said = said

    def answer(self) -> Answer:
        """The abstention that it becomes, of no decoder call."""
        return Answer(self.said, None)


def of_one(status: int, words: str) -> str | None:
    """What ``Refused.said`` holds for this status."""
    return f"HTTP {status}: {words or 'no words'}"[:SHOWN] if status in OF_ONE | {200} else None


def was_refused(answer: Answer) -> bool:
    """Whether a server refused the question; what a model says took at least one decoder call."""
    return answer.label is None and not answer.passes and bool(_SAID.match(answer.text))


def words_of(body: bytes) -> str:
    """An error's own message, where the body is JSON in one of the usual forms; else its beginning."""
    text = body.decode(errors="replace")
    try:
        told = json.loads(text)
        while isinstance(told, dict):
            told = told.get("error") or told.get("message") or told.get("detail")
        text = told if isinstance(told, str) else text
    except (ValueError, RecursionError):
        pass
    return " ".join(text.split())[:200]
