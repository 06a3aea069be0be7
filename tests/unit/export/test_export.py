"""The graphs against torch, on windows that are ragged on both axes; and the proof that a Bundle carries."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from edgekit.core.errors import GateError, UserError
from edgekit.core.files import sha256_file
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.engine.answerer import Answer
from edgekit.engine.pixels import pixel_values
from edgekit.engine.vision_inputs import VisionShape, vision_inputs
from edgekit.export import ExportConfig, export
from edgekit.export.golden import Golden, choose_golden, reference
from edgekit.export.parity import compare, gate
from edgekit.models.checkpoint import load_checkpoint
from edgekit.models.compressed import codes

pytestmark = pytest.mark.onnx
GRAPHS = ("vision.onnx", "embedding.onnx", "decoder.onnx", "decoder-fast.onnx")


@pytest.fixture(scope="module")
def info(bundle) -> dict:
    return json.loads((bundle / "out" / "bundle.json").read_text())


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_parity_is_proved_and_written(info):
    proof = info["parity"]
    assert proof["frames"] == proof["greedy_tokens_equal"] == proof["answers_equal"] == 2
    assert proof["max_logit_difference"] <= 1e-4 < proof["limit"] == 1e-3
    # The int8 decoder is not exact, and is not passed off as such.
    assert proof["max_logit_difference"] < info["parity_fast"]["max_logit_difference"]


def test_every_file_is_listed_with_its_digest(bundle, info):
    out = bundle / "out"
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert there - {"bundle.json", "timing.json"} == set(info["files"])
    assert all(sha256_file(out / name) == digest for name, digest in info["files"].items())


def test_it_walks_back_to_what_it_came_from(info, quantized):
    manifest = json.loads((quantized / "manifest.json").read_text())
    assert info["parents"]["checkpoint"]["digest"] == manifest["digest"]
    assert info["parents"]["checkpoint"]["manifest"] == sha256_file(quantized / "manifest.json")
    assert info["quantization"]["linears"] == 14 and info["runtime"]["opset"] == 20


@pytest.mark.parametrize("name", GRAPHS)
def test_no_path_of_this_machine_is_inside(bundle, name):
    import onnx

    model = onnx.load(bundle / "out" / name)
    assert not model.metadata_props and not model.doc_string and not model.graph.doc_string
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        assert not item.doc_string and not item.metadata_props
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    text = model.SerializeToString()
    # torch's stack traces name source files by absolute path.
    assert not re.search(rb"site-packages|[\w-]+\.py\b|File \"|/[a-z]+/[a-z]", text)


def test_the_codes_in_the_graph_are_the_checkpoints(bundle, quantized):
    import onnx

    model = onnx.load(bundle / "out" / "decoder.onnx")
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type == "MatMulNBits"]
    linears = codes(quantized / "out")
    assert len(nodes) == len(linears) == 14
    assert not any(a.name == "accuracy_level" for n in nodes for a in n.attribute)
    found = set()
    for node in nodes:
        q4, scale = held[node.input[1]], held[node.input[2]]
        q = np.stack([q4 & 15, q4 >> 4], -1).reshape(q4.shape[0], -1)
        same = [n for n, c in linears.items() if c.q.shape == q.shape and (c.q.numpy() == q).all()]
        assert len(same) == 1 and (linears[same[0]].scale.numpy() == scale).all()
        found.add(same[0])
    assert found == set(linears)


@pytest.mark.parametrize("grid", [(1, 14, 22), (1, 4, 4), (1, 18, 26), (1, 16, 24)])
def test_vision_at_any_grid(bundle, quantized, info, grid):
    visual = load_checkpoint(quantized / "out").model.model.visual
    random = np.random.default_rng(3)
    patches = random.standard_normal((grid[1] * grid[2], 1176)).astype(np.float32)
    host = vision_inputs(VisionShape(**info["model"]["vision"]), grid)
    got = session(bundle / "out" / "vision.onnx").run(None, {"input": patches, **host})[0]
    with torch.no_grad():
        want = visual(torch.from_numpy(patches), grid_thw=torch.tensor([grid])).pooler_output.numpy()
    np.testing.assert_allclose(got, want, atol=2e-5)
    if grid[1] > 8:  # control: windows matter, so one window for all is another picture
        host["window_attention_mask"] = host["attention_mask"]
        other = session(bundle / "out" / "vision.onnx").run(None, {"input": patches, **host})[0]
        assert np.abs(other - want).max() > 1e-3


def test_a_float_decoder_in_pieces_is_the_whole(windowed, tmp_path):
    from edgekit.export.decoder_graph import cache_names, trace_decoder
    from edgekit.export.onnx_file import count, save

    model = load_checkpoint(windowed["checkpoint"]).model
    graph = trace_decoder(model, 20)
    assert count(graph, "MatMulNBits") == 0
    save(graph, tmp_path / "decoder.onnx")
    decoder = session(tmp_path / "decoder.onnx")
    text = model.config.text_config
    random = torch.Generator().manual_seed(0)
    embedded = torch.randn(1, 23, text.hidden_size, generator=random)
    where = torch.randint(0, 40, (3, 1, 23), generator=random)
    with torch.no_grad():
        hidden = model.model.language_model(inputs_embeds=embedded, position_ids=where).last_hidden_state
        want = model.lm_head(hidden)[0].numpy()
    cache = [np.zeros((1, text.num_key_value_heads, 0, 64), np.float32)] * (2 * text.num_hidden_layers)
    rows = []
    for a, b in ((0, 1), (1, 14), (14, 23)):
        feed = {"inputs_embeds": embedded[:, a:b].numpy(), "position_ids": where[:, :, a:b].numpy()}
        feed |= {"rows": np.arange(b - a)} | dict(zip(cache_names(2, "past"), cache, strict=True))
        logits, *cache = decoder.run(None, feed)
        rows.append(logits[0])
    np.testing.assert_allclose(np.concatenate(rows), want, atol=5e-5)


def test_large_weights_go_beside_the_graph_and_the_bytes_are_the_same_twice(windowed, tmp_path, monkeypatch):
    from edgekit.export import onnx_file
    from edgekit.export.embedding_graph import trace_embedding

    model = load_checkpoint(windowed["checkpoint"]).model
    monkeypatch.setattr(onnx_file, "LARGE", 1000)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        onnx_file.save(trace_embedding(model, 20), tmp_path / folder / "embedding.onnx")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["embedding.onnx", "embedding.onnx.data"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    ids = np.array([[5, 1, 7]])
    got = session(tmp_path / "a" / "embedding.onnx").run(None, {"input_ids": ids})[0]
    assert (got == model.get_input_embeddings().weight.detach().numpy()[ids]).all()


def test_swapped_nibbles_do_not_pass_the_gate(bundle, windowed, tmp_path):
    """Control: parity is measured on the runtime's own numbers, so a wrong layout is seen."""
    import onnx

    from edgekit.engine.bundle import BundleAnswerer

    wrong = tmp_path / "wrong"
    shutil.copytree(bundle / "out", wrong)
    model = onnx.load(wrong / "decoder.onnx")
    of = {n.input[1] for n in model.graph.node if n.op_type == "MatMulNBits"}
    for tensor in model.graph.initializer:
        if tensor.name in of:
            q4 = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array((q4 >> 4) | (q4 << 4), tensor.name))
    onnx.save(model, wrong / "decoder.onnx")
    info = json.loads((wrong / "bundle.json").read_text())
    info["files"]["decoder.onnx"] = sha256_file(wrong / "decoder.onnx")
    (wrong / "bundle.json").write_text(json.dumps(info))

    quantized_out = _checkpoint_of(bundle)
    loaded, data = load_checkpoint(quantized_out), open_dataset(windowed["data"])
    golden = reference(loaded, data, choose_golden(data, 1), 8, [loaded.grammar.end])
    right = compare(BundleAnswerer(bundle, threads=1), data, golden, 8, "right")
    gate(right, 1e-3)
    report = compare(BundleAnswerer(wrong, threads=1), data, golden, 8, "wrong")
    assert report["max_logit_difference"] > 0.1
    with pytest.raises(GateError, match="does not say what torch says"):
        gate(report, 1e-3)


