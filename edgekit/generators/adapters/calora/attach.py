"""CA-LoRA on a generator: scores, chooses heads, puts a HeadLora on each layer that has some; files as PEFT's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import Adapter, put, refuse_mismatch
from edgekit.generators.adapters.calora import head_lora
from edgekit.generators.adapters.calora.awareness import Awareness, measure, time_of
from edgekit.generators.adapters.calora.concepts import concept_of
from edgekit.generators.adapters.calora.config import NEEDS_SCORES, CaLora
from edgekit.generators.adapters.calora.select import select
from edgekit.generators.adapters.lora import PEFT_PREFIX
from edgekit.generators.adapters.units import chosen_heads, projections
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator


class CaLoraAdapter(Adapter):
    """See ``CaLora``. Identity at the start bit for bit; ``awareness``: the scores, where they were needed.

    ``config.units`` holds the choice after attach, so that the file needs no scores to be loaded. In the file the
    pairs are as wide as the layers, 0 outside the chosen heads: an ordinary LoRA to PEFT.
    """

    kind = "calora"

    def __init__(self, config: CaLora, generator: Generator, seed: int):
        denoiser = generator.denoiser
        found = projections(denoiser, config.added)
        self.awareness = _scores(config, generator, seed)
        units = config.units or select(config.select, config.share, found, self.awareness, seed)
        chosen = chosen_heads(units, found)
        # scores: a path of the machine that chose means nothing to a reader of the file
        super().__init__(config.model_copy(update={"units": sorted(units), "scores": None}), generator)
        self.train_table(config.table, config.labels, seed)
        self.tables = _every_name(denoiser, self.in_place)
        self.all_units = sum(p.heads for p in found)
        self.all_sizes = sum(sum(p.layer.weight.shape) for p in found)
        self.alpha = config.rank if config.alpha is None else config.alpha
        draw = draw_of(seed, "calora")
        self.layers: dict[str, nn.Linear] = {}
        for projection, heads in chosen:
            lora = head_lora.put(projection, heads, config.rank, self.alpha / config.rank, draw)
            self.layers[projection.name] = projection.layer
            self.added[f"{projection.name}.lora_A.weight"] = lora.A
            self.added[f"{projection.name}.lora_B.weight"] = lora.B

    def lora(self, name: str) -> head_lora.HeadLora:
        return getattr(self.layers[name], head_lora.NAME)

    def state(self) -> dict[str, Tensor]:
        state = {}
        for name, layer in self.layers.items():
            a, b = self.lora(name).whole(layer)
            state[f"{PEFT_PREFIX}{name}.lora_A.weight"] = a
            state[f"{PEFT_PREFIX}{name}.lora_B.weight"] = b
        for name, parameter in self.in_place.items():
            state |= {PEFT_PREFIX + other: parameter.detach().clone() for other in self.tables[name]}
        return state

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Also refuses tensors that are not 0 outside the chosen heads."""
        what = "this calora adapter does not fit its config"
        refuse_mismatch(self.state(), state, what)
        for name, layer in self.layers.items():
            theirs = [state[f"{PEFT_PREFIX}{name}.lora_{part}.weight"] for part in "AB"]
            lora = self.lora(name)
            lora.take(*theirs)
            for part, mine, given in zip("AB", lora.whole(layer), theirs, strict=True):
                if not torch.equal(mine.cpu(), given.to(mine.dtype).cpu()):
                    raise UserError(
                        what,
                        f"{PEFT_PREFIX}{name}.lora_{part}.weight is not 0 outside the chosen heads",
                        "use the file as it was written, or load it as an ordinary LoRA",
                    )
        for name, parameter in self.in_place.items():
            put(parameter, state[PEFT_PREFIX + name])

    def changes_nothing(self) -> bool:
        return not self.moved_in_place() and all(self.lora(name).changes_nothing() for name in self.layers)

    def facts(self) -> dict:
        """share_of_units says little of the size: a layer with one chosen head carries a whole pair."""
        mine = sum(p.numel() for p in self.added.values())
        whole = self.config.rank * self.all_sizes
        facts = {
            "units": self.all_units,
            "selected": len(self.config.units),
            "layers": len(self.layers),
            "parameters": mine,
            "parameters_of_full_lora": whole,
            "share_of_units": len(self.config.units) / self.all_units,
            "share_of_parameters": mine / whole,
        }
        if self.awareness is not None:
            told = self.awareness.to_json()
            left_out = ("schema", "scores", "concept_rms", "denoising_rms", "groups")
            facts["awareness"] = {key: value for key, value in told.items() if key not in left_out}
            facts["awareness"]["mean_score"] = self._mean_scores()
            facts["awareness"]["scores"] = {u: told["scores"][u] for u in self.config.units}
        return facts

    def _mean_scores(self) -> dict[str, float]:
        """Of each stream: in an MM-DiT words act through the text stream, chosen from or not."""
        streams: dict[str, list[float]] = {}
        for projection in projections(self.generator.denoiser, self.awareness.added):
            scores = [self.awareness.scores[unit] for unit in projection.units]
            streams.setdefault("text stream" if projection.added else "image stream", []).extend(scores)
        return {name: sum(scores) / len(scores) for name, scores in streams.items()}

    def peft_config(self) -> dict:
        tables = sorted(n.removesuffix(".weight") for names in self.tables.values() for n in names)
        return {
            "peft_type": "LORA",
            "r": self.config.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(self.layers),
            "modules_to_save": tables or None,
        }

    def remove(self) -> None:
        for layer in self.layers.values():
            head_lora.take_out(layer)

    def merge(self) -> None:
        for layer in self.layers.values():
            head_lora.fold(layer)


def attach(config: CaLora, generator: Generator, seed: int) -> CaLoraAdapter:
    """seed: of the pictures and noise that are scored, of a random choice, and of A."""
    return CaLoraAdapter(config, generator, seed)


def _scores(config: CaLora, generator: Generator, seed: int) -> Awareness | None:
    if config.units or config.select not in NEEDS_SCORES:
        return None
    if config.scores is None:
        return measure(generator, config, seed)
    scores = Awareness.read(config.scores)
    concept = concept_of(config, getattr(generator.condition, "names", None))
    for what, there, here in (
        ("base", scores.base_digest[:16], generator.digest()[:16]),
        ("concept", scores.prompt, concept.prompt),
        ("concept", scores.altered, list(concept.altered)),
        ("noise time", scores.t, time_of(config.at, generator.process)),
    ):
        if there != here:
            raise UserError(
                f"{config.scores}: scores of another {what}",
                f"{there} there, {here} here",
                "leave method.scores out to measure this one",
            )
    return scores


def _every_name(denoiser: nn.Module, parameters: dict[str, nn.Parameter]) -> dict[str, list[str]]:
    """{name: every name of the same parameter}: a module that blocks share has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in denoiser.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: names[id(parameter)] for name, parameter in parameters.items()}
