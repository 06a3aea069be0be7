"""GEPA as the search: its reflective mutation and its front over single frames; our writer, score and promotion.

Source: GEPA, Agrawal et al. 2025 (arXiv 2507.19457), the package gepa. It keeps its own state by pickle, so it gets
no run directory: a resumed search runs again from its seed, on answers and replies that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.label import TASKS
from edgekit.core.run import Run
from edgekit.dataset import Sample
from edgekit.engine.answerer import Answer
from edgekit.library import Library
from edgekit.prompts.cache import OverBudget
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.edits import Edit, apply
from edgekit.prompts.failures import said_of, truth_of
from edgekit.prompts.front import Candidate, Front
from edgekit.prompts.search import Found, Trials
from edgekit.prompts.writer import Writer, failure


def reflective(first: Candidate, trials: Trials, writer: Writer, config: PromptsConfig, run: Run) -> Found:
    """The front of GEPA's candidates, scored as every other. Raises ModuleNotFoundError without the package.

    It ends where another round could cost more than what is left of the budget: nothing is asked beyond it.
    """
    import gepa

    search = config.search
    adapter = Adapter(first.library, trials, writer)
    found = Found(
        Front(first, search.least_gain, search.errors, config.margin), trials.failures(first.library)[0]
    )
    round_cost = 2 * search.minibatch + config.questions * len(trials.choose)
    idle = Idle(search.patience)

    def spent(state: Any) -> bool:
        if trials.asker.left < round_cost:
            left = trials.asker.left
            found.stopped = f"the budget is spent: a round may take {round_cost} evaluations, {left} are left"
        elif idle(state):
            found.stopped = f"{search.patience} rounds in a row brought no new candidate (search.patience)"
        return bool(found.stopped)

    result = gepa.optimize(
        seed_candidate={entry.id: entry.text for entry in first.library.entries},
        trainset=list(range(len(trials.learn))),
        valset=[-1 - i for i in range(len(trials.choose))],
        adapter=adapter,
        reflection_minibatch_size=min(search.minibatch, len(trials.learn)),
        stop_callbacks=spent,
        logger=_Logged(run),
        seed=config.seed,
    )
    for texts in result.candidates[1:]:
        edits = adapter.edits(texts)
        library = adapter.library(texts)
        row: dict[str, Any] = {"edit": edits[-1].record(), "after": len(edits) - 1, "accepted": False}
        if library and len(edits) <= config.edits:
            try:
                candidate = trials.candidate(library, edits)
            except OverBudget:
                break
            row |= {
                "score": round(candidate.score.goal, 6), "tokens": round(candidate.score.tokens, 2),
                "gain": round(candidate.score.goal - first.score.goal, 6),
                "accepted": found.front.offer(candidate),
            }  # fmt: skip
        found.tried.append(row)
    # What GEPA turned down on a minibatch was tried, too.
    found.tried += [
        {"edit": edit.record(), "after": 0, "accepted": False} for edit in adapter.turned_down(result)
    ]
    found.refused = dict(sorted(writer.refused.items()))
    return found


class Adapter:
    """What gepa.optimize asks of a system: a row is named by its number, those of the choosing rows are below 0."""

    def __init__(self, first: Library, trials: Trials, writer: Writer):
        self._first, self._trials, self._writer = first, trials, writer
        self._written: list[dict[str, str]] = []

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa import EvaluationBatch

        library = self.library(candidate)
        rows = [self._row(i) for i in batch]
        answers = self._answers(library, batch) if library else [Answer("", None)] * len(rows)
        scores = [right(row, answer) for row, answer in zip(rows, answers, strict=True)]
        traces = list(zip(rows, answers, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=answers, scores=scores, trajectories=traces)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The mistakes of the batch that the part's task made."""
        task_of = {entry.id: entry.task for entry in self._first.entries}
        return {
            name: [
                failure(row, answer, task_of[name])
                for row, answer in eval_batch.trajectories
                if said_of(row.label, answer, task_of[name])
            ]
            for name in components_to_update
        }

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The writer's texts, guarded as always; none where there is no mistake to learn from."""
        new: dict[str, str] = {}
        for name in components_to_update:
            if mistakes := list(reflective_dataset.get(name, ())):
                new |= self._writer.texts(self._first, {name: candidate[name]}, mistakes)
        if new:
            self._written.append({**candidate, **new})
        return new

    def edits(self, texts: dict[str, str]) -> tuple[Edit, ...]:
        return tuple(
            Edit(
                operator="gepa",
                how="set",
                entry=entry.id,
                value=texts[entry.id],
                why=f"{entry.task}: mistakes",
            )
            for entry in self._first.entries
            if texts[entry.id] != entry.text
        )

    def library(self, texts: dict[str, str]) -> Library | None:
        library: Library | None = self._first
        for edit in self.edits(texts):
            library = library and apply(library, edit)
        return library if library and self._trials.asker.fits(library) else None

    def turned_down(self, result: Any) -> list[Edit]:
        """What was written and is no candidate of GEPA's: the last edit of each."""
        left = [texts for texts in self._written if texts not in result.candidates]
        return [edits[-1] for texts in left if (edits := self.edits(texts))]

    def _answers(self, library: Library, batch: list[int]) -> list[Answer]:
        """A minibatch is a quick look; the choosing rows are asked as drives."""
        trials = self._trials
        if all(i >= 0 for i in batch):
            return trials.asker.ask_some(library, trials.learn, batch, self._first, "GEPA")
        answers = trials.asker.ask(library, trials.choose, "GEPA")
        return [answers[-1 - i] for i in batch]

    def _row(self, i: int) -> Sample:
        return self._trials.learn[i] if i >= 0 else self._trials.choose[-1 - i]


class Idle:
    """Says when ``patience`` rounds in a row have brought GEPA no new candidate."""

    def __init__(self, patience: int):
        self._patience, self._known, self._rounds = patience, 1, 0

    def __call__(self, state: Any) -> bool:
        grown = len(state.program_candidates) > self._known
        self._known, self._rounds = len(state.program_candidates), 0 if grown else self._rounds + 1
        return self._rounds > self._patience


class _Logged:
    def __init__(self, run: Run):
        self._run = run

    def log(self, message: str) -> None:
        self._run.log("gepa", text=str(message)[:400])


def right(row: Sample, answer: Answer) -> float:
    """The share of a row's tasks that are right, 0..1: GEPA adds up frames, and our score does not."""
    told = [t for t in TASKS if row.tasks[t].status != "dropped" and truth_of(row.label, t) != "unknown"]
    return sum(not said_of(row.label, answer, task) for task in told) / len(told) if told else 1.0