def _checkpoint_of(bundle):
    import yaml

    from edgekit.core.run import open_input

    return open_input(yaml.safe_load((bundle / "recipe.yaml").read_text())["checkpoint"]).out


def test_the_gate_wants_tokens_answers_and_logits():
    good = {"frames": 2, "greedy_tokens_equal": 2, "answers_equal": 2, "max_logit_difference": 1e-5}
    gate(good, 1e-3)
    for change in ({"greedy_tokens_equal": 1}, {"answers_equal": 0}, {"max_logit_difference": 2e-3}):
        with pytest.raises(GateError):
            gate(good | change, 1e-3)


class Says:
    """A Bundle that answers as a golden frame does, but for its logits."""

    def __init__(self, golden, logits):
        self.golden, self.logits = golden, logits

    def write(self, image, prompt, max_tokens):
        return iter(self.golden.free)

    def answer(self, images, prompts):
        return [Answer(self.golden.answer, None)]

    def read(self, image, prompt):
        return None

    def score(self, reading, tokens):
        return self.logits


def test_a_bundle_that_says_nan_does_not_pass(windowed):
    data = open_dataset(windowed["data"])
    exact = np.zeros((3, 5), np.float32)
    golden = Golden(data.rows("test")[0], [1], "{}", [1, 2, 3], exact)
    gate(compare(Says(golden, exact), data, [golden, golden], 8, "exact"), 1e-3)
    wrong = exact.copy()
    wrong[1, 2] = np.nan
    with pytest.raises(GateError, match="nan"):
        gate(compare(Says(golden, wrong), data, [golden, golden], 8, "nan"), 1e-3)


