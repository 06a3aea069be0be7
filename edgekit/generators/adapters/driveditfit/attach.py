"""DriveDiTFit on a generator: which weights are modulated, where RoPE and the scenario rows go, and back."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.driveditfit.config import DriveDiTFit
from edgekit.generators.adapters.driveditfit.modulation import BiasShift, LowRank, Ones, OnesConv
from edgekit.generators.adapters.driveditfit.rope import RopeProcessor
from edgekit.generators.adapters.driveditfit.ssei import Choice, start_rows
from edgekit.generators.adapters.sites import (
    ADDED_ATTENTION,
    ATTENTION,
    Site,
    blocks,
    first_blocks,
    label_tables,
    sites,
)
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator

log = logging.getLogger("edgekit.generators.driveditfit")

# Beside attention. A UNet has no adaLN: its residual blocks' timestep linears are what the condition acts through.
_CONDITION = ("adaln", "added_adaln", "resnet_time", "time", "final", "final_adaln")
_ROLES = (*ATTENTION, *ADDED_ATTENTION, *_CONDITION)
_FEED_FORWARD = ("ff_in", "ff_out", "added_ff_in", "added_ff_out")


def modulated(denoiser: nn.Module, config: DriveDiTFit) -> list[Site]:
    """The layers whose weights and biases are modulated. Raises UserError for a depth beyond the blocks."""
    first_blocks(denoiser, config.depth, "driveditfit")
    roles = (*_ROLES, *_FEED_FORWARD * config.feed_forward, *("patch",) * config.patch)
    return sites(denoiser, roles, config.depth)


class DriveDiTFitAdapter(Adapter):
    """See ``DriveDiTFit``. Without RoPE and new labels the identity at the start, and folds exactly.

    Modulations are torch parametrizations: a layer's class becomes a subclass of what it was, and ``layer.weight``
    is the modulated one.
    """

    kind = "driveditfit"

    def __init__(self, config: DriveDiTFit, generator: Generator, seed: int):
        super().__init__(config, generator)
        denoiser = generator.denoiser
        places = modulated(denoiser, config)
        self.rope = _rope(config, generator)  # both refuse before anything is changed
        self._seed = seed
        self._old_table: Tensor | None = None  # of the base, for rows that start from it
        self.new_labels: list[str] = []  # which the base does not know
        self.choice: Choice | None = None
        self._waits_for_rows = False
        self._undo = ExitStack()
        self._start_table()

        self.parts: list[tuple[nn.Module, str, nn.Module]] = []  # layer, "weight" | "bias", its modulation
        draw = draw_of(seed, "modulation")
        for site in places:
            if config.mul or config.add:
                self._modulate(site, "weight", _operator(site.module.weight, config, draw))
            if config.bias_mod and site.module.bias is not None:
                self._modulate(site, "bias", BiasShift(site.module.bias))

        for _, block in first_blocks(denoiser, config.depth, "driveditfit") if self.rope else ():
            self._undo.callback(block.attn1.set_processor, block.attn1.processor)
            block.attn1.set_processor(self.rope)

    def _modulate(self, site: Site, which: str, part: nn.Module) -> None:
        # unsafe: shape and type stay, so torch need not run each part to check them.
        parametrize.register_parametrization(site.module, which, part, unsafe=True)
        self.parts.append((site.module, which, part))
        self.added |= {f"{site.name}.{which}.{name}": p for name, p in part.named_parameters()}

    # --- scenario rows ---

    def _start_table(self) -> None:
        config, tables = self.config, label_tables(self.generator.denoiser)
        old = next((table.detach().clone() for table in tables.values()), None)
        known = getattr(self.generator.condition, "names", [])
        self.train_table(config.table, config.labels, self._seed)
        if self._put_labels_back:  # a new table, whose new rows begin normal
            self._old_table = old
            self.new_labels = [label for label in config.labels if label not in known]
            self._waits_for_rows = config.label_start == "ssei" and bool(self.new_labels)
            if config.label_start not in ("ssei", "normal"):
                self._write_rows()

    def start_labels(self, choice: Choice) -> None:
        """SSEI: the new labels' rows become copies of the chosen classes' (see ``ssei.choose``).

        choice: a class of the base for each of ``new_labels``, in their order; classes in that of the base's
        names. Raises UserError where the config asks for no SSEI, or the choice is for other labels.
        """
        if not self.new_labels or self.config.label_start != "ssei":
            raise UserError(
                "SSEI: no label table waits for rows",
                f"labels={self.config.labels}, label_start={self.config.label_start}",
                "set method.labels to new names and method.label_start: ssei",
            )
        self.choice = choice
        self._write_rows()
        for row, labels in choice.collisions().items():
            names = ", ".join(self.new_labels[label] for label in labels)
            log.info("SSEI: %s all start from class %d", names, row)

    @torch.no_grad()
    def _write_rows(self) -> None:
        how, count = self.config.label_start, len(self.new_labels)
        rows = start_rows(self._old_table, how, count, self.choice, draw_of(self._seed, "rows"))[:-1]
        for row, label in zip(rows, self.new_labels, strict=True):
            for table in label_tables(self.generator.denoiser).values():
                table[self.config.labels.index(label)] = row
        self._waits_for_rows = False

    def on_t(self, t: Tensor) -> None:
        if self._waits_for_rows:
            raise UserError(
                "driveditfit: label_start=ssei, and no rows were chosen",
                f"{len(self.new_labels)} labels wait for the classes that they start from",
                "give images to SSEI (start_labels), or set method.label_start: normal",
            )

    # --- what every adapter has ---

    def load(self, state: dict[str, Tensor]) -> None:
        super().load(state)
        self._waits_for_rows = False

    def training_state(self) -> dict:
        return {"choice": asdict(self.choice)} if self.choice else {}

    def load_training_state(self, state: dict) -> None:
        self.choice = Choice(**state["choice"]) if state else None

    def groups(self) -> list[dict]:
        """Weight decay draws residual factors to the identity; what starts at 1 it would draw to 0: none there.

        (The released script decays its all-ones factors by 1e-2 of the rate, and so the weights.)
        """
        ones = {id(part.scale) for _, _, part in self.parts if isinstance(part, BiasShift)}
        if self.config.init == "released":
            ones |= {id(p) for _, which, part in self.parts if which == "weight" for p in part.parameters()}
        split: dict[bool, list] = {False: [], True: []}
        for parameter in self.trainable().values():
            split[id(parameter) in ones].append(parameter)
        decays = {False: None, True: 0.0}
        return [
            {"params": params, "lr_scale": 1.0, "weight_decay": decays[raw]}
            for raw, params in split.items()
            if params
        ]

    def facts(self) -> dict:
        """Counts, and how new labels were started."""
        choice = self.choice
        told: dict = {
            "modulated_layers": len({id(layer) for layer, _, _ in self.parts}),
            "parameters": sum(p.numel() for p in self.trainable().values()),
            "rope": self.rope and {"scope": self.rope.scope, "grid": list(self.rope.grid)},
        }
        if choice:
            told["ssei"] = {
                "encoder": choice.encoder,
                "stand_in": choice.stand_in,
                "rows": dict(zip(self.new_labels, choice.rows, strict=True)),
                "cosines": [round(cosine, 4) for cosine in choice.cosines],
                "collisions": {str(row): labels for row, labels in choice.collisions().items()},
            }
        return told

    @torch.no_grad()
    def changes_nothing(self) -> bool:
        """Drifted in-factors under zero out-factors change nothing; RoPE and new labels always do."""
        if self.rope or self._old_table is not None:
            return False
        return not self.moved_in_place() and all(
            torch.allclose(part(x), x, rtol=1e-6, atol=0) for part, x in self._changed()
        )

    def _changed(self):
        return ((part, getattr(layer.parametrizations, which).original) for layer, which, part in self.parts)

    def remove(self) -> None:
        self._strip(keep=False)
        self._undo.close()

    def merge(self) -> None:
        """The modulated weights become plain ones; new labels stay."""
        if self.rope:
            raise UserError(
                "driveditfit with RoPE cannot be folded into plain weights",
                f"rope={self.config.rope} turns queries and keys by their place, which no weight can hold",
                "keep it attached, or tune with method.rope: off",
            )
        self._strip(keep=True)

    def _strip(self, keep: bool) -> None:
        for layer, which, _ in self.parts:
            parametrize.remove_parametrizations(layer, which, leave_parametrized=keep)


def _operator(weight: Tensor, config: DriveDiTFit, draw: torch.Generator) -> nn.Module:
    if config.init == "released":
        return (OnesConv if weight.ndim == 4 else Ones)(weight, config.rank)
    return LowRank(weight, config.rank, config.mul, config.add, draw)


def _rope(config: DriveDiTFit, generator: Generator) -> RopeProcessor | None:
    """One processor for all blocks. Raises UserError where the arch has no plain grid of tokens."""
    if config.rope == "off":
        return None
    reasons = {
        "unet": "its attention works at several sizes, and convolutions tell it the places",
        "mmdit": "its attention is joint with text tokens, which have no place in the picture",
    }
    if generator.arch in reasons:
        raise UserError(
            f"driveditfit: rope={config.rope} on {generator.arch}", reasons[generator.arch],
            "set method.rope: off",
        )  # fmt: skip
    patch, attn = generator.denoiser.config.patch_size, blocks(generator.denoiser)[0][1].attn1
    grid = (generator.size[0] // patch, generator.size[1] // patch)
    return RopeProcessor(grid, attn.to_q.out_features, attn.heads, config.rope)


def attach(config: DriveDiTFit, generator: Generator, seed: int) -> DriveDiTFitAdapter:
    """seed: for the in-factors and for the rows of new labels."""
    return DriveDiTFitAdapter(config, generator, seed)
