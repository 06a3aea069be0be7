"""Asking the model with a library, and counting: one evaluation is one prompt on one image, asked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file
from edgekit.dataset import Dataset, Sample
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import (
    CROP_TOKENS,
    Dynamic,
    Library,
    Prompt,
    counted,
    first_prompt,
    fit_pictures,
    second_prompts,
    selector_of,
    tokens_of,
    with_aids,
)
from edgekit.prompts.known import boxes_of, in_drives, known_of


class OverBudget(Exception):
    """What was to be asked next costs more than is left; it was not asked."""


class Asker:
    """A model asked about a Dataset's rows as mining asks, with answers kept by (prompt, image, model).

    spent counts the distinct questions that were needed, whether or not a killed run had the answers already:
    so a resumed search spends, decides and ends as an undisturbed one.
    """

    def __init__(
        self, model: Answerer, dataset: Dataset, dynamic: Dynamic | None, log: Path, batch: int, budget: int
    ):  # fmt: skip
        """dynamic: None for one prompt to all images."""
        self.model, self.dataset, self.dynamic, self.batch, self.budget = (
            model,
            dataset,
            dynamic,
            batch,
            budget,
        )
        self._pictures_each = getattr(model, "pictures", 1)
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
        """The Answer that counts of each row. rows: whole drives, or what is looked at of them; entries stay and go
        over them as they do in mining. Raises OverBudget, and UserError as the model does."""
        answers = self._ask(self.prompts(library, rows), rows, what)
        if self.dynamic is None:
            return answers
        firsts = self._firsts(library, rows)
        return [counted(*pair) for pair in zip(firsts, answers, strict=True)]

    def ask_some(
        self, library: Library, rows: Sequence[Sample], which: Sequence[int], before: Library, what: str
    ) -> list[Answer]:
        """A quick look at the rows of these numbers: what was seen in their drives is taken from the library
        ``before``, which was asked about them all, so that nothing else is asked for it."""
        prompts = self.prompts(library, rows, before)
        answers = self._ask([prompts[i] for i in which], [rows[i] for i in which], what)
        if self.dynamic is None:
            return answers
        firsts = self._firsts(before, rows)
        return [counted(firsts[i], answer) for i, answer in zip(which, answers, strict=True)]

    def prompts(
        self, library: Library, rows: Sequence[Sample], before: Library | None = None
    ) -> list[Prompt]:
        """The prompt of each row; dynamic ones are composed of what is known of it and of a first answer, the
        library's own or that of ``before``."""
        if self.dynamic is None:
            return [first_prompt(library, None)] * len(rows)
        firsts = self._firsts(before or library, rows)
        out: list[Prompt | None] = [None] * len(rows)
        for drive in in_drives(rows):
            known = known_of(
                [rows[i] for i in drive], [firsts[i] for i in drive], self.dynamic.aids, library.language
            )
            prompts, _ = second_prompts(library, self.dynamic, known, self._pictures_each)
            for i, prompt in zip(drive, prompts, strict=True):
                out[i] = prompt
        return out

    def differ(self, before: Library, after: Library, rows: Sequence[Sample]) -> bool:
        """Whether any row is asked something else with the one than with the other, which was asked about already;
        never asks for it."""
        if first_prompt(before, self.dynamic) != first_prompt(after, self.dynamic):
            return True
        return self.prompts(before, rows) != self.prompts(after, rows)

    def fits(self, library: Library) -> bool:
        """Whether its default prompt is within the token budget."""
        try:
            return self.dynamic is None or bool(selector_of(library, self.dynamic, self._pictures_each))
        except UserError:
            return False

    def tokens(self, library: Library, rows: Sequence[Sample]) -> list[int]:
        """What the composed prompts cost, tokens a row: the text, and the second picture where there is one."""
        crop = CROP_TOKENS if self._pictures_each > 1 else 0
        return [
            tokens_of(prompt.text) + crop * prompt.aids.count("crop")
            for prompt in self.prompts(library, rows)
        ]

    def _firsts(self, library: Library, rows: Sequence[Sample]) -> list[Answer]:
        return self._ask([first_prompt(library, self.dynamic)] * len(rows), rows, "a first look")

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
        for prompt, row in asked:
            image = self.dataset.image(row)
            if prompt.aids:
                image = fit_pictures(with_aids(image, prompt.aids, boxes_of(row)), self._pictures_each)
            yield image
