"""What the decoder reads: feature maps and cross-attention maps of one pass of the denoiser."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from edgekit.generators.adapters.sites import blocks
from edgekit.generators.conditions import Cond
from edgekit.generators.generator import Generator
from edgekit.generators.process import Betas, Process
from edgekit.generators.sampling import kept_steps


def last_step(process: Process, steps: int) -> float:
    """The t of a sampler's last step, the least noisy one that it sees (DatasetDM reads at t = 0 or 1)."""
    if isinstance(process, Betas):
        return kept_steps(len(process), steps)[-1]
    scheduler = FlowMatchEulerDiscreteScheduler(shift=process.shift)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps[-1].item()


class KeptAttention:
    """An attention processor that also keeps the probabilities; the output is the first processor's own."""

    def __init__(self, processor, keep):
        self.processor = processor
        self.keep = keep

    def __call__(self, attn: Attention, x, told=None, attention_mask=None, *args, **kwargs):
        told = kwargs.pop("encoder_hidden_states", told)
        self.keep(probabilities(attn, x, told, attention_mask))
        return self.processor(attn, x, told, attention_mask, *args, **kwargs)


def probabilities(attn: Attention, x: Tensor, told: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(QK^T·scale) [B, heads, N, L] of tokens x [B,N,D] over text ``told`` [B,L,E]; rows sum to 1."""
    if attn.norm_cross:
        told = attn.norm_encoder_hidden_states(told)
    q, k = (y.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for y in (attn.to_q(x), attn.to_k(told)))
    q = q if attn.norm_q is None else attn.norm_q(q)
    k = k if attn.norm_k is None else attn.norm_k(k)
    logits = (q.float() @ k.float().transpose(-1, -2)) * attn.scale
    if mask is not None:  # [B,1,L] or [B,L], added
        mask = attn.prepare_attention_mask(mask, told.shape[1], len(x))
        logits = logits + mask.reshape(len(x), attn.heads, -1, mask.shape[-1])
    return logits.softmax(-1)


class Features:
    """A context in which every pass of the denoiser leaves its features behind, until the next one clears them.

    A UNet gives the last feature block of each resolution of its way up, before the upsampler; a transformer
    three blocks, at a third, two thirds and the end of its depth, all of one resolution. Maps of every
    ``every``-th cross-attention (of a UNet's way up) join the features of their resolution; a DiT and an MM-DiT
    have none, and features stand alone.
    """

    def __init__(self, generator: Generator, every: int = 7, keep_heads: bool = False):
        self.generator, self.every, self.keep_heads = generator, every, keep_heads
        self._maps: list[Tensor] = []  # [B,C,h,w] in the order of the pass
        self._hooks: list = []
        self._processors: list[tuple[Attention, object]] = []

    def __enter__(self) -> Features:
        denoiser = self.generator.denoiser
        self._hooks.append(denoiser.register_forward_pre_hook(lambda *_: self._maps.clear()))
        for module in feature_blocks(denoiser):
            self._hooks.append(module.register_forward_hook(lambda m, args, out: self._take(out)))
        for attn in cross_attentions(denoiser)[:: self.every]:
            self._processors.append((attn, attn.processor))
            attn.processor = KeptAttention(attn.processor, self._take_attention)
        return self

    def __exit__(self, *_) -> None:
        for hook in self._hooks:
            hook.remove()
        for attn, processor in self._processors:
            attn.processor = processor
        self._hooks, self._processors = [], []

    def levels(self, last: int | None = None) -> list[Tensor]:
        """[B, C_l, h_l, w_l] float32, coarse to fine, of the latest pass; last: of its last so many rows only.

        Under guidance the second half of the rows is the condition's own; the null half is never used.
        """
        if not self._maps:
            raise RuntimeError("no pass of the denoiser was made in this context")
        kept = [m if last is None else m[-last:] for m in self._maps]
        sizes = sorted({m.shape[-2:] for m in kept})
        return [torch.cat([m.float() for m in kept if m.shape[-2:] == size], dim=1) for size in sizes]

    def _take(self, out) -> None:
        if isinstance(out, tuple):  # a UNet's attention block, or an MM-DiT's (text, picture)
            out = out[-1]
        self._maps.append((out if out.ndim == 4 else self._grid(out.transpose(1, 2))).detach())

    def _take_attention(self, p: Tensor) -> None:
        p = p if self.keep_heads else p.mean(1, keepdim=True)
        self._maps.append(self._grid(p.transpose(-1, -2).flatten(1, 2)).detach())  # [B, (heads·)L, h, w]

    def _grid(self, x: Tensor) -> Tensor:
        """[B,C,N] -> [B,C,h,w]: a transformer's patches, a UNet's halvings."""
        h, w = self.generator.size
        if self.generator.arch != "unet":
            patch = self.generator.denoiser.config.patch_size
            h, w = h // patch, w // patch
        while h * w > x.shape[-1]:
            h, w = (h + 1) // 2, (w + 1) // 2
        return x.unflatten(-1, (h, w))


def feature_blocks(denoiser: nn.Module) -> list[nn.Module]:
    """The modules whose outputs are read, in the order of the pass."""
    if hasattr(denoiser, "up_blocks"):
        return [(getattr(b, "attentions", None) or b.resnets)[-1] for b in denoiser.up_blocks]
    found = [module for _, module in blocks(denoiser)]
    return [found[i] for i in sorted({(k * len(found) + 2) // 3 - 1 for k in (1, 2, 3)})]


def cross_attentions(denoiser: nn.Module) -> list[Attention]:
    """Cross-attention modules, of a UNet those of its way up (SDXL: 36)."""
    found = [(n, getattr(m, "attn2", None)) for n, m in blocks(denoiser)]
    up = hasattr(denoiser, "up_blocks")
    return [
        attn
        for name, attn in found
        if isinstance(attn, Attention)
        and attn.is_cross_attention
        and (not up or name.startswith("up_blocks"))
    ]


@torch.no_grad()
def features_of(
    generator: Generator, features: Features, z: Tensor, cond: Cond, t: float, eps: Tensor
) -> list[Tensor]:
    """Levels of real pictures' latents z [B,C,h,w], noised by eps to t: one pass, under the condition alone."""
    times = torch.full((len(z),), t, device=z.device)
    if isinstance(generator.process, Betas):
        times = times.long()
    generator.predict(generator.process.noise(z, eps.to(z), times), times, cond)
    return features.levels()
