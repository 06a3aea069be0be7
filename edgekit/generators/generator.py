"""Generator: a denoiser and everything that it takes to train it and to sample from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgekit.core.files import sha256_json
from edgekit.generators.codec import PixelCodec, VaeCodec
from edgekit.generators.conditions import Cond, LabelCondition, TextCondition
from edgekit.generators.config import DENOISERS, Arch

if TYPE_CHECKING:
    from edgekit.generators.adapters.adapter import Adapter
    from edgekit.generators.process import Betas, Flow


@dataclass(eq=False)
class Generator:
    """size: (h, w) of a latent; channels: C of a latent (the denoiser may put out 2C: noise and range).

    ``denoiser`` stays in eval mode: diffusers' DiT drops labels on its own in train mode, and differently in
    each block. ``adapter`` is set by ``adapters.attach``.
    """

    arch: Arch
    denoiser: nn.Module
    condition: LabelCondition | TextCondition
    codec: PixelCodec | VaeCodec
    process: Betas | Flow
    size: tuple[int, int]
    channels: int
    adapter: Adapter | None = None

    def predict(self, x_t: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """The denoiser's output, float32 [B, C or 2C, h, w].

        x_t: [B, C, h, w]; t: [B], long (Betas) or float in [0, 1000] (Flow: 1000 sigma).
        """
        if self.adapter is not None:
            self.adapter.on_t(t)
        dtype = self.dtype
        x = x_t.to(dtype)
        cond = {key: v.to(dtype) if v.is_floating_point() else v for key, v in cond.items()}
        return _FORWARD[self.arch](self, x, t, cond).float()

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest of its parameters': what is trained on a bfloat16 base is float32."""
        return min((p.dtype for p in self.denoiser.parameters()), key=lambda dtype: dtype.itemsize)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Generator:
        """Moves every part, in place. dtype is the denoiser's and the text encoders'; a VAE stays float32."""
        device = self.device if device is None else torch.device(device)
        self.denoiser.to(device, *([] if dtype is None else [dtype]))
        self.codec.to(device)
        if isinstance(self.condition, TextCondition):
            self.condition.to(device, dtype)
        else:
            self.condition.to(device)
        return self

    def gradient_checkpointing(self, on: bool = True) -> None:
        """Activations of the blocks recomputed in the backward pass instead of kept."""
        if on:
            self.denoiser.enable_gradient_checkpointing()
        else:
            self.denoiser.disable_gradient_checkpointing()

    def text_encoders(self) -> list[nn.Module]:
        """The text encoders, frozen; a training from scratch sets their requires_grad. [] with labels."""
        return self.condition.encoders()

    def fingerprint(self) -> dict[str, str]:
        """{tensor name: "dtype shape sha256[:16]"} of the denoiser's parameters and persistent buffers.

        Position tables are left out: they follow from the config, and SD3 alone stores its own. The same
        whether a DiT's embeddings are shared or not.
        """
        seen: dict[tuple, str] = {}  # a shared tensor is hashed once

        def told(x: Tensor) -> str:
            key = (x.data_ptr(), x.shape, x.stride(), x.dtype)
            if key not in seen:
                data = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                shape = "x".join(map(str, x.shape))
                seen[key] = f"{str(x.dtype)[6:]} {shape} {hashlib.sha256(data).hexdigest()[:16]}"
            return seen[key]

        state = self.denoiser.state_dict(keep_vars=True)
        names = sorted(name for name in state if not name.endswith("pos_embed.pos_embed"))
        return {name: told(state[name]) for name in names}

    def digest(self) -> str:
        """sha256 over the fingerprint, the process and the condition's vocabulary."""
        return sha256_json([self.fingerprint(), self.process.to_json(), self.condition.to_json()])


def arch_of(denoiser: nn.Module) -> Arch:
    """The architecture by the denoiser's class. Raises KeyError for another class."""
    return {name: arch for arch, name in DENOISERS.items()}[type(denoiser).__name__]


def share_embeddings(dit: nn.Module) -> bool:
    """Block k's timestep and label embedding becomes block 0's, where all are equal; True if so.

    diffusers' DiT gives each block its own copy of what is one module in DiT (Peebles & Xie 2023): 27 x 2.8 M
    parameters more for DiT-XL/2, which would drift apart in training. On the meta device shapes alone count.
    """
    first, *others = [block.norm1.emb for block in dit.transformer_blocks]
    for other in others:
        pairs = zip(first.parameters(), other.parameters(), strict=True)
        if any(a.shape != b.shape or (not a.is_meta and not torch.equal(a, b)) for a, b in pairs):
            return False
    for block in dit.transformer_blocks:
        block.norm1.emb = first
    return True


def _dit(g: Generator, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    return g.denoiser(x, timestep=t, class_labels=cond["labels"]).sample


def _pixart(g: Generator, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    more = {"resolution": None, "aspect_ratio": None}
    if g.denoiser.use_additional_conditions:  # the 1024-pixel models
        h, w = (side * g.codec.factor for side in g.size)
        more = {
            "resolution": x.new_tensor([[h, w]]).expand(len(x), -1),
            "aspect_ratio": x.new_tensor([[h / w]]).expand(len(x), -1),
        }
    return g.denoiser(
        x, timestep=t, encoder_hidden_states=cond["tokens"], encoder_attention_mask=cond["mask"],
        added_cond_kwargs=more,
    ).sample  # fmt: skip


def _unet(g: Generator, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    more = {"text_embeds": cond["pooled"], "time_ids": cond["time_ids"]} if "pooled" in cond else None
    return g.denoiser(x, t, encoder_hidden_states=cond["tokens"], added_cond_kwargs=more).sample


def _mmdit(g: Generator, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    return g.denoiser(
        x, timestep=t, encoder_hidden_states=cond["tokens"], pooled_projections=cond["pooled"]
    ).sample


_FORWARD = {"dit": _dit, "pixart": _pixart, "unet": _unet, "mmdit": _mmdit}
