"""Where a method may act: the layers of a denoiser, found by module type and role.

Never by a substring of names: "norm" matches the whole of ``norm1.emb`` and ``norm1.linear`` of diffusers' DiT,
which would train 301,210,016 parameters where DiffFit means none.

roles    q k v out                     attention; the image stream of an MM-DiT
         added_q added_k added_v added_out   the text stream of an MM-DiT
         ff_in ff_out, added_ff_in added_ff_out
         adaln, added_adaln            linears that make shift, scale and gate out of the condition
         time label_table caption pooled size   embeddings of what the denoiser is conditioned on
         patch                         the first layer (patch embedding, conv_in)
         final final_adaln             the last layer, and the adaLN before it
         resnet resnet_time resample proj_in proj_out   the rest of a UNet
         other                         anything else that is linear, convolution or embedding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from diffusers import (
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import (
    LabelEmbedding,
    PatchEmbed,
    PixArtAlphaCombinedTimestepSizeEmbeddings,
    TimestepEmbedding,
)
from diffusers.models.normalization import AdaLayerNormSingle
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import nn

from edgekit.core.errors import UserError

ATTENTION = ("q", "k", "v", "out")
ADDED_ATTENTION = ("added_q", "added_k", "added_v", "added_out")
# These serve every block, though diffusers' DiT keeps a copy inside each (shared: in block 0).
_OUTSIDE_BLOCKS = ("time", "label_table", "caption", "pooled", "size")


@dataclass(frozen=True)
class Site:
    """One layer. block: its transformer block, 0 nearest the input, -1 outside them; parent: the module whose
    type gave the role (an ``Attention`` knows its ``heads``)."""

    name: str
    module: nn.Module
    role: str
    block: int
    parent: nn.Module


def blocks(denoiser: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, transformer block) in the order in which data passes them: a UNet's down, mid, up."""
    kinds = (BasicTransformerBlock, JointTransformerBlock)
    found = [(name, m) for name, m in denoiser.named_modules() if isinstance(m, kinds)]
    if isinstance(denoiser, UNet2DConditionModel):
        stage = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
        found.sort(key=lambda item: stage[item[0].split(".")[0]])
    return found


def first_blocks(denoiser: nn.Module, depth: int | None, what: str) -> list[tuple[str, nn.Module]]:
    """The first ``depth`` of ``blocks``, all for None. Raises UserError, in the name of ``what``, for fewer."""
    found = blocks(denoiser)
    if depth is not None and depth > len(found):
        raise UserError(
            f"{what}: depth={depth}", f"the denoiser has {len(found)} blocks", f"choose {len(found)} at most"
        )
    return found[:depth]


def sites(denoiser: nn.Module, roles: Iterable[str] | None = None, depth: int | None = None) -> list[Site]:
    """Every linear, convolution and embedding layer with its role, each once, in the order of the modules.

    roles: only these; depth: only the first ``depth`` blocks and what lies outside blocks.
    """
    wanted = None if roles is None else set(roles)
    role_of: dict[int, tuple[str, nn.Module]] = {}
    for parent in denoiser.modules():
        for role, child in _children(parent):
            if child is not None:
                role_of.setdefault(id(child), (role, parent))
    block_of = {id(m): i for i, (_, block) in enumerate(blocks(denoiser)) for m in block.modules()}
    found = []
    for name, module in denoiser.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            role, parent = role_of.get(id(module), ("other", denoiser))
            block = -1 if role in _OUTSIDE_BLOCKS else block_of.get(id(module), -1)
            if (wanted is None or role in wanted) and (depth is None or block < depth):
                found.append(Site(name, module, role, block, parent))
    return found


