"""Labels and texts as conditions, their dropping, and the codecs."""

from types import SimpleNamespace

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.codec import PixelCodec, VaeCodec
from edgekit.generators.conditions import LabelCondition, TextCondition
from tests.unit.generators.test_nano import small

torch.set_num_threads(1)
TEXTS = ["rain night", "clear day", "rain night"]


def test_labels_by_name_and_number():
    condition = LabelCondition(["rain", "fog", "snow"])
    assert condition.encode(["snow", 0, "fog"])["labels"].tolist() == [2, 0, 1]
    assert condition.null(2)["labels"].tolist() == [3, 3]  # index K, one past the last class
    with pytest.raises(UserError, match="did you mean 'snow'"):
        condition.encode(["snwo"])
    for wrong in (3, -1):
        with pytest.raises(UserError, match="labels 0 to 2"):
            condition.encode([wrong])
    with pytest.raises(UserError, match="2 names of which 1 differ"):
        LabelCondition(["rain", "rain"])


@pytest.mark.parametrize("arch", ("dit", "unet", "pixart", "mmdit"))
def test_drop_replaces_whole_rows_at_its_rate(arch):
    condition = small(arch).condition
    cond, null = condition.encode(["rain night", "clear day"] * 50), condition.null(100)
    draw = torch.Generator().manual_seed(3)
    dropped = condition.drop(cond, 0.3, draw)
    first = next(iter(cond))
    gone = torch.tensor([not torch.equal(a, b) for a, b in zip(dropped[first], cond[first], strict=True)])
    assert 15 < gone.sum() < 45
    for key, value in dropped.items():
        assert torch.equal(value[gone], null[key][gone]) and torch.equal(value[~gone], cond[key][~gone])
        assert value.dtype == cond[key].dtype
    draw = torch.Generator().manual_seed(3)
    assert all(torch.equal(v, dropped[k]) for k, v in condition.drop(cond, 0.3, draw).items())
    assert all(torch.equal(v, cond[k]) for k, v in condition.drop(cond, 0.0, draw).items())
    assert all(torch.equal(v, null[k]) for k, v in condition.drop(cond, 1.0, draw).items())


@pytest.mark.parametrize("arch", ("unet", "pixart", "mmdit"))
def test_texts_become_batch_first_tensors(arch):
    condition = small(arch).condition
    cond = condition.encode(TEXTS)
    shapes = {
        "unet": {"tokens": (3, 8, 64), "pooled": (3, 32), "time_ids": (3, 6)},
        "pixart": {"tokens": (3, 8, 32), "mask": (3, 8)},
        "mmdit": {"tokens": (3, 8, 64), "pooled": (3, 64)},
    }[arch]
    assert {key: tuple(x.shape) for key, x in cond.items()} == shapes
    assert torch.equal(cond["tokens"][0], cond["tokens"][2])
    assert not torch.equal(cond["tokens"][0], cond["tokens"][1])
    null = condition.null(2)
    assert {key: tuple(x.shape) for key, x in null.items()} == {k: (2, *s[1:]) for k, s in shapes.items()}
    both = {key: torch.cat([x, condition.null(3)[key]]) for key, x in cond.items()}  # as guidance does
    assert all(len(x) == 6 for x in both.values())


def test_pixart_masks_its_padding():
    mask = small("pixart").condition.encode(["rain night", ""])["mask"]
    assert mask.sum(1).tolist() == [4, 2]  # two words between start and end; start and end alone


