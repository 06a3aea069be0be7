"""A teacher that never answers in the label's schema is told after a few answers, not after a night of them."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.library import Library, compose, first_prompt
from edgekit.mine.config import MineConfig
from edgekit.mine.logs import Logs

ENOUGH = 32  # answers


class Doubt:
    """Looks into the logs of a run after each batch, until an answer to its first questions has parsed: they hold what
    was heard by all processes of the run, of all drives and of gold."""

    def __init__(self, logs: Logs, library: Library, config: MineConfig):
        self._logs, self._parsed = logs, False
        # Logs that outlive a run hold other prompts' answers, too.
        self._asked = {
            prompt.sha256[:8] for prompt in (first_prompt(library, config.follows), compose(library))
        }

    def __call__(self) -> None:
        """Raises UserError where ``ENOUGH`` answers are there and none has parsed."""
        if self._parsed:
            return
        ids, first = set(), ""
        for row in self._rows():
            if row["id"].rpartition("?")[2] not in self._asked:
                continue
            if row["label"]:
                self._parsed = True
                return
            ids.add(row["id"])
            first = first or short(row["text"])
        if len(ids) >= ENOUGH:
            raise unheard(len(ids), first)

    def _rows(self) -> Iterator[dict]:
        for log in (self._logs.answers_of_gold, *sorted(self._logs.answers.rglob("*.jsonl"))):
            if log.is_file():
                yield from read_jsonl(log, torn=True)


def short(text: str) -> str:
    return " ".join(text.split())[:120]


def unheard(answers: int, first: str) -> UserError:
    """What is said of a teacher none of whose answers parsed: the Dataset would tell nothing."""
    return UserError(
        f"mine: none of {answers} answers parsed",
        f"the first one said: {first or 'nothing'}",
        "check that the model answers with JSON in the label's schema, and start anew: another --out, another heard",
    )
