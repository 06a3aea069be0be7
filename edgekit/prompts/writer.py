"""Edits that a language model writes: text only, and nothing that it says is taken unread.

What comes back must be the JSON that was asked for, each text bounded in length, printable, free of control
words and of template holes. Replies are kept by what was asked, so that a resumed search gets the same ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.files import append_jsonl, read_jsonl, sha256_json
from edgekit.core.label import TASKS
from edgekit.dataset import Sample
from edgekit.engine.answerer import Answer
from edgekit.engine.chat import clean
from edgekit.engine.endpoint import Endpoint, EndpointAnswerer
from edgekit.library import Library
from edgekit.prompts.edits import Case, Edit

SHOWN_FAILURES = 8
MOST_EDITS = 3  # of one reply
REPLY_TOKENS = 2000
REPLY_CHARS, TEXT_CHARS = 20_000, 900  # what is read of a reply; the longest text that is taken
TIMES_LONGER = 3  # than the text that it replaces, where that is more than LEAST_CHARS
LEAST_CHARS = 240

SYSTEM = (
    "You improve the instructions of a vision-language model that reads one image of a driving camera. You see "
    "the parts of its instruction and some of its mistakes. Write better texts for the parts that caused them: "
    "clear rules about what is to be seen and how to decide, no guesses about these very images. Keep them "
    "short and in the language of the part. Answer with JSON only: "
    '{"edits": [{"entry": "<id of a part>", "text": "<its whole new text>"}]}'
)
SCHEMA = {
    "type": "object",
    "properties": {
        "edits": {
            "type": "array",
            "maxItems": MOST_EDITS,
            "items": {
                "type": "object",
                "properties": {"entry": {"type": "string"}, "text": {"type": "string"}},
                "required": ["entry", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["edits"],
    "additionalProperties": False,
}

Say = Callable[[str, str], str]  # (what the model is to do, what it is told) -> its reply


def port(endpoint: Endpoint) -> Say:
    """A model behind an OpenAI-compatible port, asked at temperature 0. Raises UserError as the port does."""
    there = EndpointAnswerer.of(endpoint)

    def say(system: str, told: str) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": told}]
        return there.chat(messages, schema=SCHEMA, name="edits", max_tokens=REPLY_TOKENS)

    return say


class Writer:
    """Writes edits for a group of failures. refused: why texts were not taken, and how many; asked: replies."""

    def __init__(self, say: Say, log: Path):
        self._say, self._log = say, log
        self._replies = (
            {row["asked"]: row["reply"] for row in read_jsonl(log, torn=True)} if log.is_file() else {}
        )
        self.refused: Counter[str] = Counter()
        self.asked = 0

    def edits(self, case: Case, answers: Sequence[Answer]) -> Iterator[Edit]:
        """Whole new texts for entries of the library that speak to the group's task."""
        parts = {e.id: e.text for e in case.library.entries if case.group.task in e.tasks}
        failures = [
            failure(case.rows[i], answers[i], case.group.task) for i in case.group.rows[:SHOWN_FAILURES]
        ]
        for name, text in self.texts(case.library, parts, failures).items():
            yield case.edit("write", "set", name, text)

    def texts(
        self, library: Library, parts: dict[str, str], failures: list[dict[str, Any]]
    ) -> dict[str, str]:
        """New texts for some of ``parts``, those that may be taken."""
        told = {
            "language": library.language, "parts": [{"entry": name, "text": text} for name, text in parts.items()],
            "mistakes": failures, "longest_text": TEXT_CHARS,
        }  # fmt: skip
        return self._read(self._reply(json.dumps(told, ensure_ascii=False, indent=1)), parts)

    def _reply(self, told: str) -> str:
        key = sha256_json([SYSTEM, told])
        self.asked += 1
        if key not in self._replies:
            self._replies[key] = self._say(SYSTEM, told)[:REPLY_CHARS]
            append_jsonl(self._log, {"asked": key, "reply": self._replies[key]})
        return self._replies[key]

    def _read(self, reply: str, parts: dict[str, str]) -> dict[str, str]:
        try:
            rows = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])["edits"]
            if not isinstance(rows, list):
                raise TypeError("edits is no list")
        except (ValueError, KeyError, TypeError, RecursionError):
            self.refused["not the JSON that was asked for"] += 1
            return {}
        taken: dict[str, str] = {}
        for row in rows[:MOST_EDITS]:
            name = row.get("entry") if isinstance(row, dict) else None
            if not isinstance(name, str) or name not in parts:
                self.refused["for no part that was shown"] += 1
                continue
            text, why = checked(row.get("text"), parts[name])
            if why:
                self.refused[why] += 1
            else:
                taken[name] = text
        return taken


def checked(text: object, before: str) -> tuple[str, str]:
    """The text with its blanks evened out, and why it may not be taken (empty: it may)."""
    if not isinstance(text, str) or not text.strip():
        return "", "empty"
    text = " ".join(text.split())
    if len(text) > min(TEXT_CHARS, max(LEAST_CHARS, TIMES_LONGER * len(before))):
        return text, "too long"
    if clean(text) != text:
        return text, "a control word"
    if "$" in text:
        return text, "a template hole"
    if not text.isprintable():
        return text, "signs that cannot be printed"
    return text, "" if text != before else "as it was"


def failure(row: Sample, answer: Answer, task: str) -> dict[str, Any]:
    """One mistake as the writer sees it: words of the closed vocabulary, and the row's tags."""
    said = answer.label.model_dump() if answer.label else None
    true = row.label.model_dump()
    return {
        "tags": [clean(tag)[:40] for tag in row.tags[:8]],
        "right": {slot: true[slot] for slot in TASKS[task]},
        "answered": {slot: said[slot] for slot in TASKS[task]} if said else "no answer in the form",
    }
