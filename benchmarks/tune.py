"""What a training step of each fine-tuning method costs beside plain PEFT LoRA, on one base in one run.

    python benchmarks/tune.py [--base dit unet] [--methods lora full] [--steps 30] [--out tune.json]
    python benchmarks/tune.py --xl --device cuda      a DiT-XL/2 of drawn weights in bfloat16

step:    forward, loss, backward, AdamW, and what the method itself adds to a step (AdaLoRA's penalty and its
         ranks). Reading data is not in it. Each method has its own copy of the base; a round is one step of
         each in turn, on the same images and noise, and the order turns with the rounds, so that whatever else
         the machine does hits all alike. CPU-seconds of the process, or a GPU's time by events.
ratio:   of the round's step to the reference's of the same round: median and quartiles over the rounds. The
         reference is PEFT itself on attention's q, k, v and out, trained by a bare loop.
memory:  the most that was held at once in five steps, attaching included, above what was held before with the
         base alone: the method's tensors, kept old values, gradients, AdamW's state, activations. A process of
         its own for each method. Resident memory on a CPU (Linux, glibc), where freed tensors are handed back
         at once, so that the allocator's habits stay out of it; torch's allocations on a GPU.

A method above 1.15 whose maths does not ask for it is told as TOO SLOW, and the exit status is 1.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import diffusers
import peft
import torch
from torch import Tensor, nn

from edgekit import __version__
from edgekit.core.files import write_json
from edgekit.generators.adapters.adapter import attach, supports
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.config import AdaLora, BitFit, Bottleneck, Full, Lora, Vpt
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.driveditfit.config import DriveDiTFit
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.codec import PixelCodec
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.config import NanoGenerator
from edgekit.generators.generator import Generator
from edgekit.generators.nano import build_nano_generator, initialise, stir
from edgekit.generators.objective import loss
from edgekit.generators.process import Betas, linear

WANTED = 1.15  # of PEFT LoRA's step, at most
ENOUGH, WARM_UP, MEMORY_STEPS = 30, 3, 5
M_MMAP_THRESHOLD = -3  # mallopt's name for it: from how many bytes on memory is mapped, not taken from a heap
RANK = 8
REFERENCE = "peft-lora"
LABELS, TEXTS = ["clear day", "rain night", "fog day"], ["rain", "a night street", "fog at dusk"]

BASES = {
    "dit": NanoGenerator(arch="dit"),
    "pixart": NanoGenerator(arch="pixart"),
    "unet": NanoGenerator(arch="unet"),
    "mmdit": NanoGenerator(arch="mmdit", layers=4),
}
# Each with its stage, where it has stages. PEFT's targets wherever a method has targets.
METHODS = {
    "lora": (Lora(rank=RANK), None),
    "difffit": (DiffFit(), None),
    "bitfit": (BitFit(), None),
    "vpt": (Vpt(), None),
    "adapter": (Bottleneck(), None),
    "adalora": (AdaLora(rank=12, target_rank=RANK, warmup=0.0), None),  # prunes from the start
    "driveditfit": (DriveDiTFit(), None),
    "calora": (CaLora(rank=RANK, select="random", share=0.3), None),
    "tsm-expert": (TimestepMaster(rank=RANK), "expert-8-4"),
    "tsm-routers": (TimestepMaster(rank=RANK), "routers"),  # a t for each sample: its experts are gathered
    "full": (Full(), None),
}
# What a step cannot do without, by the method's own definition.
WHY = {
    "adalora": f"begins above rank {RANK}; a penalty multiplies every factor by its transpose; the importance of "
    "every entry is averaged",
    "driveditfit": "W∘(1+Γout·Γin) + Bout·Bin is made anew in each step: two products of each weight's size, and "
    "their gradients come through a gradient of that size",
    "tsm-routers": "a core and a context expert act on each sample, gathered for it alone, weighed by a gate for each "
    "token; gates learn through both",
    "full": "gradients of all weights, as many products again as the gradients of activations, and AdamW on all",
}


def built(base: str, device: torch.device) -> Generator:
    """The base, no weight of it zero. base: of BASES, or xl."""
    if base == "xl":
        return dit_xl(device)
    shape = BASES[base]
    generator = build_nano_generator(shape, 0, LABELS if shape.arch == "dit" else TEXTS)
    stir(generator.denoiser)
    generator.condition.encode(asked(generator, 1))  # texts are encoded once, and kept
    return generator.to(device)


def dit_xl(device: torch.device) -> Generator:
    """facebook/DiT-XL-2-256's shape in bfloat16, its weights drawn on the device."""
    with torch.device(device):
        torch.manual_seed(0)
        denoiser = diffusers.DiTTransformer2DModel(
            sample_size=32, in_channels=4, out_channels=8, num_embeds_ada_norm=1000, norm_eps=1e-6
        ).eval()
        initialise(denoiser)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    condition = LabelCondition([str(k) for k in range(1000)]).to(device)
    process = Betas(linear(), learned_range=True)
    return Generator("dit", denoiser.to(torch.bfloat16), condition, PixelCodec(), process, (32, 32), 4)


