"""How fast the model trains, against the same model written down plainly (benchmarks/eager_hsta.py).

    python -m benchmarks.model --presets base --frames 6 --batches 2 --json model.json

Both get the same weights and are first checked to give the same logits and gradients. Then, for each preset, T and
batch, their forward passes and training steps are timed in turns, so that a busy machine slows both, each in a process
of its own, so that neither lives on memory that the other has freed, and medians are reported:

    reference   plain eager modules, AdamW with its default settings
    product     hsta.model.HSTA, fused AdamW, on a GPU through torch.compile

Both run in float32 on a CPU and under bfloat16 autocast on a GPU. MFU is 3 x 2 x MACs of the forward pass, of the
computation each of them does, over the rate of a large square matrix product of the same precision measured in the same
run. Peak memory is the GPU allocator's, or what a fresh process grows by on a CPU, through two training steps with its
optimiser state. The data-wait share is the time to gather and normalise a batch of resident uint8 clips over that plus
the product's step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.eager_hsta import EagerHSTA
from hsta.errors import InputError
from hsta.model import HSTA, PRESETS, HSTAConfig, authors_state_dict, describe
from hsta.model.authors import authors_name
from hsta.training.arrays import ClipArrays
from hsta.training.resident import ResidentClips

KINDS = ("reference", "product")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One implementation at one size. Times are medians in seconds, memory is in MiB."""

    kind: str
    preset: str
    frames: int
    batch: int
    forward_s: float
    gradients_s: float
    optimizer_s: float
    step_s: float
    clips_per_s: float
    mfu: float
    peak_mib: float


