"""One expert as an ordinary LoRA folder, and back."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json
from edgekit.generators.adapters.adapter import refuse_mismatch
from edgekit.generators.adapters.config import Lora
from edgekit.generators.adapters.files import CONFIG, TENSORS, save_adapter
from edgekit.generators.adapters.lora import PEFT_PREFIX, target_sites
from edgekit.generators.adapters.tsm.attach import TsmAdapter
from edgekit.generators.adapters.units import chosen_factors


class _OneExpert:
    """What ``save_adapter`` asks of an adapter, of one expert as a LoRA."""

    def __init__(self, adapter: TsmAdapter, n: int, i: int):
        self.adapter, self.n, self.i = adapter, n, i
        self.generator, self.base, self.base_digest = adapter.generator, adapter.base, adapter.base_digest
        tsm = adapter.config
        names = adapter.experts.keys()
        # Only PEFT can read a LoRA of layers that no Lora of ours names: then the config is that of the whole adapter.
        self.kind, self.config = "lora of chosen layers", tsm
        if tsm.targets != "distillation":
            lora = Lora(rank=tsm.rank, alpha=adapter.alpha, targets=tsm.targets, added=tsm.added)
            if names == {site.name for site in target_sites(self.generator.denoiser, lora)}:
                self.kind, self.config = "lora", lora

    def state(self) -> dict[str, Tensor]:
        return {
            f"{PEFT_PREFIX}{name}.{part}.weight": factor
            for name, experts in self.adapter.experts.items()
            for part, factor in zip(("lora_A", "lora_B"), experts.factors(self.n, self.i), strict=True)
        }

    def peft_config(self) -> dict:
        return {
            "peft_type": "LORA",
            "r": self.adapter.config.rank,
            "lora_alpha": self.adapter.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(self.adapter.experts),
            "modules_to_save": None,
        }

    def all_facts(self) -> dict:
        return {"layers": len(self.adapter.experts), "expert": [self.n, self.i], "T": self.adapter.T}


def export_expert(adapter: TsmAdapter, n: int, i: int, folder: str | Path) -> None:
    """Writes expert ``i`` (from 0) of ``n`` intervals as a PEFT LoRA folder; where all heads of attention
    layers are adapted, ``load_adapter`` reads it too, as method lora. Unchosen heads are zeros.

    A label table that the adapter trained is not part of it. Raises UserError where there is no such expert.
    """
    adapter.check(n, i)
    save_adapter(_OneExpert(adapter, n, i), folder)


@torch.no_grad()
def import_expert(adapter: TsmAdapter, n: int, i: int, folder: str | Path) -> None:
    """Makes the LoRA of ``folder`` expert ``i`` of ``n``; its α/r becomes the adapter's, its product stays.

    Raises UserError for another rank, a LoRA of another form, other layers, or one that acts on heads that
    the adapter leaves alone.
    """
    folder = Path(folder)
    try:
        told, tensors = dict(read_json(folder / CONFIG)), load_file(folder / TENSORS, device="cpu")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder}: no LoRA", str(error)[:200], "give a folder that PEFT wrote") from None
    plain = {"use_rslora": False, "use_dora": False, "fan_in_fan_out": False, "bias": "none"}
    wrong = [f"{key}: {told[key]!r}" for key, value in plain.items() if told.get(key, value) != value]
    wrong += [f"{key}: {told[key]!r}" for key in ("rank_pattern", "alpha_pattern") if told.get(key)]
    if told.get("peft_type") != "LORA" or told.get("r") != adapter.config.rank:
        wrong.append(f"{told.get('peft_type')} of rank {told.get('r')}")
    if not isinstance(told.get("lora_alpha"), int | float):
        wrong.append(f"lora_alpha: {told.get('lora_alpha')!r}")
    if wrong:
        raise UserError(
            f"{folder}: not a LoRA that an expert can take over",
            f"{', '.join(wrong)}; experts are plain LoRA of rank {adapter.config.rank}",
            "train it with the same rank and PEFT's defaults",
        )
    adapter.check(n, i)
    mine = _OneExpert(adapter, n, i).state()
    refuse_mismatch(mine, tensors, f"{folder}: this LoRA is of other layers")
    ratio = told["lora_alpha"] / adapter.alpha
    taken = []
    for name, experts in adapter.experts.items():
        a, b = (tensors[f"{PEFT_PREFIX}{name}.{part}.weight"].float() for part in ("lora_A", "lora_B"))
        b = b.flatten(1) * ratio
        kept_a, kept_b = chosen_factors(a, b, experts.rows, experts.columns)
        if a.count_nonzero() != kept_a.count_nonzero() or b.count_nonzero() != kept_b.count_nonzero():
            raise UserError(
                f"{folder}: this LoRA acts on heads that the adapter leaves alone",
                f"{name} holds values outside of its chosen heads",
                "choose these heads too, or leave method.units out",
            )
        taken.append((experts.experts[str(n)][i], kept_a, kept_b))
    for expert, a, b in taken:
        expert.lora_A.copy_(a)
        expert.lora_B.copy_(b)