def asked(generator: Generator, n: int) -> list[str]:
    known = generator.condition.names if generator.arch == "dit" else TEXTS
    return [known[k % len(known)] for k in range(n)]


def plain_lora(denoiser: nn.Module) -> list[nn.Parameter]:
    """PEFT, as a script without edgekit would use it."""
    denoiser.requires_grad_(False)
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    peft.inject_adapter_in_model(config, denoiser)
    return [p for p in denoiser.parameters() if p.requires_grad]


class Learner:
    """One method on a base of its own."""

    def __init__(self, name: str, generator: Generator):
        self.generator, self.adapter, self.interval = generator, None, None
        self.narrow = generator.dtype == torch.bfloat16
        if name == REFERENCE:
            groups: list[dict] = [{"params": plain_lora(generator.denoiser)}]
        else:
            config, stage = METHODS[name]
            self.adapter = attach(config, generator, seed=0)
            if stage:
                self.adapter.begin(stage)
                self.interval = self.adapter.stage.interval
            groups = [{**group, "weight_decay": 0.0} for group in self.adapter.groups()]
        trained = [p for group in groups for p in group["params"]]
        for parameter in trained:
            parameter.data = parameter.data.float()  # as edgekit's trainer does, also on a bfloat16 base
        self.trained = sum(p.numel() for p in trained)
        self.optimiser = torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.0)

    def step(self, x0: Tensor, eps: Tensor, number: int) -> Tensor:
        """x0, eps: [B, C, h, w]. The loss, a number still on the device."""
        generator, process = self.generator, self.generator.process
        draw = torch.Generator().manual_seed(number)
        t = process.sample_t(len(x0), draw, self.interval).to(x0.device)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.narrow):
            cond = generator.condition.encode(asked(generator, len(x0)))
            x_t = process.noise(x0, eps, t)
            output = generator.predict(x_t, t, cond)
        total = loss(process, output, x0, x_t, eps, t).total.mean()
        if self.adapter and (penalty := self.adapter.penalty()) is not None:
            total = total + penalty
        total.backward()
        self.optimiser.step()
        if self.adapter:
            self.adapter.after_step(number)
        self.optimiser.zero_grad(set_to_none=True)
        return total.detach()


def batch(generator: Generator, n: int, number: int) -> tuple[Tensor, Tensor]:
    """x0 in -1..1 and noise: [n, C, h, w]."""
    draw = torch.Generator().manual_seed(number)
    shape = (n, generator.channels, *generator.size)
    x0, eps = 2 * torch.rand(shape, generator=draw) - 1, torch.randn(shape, generator=draw)
    return x0.to(generator.device), eps.to(generator.device)


