"""TimeStep Master on a generator: where experts stand, which of them acts at t, and what is trained when."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError, suggestion
from edgekit.generators.adapters import lora
from edgekit.generators.adapters.adapter import Adapter, put, refuse_mismatch
from edgekit.generators.adapters.sites import ADDED_ATTENTION, ATTENTION, Site, sites
from edgekit.generators.adapters.tsm.clock import Clock, Moment, forget, remember
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.adapters.tsm.intervals import interval
from edgekit.generators.adapters.tsm.layers import Experts, add_experts
from edgekit.generators.adapters.tsm.router import Router
from edgekit.generators.adapters.tsm.stages import TABLE, Stage, plan
from edgekit.generators.adapters.units import Projection, chosen_heads, projections
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.process import Betas

Mode = Literal["base", "vanilla", "stage1", "stage2"]
FLOW_STEPS = 1000  # a flow's t runs from 0 to 1000

# What the paper adapts for few-step distillation (App. A): 278 layers of SD 1.5.
DISTILLATION = (
    *ATTENTION, "proj_in", "proj_out", "ff_in", "ff_out", "resnet", "resnet_time", "resample",
)  # fmt: skip


class TsmAdapter(Adapter):
    """See ``TimestepMaster``. ``begin`` chooses what is trained, ``set_mode`` and ``only`` what acts.

    Identity at the start bit for bit in every mode. An adapter begins with the first of its ``stages``.
    """

    kind = "tsm"

    def __init__(self, config: TimestepMaster, generator: Generator, seed: int):
        super().__init__(config, generator)
        self.T = len(generator.process) if isinstance(generator.process, Betas) else FLOW_STEPS
        self.alpha = config.rank if config.alpha is None else config.alpha
        if max(config.scales) > self.T:
            raise UserError(
                f"tsm: {max(config.scales)} intervals",
                f"the noise schedule has {self.T} steps",
                "choose fewer intervals",
            )
        places = target_sites(generator.denoiser, config)
        heads = None
        if config.units is not None:
            names = {site.name for site in places}
            found = [p for p in projections(generator.denoiser, config.added) if p.name in names]
            heads = {p.name: (p, chosen) for p, chosen in chosen_heads(config.units, found)}
        self.train_table(config.table, config.labels, seed)
        self.clock = Clock()
        self._checkpointing = [
            m for m in generator.denoiser.modules() if hasattr(m, "gradient_checkpointing")
        ]
        self.experts: dict[str, Experts] = {}
        draw = draw_of(seed, "tsm")
        undo = []
        for site in places:
            if heads is None or site.name in heads:
                experts = self._experts(site, heads and heads[site.name], draw)
                undo.append(add_experts(site.module, experts))
                self.experts[site.name] = experts
                self.added |= {f"{site.name}.tsm.{name}": p for name, p in experts.named_parameters()}
        undo.append(generator.denoiser.register_forward_hook(self._pass_is_over, always_call=True).remove)
        self._undo = undo
        self.stages = [stage for stage in plan(config, self.T) if self.trained_in(stage)]
        self.begin(self.stages[0])

    def _experts(
        self, site: Site, heads: tuple[Projection, list[int]] | None, draw: torch.Generator
    ) -> Experts:
        config, layer = self.config, site.module
        rows = columns = None
        if heads is not None and len(heads[1]) < heads[0].heads:
            projection, chosen = heads
            index = projection.index(chosen)
            rows, columns = (None, index) if projection.axis == 1 else (index, None)
        router = None
        if config.gates:
            router = Router(
                layer.weight.shape[1], config.gates, self.T, config.gate, config.pool,
                softmax=config.mixture != "asymmetric", like=layer.weight,
            )  # fmt: skip
        return Experts(
            layer,
            config.scales,
            config.rank,
            self.alpha / config.rank,
            self.clock,
            draw,
            router,
            rows,
            columns,
        )

    # --- what acts ---------------------------------------------------------------------------

    def set_mode(self, mode: Mode) -> None:
        """base: nothing; vanilla: the expert of all t; stage1: the core's expert of t; stage2: the mixture.

        Raises UserError for a mode that the config has no experts or routers for.
        """
        reasons = {
            "base": None,
            "vanilla": None if self._has_vanilla else f"no scale of {self.config.scales} has one interval",
            "stage1": "moe has no intervals" if self.config.mixture == "moe" else None,
            "stage2": None if self.config.gates else "there are no contexts and so no routers",
        }
        if mode not in reasons or reasons[mode]:
            why = reasons[mode] if mode in reasons else suggestion(mode, reasons)
            raise UserError(f"tsm: no mode {mode!r}", why, f"choose of {', '.join(reasons)}")
        self.mode: Mode | tuple[int, int] = mode

    def only(self, n: int, i: int) -> None:
        """Expert ``i`` (from 0) of ``n`` intervals acts at every t. Raises UserError where there is none."""
        self.check(n, i)
        self.mode = (n, i)

    def check(self, n: int, i: int) -> None:
        """Raises UserError where there is no expert ``i`` of ``n`` intervals."""
        if n not in self.config.scales or not 0 <= i < n:
            raise UserError(
                f"tsm: no expert {i} of {n}",
                f"its numbers of intervals are {self.config.scales}; experts count from 0",
                "choose one of these",
            )

    def finish(self) -> None:
        """The mode to sample with: the mixture where there are routers, else the core's experts."""
        self.set_mode("stage2" if self.config.gates else "stage1")

    @property
    def _has_vanilla(self) -> bool:
        return self.config.mixture != "moe" and 1 in self.config.scales

    def moment(self, t: Tensor) -> Moment:
        """What acts at t, a number or a tensor [B], [1] or []."""
        if self.mode == "base":
            return Moment(())
        if isinstance(self.mode, tuple):
            return Moment((self.mode,))
        if self.mode == "vanilla":
            return Moment(((1, 0),))
        t = torch.as_tensor(t).reshape(-1)
        if self.config.mixture == "moe":
            picks = tuple((self.config.core, i) for i in range(self.config.core))
        else:
            scales = self.config.scales if self.mode == "stage2" else [self.config.core]
            picks = tuple((n, self._pick(t, t.cpu(), n)) for n in scales)
        if self.mode == "stage1":
            return Moment(picks)
        rows = (t.round() if t.is_floating_point() else t).long().clamp(max=self.T - 1)
        return Moment(picks, rows)

    def _pick(self, t: Tensor, at_hand: Tensor, n: int) -> int | Tensor:
        """One expert where all samples share it: then its weights need not be gathered."""
        first = interval(at_hand, n, self.T)
        if bool((first == first[0]).all()):
            return int(first[0])
        return interval(t, n, self.T)

    def on_t(self, t: Tensor) -> None:
        remember(self._checkpointing, self.clock)
        self.clock.now = self.moment(t)

    def _pass_is_over(self, *_) -> None:
        self.clock.now = None  # a pass that is told no t must fail, not take the last one's

    # --- what is trained ---------------------------------------------------------------------

    def trained_in(self, stage: Stage) -> dict[str, nn.Parameter]:
        """The tensors that ``stage`` trains; empty for labels that are the base's own."""
        parts = [f".tsm.{part}." for part in stage.parts if part != TABLE]
        table = self.in_place if TABLE in stage.parts else {}
        return table | {name: p for name, p in self.added.items() if any(part in name for part in parts)}

    def begin(self, stage: Stage | str) -> None:
        """Makes ``stage`` what is trained and lets what it needs act; everything else is frozen."""
        if isinstance(stage, str):
            by_name = {one.name: one for one in self.stages}
            if stage not in by_name:
                raise UserError(f"tsm: no stage {stage!r}", suggestion(stage, by_name), "mend its name")
            stage = by_name[stage]
        self.stage = stage
        if stage.expert is not None:
            self.only(*stage.expert)
        else:
            self.set_mode("base" if stage.parts == (TABLE,) else "stage2")
        chosen = {id(p) for p in self.trainable().values()}
        for parameter in (self.in_place | self.added).values():
            parameter.requires_grad_(id(parameter) in chosen)
            parameter.grad = None

    def trainable(self) -> dict[str, nn.Parameter]:
        return self.trained_in(self.stage)

    def groups(self) -> list[dict]:
        """No decay on routers' time tables: it would move the rows of t that were not drawn."""
        rows = [p for name, p in self.trainable().items() if name.endswith(".tsm.router.time")]
        held = {id(p) for p in rows}
        rest = [p for p in self.trainable().values() if id(p) not in held]
        groups = [
            {"params": rest, "lr_scale": 1.0, "weight_decay": None},
            {"params": rows, "lr_scale": 1.0, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def training_state(self) -> dict:
        return {"stage": self.stage.name}

    def load_training_state(self, state: dict) -> None:
        self.begin(state["stage"])

    # --- files -------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Every expert, the routers and the table, whichever stage it is."""
        return {name: p.detach().clone() for name, p in (self.in_place | self.added).items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """As every adapter's; then ready to sample (``finish``)."""
        mine = self.in_place | self.added
        refuse_mismatch(mine, state, "this tsm adapter does not fit its config")
        for name, parameter in mine.items():
            put(parameter, state[name])
        self.finish()

    def facts(self) -> dict:
        counts = {"experts": 0, "routers": 0}
        for name, parameter in self.added.items():
            counts["routers" if ".tsm.router." in name else "experts"] += parameter.numel()
        counts["expert"] = counts["experts"] // sum(self.config.scales)
        return {"T": self.T, "layers": len(self.experts), "parameters": counts}

    def changes_nothing(self) -> bool:
        """Whether the mode that ``finish`` sets gives the base's output, whatever was trained on the way."""
        if self.moved_in_place():
            return False
        gated = self.config.mixture == "asymmetric"
        for experts in self.experts.values():
            routed = not gated or any(bool(p.any()) for p in (experts.router or nn.Module()).parameters())
            for n in self.config.scales if routed else [self.config.core]:
                if any(bool(e.lora_A.any()) and bool(e.lora_B.any()) for e in experts.experts[str(n)]):
                    return False
        return True

    def remove(self) -> None:
        for undo in self._undo:
            undo()
        forget(self._checkpointing)

    @torch.no_grad()
    def merge(self) -> None:
        """One expert into plain weights: the one of ``only``, or of a mode in which one acts at every t."""
        if isinstance(self.mode, tuple):
            expert = self.mode
        elif self.mode == "vanilla" or (self.mode == "stage1" and self.config.core == 1):
            expert = (1, 0)
        else:
            raise UserError(
                f"tsm in mode {self.mode!r} cannot be folded into plain weights",
                "what it adds depends on t" + (" and on the input" if self.mode == "stage2" else ""),
                "choose one expert with only(n, i), or keep it attached",
            )
        for name, experts in self.experts.items():
            weight = self.generator.denoiser.get_submodule(name).weight
            weight.copy_(weight.to(experts.weight(*expert).dtype) + experts.weight(*expert))
        self.remove()


def target_sites(denoiser: nn.Module, config: TimestepMaster) -> list[Site]:
    """The layers that ``config.targets`` means. Raises UserError where there are none."""
    if config.targets != "distillation":
        return lora.target_sites(denoiser, config)
    return sites(denoiser, [*DISTILLATION, *(ADDED_ATTENTION if config.added else ())])


def attach(config: TimestepMaster, generator: Generator, seed: int) -> TsmAdapter:
    """seed: for every expert's A and the rows of new labels."""
    return TsmAdapter(config, generator, seed)
