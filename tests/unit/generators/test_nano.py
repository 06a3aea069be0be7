"""Nano generators: real classes, sizes, the start from scratch, the words."""

import diffusers
import pytest
import torch
from torch import nn

from edgekit.core.errors import UserError
from edgekit.generators.config import DENOISERS, NanoGenerator
from edgekit.generators.generator import arch_of
from edgekit.generators.nano import build_nano_generator, stir
from edgekit.generators.process import scaled_linear
from edgekit.generators.words import DRIVING, nano_tokenizer, words_of

torch.set_num_threads(1)
ARCHS = ("dit", "pixart", "unet", "mmdit")
SMALL = dict(width=32, layers=2, heads=2, text_width=32, text_tokens=8)
NAMES = ["rain night", "clear day", "fog dusk"]


def small(arch: str, seed: int = 0, **changes):
    return build_nano_generator(NanoGenerator(arch=arch, **(SMALL | changes)), seed, NAMES)


def asked(generator, rows: int = 3):
    """x_t, t, cond of one batch."""
    x = torch.randn(rows, 3, *generator.size, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([3, 500, 990][:rows])
    return x, t, generator.condition.encode(NAMES[:rows])


@pytest.mark.parametrize("arch", ARCHS)
def test_classes_are_diffusers_own(arch):
    generator = small(arch)
    assert type(generator.denoiser) is getattr(diffusers, DENOISERS[arch])
    assert arch_of(generator.denoiser) == arch == generator.arch
    assert generator.size == (32, 32) and generator.channels == 3
    assert not any(module.training for module in generator.denoiser.modules())


@pytest.mark.parametrize("arch", ARCHS)
def test_the_first_output_is_zero_and_every_gate_is_reached(arch):
    generator = small(arch)
    x, t, cond = asked(generator)
    output = generator.predict(x, t, cond)
    assert output.shape == (3, 6 if arch in ("dit", "pixart") else 3, 32, 32)
    assert output.abs().max() == 0
    (output - 1).square().mean().backward()
    last = {"dit": "proj_out_2", "pixart": "proj_out", "unet": "conv_out", "mmdit": "proj_out"}[arch]
    assert getattr(generator.denoiser, last).bias.grad.abs().min() > 0


@pytest.mark.parametrize("arch", ("dit", "pixart", "mmdit"))
def test_blocks_start_as_the_identity(arch):
    generator = small(arch)
    seen = []
    blocks = generator.denoiser.transformer_blocks
    blocks[0].register_forward_pre_hook(lambda m, args, kw: seen.append((args, kw)), with_kwargs=True)
    blocks[-1].register_forward_hook(lambda m, args, out: seen.append(out))
    generator.predict(*asked(generator))
    (args, kwargs), out = seen
    first = args[0] if args else kwargs["hidden_states"]
    out = out[1] if arch == "mmdit" else out
    assert torch.equal(first, out) and first.abs().max() > 0


def test_dit_starts_as_in_its_paper():
    dit = small("dit", width=128).denoiser
    table = dit.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    assert table.shape == (4, 128)  # three classes and the null label
    assert table.std().item() == pytest.approx(0.02, rel=0.15)
    assert all(block.norm1.emb is dit.transformer_blocks[0].norm1.emb for block in dit.transformer_blocks)
    for block in dit.transformer_blocks:
        assert block.norm1.linear.weight.count_nonzero() == 0
        bound = (6 / (128 + 128)) ** 0.5
        assert 0.9 * bound < block.attn1.to_q.weight.abs().max() <= bound
    assert dit.proj_out_1.weight.count_nonzero() == 0
    biases = [p for n, p in dit.named_parameters() if n.endswith("bias")]
    assert biases and all(b.count_nonzero() == 0 for b in biases)
    patch = dit.pos_embed.proj.weight.flatten(1)  # [128, 48]
    assert patch.abs().max() <= (6 / (128 + 48)) ** 0.5


@pytest.mark.parametrize("arch", ARCHS)
def test_the_seed_is_the_whole_of_chance(arch):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, other = small(arch, 0), small(arch, 0), small(arch, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert a.digest() == b.digest() != other.digest()
    for x, y in zip(a.text_encoders(), b.text_encoders(), strict=True):
        assert all(torch.equal(p, q) for p, q in zip(x.parameters(), y.parameters(), strict=True))


@pytest.mark.parametrize("arch", ARCHS)
def test_the_condition_is_heard_once_weights_are(arch):
    generator = small(arch)
    stir(generator.denoiser, std=0.1)
    x, t, cond = asked(generator)
    null = generator.condition.null(3)
    assert (generator.predict(x, t, cond) - generator.predict(x, t, null)).abs().max() > 1e-5
    assert (generator.predict(x, t, cond) - generator.predict(x, t.flip(0), cond)).abs().max() > 1e-5


def test_default_sizes_keep_to_64_tokens_and_width_128():
    for arch in ("dit", "pixart", "mmdit"):
        cfg = NanoGenerator(arch=arch)
        assert (cfg.size // cfg.patch) ** 2 <= 64 and cfg.width <= 128


def test_the_unet_is_shaped_as_sdxl():
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    unet = small("unet").denoiser
    assert [type(b).__name__ for b in unet.down_blocks] == [
        "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
    ]  # fmt: skip
    assert unet.config.addition_embed_type == "text_time"
    transformers = [m for m in unet.modules() if isinstance(m, Transformer2DModel)]
    assert transformers and all(isinstance(m.proj_in, nn.Linear) for m in transformers)
    assert {len(m.transformer_blocks) for m in transformers} == {1, 2}


def test_processes_are_their_kin_s():
    dit, unet, mmdit = (small(arch).process for arch in ("dit", "unet", "mmdit"))
    assert dit.kind == unet.kind == "betas" and mmdit.kind == "flow"
    assert dit.learned_range and not unet.learned_range
    assert (dit.betas[0], dit.betas[-1]) == pytest.approx((1e-4, 2e-2))
    assert unet.betas[-1] == pytest.approx(0.012)
    assert len(small("dit", timesteps=100).process.betas) == 100


@pytest.mark.parametrize("arch", ["dit", "unet"])
def test_a_shorter_schedule_leaves_as_little_of_the_picture(arch):
    of = {T: small(arch, timesteps=T).process for T in (100, 1000)}
    assert of[100].signal_left < 0.1 and of[1000].signal_left < 0.1
    if arch == "unet":
        assert of[1000].betas == scaled_linear()


def test_sizes_that_do_not_fit_are_refused():
    for wrong in (dict(width=30), dict(size=30), dict(arch="unet", size=30), dict(unet_widths=(8, 16, 16))):
        with pytest.raises(ValueError):
            NanoGenerator(**wrong)
    with pytest.raises(UserError, match="0 names"):
        build_nano_generator(NanoGenerator(**SMALL), 0, [])


# --- words ----------------------------------------------------------------------------------


def test_driving_words_are_one_token_each():
    tokenizer = nano_tokenizer(["Qualmy weather, in Oberhausen"])
    for word in (*DRIVING, "qualmy", "oberhausen"):
        assert tokenizer.tokenize(word) == [word + "</w>"], word
    assert tokenizer.tokenize("Rain-night") == ["rain</w>", "-</w>", "night</w>"]


def test_the_papers_prompts_need_no_pieces():
    """Of ca-lora: its prompt and its variants."""
    prompts = (
        "Photorealistic first-person urban street view", "Sketch of", "Watercolor of", "Pop-art of",
        "Line art of", "Oil painting of", "Photorealistic urban street in top-down view",
        "in high angle view", "in low angle view", "in eye-level view", "in close-up view",
    )  # fmt: skip
    assert set(words_of(prompts)) <= set(DRIVING)


def test_any_text_can_be_written_and_read_back():
    tokenizer = nano_tokenizer()
    for text in ("xyzzy", "50 km/h", "höhe über straße", "雨", "a_b~c"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1], text
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_the_tokenizer_is_clips():
    tokenizer = nano_tokenizer(length=8)
    assert type(tokenizer).__name__.startswith("CLIPTokenizer")
    ids = tokenizer("rain", padding="max_length", truncation=True).input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[2:] == [tokenizer.eos_token_id] * 6
    long = tokenizer("rain " * 20, padding="max_length", truncation=True).input_ids
    assert len(long) == 8 and long[-1] == tokenizer.eos_token_id