def seconds(learner: Learner, x0: Tensor, eps: Tensor, number: int) -> float:
    """What one step takes."""
    if x0.device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        total = learner.step(x0, eps, number)
        end.record()
        torch.cuda.synchronize()
        took = begin.elapsed_time(end) / 1000
    else:
        began = time.process_time()
        total = learner.step(x0, eps, number)
        took = time.process_time() - began
    if not torch.isfinite(total):
        raise SystemExit(
            f"step {number}: the loss is {total.item()}; a step of no numbers says nothing of speed"
        )
    return took


def timed(base: str, names: list[str], steps: int, size: int, device: torch.device) -> dict[str, dict]:
    """{method: {"s": [each round's], "trained": how many parameters}}, round by round in turn."""
    learners = {name: Learner(name, built(base, device)) for name in names}
    took: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_UP + steps):
        x0, eps = batch(learners[REFERENCE].generator, size, number)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            spent = seconds(learners[name], x0, eps, number)
            if number >= WARM_UP:
                took[name].append(spent)
    return {name: {"s": took[name], "trained": learners[name].trained} for name in names}


def memory(base: str, name: str, size: int, threads: int, on: str) -> int | None:
    """Bytes at the peak above the base's own, see the top; to be called in a process of its own."""
    torch.set_num_threads(threads)
    device = torch.device(on)
    if device.type == "cpu" and sys.platform != "linux":
        return None
    if device.type == "cpu":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    generator = built(base, device)
    # What a library loads or sets aside at its first pass is no method's.
    x0, eps = batch(generator, 1, 0)
    t = generator.process.sample_t(1, torch.Generator().manual_seed(0)).to(device)
    x0.requires_grad_(True)
    with torch.autocast(device.type, torch.bfloat16, enabled=generator.dtype == torch.bfloat16):
        generator.predict(x0, t, generator.condition.encode(asked(generator, 1))).sum().backward()
    generator.denoiser.zero_grad(set_to_none=True)
    del x0, eps
    gc.collect()
    before = held(device, start=True)
    learner = Learner(name, generator)
    for number in range(MEMORY_STEPS):
        learner.step(*batch(generator, size, number), number)
    return held(device) - before


