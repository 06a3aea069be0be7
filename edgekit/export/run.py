"""export: ask torch, trace three graphs, prove them, write the Bundle."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import torch

from edgekit import __version__
from edgekit.core.contract import require_same
from edgekit.core.errors import EdgekitError, need_disk
from edgekit.core.files import sha256_file, write_json
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.engine.bundle import BundleAnswerer
from edgekit.engine.bundle_files import SCHEMA
from edgekit.engine.vision_inputs import VisionShape
from edgekit.export.config import ExportConfig
from edgekit.export.decoder_graph import trace_decoder
from edgekit.export.embedding_graph import trace_embedding
from edgekit.export.golden import choose_golden, reference, stop_tokens, write_golden
from edgekit.export.nbits import put_codes, put_weights
from edgekit.export.onnx_file import count, save, save_fast
from edgekit.export.parity import compare, gate
from edgekit.export.vision_graph import trace_vision
from edgekit.models.checkpoint import Loaded, load_checkpoint
from edgekit.models.compressed import Codes, codes, quantization

FAST = "decoder-fast.onnx"


def export(config: ExportConfig, run: Run) -> None:
    """Writes the Bundle to out/, once its parity with torch on the same weights is proved.

    Raises UserError for another contract or too few golden frames, GateError where parity fails:
    then out/ stays empty and the numbers are in the error and in log.jsonl.
    """
    torch.set_num_threads(config.threads)
    source, data = run.input("checkpoint"), open_dataset(run.input("golden"))
    rows = choose_golden(data, config.frames)
    need_disk(run.out, 4 * sum(p.stat().st_size for p in source.glob("*.safetensors")), "export")
    loaded, linears = load_checkpoint(source), codes(source)
    require_same(data.contract, loaded.contract, "export: golden frames and checkpoint")
    put_weights(loaded.model, linears)

    if config.accuracy_level and not linears:
        run.note("no fast decoder: the checkpoint is float, and accuracy_level is of quantized linears")

    built = run.state / "bundle"
    for folder in (built, run.out):  # a run that was killed may have left something
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    golden = reference(loaded, data, rows, config.max_tokens, stop_tokens(source, loaded))
    write_golden(built / "golden", data, golden, config.logit_steps)
    for name in ("tokenizer.json", "contract.json"):
        shutil.copyfile(source / name, built / name)
    info = _describe(config, run, loaded, source, linears)  # before the linears are replaced
    _graphs(config, loaded, linears, built)

    # The Bundle is opened as a vehicle would open it; only then is its proof written into it.
    info["files"] = _digests(built)
    write_json(built / "bundle.json", info)
    answerer = BundleAnswerer(built, threads=config.threads)
    report = compare(answerer, data, golden, config.max_tokens, "the same from the Bundle")
    run.log("parity", **report)
    gate(report, config.max_logit_difference)
    info["parity"] = {**report, "limit": config.max_logit_difference}
    if config.accuracy_level and linears:
        fast = BundleAnswerer(built, threads=config.threads, fast=True)
        info["parity_fast"] = compare(fast, data, golden, config.max_tokens, "and from the fast decoder")
        run.log("parity_fast", **info["parity_fast"])
    write_json(built / "bundle.json", info)
    built.rename(run.out)  # onto the empty folder, all at once: the disk never holds it twice
    megabytes = sum(path.stat().st_size for path in run.out.glob("*.onnx*")) / 1e6
    run.say(
        f"all {report['frames']} golden frames equal, max |Δlogit| "
        f"{report['max_logit_difference']:.2g}; {megabytes:.1f} MB"
    )


def _graphs(config: ExportConfig, loaded: Loaded, linears: dict[str, Codes], built: Path) -> None:
    """The three graphs, and the fast decoder where asked for. Replaces ``loaded``'s quantized linears."""
    with bar("tracing graphs", total=3, unit="graph") as shown:
        save(trace_vision(loaded.model, config.opset), built / "vision.onnx")
        shown.update()
        save(trace_embedding(loaded.model, config.opset), built / "embedding.onnx")
        shown.update()
        put_codes(loaded.model, linears)
        decoder = trace_decoder(loaded.model, config.opset)
        found = count(decoder, "MatMulNBits")
        if found != len(linears):
            raise EdgekitError(
                "export: not every quantized linear is in the graph as its codes",
                f"{len(linears)} linears are quantized, the graph has {found} MatMulNBits nodes",
                "this is a defect of edgekit or its pins: please report it with the checkpoint's config",
            )
        save(decoder, built / "decoder.onnx")
        if config.accuracy_level and linears:
            save_fast(built / "decoder.onnx", built / FAST, config.accuracy_level)
        shown.update()


def _describe(
    config: ExportConfig, run: Run, loaded: Loaded, source: Path, linears: dict[str, Codes]
) -> dict:
    """bundle.json but for digests and proof."""
    model = loaded.model.config
    text = model.text_config
    heads = text.num_attention_heads
    section = quantization(source)
    return {
        "schema": SCHEMA,
        "kind": config.kind,
        "edgekit": __version__,
        "contract_sha256": loaded.contract.digest(),
        "model": {
            "architecture": type(loaded.model).__name__,
            "layers": text.num_hidden_layers,
            "kv_heads": text.num_key_value_heads,
            "head_dim": getattr(text, "head_dim", None) or text.hidden_size // heads,
            "hidden": text.hidden_size,
            "vocabulary": text.vocab_size,
            "image_token_id": model.image_token_id,
            "stop_token_ids": stop_tokens(source, loaded),
            "vision": VisionShape.of(model.vision_config.to_dict()).record(),
        },
        "quantization": section
        and {
            "bits": 4,
            "group": next(iter(linears.values())).group,
            "linears": len(linears),
            "operator": "com.microsoft::MatMulNBits",
            "source": section["quant_method"],
        },
        "runtime": {
            "opset": config.opset,
            **{name: metadata.version(name) for name in ("onnxruntime", "onnx", "torch", "transformers")},
        },
        "parents": {
            key: {k: v for k, v in found[0].record().items() if k != "path"}
            for key, found in run.inputs.items()
        },
    }


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "bundle.json")
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
