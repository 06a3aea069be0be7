"""DiffFit on a generator: which tensors are trained, where γ is put, and how all of it is taken off."""

from __future__ import annotations

from contextlib import ExitStack

from torch import nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.difffit.gamma import Gamma
from edgekit.generators.adapters.difffit.position import set_latent_size
from edgekit.generators.adapters.sites import (
    affine_norms,
    biases,
    blocks,
    first_blocks,
    label_tables,
    scale_shift_tables,
    sites,
)
from edgekit.generators.generator import Generator

# Roles of sites.py that each place of γ means. "block" scales what attention and feed-forward give to the
# residual sum: with "proj", attention's output linear carries two scales.
ROLES = {
    "block": ("out", "added_out", "ff_out", "added_ff_out"),
    "qkv": ("q", "k", "v", "added_q", "added_k", "added_v"),
    "proj": ("out", "added_out"),
    "ff": ("ff_in", "added_ff_in"),
    "final_linear": ("final",),
    "final_adaln": ("final_adaln",),
    "patch": ("patch",),
    "time": ("time",),
}


def gamma_sites(denoiser: nn.Module, config: DiffFit) -> dict[str, nn.Module]:
    """{"<layer>.gamma" or "<layer>.gamma_block": layer} for every scale of ``config``, in order of data.

    Raises UserError where a place that was asked for does not exist, or depth is beyond the blocks.
    """
    chosen = set(gamma_blocks(denoiser, config))
    places: dict[str, nn.Module] = {}
    for place in config.gammas:
        here = sites(denoiser, ROLES[place])
        if place == "time":  # one scale on the embedding, as its last linear gives it
            here = [site for site in here if site.module is site.parent.linear_2]
        if not here:
            raise UserError(
                f"difffit: gammas has {place!r}",
                f"a {type(denoiser).__name__} has no such layer",
                f"leave {place!r} out of method.gammas",
            )
        name = "gamma_block" if place == "block" else "gamma"
        places |= {f"{s.name}.{name}": s.module for s in here if s.block in chosen or s.block == -1}
    return places


def gamma_blocks(denoiser: nn.Module, config: DiffFit) -> list[int]:
    """Indices of the blocks with γ. Raises UserError for more than there are."""
    count = len(blocks(denoiser))
    depth = max(1, count // 2) if config.depth is None else config.depth
    first_blocks(denoiser, depth, "difffit")
    return list(range(depth) if config.side == "first" else range(count - depth, count))


class DiffFitAdapter(Adapter):
    """See ``DiffFit``. Identity at the start bit for bit; folds exactly into a plain denoiser."""

    kind = "difffit"

    def __init__(self, config: DiffFit, generator: Generator, seed: int):
        super().__init__(config, generator)
        denoiser = generator.denoiser
        places = gamma_sites(denoiser, config)
        self._modules(config)  # refuses before anything is changed
        with ExitStack() as undo:
            if config.latent_size:
                undo.callback(set_latent_size(generator, config.latent_size, config.position == "scaled"))
            self.train_table(config.table, config.labels, seed)
            self._undo = undo.pop_all()
        self.parts = self._modules(config)
        for part, parameters in self.parts.items():
            if part != "table":
                self.train_in_place(parameters)
        self.gammas = {name: Gamma(layer, name.rpartition(".")[2]) for name, layer in places.items()}
        self.added |= {name: gamma.value for name, gamma in self.gammas.items()}

    def _modules(self, config: DiffFit) -> dict[str, dict[str, nn.Parameter]]:
        """{part: {name: parameter of the denoiser}}, found by module type."""
        denoiser = self.generator.denoiser
        norms = affine_norms(denoiser)
        if config.norms == "layer":
            kind_of = {name: type(denoiser.get_submodule(name.rpartition(".")[0])) for name in norms}
            norms = {name: p for name, p in norms.items() if issubclass(kind_of[name], nn.LayerNorm)}
        captions = {f"{s.name}.weight": s.module.weight for s in sites(denoiser, ["caption"])}
        tables = scale_shift_tables(denoiser)
        for key, there in (("caption_projection", captions), ("scale_shift", tables)):
            if getattr(config, key) and not there:
                raise UserError(
                    f"difffit: {key}=true", f"a {type(denoiser).__name__} has none", f"leave method.{key} out"
                )
        return {
            "biases": biases(denoiser) if config.biases else {},
            "norms": {} if config.norms == "none" else norms,
            "table": label_tables(denoiser) if config.table else {},
            "captions": captions if config.caption_projection else {},
            "scale_shift": tables if config.scale_shift else {},
        }

    def groups(self) -> list[dict]:
        """Weight decay would pull γ to 0, and every other raw value off the base: none but on the tables."""
        decayed = {id(p) for part in ("table", "captions") for p in self.parts[part].values()}
        split = {True: [], False: []}
        for parameter in self.trainable().values():
            split[id(parameter) in decayed].append(parameter)
        groups = [
            {"params": split[False], "lr_scale": self.config.lr_scale, "weight_decay": 0.0},
            {"params": split[True], "lr_scale": self.config.lr_scale, "weight_decay": None},
        ]
        return [group for group in groups if group["params"]]

    def facts(self) -> dict:
        """Counts by part; a norm's bias is counted with the biases."""
        seen: set[str] = set()
        counts = {"gammas": sum(gamma.value.numel() for gamma in self.gammas.values())}
        for part, parameters in self.parts.items():
            counts[part] = sum(p.numel() for name, p in parameters.items() if name not in seen)
            seen |= parameters.keys()
        return {
            "parameters": counts,
            "gamma_blocks": gamma_blocks(self.generator.denoiser, self.config),
            "latent_size": list(self.generator.size),
        }

    def remove(self) -> None:
        for gamma in self.gammas.values():
            gamma.remove()
        self._undo.close()

    def merge(self) -> None:
        """The label table and the size that the adapter brought stay."""
        for gamma in self.gammas.values():
            gamma.fold()


def attach(config: DiffFit, generator: Generator, seed: int) -> DiffFitAdapter:
    """seed: for the rows of new labels, the only thing here that is drawn."""
    return DiffFitAdapter(config, generator, seed)
