"""What a generator predicts, who it is, and the counts of the real shapes."""

import copy

import pytest
import torch
from torch import nn

from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import share_embeddings
from edgekit.generators.nano import stir
from tests.unit.generators.shapes import meta_denoiser
from tests.unit.generators.test_nano import ARCHS, NAMES, asked, small

torch.set_num_threads(1)


def stirred(arch: str, **changes):
    generator = small(arch, **changes)
    stir(generator.denoiser, std=0.1)
    return generator


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- real shapes ----------------------------------------------------------------------------


def test_dit_xl_2_before_and_after_sharing():
    dit = meta_denoiser("dit-xl-2")
    assert count(dit) == 749_826_464
    assert share_embeddings(dit)
    assert count(dit) == 674_834_720  # the paper's model, without its position table
    assert sum(p.numel() for n, p in dit.named_parameters() if n.endswith(".bias")) == 489_632


@pytest.mark.parametrize(
    ("name", "parameters", "linears", "heads", "blocks"),
    [
        ("sd15", 859_520_964, 128, 256, 16),
        ("sdxl", 2_567_463_684, 560, 2_600, 70),
        ("kolors", 2_579_458_820, 560, 2_600, 70),
        ("pixart", 610_856_096, 224, 896, 28),
        ("sd3", 2_028_328_000, 96, 576, 24),
    ],
)
def test_real_shapes(name, parameters, linears, heads, blocks):
    from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
    from diffusers.models.attention_processor import Attention

    denoiser = meta_denoiser(name)
    assert all(p.is_meta for p in denoiser.parameters())
    attentions = [m for m in denoiser.modules() if isinstance(m, Attention)]
    kinds = (BasicTransformerBlock, JointTransformerBlock)
    assert count(denoiser) == parameters
    assert 4 * len(attentions) == linears
    assert sum(a.heads for a in attentions) == heads
    assert sum(isinstance(m, kinds) for m in denoiser.modules()) == blocks


# --- prediction -----------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_predict_is_diffusers_forward(arch):
    generator = stirred(arch)
    x, t, c = asked(generator)
    denoiser = generator.denoiser
    if arch == "dit":
        expected = denoiser(x, t, class_labels=torch.tensor([0, 1, 2]))
    elif arch == "pixart":
        expected = denoiser(
            x, c["tokens"], t, added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            encoder_attention_mask=c["mask"],
        )  # fmt: skip
    elif arch == "unet":
        more = {"text_embeds": c["pooled"], "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 3)}
        expected = denoiser(x, t, c["tokens"], added_cond_kwargs=more)
    else:
        expected = denoiser(x, c["tokens"], c["pooled"], t)
    out = generator.predict(x, t, c)
    assert torch.equal(out, expected.sample) and out.abs().max() > 0
    assert torch.equal(out, generator.predict(x, t, c))  # nothing random inside


@pytest.mark.parametrize("arch", ARCHS)
def test_each_row_has_its_own_t_and_condition(arch):
    generator = stirred(arch)
    x, t, cond = asked(generator)
    together = generator.predict(x, t, cond)
    for i in range(3):
        alone = generator.predict(x[i : i + 1], t[i : i + 1], {k: v[i : i + 1] for k, v in cond.items()})
        assert torch.allclose(alone[0], together[i], atol=1e-5)


def test_a_unet_without_pooled_text():
    """SD 1.5: tokens alone."""
    from diffusers import UNet2DConditionModel

    from edgekit.generators.codec import PixelCodec
    from edgekit.generators.generator import Generator
    from edgekit.generators.process import Betas, scaled_linear

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=2,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
    ).eval()  # fmt: skip
    process = Betas(scaled_linear())
    generator = Generator("unet", unet, LabelCondition(["-"]), PixelCodec(), process, (8, 8), 4)
    x, t, tokens = torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.randn(2, 5, 16)
    assert torch.equal(generator.predict(x, t, {"tokens": tokens}), unet(x, t, tokens).sample)


def test_pixart_of_1024_pixels_is_told_resolution_and_shape():
    generator = small("pixart")
    told = {}

    class Recorder(nn.Module):
        use_additional_conditions = True

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x, added_cond_kwargs, **_):
            told.update(added_cond_kwargs)
            return type("Output", (), {"sample": x})

    x, t, cond = asked(generator)
    generator.denoiser, generator.size = Recorder(), (16, 32)
    generator.codec.factor = 8
    generator.predict(x, t, cond)
    assert told["resolution"].tolist() == [[128, 256]] * 3 and told["aspect_ratio"].tolist() == [[0.5]] * 3