def test_a_checkpoint_that_says_nan_proves_nothing(windowed):
    loaded, data = load_checkpoint(windowed["checkpoint"]), open_dataset(windowed["data"])
    with torch.no_grad():
        loaded.model.lm_head.weight[7] = float("nan")
    with pytest.raises(UserError, match="no finite logits on frame test/000"):
        reference(loaded, data, data.rows("test")[:1], 4, [loaded.grammar.end])


def test_golden_tokens_are_greedy_whatever_the_checkpoints_generation_config_says(windowed, tmp_path):
    data = open_dataset(windowed["data"])
    shutil.copytree(windowed["checkpoint"], tmp_path / "nano")
    place = tmp_path / "nano" / "generation_config.json"
    written = []
    for more in ({}, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}):
        place.write_text(json.dumps(json.loads(place.read_text()) | more))
        loaded = load_checkpoint(tmp_path / "nano")
        assert loaded.model.generation_config.repetition_penalty == more.get("repetition_penalty")
        written.append(reference(loaded, data, data.rows("test")[:1], 16, [loaded.grammar.end])[0].free)
    assert written[0] == written[1] and len(written[0]) > len(set(written[0]))  # it does repeat itself


def test_a_float_checkpoint_has_no_fast_decoder_and_says_so(windowed, tmp_path):
    config = ExportConfig(
        checkpoint=str(windowed["checkpoint"]), golden=str(windowed["data"]), frames=1, max_tokens=4,
        accuracy_level=4,
    )  # fmt: skip
    run = start("export", config, "test", tmp_path / "run")
    for left in ("decoder-fast.onnx", "golden/09.jpg"):  # by a run that was killed
        (run.out / left).parent.mkdir(exist_ok=True)
        (run.out / left).write_bytes(b"half")
    export(config, run)
    assert any("no fast decoder" in note for note in run.notes)
    info = json.loads((run.out / "bundle.json").read_text())
    assert info["quantization"] is None and "parity_fast" not in info
    there = {p.relative_to(run.out).as_posix() for p in run.out.rglob("*") if p.is_file()}
    assert there == {"bundle.json", *info["files"]} and "decoder-fast.onnx" not in there
    assert not any(p.is_file() for p in run.state.rglob("*"))  # moved, not copied: the disk holds it once


def test_golden_logits_are_torchs(bundle, quantized, info):
    """The stored rows are transformers' own forward, so another runtime can be held against them."""
    loaded = load_checkpoint(quantized / "out")
    folder = bundle / "out" / "golden"
    one = json.loads((folder / "golden.json").read_text())[0]
    stored = np.load(folder / "logits.npz")["00"]
    from edgekit.engine.chat import prompt_ids
    from edgekit.engine.pixels import read_image

    prompt = prompt_ids(one["prompt"], loaded.contract, loaded.tokenizer)
    ids = torch.tensor([prompt + one["tokens"][:-1]])
    pixels, grids = pixel_values([read_image(folder / one["frame"])], loaded.contract)
    with torch.no_grad():
        logits = loaded.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.from_numpy(pixels),
            image_grid_thw=torch.from_numpy(grids),
            mm_token_type_ids=(ids == info["model"]["image_token_id"]).int(),
        ).logits[0, len(prompt) - 1 :]  # fmt: skip
    assert stored.shape == (8, 2048)
    np.testing.assert_allclose(stored, logits[:8].numpy(), atol=1e-5)


def test_too_few_golden_frames_are_refused(windowed, quantized, tmp_path):
    config = ExportConfig(checkpoint=str(quantized), golden=str(windowed["data"]), frames=9)
    run = start("export", config, "test", tmp_path / "run")
    with pytest.raises(UserError, match="9 are asked for.*has 2"):
        export(config, run)
    assert not any(run.out.iterdir())
