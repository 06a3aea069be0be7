"""quantize: load, calibrate, pack, read back, prove, repack."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from edgekit.core.contract import Contract, require_same
from edgekit.core.errors import GateError, UserError, need_disk
from edgekit.core.files import read_json, sha256_file, write_json, write_jsonl, write_text
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.models.checkpoint import (
    COMPANIONS,
    load_checkpoint,
    stored_dtype,
    with_dtype,
    write_companions,
)
from edgekit.models.compressed import codes, quantization
from edgekit.quantize.awq import BITS, GROUP, IGNORE, fingerprints, narrow, quantize_weights
from edgekit.quantize.calibration import choose, stratum
from edgekit.quantize.chatter import printed_to
from edgekit.quantize.config import QuantizeConfig
from edgekit.quantize.gemm import write_gemm
from edgekit.quantize.llmcompressor_0_14 import VERSION, mend_ignore, require_version
from edgekit.quantize.measure import conversation, listen, mean_difference, share_equal


def quantize(config: QuantizeConfig, run: Run) -> None:
    """Writes a compressed-tensors Checkpoint to out/, AutoAWQ's layout to out/awq-gemm/, and the proof.

    Raises UserError for a checkpoint that is quantized already or whose widths are no multiple of
    the group, for another contract, and for too few frames; GateError where the packed checkpoint
    does not compute what was calibrated, or fewer answers than asked stay the same.
    """
    torch.set_num_threads(config.threads)
    require_version()
    source, data = run.input("checkpoint"), open_dataset(run.input("calibration"))
    before_bytes = _check_source(source)
    need_disk(run.out, before_bytes, "quantize")
    loaded = load_checkpoint(source, dtype=config.dtype, contract=data.contract)
    require_same(data.contract, loaded.contract, "quantize: calibration data and checkpoint")
    rows = data.rows("train")
    calibration = choose(rows, config.frames, config.seed)
    used = {row.id for row in calibration}
    checked = choose([row for row in rows if row.id not in used], config.check_frames, config.seed)

    float_says = listen(loaded, data, checked, "answering in float")
    batches = [conversation(data, row, loaded) for row in track(calibration, "reading frames", unit="frame")]
    run.say(f"calibrating on {len(calibration)} frames of {len({stratum(r) for r in calibration})} kinds")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=loaded.tokenizer)
    with printed_to(run.path / "quantize.log", run.debug) as terminal:  # beside log.jsonl, in no digest
        quantize_weights(loaded.model, tokenizer, batches, config.grid, terminal)
        meant = fingerprints(loaded.model)
        narrow(loaded.model, stored_dtype(source))
        _save(loaded.model, source, run, config, loaded.contract)
    card = (run.out / "README.md").read_text() if (run.out / "README.md").is_file() else ""
    _describe(run.out, card, "compressed-tensors", "quantize.json")
    packed = load_checkpoint(run.out, dtype=config.dtype)
    read = fingerprints(packed.model)
    packed_says = listen(packed, data, checked, "answering in 4 bits")
    report = {
        "method": config.kind,
        "bits": BITS,
        "group": GROUP,
        "symmetric": True,
        "llmcompressor": VERSION,
        "linears": len(codes(run.out)),
        "calibration_frames": len(calibration),
        "tensors": len(meant),
        "tensors_changed_by_reload": sum(read.get(name) != value for name, value in meant.items()),
        "check_frames": len(checked),
        "mean_logit_change": mean_difference(float_says, packed_says),
        "answers_equal": share_equal(float_says, packed_says),
        "weights_bytes": {"before": before_bytes, "after": _bytes(run.out)},
    }
    _gate(report, config)
    if config.gemm:
        report["awq_gemm"] = write_gemm(run.out, run.out / "awq-gemm")
        layout = "the same codes in AutoAWQ's gemm layout, scales in float16"
        _describe(run.out / "awq-gemm", card, layout, "quantize.json of the folder above")
        report["weights_bytes"]["awq_gemm"] = _bytes(run.out / "awq-gemm")
    write_json(run.out / "quantize.json", report)
    write_jsonl(
        run.out / "calibration.jsonl",
        [
            {"id": row.id, "stratum": stratum(row), "image_sha256": sha256_file(data.image_path(row))}
            for row in calibration
        ],
    )
    run.say(
        f"{report['linears']} linears, {before_bytes / 1e6:.1f} → {_bytes(run.out) / 1e6:.1f} MB; "
        f"answers equal on {report['answers_equal']:.0%} of {len(checked)} frames, "
        f"mean |Δlogit| {report['mean_logit_change']:.3g}"
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _check_source(source: Path) -> int:
    """The weights' size in bytes. Raises UserError for what cannot be quantized here."""
    if quantization(source) is not None:
        raise UserError(
            f"quantize: {source} is quantized already",
            "its config.json has a quantization_config",
            "give the float checkpoint it came from",
        )
    whole = read_json(source / "config.json")
    text = whole.get("text_config", whole)  # Qwen's own on the hub are flat
    odd = {key: text[key] for key in ("hidden_size", "intermediate_size") if text[key] % GROUP}
    if odd:
        raise UserError(
            f"quantize: widths that groups of {GROUP} do not divide",
            ", ".join(f"{key} = {value}" for key, value in odd.items()),
            f"use a model whose widths are multiples of {GROUP}",
        )
    return _bytes(source)


def _save(model, source: Path, run: Run, config: QuantizeConfig, contract: Contract) -> None:
    """The packed weights and their config, with the source's companions; a foreign source gets ours."""
    out = run.out
    model.save_pretrained(out, save_compressed=True)
    for path in out.glob("*.safetensors"):
        path.chmod(0o644)
    mended = mend_ignore(read_json(out / "config.json"), IGNORE)
    write_json(out / "config.json", with_dtype(mended, config.dtype))
    copied = ["generation_config.json"]
    if (source / "contract.json").is_file():
        copied += COMPANIONS
    else:
        base = run.named("checkpoint")
        card = {"title": "A driving model in 4 bits", "base_model": base}
        write_companions(out, contract, source / "tokenizer.json", card)
    for name in copied:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def _describe(folder: Path, card: str, layout: str, report: str) -> None:
    """The float model's card, and below it what this folder holds."""
    write_text(
        folder / "README.md",
        card.rstrip()
        + f"\n\nThe decoder's linears are quantized to {BITS} bits (AWQ, symmetric, groups of {GROUP}; "
        f"{layout}); vision tower, embeddings and head are float. What that changed is in {report}.\n",
    )


def _gate(report: dict, config: QuantizeConfig) -> None:
    if report["tensors_changed_by_reload"]:
        raise GateError(
            "quantize: the packed checkpoint does not compute what was calibrated",
            f"{report['tensors_changed_by_reload']} of {report['tensors']} tensors are read back changed",
            "this is a defect of edgekit or its pins: please report it with the checkpoint's config",
        )
    if report["answers_equal"] < config.min_answers_equal:
        raise GateError(
            "quantize: too many answers changed",
            f"{report['answers_equal']:.1%} of {report['check_frames']} stay the same, "
            f"{config.min_answers_equal:.1%} were asked for",
            "calibrate on more frames, or lower min_answers_equal",
        )
