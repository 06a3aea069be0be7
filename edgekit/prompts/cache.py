"""Asking the model with a library, and counting: one evaluation is one prompt on one image, asked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgekit.core.box import Box
from edgekit.core.files import sha256_file
from edgekit.dataset import Dataset, Sample
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import (
    Library,
    Prompt,
    compose,
    context_of,
    fit_pictures,
    possible_aids,
    probe_prompt,
    tokens_of,
    values_of,
    with_aids,
)


class OverBudget(Exception):
    """What was to be asked costs more than is left; nothing was asked."""


class Asker:
    """A model asked about a Dataset's rows, with answers kept by (prompt, image, model).

    spent counts the distinct questions that were needed, whether or not a killed run had the answers already:
    so a resumed search spends, decides and ends as an undisturbed one.
    """

    def __init__(
        self, model: Answerer, dataset: Dataset, first: Library, dynamic: bool, log: Path, batch: int, budget: int
    ):  # fmt: skip
        """first: the library whose probe (or default prompt) tells a dynamic prompt what is in an image."""
        self.model, self.dataset, self.dynamic, self.batch, self.budget = (
            model,
            dataset,
            dynamic,
            batch,
            budget,
        )
        self._first = probe_prompt(first)
        self._log = AnswerLog(log)
        self._known: set[str] = set()
        self._images: dict[Path, str] = {}  # image → its digest

    @property
    def spent(self) -> int:
        return len(self._known)

    @property
    def left(self) -> int:
        return self.budget - self.spent

    def ask(self, library: Library, rows: Sequence[Sample], what: str = "asking") -> list[Answer]:
        """One Answer a row. Raises OverBudget before the first question, UserError as the model does."""
        return self._ask(self.prompts(library, rows), rows, what)

    def prompts(self, library: Library, rows: Sequence[Sample]) -> list[Prompt]:
        """The prompt of each row; a dynamic one is composed of its tags, its speed and a first answer.

        The first answers are the given library's, for every candidate: a probe that changed with the edits
        would hide what they did.
        """
        boxes = [boxes_of(row) for row in rows]
        if not self.dynamic:
            return [compose(library, aids=possible_aids(found)) for found in boxes]
        firsts = self._ask([self._first] * len(rows), rows, "a first look")
        out = []
        for row, found, answer in zip(rows, boxes, firsts, strict=True):
            names = [box.name for box in found]
            words = context_of(row.tags, answer.label, row.speed_mps, detections=names)
            values = values_of(row.speed_mps, answer.label, names, language=library.language)
            out.append(compose(library, words, values, possible_aids(found)))
        return out

    def tokens(self, library: Library, rows: Sequence[Sample]) -> list[int]:
        """What the prompts cost, tokens a row: the text, and the second picture where there is one."""
        image = self.model.contract.image_tokens
        return [
            tokens_of(prompt.text) + image * prompt.aids.count("crop")
            for prompt in self.prompts(library, rows)
        ]

    def _ask(self, prompts: Sequence[Prompt], rows: Sequence[Sample], what: str) -> list[Answer]:
        keys = [self._key(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
        new = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._known}
        fresh = sorted(new.values())
        if len(fresh) > self.left:
            raise OverBudget(f"{len(fresh)} evaluations are needed, {self.left} are left")
        ask_all(
            self.model, [keys[i] for i in fresh], [prompts[i].text for i in fresh],
            lambda at: self._pictures([(prompts[i], rows[i]) for i in fresh[at:]]), self._log, self.batch, what,
        )  # fmt: skip
        self._known |= new.keys()
        return [self._log.answers[key] for key in keys]

    def _key(self, prompt: Prompt, row: Sample) -> str:
        file = self.dataset.image_path(row)  # not the row's id: two splits may each have a row of one name
        if file not in self._images:
            self._images[file] = sha256_file(file)
        return f"{prompt.sha256}/{self._images[file]}/{self.model.name}"

    def _pictures(self, asked: Sequence[tuple[Prompt, Sample]]) -> Iterator[np.ndarray | list[np.ndarray]]:
        most = getattr(self.model, "pictures", 1)
        for prompt, row in asked:
            image = self.dataset.image(row)
            if prompt.aids:
                image = fit_pictures(with_aids(image, prompt.aids, boxes_of(row)), most)
            yield image


def boxes_of(row: Sample) -> list[Box]:
    """The boxes that an expert left in the history of the row's light, in pixels of the stored image.

    The latest step's; none where they are not in that form (a Dataset may come from anywhere).
    """
    steps = [step["boxes"] for step in row.tasks["light"].history if step.get("boxes")]
    try:
        return [Box(str(b["name"]), *(float(b[k]) for k in Box._fields[1:])) for b in steps[-1]]
    except (IndexError, KeyError, TypeError, ValueError):
        return []
