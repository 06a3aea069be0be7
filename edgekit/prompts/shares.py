"""The rows that a search reads, those it chooses by and those it promotes on; and what it takes at least."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.recipe import refused_by
from edgekit.core.run import find_input
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.library import load_library, selector_of
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.promote import require_apart


class Shares(NamedTuple):
    """Rows that failures are read from, that edits are chosen by, that are held out; and what they cost."""

    learn: list[Sample]
    choose: list[Sample]
    held: list[Sample]
    costs: Costs


def shares(config: PromptsConfig, dataset: Dataset) -> Shares:
    """Raises UserError for splits that are empty or not apart, and for a budget that would end before the first
    try."""
    learn, choose = in_two(rows_of(dataset, config.split, config), config.learn, config.seed)
    held = rows_of(dataset, config.held_out, config)
    require_apart([*learn, *choose], held, dataset.image_path)
    costs = Costs.of(config, len(learn), len(choose), len(held))
    costs.require(config.budget)
    return Shares(learn, choose, held, costs)


class Costs(NamedTuple):
    """Evaluations, at most: of the given library, of one try after it, and of the promotion."""

    given: int
    one_try: int
    promotion: int

    @classmethod
    def of(cls, config: PromptsConfig, learn: int, choose: int, held: int) -> Costs:
        each, once = config.questions, int(config.prompts == "dynamic" and config.dynamic.first == "probe")
        screen = min(
            config.search.screen if config.search.kind == "greedy" else 2 * config.search.minibatch, learn
        )
        promotion = (each * (1 + config.edits) + once) * held
        return cls((each + once) * (learn + choose), screen + each * choose, promotion)

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


def refusals(config: PromptsConfig) -> list[str]:
    """A plan's notes on splits, a budget and keys that would end the run; none on a Dataset that is not there yet.
    Its rows are read, and those images that may be the same."""
    try:
        folder = find_input(config.dataset)
    except UserError:
        folder = None

    def splits() -> None:
        out = folder / "out" if (folder / "manifest.json").is_file() else folder
        shares(config, open_dataset(out))

    checks = [splits] if folder else []
    if config.prompts == "dynamic":
        checks.append(lambda: selector_of(load_library(config.library), config.dynamic))
    checks += [port.key for port in (config.endpoint, config.writer) if port]
    return refused_by(checks)
