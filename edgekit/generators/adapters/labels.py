"""A label table for new classes: K + 1 rows, the null row taken over, and the rows of names that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.sites import sites
from edgekit.generators.draws import draw_of

SPREAD = 0.02  # of new rows: a DiT's own start


def rebuild_label_table(
    denoiser: nn.Module,
    names: list[str],
    init: Literal["normal"] | Tensor = "normal",
    null_row: Tensor | None = None,
    seed: int = 0,
    known: Sequence[str] = (),
) -> Callable[[], None]:
    """Gives ``denoiser`` a table of K = len(names) classes and, as row K, the null row (copied from the old).

    init: (K, D) first values of the classes, or "normal": N(0, 0.02), one draw for all tables of an unshared
    DiT. The paper does not say how new rows start; its counts prove K + 1 of them.
    null_row: (D,) instead of the old table's last row. known: the names of the old table's rows; one that
    stays keeps its row, whatever ``init`` is.
    Returns a function that puts the old tables and the config back. The generator's condition is the
    caller's to change: see ``relabel``.
    Raises UserError for a denoiser without a table, for names told twice and for values of another shape.
    """
    tables = [site.parent for site in sites(denoiser, ["label_table"])]  # one where blocks share it
    if not tables:
        raise UserError(
            f"a {type(denoiser).__name__} has no label table",
            f"{len(names)} labels were given, and this generator is asked with text",
            "leave labels out, or take a generator with labels (dit)",
        )
    if not names or len(set(names)) < len(names):
        raise UserError(
            "labels for a new table", f"{len(names)} names, {len(set(names))} different", "name each once"
        )
    width = tables[0].embedding_table.embedding_dim
    if isinstance(init, str):
        init = torch.randn(len(names), width, generator=draw_of(seed, "labels")) * SPREAD
    for what, given, need in [("init", init, (len(names), width)), ("null_row", null_row, (width,))]:
        if given is not None and tuple(given.shape) != need:
            raise UserError(
                f"{what} of a new label table",
                f"its shape is {tuple(given.shape)}; {len(names)} labels of width {width} need {need}",
                "give one row per label",
            )
    config_before = denoiser.config.num_embeds_ada_norm
    before = [(table, table.embedding_table, table.num_classes) for table in tables]
    kept = [name for name in names if name in known]
    new_rows, old_rows = ([of.index(name) for name in kept] for of in (names, list(known)))
    for table, embedding, _ in before:
        weight = embedding.weight.detach()
        last = weight[-1:] if null_row is None else null_row[None].to(weight)
        rows = torch.cat([init.detach().to(weight), last])  # [K + 1, D]
        if kept:
            rows[new_rows] = weight[old_rows]
        table.embedding_table = nn.Embedding.from_pretrained(rows, freeze=not embedding.weight.requires_grad)
        table.num_classes = len(names)
    denoiser.register_to_config(num_embeds_ada_norm=len(names))

    def restore() -> None:
        for table, embedding, count in before:
            table.embedding_table, table.num_classes = embedding, count
        denoiser.register_to_config(num_embeds_ada_norm=config_before)

    return restore


def relabel(
    generator, names: list[str], init: Literal["normal"] | Tensor = "normal", seed: int = 0
) -> Callable[[], None]:
    """Makes ``generator`` answer to ``names``: its table rebuilt, its condition a LabelCondition of them.

    A name that it answers to already keeps its row. Returns a function that undoes both. Raises as
    ``rebuild_label_table``.
    """
    from edgekit.generators.conditions import LabelCondition

    known = getattr(generator.condition, "names", ())
    restore_table = rebuild_label_table(generator.denoiser, names, init, seed=seed, known=known)
    condition, generator.condition = generator.condition, LabelCondition(names).to(generator.condition.device)

    def restore() -> None:
        restore_table()
        generator.condition = condition

    return restore
