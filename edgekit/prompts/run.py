"""The story of prompts: measure, search for edits on one split, promote on another what holds there."""

from __future__ import annotations

from edgekit.core.contract import require_same
from edgekit.core.files import write_json, write_text
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.dataset.score import median_kmh
from edgekit.engine.answerer import Answerer
from edgekit.library import load_library, save_library, selector_of
from edgekit.models.open import open_answerer
from edgekit.prompts.cache import Asker
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.front import Candidate
from edgekit.prompts.promote import promote
from edgekit.prompts.report import Outcome, markdown, report, verdict
from edgekit.prompts.search import Found, Trials, greedy
from edgekit.prompts.shares import shares
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
    learn, choose, held, costs = shares(config, dataset)
    dynamic = config.dynamic if config.prompts == "dynamic" else None
    if dynamic:
        selector_of(library, dynamic)  # what it refuses is refused before anything is asked

    folder = run.input("model") if config.model else None
    model = model or open_answerer(config.kind, folder, config.endpoint, dataset.contract, batch=config.batch)
    require_same(dataset.contract, model.contract, f"prompts {model.name} on {config.dataset}")
    say = say or (port(config.writer) if config.writer else None)
    writer = Writer(say, run.state / "written.jsonl") if say else None
    if "write" in config.search.operators and not writer:
        run.note("no writer is named: edits come from the operators alone")

    # The search: it stops where what is left is needed for the promotion.
    asker = Asker(
        model, dataset, dynamic, run.state / "answers.jsonl", config.batch, config.budget - costs.promotion
    )
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
            median, resamples=config.resamples, seed=config.seed, margin=config.margin, fits=asker.fits,
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