def test_the_adapter_is_told_t_before_the_denoiser_runs():
    generator = stirred("dit")
    x, t, cond = asked(generator)
    order = []

    class Told:
        def on_t(self, t):
            order.append(t)

    generator.adapter = Told()
    generator.denoiser.register_forward_pre_hook(lambda *_: order.append("denoiser"))
    generator.predict(x, t, cond)
    assert order[0] is t and order[1:] == ["denoiser"]


@pytest.mark.parametrize("arch", ARCHS)
def test_checkpointing_recomputes_and_changes_no_gradient(arch):
    generator = stirred(arch)
    batch = asked(generator)
    runs = []
    deep = next(m for n, m in generator.denoiser.named_modules() if n.endswith("to_q"))
    deep.register_forward_hook(lambda *_: runs.append(1))
    kept = {}
    for on in (False, True):
        generator.gradient_checkpointing(on)
        generator.denoiser.zero_grad()
        runs.clear()
        generator.predict(*batch).square().mean().backward()
        kept[on] = {n: p.grad.clone() for n, p in generator.denoiser.named_parameters() if p.grad is not None}
        assert len(runs) == (2 if on else 1)  # in eval mode too
    assert kept[True].keys() == kept[False].keys()
    assert all(torch.equal(g, kept[True][n]) for n, g in kept[False].items())


@pytest.mark.parametrize("arch", ARCHS)
def test_bfloat16_is_near_float32_and_comes_out_as_float32(arch):
    generator = stirred(arch)
    x, t, cond = asked(generator)
    wide = generator.predict(x, t, cond)
    assert generator.to(dtype=torch.bfloat16) is generator and generator.dtype == torch.bfloat16
    assert all(p.dtype == torch.bfloat16 for e in generator.text_encoders() for p in e.parameters())
    narrow = generator.predict(x, t, generator.condition.encode(NAMES))
    assert narrow.dtype == torch.float32
    error = (narrow - wide).norm() / wide.norm()
    assert 0 < error < 0.1


# --- identity -------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_fingerprint_names_each_tensor_and_moves_with_one_bit(arch):
    generator = stirred(arch)
    before, digest = generator.fingerprint(), generator.digest()
    names = {n for n, _ in generator.denoiser.named_parameters(remove_duplicate=False)}
    assert set(before) == names  # SD3's stored position table is left out, the patch projection is not
    name, weight = list(generator.denoiser.named_parameters())[-1]
    dtype, shape, sha = before[name].split()
    assert (dtype, shape, len(sha)) == ("float32", "x".join(map(str, weight.shape)), 16)
    with torch.no_grad():
        weight.view(torch.int32).view(-1)[0] ^= 1
    after = generator.fingerprint()
    assert {n for n in before if before[n] != after[n]} == {name} and generator.digest() != digest


def test_fingerprint_does_not_see_sharing():
    generator = stirred("dit", layers=3)
    apart = copy.deepcopy(generator)
    blocks = apart.denoiser.transformer_blocks
    assert blocks[1].norm1.emb is blocks[0].norm1.emb
    for block in blocks[1:]:
        block.norm1.emb = copy.deepcopy(block.norm1.emb)
    assert count(apart.denoiser) > count(generator.denoiser)
    assert apart.fingerprint() == generator.fingerprint()
    assert share_embeddings(apart.denoiser)
    assert count(apart.denoiser) == count(generator.denoiser)
    assert torch.equal(apart.predict(*asked(apart)), generator.predict(*asked(generator)))


def test_embeddings_that_differ_stay_apart():
    dit = stirred("dit", layers=3).denoiser
    last = dit.transformer_blocks[2].norm1
    last.emb = copy.deepcopy(last.emb)
    with torch.no_grad():
        last.emb.class_embedder.embedding_table.weight[0, 0] += 1e-6
    before = count(dit)
    assert not share_embeddings(dit)
    assert count(dit) == before and last.emb is not dit.transformer_blocks[0].norm1.emb


def test_digest_holds_process_and_vocabulary():
    from edgekit.generators.process import Betas, cosine_power

    generator = small("dit")
    digests = {generator.digest()}
    kept = generator.process
    generator.process = Betas(cosine_power(4), learned_range=True)
    digests.add(generator.digest())
    generator.process = kept
    generator.condition = LabelCondition(["rain night", "clear day", "fog dawn"])
    digests.add(generator.digest())
    assert len(digests) == 3


def test_a_copy_of_a_generator_is_whole():
    generator = small("unet")
    twin = copy.deepcopy(generator)
    assert twin.condition.pipeline.unet is twin.denoiser is not generator.denoiser
    assert twin.digest() == generator.digest()
