"""Generators on disk: round trips, models from elsewhere, what is refused."""

import json
import subprocess
import sys

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from edgekit.core.errors import UserError
from edgekit.generators.conditions import TextCondition
from edgekit.generators.nano import stir
from edgekit.generators.open import open_generator, save_generator
from edgekit.generators.process import Betas, Flow, cosine_power, linear
from tests.unit.generators.test_nano import ARCHS, NAMES, asked, small

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """{arch: (the generator, its folder)}."""
    made = {}
    for arch in ARCHS:
        generator = small(arch)
        stir(generator.denoiser, std=0.1)
        made[arch] = generator, tmp_path_factory.mktemp(arch)
        save_generator(*made[arch])
    return made


def edit(folder, change: dict, name: str = "model_index.json") -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def copied(saved, arch, tmp_path):
    import shutil

    return shutil.copytree(saved[arch][1], tmp_path / "copy")


@pytest.mark.parametrize("arch", ARCHS)
def test_round_trip_bit_for_bit(saved, arch):
    generator, folder = saved[arch]
    again = open_generator(folder)
    assert again.fingerprint() == generator.fingerprint() and again.digest() == generator.digest()
    assert (again.arch, again.size, again.channels) == (arch, (32, 32), 3)
    assert again.process == generator.process
    assert not any(module.training for module in again.denoiser.modules())
    x, t, cond = asked(generator)
    kept = again.condition.encode(NAMES)
    assert cond.keys() == kept.keys() and all(torch.equal(kept[k], v) for k, v in cond.items())
    assert torch.equal(again.predict(x, t, kept), generator.predict(x, t, cond))
    trains = {n for n, p in again.denoiser.named_parameters() if p.requires_grad}
    assert trains == {n for n, p in generator.denoiser.named_parameters() if p.requires_grad} != set()


@pytest.mark.parametrize("arch", ARCHS)
def test_saved_twice_the_bytes_are_the_same(saved, arch, tmp_path):
    _, folder = saved[arch]
    save_generator(open_generator(folder), tmp_path)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    told = [n for n in names if (folder / n).read_bytes() != (tmp_path / n).read_bytes()]
    assert told == []


@pytest.mark.parametrize("arch", ARCHS)
def test_diffusers_reads_the_folder(saved, arch):
    generator, folder = saved[arch]
    missing = {"vae": None} | ({"text_encoder_3": None, "tokenizer_3": None} if arch == "mmdit" else {})
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **missing)
    denoiser = getattr(pipeline, "unet" if arch == "unet" else "transformer")
    ours = generator.denoiser.state_dict()
    assert all(torch.equal(ours[name], x) for name, x in denoiser.state_dict().items())
    if arch == "mmdit":
        assert pipeline.scheduler.config.shift == generator.process.shift
    else:
        abar = pipeline.scheduler.alphas_cumprod
        assert torch.allclose(abar.double(), generator.process.abar, rtol=1e-4)


def test_shared_embeddings_are_stored_apart_and_opened_shared(saved):
    _, folder = saved["dit"]
    state = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    table = "transformer_blocks.{}.norm1.emb.class_embedder.embedding_table.weight"
    assert torch.equal(state[table.format(0)], state[table.format(1)])
    blocks = open_generator(folder).denoiser.transformer_blocks
    assert blocks[1].norm1.emb is blocks[0].norm1.emb


def test_bfloat16_round_trip(tmp_path):
    generator = small("mmdit").to(dtype=torch.bfloat16)
    stir(generator.denoiser, std=0.1)
    save_generator(generator, tmp_path)
    again = open_generator(tmp_path, torch.bfloat16)
    assert again.fingerprint() == generator.fingerprint()
    assert torch.equal(again.condition.encode(NAMES)["tokens"], generator.condition.encode(NAMES)["tokens"])
    with pytest.raises(UserError, match="float16"):
        open_generator(tmp_path, torch.float16)


def test_a_generator_with_a_vae(tmp_path):
    from edgekit.generators.codec import VaeCodec

    generator = small("pixart")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), latent_channels=3, norm_num_groups=4, scaling_factor=0.5,
    )  # fmt: skip
    generator.codec = VaeCodec(vae)
    save_generator(generator, tmp_path)
    again = open_generator(tmp_path, torch.bfloat16)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(again.codec.encode(image), generator.codec.encode(image))
    assert again.condition.pixels == (64, 64) and again.size == (32, 32)


def test_other_processes_and_sizes_are_kept(tmp_path):
    generator = small("dit")
    generator.process, generator.size = Betas(cosine_power(2), learned_range=True), (64, 32)
    save_generator(generator, tmp_path)
    again = open_generator(tmp_path)
    assert again.process == generator.process and again.size == (64, 32)


# --- models from elsewhere: no process.json, no condition.json ------------------------------


def elsewhere(saved, arch, tmp_path):
    folder = copied(saved, arch, tmp_path)
    for name in ("process.json", "condition.json"):
        (folder / name).unlink()
    return folder