def held(device: torch.device, start: bool = False) -> int:
    """Bytes: the most since the last call with ``start``; with it, what is held now."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        if start:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if start:  # rusage's ru_maxrss would not do: it cannot be set back, and a child begins with its parent's
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def measure(base: str, names: list[str], asked_for: argparse.Namespace) -> dict[str, Any]:
    """One base: a row for each method, the reference first."""
    arch = "dit" if base == "xl" else base
    not_for = {name: reason for name in names if (reason := supports(METHODS[name][0].kind, arch))}
    able = [REFERENCE, *(name for name in names if name not in not_for)]
    device, size = torch.device(asked_for.device), asked_for.batch
    jobs = [(base, name, size, asked_for.threads, asked_for.device) for name in able]
    fresh = multiprocessing.get_context("forkserver")  # children of a process that has imported, nothing more
    fresh.set_forkserver_preload(["peft", "edgekit.generators.nano", "edgekit.generators.adapters.adapter"])
    with fresh.Pool(1, maxtasksperchild=1) as pool:
        peaks = pool.starmap(memory, jobs, chunksize=1)
    times = timed(base, able, asked_for.steps, size, device)
    reference = times[REFERENCE]["s"]
    rows = {name: {"method": name, "not_for": reason} for name, reason in not_for.items()}
    for name, peak in zip(able, peaks, strict=True):
        ratio = quartiles([a / b for a, b in zip(times[name]["s"], reference, strict=True)])
        step_s = statistics.median(times[name]["s"])
        rows[name] = {
            "method": name, "trained": times[name]["trained"], "step_ms": round(1000 * step_s, 2),
            "images_per_s": round(size / step_s, 2), "ratio": ratio,
            "memory_mb": None if peak is None else round(peak / 1e6, 1),
            "verdict": verdict(name, ratio["median"]),
        }  # fmt: skip
    return {"base": base, "rows": [rows[name] for name in (REFERENCE, *names)]}


def quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4), "rounds": len(values)}


def verdict(name: str, ratio: float) -> str:
    """Nothing for one that is fast enough, else why it is not."""
    return "" if ratio <= WANTED else WHY.get(name, "TOO SLOW")


def too_slow(report: dict[str, Any]) -> list[str]:
    rows = [(one["base"], row) for one in report["bases"] for row in one["rows"]]
    return [f"{row['method']} on {base}" for base, row in rows if row.get("verdict") == "TOO SLOW"]


def machine(device: str) -> dict[str, Any]:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].partition(":")[2].strip() if names else platform.processor()
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu, "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2), "platform": platform.platform(),
        "torch": torch.__version__, "peft": peft.__version__, "diffusers": diffusers.__version__,
        "edgekit": __version__,
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """The report for people, in Markdown."""
    on, asked_for = report["machine"], report["asked"]
    clock = "GPU time" if asked_for["device"] == "cuda" else "CPU time"
    lines = [
        f"{on['device']}, {on['cores']} cores, load {on['load']} before and {report['load_after']} after; torch "
        f"{on['torch']}, peft {on['peft']}, edgekit {on['edgekit']}; {asked_for['threads']} threads. {clock} of a "
        f"step of {asked_for['batch']} images; {asked_for['steps']} rounds, median (quartiles). Memory: the peak "
        f"above the base's own.",
    ]
    for one in report["bases"]:
        lines += [
            "", f"**{one['base']}**", "",
            f"| method | trained | ms a step | images/s | of PEFT LoRA | memory, MB | why above {WANTED} |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for row in one["rows"]:
            if "not_for" in row:
                lines.append(f"| {row['method']} | n/a | | | | | n/a: {row['not_for']} |")
                continue
            ratio, peak = row["ratio"], row["memory_mb"]
            lines.append(
                f"| {row['method']} | {row['trained']:,} | {row['step_ms']:.1f} | {row['images_per_s']:.1f} | "
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) | "
                f"{'—' if peak is None else f'{peak:.1f}'} | {row['verdict']} |"
            )
    if asked_for["steps"] < ENOUGH:
        lines += ["", f"Fewer than {ENOUGH} rounds: it shows that all works; the figures say little."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", nargs="+", choices=[*BASES], default=[*BASES], help="default: all")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS], help="default: all")
    parser.add_argument("--steps", type=int, default=ENOUGH, help=f"rounds after {WARM_UP} unmeasured ones")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--xl", action="store_true", help="a DiT-XL/2 of drawn weights in bfloat16 (GPU)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked_for = parser.parse_args()
    if asked_for.steps < 2:
        parser.error("--steps: quartiles need at least 2")
    if asked_for.xl and asked_for.device != "cuda":
        parser.error("--xl: 675 million weights for each method; give --device cuda")
    os.environ.setdefault(
        "TRANSFORMERS_VERBOSITY", "error"
    )  # of the memory's processes: one warning for each
    torch.set_num_threads(asked_for.threads)
    settings = {key: value for key, value in vars(asked_for).items() if key != "out"}
    report: dict[str, Any] = {"machine": machine(asked_for.device), "asked": settings, "bases": []}
    for base in ["xl"] if asked_for.xl else asked_for.base:
        print(f"[tune] {base}: {', '.join(asked_for.methods)}", file=sys.stderr, flush=True)
        report["bases"].append(measure(base, asked_for.methods, asked_for))
    report["load_after"] = round(os.getloadavg()[0], 2)
    print(table(report))
    if asked_for.out:
        write_json(asked_for.out, report)
    if slow := too_slow(report):
        raise SystemExit(f"above {WANTED} of PEFT LoRA for no reason of its maths: {', '.join(slow)}")


if __name__ == "__main__":
    main()
