"""The search: edits of the best library first, each tried on the failures that it is for, then on all."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgekit.dataset import Sample
from edgekit.dataset.bootstrap import RESAMPLES, resample
from edgekit.engine.answerer import Answer
from edgekit.library import Library, possible_aids
from edgekit.prompts.cache import Asker, OverBudget
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.edits import OPERATORS, Case, Edit, apply, shorten
from edgekit.prompts.failures import Group, grouped, said_of
from edgekit.prompts.front import Candidate, Front, goal_of, per_frame, score_of
from edgekit.prompts.known import boxes_of
from edgekit.prompts.writer import Writer


class Trials:
    """Libraries measured: failures are read from the ``learn`` rows, scores from the ``choose`` rows."""

    def __init__(
        self, asker: Asker, learn: Sequence[Sample], choose: Sequence[Sample], median_kmh: float, seed: int
    ):
        self.asker, self.learn, self.choose, self.median_kmh, self.seed = (
            asker,
            learn,
            choose,
            median_kmh,
            seed,
        )

    def candidate(self, library: Library, edits: tuple[Edit, ...] = ()) -> Candidate:
        """Scored. Raises OverBudget before more is asked than is left."""
        answers = self.asker.ask(library, self.choose, "choosing")
        score = score_of(self.choose, answers, self.asker.tokens(library, self.choose), self.median_kmh)
        counts = per_frame(self.choose, answers, self.median_kmh)
        drawn = goal_of(resample(counts, [row.scene for row in self.choose], RESAMPLES, self.seed))
        return Candidate(library, edits, score, drawn)

    def failures(self, library: Library) -> tuple[list[Group], list[Answer]]:
        """Groups of failures on the learning rows, and the answers that they were read from."""
        answers = self.asker.ask(library, self.learn, "reading failures")
        return grouped(self.learn, answers), answers

    def mended(self, library: Library, before: Library, group: Group, most: int) -> tuple[int, int]:
        """How many of the group's failures (at most ``most``) the library answers right, of how many. before: the
        library whose failures they are."""
        which = group.rows[:most]
        answers = self.asker.ask_some(library, self.learn, which, before, "screening")
        right = [not said_of(self.learn[i].label, a, group.task) for i, a in zip(which, answers, strict=True)]
        return sum(right), len(right)


@dataclass
class Found:
    """What a search found: its front, every try as a row of the report, and why it ended."""

    front: Front
    groups: list[Group]  # failures of the given library on the learning scenes
    stopped: str = ""
    tried: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)  # texts of the writer that were not taken

    @property
    def accepted(self) -> int:
        return sum(row["accepted"] for row in self.tried)


def greedy(first: Candidate, trials: Trials, writer: Writer | None, config: PromptsConfig) -> Found:
    """Tries the next edit of the best library on the front, until nothing is left, or nothing helps any more.

    Ends at the target, after ``patience`` tries in a row that brought nothing as good as the best, when no edit
    is left, or when the next try costs more than what is left of the budget.
    """
    agenda = Agenda(first, trials, writer, config)
    found = Found(agenda.front, trials.failures(first.library)[0])
    idle = 0
    try:
        while not found.stopped:
            step = agenda.next()
            if step is None:
                found.stopped = "no edit was left to try"
                break
            wanted = agenda.front.best.score.goal - config.search.least_gain
            row = attempt(step, trials, agenda.front, config.search.screen)
            found.tried.append(row)
            if not row["accepted"]:
                agenda.failed.add(step.edit.key())
            # A short and poor candidate may join the front, but nothing is nearer to an end for it.
            idle = 0 if row["accepted"] and row["score"] >= wanted else idle + 1
            best = agenda.front.best.score.goal
            if config.target and best >= config.target:
                found.stopped = f"the target of {config.target:g} is met"
            elif idle >= config.search.patience:
                found.stopped = f"{idle} tries in a row brought nothing as good (search.patience)"
    except OverBudget as error:
        found.stopped = f"the budget is spent: {error}"
    found.refused = dict(sorted(writer.refused.items())) if writer else {}
    return found


class Next(NamedTuple):
    """An edit to try: the candidate that it is made of, the library that it makes, the failures it is for."""

    parent: Candidate
    library: Library
    edit: Edit
    group: Group | None


class Agenda:
    """What is still to be tried of each library on the front. failed: keys of edits that the front did not take."""

    def __init__(self, first: Candidate, trials: Trials, writer: Writer | None, config: PromptsConfig):
        self.front = Front(first, config.search.least_gain, config.search.errors, config.margin)
        self.failed: set[str] = set()
        self._seen = {first.library.digest()}
        self._queues: dict[str, Iterator[tuple[Edit, Group | None]]] = {}
        self._trials, self._writer, self._config = trials, writer, config

    def next(self) -> Next | None:
        """The next new library: of the best candidate that has an edit left."""
        best_first = sorted(self.front.members, key=lambda c: (-c.score.goal, c.score.tokens))
        for parent in best_first:
            if len(parent.edits) >= self._config.edits:
                continue
            key = parent.library.digest()
            if key not in self._queues:
                self._queues[key] = proposals(parent.library, self._trials, self._writer, self._config)
            for edit, group in self._queues[key]:
                library = None if edit.key() in self.failed else apply(parent.library, edit)
                if library and self._new(library, parent.library):
                    return Next(parent, library, edit, group)
        return None

    def _new(self, library: Library, parent: Library) -> bool:
        """Whether it was not tried yet, is within the token budget, and changes what any of the choosing rows is
        asked with."""
        digest, asker = library.digest(), self._trials.asker
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return asker.fits(library) and asker.differ(parent, library, self._trials.choose)


def attempt(step: Next, trials: Trials, front: Front, screen: int) -> dict[str, Any]:
    """Tries an edit and offers it to the front; a row of the report.

    One that mends none of the failures that it is for is left at that: it costs ``screen`` evaluations.
    """
    row: dict[str, Any] = {"edit": step.edit.record(), "after": len(step.parent.edits), "accepted": False}
    if step.group and screen:
        right, of = trials.mended(step.library, step.parent.library, step.group, screen)
        row["mended"] = [right, of]
        if not right:
            return row
    candidate = trials.candidate(step.library, (*step.parent.edits, step.edit))
    score, gain = candidate.score, candidate.score.goal - step.parent.score.goal
    return row | {
        "score": round(score.goal, 6), "gain": round(gain, 6), "tokens": round(score.tokens, 2),
        "accepted": front.offer(candidate),
    }  # fmt: skip


def proposals(
    library: Library, trials: Trials, writer: Writer | None, config: PromptsConfig
) -> Iterator[tuple[Edit, Group | None]]:
    """Edits of a library with the failures that they are for: a turn for each group, then one for shortening."""
    groups, answers = trials.failures(library)
    shown = config.prompts == "dynamic" and config.dynamic.aids
    aids = frozenset().union(*(possible_aids(boxes_of(row)) for row in trials.learn if shown))
    wanted = config.search.operators

    def edits(group: Group) -> Iterator[tuple[Edit, Group | None]]:
        case = Case(library, group, trials.learn, aids)
        made = [OPERATORS[name](case) for name in wanted if name in OPERATORS]
        if writer and "write" in wanted:
            made.append(writer.edits(case, answers))
        return ((edit, group) for edit in turns(made))

    queues = [edits(group) for group in groups[: config.search.groups]]
    if "shorten" in wanted:
        queues.append((edit, None) for edit in shorten(library))
    return turns(queues)


def turns(iterators: Iterable[Iterator]) -> Iterator:
    """One of each in turn, until all are at their end."""
    left = deque(iterators)
    while left:
        first = left.popleft()
        for item in first:
            yield item
            left.append(first)
            break