class Contestant:
    """An implementation with its optimiser, and one training step of it."""

    def __init__(
        self, kind: str, config: HSTAConfig, weights: dict[str, Tensor], device: torch.device, compile_product: bool
    ):
        self.device = device
        if kind == "product":
            self.module = HSTA(config).to(device)
            self.module.load_state_dict(weights)
        else:
            product = HSTA(config)
            product.load_state_dict(weights)
            self.module = EagerHSTA(config).to(device)
            self.module.load_state_dict(authors_state_dict(product))
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        fused = {"fused": True} if kind == "product" else {}
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.05, **fused)
        self.call: Callable[..., Tensor] = (
            torch.compile(self.module) if kind == "product" and compile_product else self.module
        )

    def logits(self, video: Tensor, special: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.call(video, special)

    def forward(self, video: Tensor, special: Tensor) -> float:
        """Seconds of a forward pass without gradients."""
        self.module.eval()
        with torch.no_grad():
            started = now(self.device)
            self.logits(video, special)
            return now(self.device) - started

    def step(self, video: Tensor, special: Tensor, labels: Tensor) -> tuple[float, float]:
        """Seconds for loss and gradients, and for the optimiser."""
        self.module.train()
        started = now(self.device)
        nn.functional.cross_entropy(self.logits(video, special).float(), labels).backward()
        between = now(self.device)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return between - started, now(self.device) - between


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def random_batch(config: HSTAConfig, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    special = config.geometry("special")
    size = config.image_size
    video = torch.randn(batch, config.frames, 3, size, size, generator=draw)
    pictures = torch.randn(batch, special.items, special.channels, size, size, generator=draw)
    labels = torch.randint(config.classes, (batch,), generator=draw)
    return video.to(device), pictures.to(device), labels.to(device)


def check_equal(config: HSTAConfig, weights: dict[str, Tensor], device: torch.device) -> None:
    """Both implementations agree in float32 on logits and every gradient; timing anything else would mean nothing."""
    video, special, labels = random_batch(config, 2, device)
    logits, gradients = {}, {}
    for kind in KINDS:
        module = Contestant(kind, config, weights, device, compile_product=False).module.eval()
        logits[kind] = module(video, special)
        nn.functional.cross_entropy(logits[kind], labels).backward()
        name_of = authors_name if kind == "product" else str
        gradients[kind] = {
            name_of(name): p.grad.flatten() for name, p in module.named_parameters() if p.grad is not None
        }
    torch.testing.assert_close(logits["product"], logits["reference"], rtol=1e-3, atol=1e-5)
    for name, gradient in gradients["product"].items():
        difference = (gradient - gradients["reference"][name]).norm() / gradients["reference"][name].norm()
        if difference > 1e-3:
            raise SystemExit(f"{name}: gradients differ by {difference:.1e} of their size; nothing was timed")
    frozen = gradients["reference"].keys() - gradients["product"].keys()
    if any(not name.endswith("attn.wk.bias") for name in frozen):
        raise SystemExit(f"no gradient for {sorted(frozen)}; nothing was timed")


def matrix_rate(device: torch.device) -> tuple[float, str]:
    """Floating-point operations a second of a large square matrix product at its fastest, and what was multiplied."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(12):
        started = now(device)
        a @ b
        seconds.append(now(device) - started)
    return 2 * size**3 / min(seconds), f"{size} x {size} x {size} {str(dtype).removeprefix('torch.')} product"


def measure(
    preset: str, config: HSTAConfig, batch: int, repeats: int, device: torch.device, peak: float, compile_product: bool
) -> list[Measurement]:
    """Both implementations at one size, timed in turns after one warm-up each, by a process each."""
    context = multiprocessing.get_context("spawn")
    pools = {kind: context.Pool(1, torch.set_num_threads, (torch.get_num_threads(),)) for kind in KINDS}
    forwards: dict[str, list[float]] = {kind: [] for kind in KINDS}
    steps: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    try:
        for repeat in range(repeats + 1):
            for kind in KINDS if repeat % 2 else KINDS[::-1]:
                forward, step = pools[kind].apply(_times, (kind, config, batch, device, compile_product))
                if repeat:
                    forwards[kind].append(forward)
                    steps[kind].append(step)
    finally:
        for pool in pools.values():
            pool.terminate()
    macs = {"reference": describe(config).published_macs, "product": describe(config).macs}
    result = []
    for kind in KINDS:
        step = statistics.median(map(sum, steps[kind]))
        result.append(
            Measurement(
                kind=kind,
                preset=preset,
                frames=config.frames,
                batch=batch,
                forward_s=statistics.median(forwards[kind]),
                gradients_s=statistics.median(gradients for gradients, _ in steps[kind]),
                optimizer_s=statistics.median(optimizer for _, optimizer in steps[kind]),
                step_s=step,
                clips_per_s=batch / step,
                mfu=6 * macs[kind] * batch / step / peak,
                peak_mib=peak_memory(kind, config, batch, device, compile_product),
            )
        )
    return result


@lru_cache(maxsize=1)
def _contestant(
    kind: str, config: HSTAConfig, batch: int, device: torch.device, compile_product: bool
) -> tuple[Contestant, tuple[Tensor, Tensor, Tensor]]:
    """In the process of one of them: it and its inputs, kept from call to call."""
    torch.manual_seed(0)
    return Contestant(kind, config, HSTA(config).state_dict(), device, compile_product), random_batch(
        config, batch, device
    )


def _times(*which) -> tuple[float, tuple[float, float]]:
    """Seconds of a forward pass and of a step's gradients and optimiser."""
    contestant, inputs = _contestant(*which)
    return contestant.forward(*inputs[:2]), contestant.step(*inputs)


def peak_memory(kind: str, config: HSTAConfig, batch: int, device: torch.device, compile_product: bool) -> float:
    """MiB at the peak of two training steps: of the GPU's allocator, or of growth of a fresh process on the CPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        _two_steps(kind, config, batch, device, compile_product)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (kind, config, batch, torch.get_num_threads()))


def _growth(kind: str, config: HSTAConfig, batch: int, threads: int) -> float:
    torch.set_num_threads(threads)
    before = _resident_kib("VmRSS")
    _two_steps(kind, config, batch, torch.device("cpu"), False)
    return (_resident_kib("VmHWM") - before) / 2**10


def _resident_kib(field: str) -> int:
    """Resident memory now (VmRSS) or at its highest (VmHWM), on Linux. (getrusage would count the parent's too.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _two_steps(kind: str, config: HSTAConfig, batch: int, device: torch.device, compile_product: bool) -> None:
    contestant = Contestant(kind, config, HSTA(config).state_dict(), device, compile_product)
    inputs = random_batch(config, batch, device)
    for _ in range(2):
        contestant.step(*inputs)


def batch_seconds(config: HSTAConfig, batch: int, device: torch.device) -> float:
    """Seconds to gather and normalise a batch of clips that lie on the device as uint8."""
    count, length, size = 4 * batch, 12, config.image_size
    clips = ResidentClips(
        ClipArrays(
            keys=tuple(("random", str(index)) for index in range(count)),
            subjects=("one",) * count,
            labels=("a",) * count,
            frames=np.random.default_rng(0).integers(0, 256, (count * length, 3, size, size), dtype=np.uint8),
            starts=np.arange(count + 1) * length,
            apex=np.arange(count) * length + length // 2,
            motion=np.zeros((count, 2, 3, size, size), np.float16),
        ),
        config,
        motion_scale=(1.0, 0.1),
        device=device,
    )
    seconds = []
    for _ in range(8):
        started = now(device)
        clips.batch(torch.randperm(count)[:batch])
        seconds.append(now(device) - started)
    return statistics.median(seconds[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--presets", nargs="+", default=["base"], choices=list(PRESETS), help="which models (default: base)"
    )
    parser.add_argument("--frames", nargs="+", type=int, default=[6], help="values of T, even (default: 6)")
    parser.add_argument("--batches", nargs="+", type=int, default=[2], help="clips in a batch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds a case, after one to warm up (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile the product (default: on a GPU)"
    )
    parser.add_argument("--json", type=Path, help="write every number to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    compile_product = device.type == "cuda" if args.compile is None else args.compile
    peak, peak_name = matrix_rate(device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {args.threads} threads"
    )
    print(f"{name}, torch {torch.__version__}; peak: {peak / 1e12:.2f} TFLOP/s, {peak_name}")
    print(
        f"{'':20}{'forward':>17}{'gradients':>17}{'optimiser':>17}{'training step':>17}{'':8}"
        f"{'clips/s':>17}{'MFU':>17}{'peak MiB':>16}"
    )
    cases = []
    for preset in args.presets:
        for frames in args.frames:
            config = replace(PRESETS[preset], frames=frames)
            torch.manual_seed(0)
            weights = HSTA(config).state_dict()
            check_equal(config, weights, device)
            for batch in args.batches:
                case = {"preset": preset, "frames": frames, "batch": batch}
                try:
                    pair = measure(preset, config, batch, args.repeats, device, peak, compile_product)
                except torch.OutOfMemoryError as error:
                    print(f"{preset} T={frames} B={batch}: {error}".splitlines()[0], flush=True)
                    cases.append({**case, "out_of_memory": True})
                    continue
                wait = batch_seconds(config, batch, device)
                ratios = {
                    "step_ratio": pair[0].step_s / pair[1].step_s,
                    "gradients_ratio": pair[0].gradients_s / pair[1].gradients_s,
                    "memory_ratio": pair[1].peak_mib / pair[0].peak_mib,
                    "data_wait_share": wait / (wait + pair[1].step_s),
                }
                cases.append({**case, **{m.kind: asdict(m) for m in pair}, **ratios})
                print(row(*pair, **ratios), flush=True)
    if args.json:
        environment = {
            "device": name,
            "torch": torch.__version__,
            "peak_flops": peak,
            "peak_is": peak_name,
            "compile": compile_product,
        }
        try:
            args.json.write_text(json.dumps({**environment, "repeats": args.repeats, "cases": cases}, indent=1))
        except OSError as error:
            raise InputError(
                error.strerror or str(error), where=str(args.json), cure="choose a place to write to"
            ) from None
        print(f"written to {args.json}")


def row(
    reference: Measurement,
    product: Measurement,
    *,
    step_ratio: float,
    gradients_ratio: float,
    memory_ratio: float,
    data_wait_share: float,
) -> str:
    def pair(name: str, form: str) -> str:
        return f"{getattr(reference, name):{form}} / {getattr(product, name):{form}}"

    times = "".join(f"{pair(name, '.3f'):>17}" for name in ("forward_s", "gradients_s", "optimizer_s", "step_s"))
    figures = f"{pair('clips_per_s', '.2f'):>17}{pair('mfu', '.1%'):>17}{pair('peak_mib', '.0f'):>16}"
    head = f"{product.preset} T={product.frames} B={product.batch}"
    tail = f"gradients alone {gradients_ratio:.2f}x, memory {memory_ratio:.2f}, data wait {data_wait_share:.2%}"
    return f"{head:20}{times}{step_ratio:>6.2f}x {figures}\n{'':20}{tail}"


if __name__ == "__main__":
    main()
