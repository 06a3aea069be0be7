"""The story of prompts: measure, search for edits on one split, promote on another what holds there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgekit.core.contract import require_same
from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file, write_json, write_text
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.score import median_kmh
from edgekit.engine.answerer import Answerer
from edgekit.library import load_library, save_library
from edgekit.models.open import open_answerer
from edgekit.prompts.cache import Asker
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.front import Candidate
from edgekit.prompts.promote import promote, require_apart
from edgekit.prompts.report import Outcome, markdown, report, verdict
from edgekit.prompts.search import Found, Trials, greedy
from edgekit.prompts.writer import Say, Writer, port


def prompts(config: PromptsConfig, run: Run, model: Answerer | None = None, say: Say | None = None) -> None:
    """Fills ``run.out`` with library.yaml (a better library, or the given one), report.json and report.md.

    model: an Answerer of the caller's own instead of the recipe's; say: a writer of the caller's own. Raises
    UserError, before anything is asked, for splits that are not apart and for a budget too small to try
    anything. That nothing was found worth a change is a result, and no error.
    """
    # What is read, apart from what is chosen by, apart from what is promoted on.
    library = load_library(config.library)
    dataset = open_dataset(run.input("dataset"))
    learn, choose = in_two(rows_of(dataset, config.split, config), config.learn, config.seed)
    held = rows_of(dataset, config.held_out, config)
    require_apart([*learn, *choose], held, lambda row: sha256_file(dataset.image_path(row)))
    costs = Costs.of(config, len(learn), len(choose), len(held))
    costs.require(config.budget)

    folder = run.input("model") if config.model else None
    model = model or open_answerer(config.kind, folder, config.endpoint, dataset.contract, batch=config.batch)
    require_same(dataset.contract, model.contract, f"prompts {model.name} on {config.dataset}")
    say = say or (port(config.writer) if config.writer else None)
    writer = Writer(say, run.state / "written.jsonl") if say else None
    if "write" in config.search.operators and not writer:
        run.note("no writer is named: edits come from the operators alone")

    # The search: it stops where what is left is needed for the promotion.
    asker = Asker(
        model, dataset, library, config.prompts == "dynamic", run.state / "answers.jsonl", config.batch,
        config.budget - costs.promotion,
    )  # fmt: skip
    median = median_kmh([row.label for row in dataset.rows("train") or [*learn, *choose]])
    trials = Trials(asker, learn, choose, median, config.seed)
    first = trials.candidate(library)
    run.say(
        f"{model.name} with {library.id}: score {first.score.goal:.3f}, {first.score.tokens:.0f} tokens on "
        f"{len(choose)} frames; failures are read from {len(learn)} others"
    )
    found = search(first, trials, writer, config, run)
    searched = asker.spent
    run.say(f"tried {len(found.tried)}, accepted {found.accepted}; ended: {found.stopped}")

    # The promotion: one candidate, its edits one by one, on scenes that nothing so far has seen.
    asker.budget = config.budget
    chosen, promotion = pick(found, config.search.least_gain), None
    if chosen.edits:
        promotion = promote(
            library, chosen.edits, held, lambda lib, rows: (asker.ask(lib, rows, "promoting"), asker.tokens(lib, rows)),
            median, resamples=config.resamples, seed=config.seed, margin=config.margin,
        )  # fmt: skip
    after = promotion.library if promotion else library

    save_library(after, run.out / "library.yaml")
    outcome = Outcome(
        config, model.name, library, after, first, chosen, found, promotion, (learn, choose, held),
        (asker.ask(library, choose), asker.ask(chosen.library, choose)), median, searched, asker.spent,
    )  # fmt: skip
    told = report(outcome)
    write_json(run.out / "report.json", told)
    write_text(run.out / "report.md", markdown(told))
    write_text(run.out / "summary.txt", verdict(outcome) + "\n")
    run.say(verdict(outcome))


def search(first: Candidate, trials: Trials, writer: Writer | None, config: PromptsConfig, run: Run) -> Found:
    if config.search.kind == "gepa":
        from edgekit.prompts.reflect import reflective

        return reflective(first, trials, writer, config, run)
    return greedy(first, trials, writer, config)


def pick(found: Found, least_gain: float) -> Candidate:
    """The candidate to promote: of those within ``least_gain`` of the best score the one of fewest tokens."""
    best = found.front.best.score.goal
    return next(c for c in found.front.sorted() if c.score.goal > best - least_gain)


class Costs(NamedTuple):
    """Evaluations, at most: of the given library, of one try after it, and of the promotion."""

    given: int
    one_try: int
    promotion: int

    @classmethod
    def of(cls, config: PromptsConfig, learn: int, choose: int, held: int) -> Costs:
        looks = (
            2 if config.prompts == "dynamic" else 1
        )  # a first answer to every image, and the one that counts
        screen = min(
            config.search.screen if config.search.kind == "greedy" else 2 * config.search.minibatch, learn
        )
        return cls(looks * (learn + choose), screen + choose, (looks + config.edits) * held)

    def require(self, budget: int) -> None:
        """Raises UserError for a budget that would end before the first try."""
        if budget < sum(self):
            raise UserError(
                f"prompts: a budget of {budget} evaluations is too small to try anything",
                f"the given library takes {self.given}, one edit {self.one_try}, and {self.promotion} are kept "
                f"for the promotion: {sum(self)}",
                f"budget={10 * self.one_try + sum(self)} leaves room for about ten tries; or frames=… or edits=… lower",
            )


def rows_of(dataset: Dataset, split: str, config: PromptsConfig) -> list[Sample]:
    """At most ``config.frames`` rows of a split, evenly over it. Raises UserError where there is none."""
    rows = dataset.rows(split)
    if not rows:
        full = [name for name in ("train", "dev", "test") if dataset.rows(name)]
        raise UserError(
            f"prompts: no rows in split {split!r} of {config.dataset}",
            f"{split}.jsonl is empty or not there; {', '.join(full) or 'no split'} has rows",
            "name two splits that have, with split and held_out",
        )
    if config.frames is None or config.frames >= len(rows):
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, config.frames).round().astype(int)]


def in_two(rows: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Rows of ``share`` of the scenes, and those of the others: which ones is drawn by the scenes' names.

    Raises UserError for fewer than two scenes.
    """
    scenes = sorted(
        {row.scene for row in rows}, key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).digest()
    )
    if len(scenes) < 2:
        raise UserError(
            "prompts: the searched split has one scene",
            "failures are read from some scenes, and edits chosen by others",
            "search on a split with more scenes",
        )
    count = min(max(round(share * len(scenes)), 1), len(scenes) - 1)
    first = set(scenes[:count])
    return [row for row in rows if row.scene in first], [row for row in rows if row.scene not in first]