def biases(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """Every bias vector: parameters that some module holds as its ``bias``. A shared module counts once."""
    return _owned(denoiser, lambda module: ("bias",))


def affine_norms(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of layer, group and RMS norms that have any (a DiT's have none)."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

    def affine(module: nn.Module) -> tuple[str, ...]:
        is_norm = isinstance(module, kinds) or type(module).__name__ in ("RMSNorm", "FP32LayerNorm")
        return ("weight", "bias") if is_norm else ()

    return _owned(denoiser, affine)


def scale_shift_tables(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """PixArt's learned offsets of the adaLN outputs: no bias by name, a bias by what they do."""
    return _owned(denoiser, lambda module: ("scale_shift_table",))


def label_tables(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of the class-embedding tables: one where embeddings are shared, else one a block."""
    return {f"{s.name}.weight": s.module.weight for s in sites(denoiser, ["label_table"])}


def _owned(denoiser: nn.Module, names_of) -> dict[str, nn.Parameter]:
    return {
        f"{prefix}.{name}".lstrip("."): module._parameters[name]
        for prefix, module in denoiser.named_modules()
        for name in names_of(module)
        if module._parameters.get(name) is not None
    }


def _children(m: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
    """(role, child) for each child to which the type of ``m`` gives a role."""
    if isinstance(m, Attention):
        yield from (("q", m.to_q), ("k", m.to_k), ("v", m.to_v))
        yield from (("out", layer) for layer in (m.to_out or [])[:1])
        for role, attribute in zip(
            ADDED_ATTENTION, ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"), strict=True
        ):
            yield role, getattr(m, attribute, None)
    elif isinstance(m, BasicTransformerBlock):
        yield from (("ff_in", m.ff.net[0].proj), ("ff_out", m.ff.net[2]))
        yield "adaln", getattr(m.norm1, "linear", None)
    elif isinstance(m, JointTransformerBlock):
        yield from (("ff_in", m.ff.net[0].proj), ("ff_out", m.ff.net[2]))
        yield from (("adaln", m.norm1.linear), ("added_adaln", m.norm1_context.linear))
        if m.ff_context is not None:
            yield from (("added_ff_in", m.ff_context.net[0].proj), ("added_ff_out", m.ff_context.net[2]))
    elif isinstance(m, AdaLayerNormSingle):
        yield "adaln", m.linear
    elif isinstance(m, LabelEmbedding):
        yield "label_table", m.embedding_table
    elif isinstance(m, PixArtAlphaCombinedTimestepSizeEmbeddings) and m.use_additional_conditions:
        for embedder in (m.resolution_embedder, m.aspect_ratio_embedder):
            yield from (("size", embedder.linear_1), ("size", embedder.linear_2))
    elif isinstance(m, TimestepEmbedding):
        yield from (("time", m.linear_1), ("time", m.linear_2))
    elif isinstance(m, PatchEmbed):
        yield "patch", m.proj
    elif isinstance(m, ResnetBlock2D):
        yield from (("resnet", m.conv1), ("resnet", m.conv2), ("resnet", m.conv_shortcut))
        yield "resnet_time", m.time_emb_proj
    elif isinstance(m, (Downsample2D, Upsample2D)):
        yield "resample", m.conv
    elif isinstance(m, Transformer2DModel):
        yield from (("proj_in", m.proj_in), ("proj_out", m.proj_out))
    elif isinstance(m, DiTTransformer2DModel):
        yield from (("final_adaln", m.proj_out_1), ("final", m.proj_out_2))
    elif isinstance(m, PixArtTransformer2DModel):
        yield "final", m.proj_out
        if m.caption_projection is not None:
            yield from (
                ("caption", m.caption_projection.linear_1),
                ("caption", m.caption_projection.linear_2),
            )
    elif isinstance(m, SD3Transformer2DModel):
        yield from (
            ("final_adaln", m.norm_out.linear),
            ("final", m.proj_out),
            ("caption", m.context_embedder),
        )
        text = m.time_text_embed.text_embedder
        yield from (("pooled", text.linear_1), ("pooled", text.linear_2))
    elif isinstance(m, UNet2DConditionModel):
        yield from (("patch", m.conv_in), ("final", m.conv_out))
        yield "caption", getattr(m, "encoder_hid_proj", None)
        pooled = getattr(m, "add_embedding", None)
        if pooled is not None:
            yield from (("pooled", pooled.linear_1), ("pooled", pooled.linear_2))