def test_a_dit_from_elsewhere(saved, tmp_path):
    folder = elsewhere(saved, "dit", tmp_path)
    scheduler = {"trained_betas": None, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    edit(folder, scheduler, "scheduler/scheduler_config.json")
    edit(folder, {"id2label": {"0": "crane", "1": "crane", "2": "tench"}})
    generator = open_generator(folder)
    assert generator.condition.names == ["crane (0)", "crane (1)", "tench"]
    assert generator.process.learned_range and generator.process.betas == pytest.approx(linear())
    assert generator.size == (32, 32)
    edit(folder, {"id2label": None})
    assert open_generator(folder).condition.names == ["0", "1", "2"]


def test_text_models_from_elsewhere(saved, tmp_path):
    folder = elsewhere(saved, "mmdit", tmp_path)
    edit(folder, {"shift": 1.5}, "scheduler/scheduler_config.json")
    edit(folder, {"feature_extractor": ["transformers", "SiglipImageProcessor"]})
    generator = open_generator(folder)
    assert generator.process == Flow(shift=1.5)
    assert isinstance(generator.condition, TextCondition) and generator.condition.max_tokens == 256
    # without a T5 diffusers pads SD3's context with zeros to the length of T5's tokens
    assert generator.condition.encode(["rain"])["tokens"].shape == (1, 8 + 256, 64)


def test_sd15_in_its_own_layout(tmp_path):
    """StableDiffusionPipeline: one CLIP, a UNet without pooled text, a safety checker that is left alone."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    parts = small("unet").condition.pipeline
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=2, in_channels=3,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32, out_channels=3,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    StableDiffusionPipeline(
        None, parts.text_encoder, parts.tokenizer, unet, scheduler, None, None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path)  # fmt: skip
    edit(tmp_path, {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]})
    generator = open_generator(tmp_path)
    cond = generator.condition.encode(["rain", "fog"])
    assert set(cond) == {"tokens"} and cond["tokens"].shape == (2, 8, 32)
    out = generator.predict(torch.randn(2, 3, 8, 8), torch.tensor([0, 999]), cond)
    assert out.shape == (2, 3, 8, 8) and not generator.process.learned_range
    save_generator(generator, tmp_path / "again")
    assert open_generator(tmp_path / "again").digest() == generator.digest()


def test_kolors_encoder_is_diffusers_own(tmp_path):
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    from edgekit.generators.open import _component, _named

    encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=1, padded_vocab_size=64, hidden_size=32, ffn_hidden_size=48, kv_channels=16,
            num_attention_heads=2, seq_length=32, multi_query_attention=True, multi_query_group_num=2,
            original_rope=True,
        )
    )  # fmt: skip
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)  # the class leaves its weights as the memory was
    encoder.save_pretrained(tmp_path / "text_encoder")
    assert _named(encoder) == ["kolors", "ChatGLMModel"]
    again = _component(tmp_path, "text_encoder", "kolors", "ChatGLMModel", dtype=torch.float32)
    state = again.state_dict()
    assert all(torch.equal(state[name], x) for name, x in encoder.state_dict().items())


# --- refusals -------------------------------------------------------------------------------


def test_what_is_no_generator(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_generator(tmp_path / "nothing")
    with pytest.raises(UserError, match="no model_index.json"):
        open_generator(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match="a FluxPipeline is not read here"):
        open_generator(tmp_path)


def test_a_tune_run_is_looked_into(saved, tmp_path):
    import shutil

    shutil.copytree(saved["dit"][1], tmp_path / "out" / "generator")
    assert open_generator(tmp_path).digest() == saved["dit"][0].digest()


@pytest.mark.parametrize(
    "entry",
    [["transformers", "GPT2Model"], ["evil", "CLIPTextModel"], ["os", "system"], ["builtins", "exec"]],
)
def test_a_component_of_another_class(saved, tmp_path, entry):
    folder = copied(saved, "pixart", tmp_path)
    edit(folder, {"text_encoder": entry})
    with pytest.raises(UserError, match=f"text_encoder is a {entry[0]}.{entry[1]}"):
        open_generator(folder)


def test_pickled_weights_are_not_read(saved, tmp_path):
    folder = copied(saved, "dit", tmp_path)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UserError, match="DiTTransformer2DModel cannot be read"):
        open_generator(folder)


def test_missing_parts_are_named(saved, tmp_path):
    folder = copied(saved, "unet", tmp_path)
    for path in (folder / "text_encoder_2").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="text_encoder_2: the CLIPTextModelWithProjection"):
        open_generator(folder)
    edit(folder, {"text_encoder_2": [None, None], "unet": [None, None]})
    with pytest.raises(UserError, match="there is no denoiser"):
        open_generator(folder)


def test_no_whole_save_with_an_adapter_on(tmp_path):
    generator = small("dit")
    generator.adapter = type("Some", (), {"kind": "lora"})()
    with pytest.raises(UserError, match="a lora adapter is attached"):
        save_generator(generator, tmp_path)
    assert not (tmp_path / "model_index.json").exists()


def test_the_config_is_light():
    code = "import sys, edgekit.generators.config as c; c.NanoGenerator(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "diffusers", "transformers", "numpy", "peft"} & set(loaded.split())