def test_sdxl_is_told_the_size_of_the_picture():
    assert small("unet").condition.encode(["rain"])["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]


def test_the_null_text_is_the_empty_one_unless_the_pipeline_says_zeros():
    condition = small("unet").condition
    null, empty = condition.null(1), condition.encode([""])
    assert all(torch.equal(null[key], empty[key]) for key in empty)
    condition.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    null = condition.null(2)
    assert null["tokens"].count_nonzero() == null["pooled"].count_nonzero() == 0
    assert null["time_ids"][1].tolist() == [32, 32, 0, 0, 32, 32]


def test_each_text_is_encoded_once_while_the_encoders_are_frozen():
    condition = small("mmdit").condition
    calls = []
    condition.encoders()[0].register_forward_hook(lambda *_: calls.append(1))
    first = condition.encode(TEXTS)
    again = condition.encode(["clear day"])
    assert len(calls) == 2  # two different texts
    assert torch.equal(first["tokens"][1:2], again["tokens"])
    assert not first["tokens"].requires_grad


@pytest.mark.parametrize("arch", ("unet", "pixart", "mmdit"))
def test_encoders_that_learn_are_run_each_time_with_their_graph(arch):
    generator = small(arch)
    stale = generator.condition.encode(["rain"])["tokens"]
    encoder = generator.text_encoders()[0].requires_grad_(True)
    tokens = generator.condition.encode(["rain"])["tokens"]
    assert tokens.requires_grad and torch.allclose(tokens, stale, atol=1e-6)
    tokens.square().sum().backward()
    table = encoder.get_input_embeddings().weight
    assert table.grad.abs().sum() > 0
    with torch.no_grad():
        table.add_(0.1 * torch.randn(table.shape, generator=torch.Generator().manual_seed(0)))
    encoder.requires_grad_(False)
    assert not torch.allclose(generator.condition.encode(["rain"])["tokens"], stale, atol=1e-3)


def test_kolors_is_encoded_by_its_pipeline():
    """A nano ChatGLM; its tokenizer needs a SentencePiece model, so one of the same answers stands in."""
    from diffusers.pipelines.kolors.pipeline_kolors import KolorsPipeline
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    from transformers import BatchEncoding

    def tokenizer(texts, max_length, **_):
        ids = torch.tensor([[len(text) % 90 + i for i in range(max_length)] for text in texts])
        positions = torch.arange(max_length).expand(len(texts), -1)
        kept = dict(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions)
        return BatchEncoding(kept)

    encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2, padded_vocab_size=128, hidden_size=64, ffn_hidden_size=96, kv_channels=32,
            num_attention_heads=2, seq_length=64, multi_query_attention=True, multi_query_group_num=2,
            add_qkv_bias=True, original_rope=True,
        )
    ).eval()  # fmt: skip
    for number, parameter in enumerate(encoder.parameters()):  # the class leaves them as the memory was
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
    pipeline = KolorsPipeline(None, encoder, None, small("unet").denoiser, None)
    pipeline.tokenizer = tokenizer
    condition = TextCondition(pipeline, (64, 32), max_tokens=12)
    cond = condition.encode(TEXTS)
    assert {key: tuple(x.shape) for key, x in cond.items()} == {
        "tokens": (3, 12, 64), "pooled": (3, 64), "time_ids": (3, 6),
    }  # fmt: skip
    assert cond["time_ids"][0].tolist() == [64, 32, 0, 0, 64, 32]
    assert condition.null(1)["tokens"].abs().max() > 0  # Kolors' empty prompt is not zeroed


# --- codecs ---------------------------------------------------------------------------------


def test_pixels_come_back_bit_for_bit():
    codec = PixelCodec()
    images = torch.arange(256, dtype=torch.uint8).repeat(6)[: 2 * 16 * 16 * 3].reshape(2, 16, 16, 3)
    z = codec.encode(images)
    assert z.shape == (2, 3, 16, 16) and z.dtype == torch.float32
    assert z.min() == -1 and z.max() == 1
    assert z[1, 2, 3, 4] == images[1, 3, 4, 2] / 127.5 - 1
    assert torch.equal(codec.decode(z), images)
    assert codec.decode(torch.tensor([[[[-9.0]], [[9.0]], [[0.0]]]])).tolist() == [[[[0, 255, 128]]]]


def test_latents_are_scaled_and_shifted_as_the_vae_says():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, scaling_factor=0.5, shift_factor=0.25,
        sample_size=16,
    )  # fmt: skip
    codec = VaeCodec(vae)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    z = codec.encode(images)
    assert z.shape == (2, 4, 8, 8) and (codec.factor, codec.channels) == (2, 4)
    plain = vae.encode(images.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode()
    assert torch.allclose(z, (plain - 0.25) * 0.5, atol=1e-6)
    assert torch.equal(z, codec.encode(images))  # no draw from the posterior
    out = codec.decode(z)
    expected = ((vae.decode(plain).sample + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    assert out.dtype == torch.uint8 and (out - expected).abs().max() <= 0.51
    assert not any(p.requires_grad for p in vae.parameters())


def test_a_vae_of_half_precision_is_widened():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",),
                        up_block_types=("UpDecoderBlock2D",)).bfloat16()  # fmt: skip
    assert next(VaeCodec(vae).vae.parameters()).dtype == torch.float32


def test_a_label_condition_tells_nothing_of_text():
    assert LabelCondition(["a"]).encoders() == []
    assert SimpleNamespace(**LabelCondition(["a"]).to_json()).names == ["a"]
