"""Step 4: what only a real GPU can show beside speed: resuming into a captured step, metrics, memory that runs out."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu.measuring import OBJECTIVE, of_own_seeds
from gpu.measuring import row as way_row
from gpu.processes import alone
from gpu.rows import Figures, LeftOutError, Row, Settings
from larvae import datasets
from larvae.checkpoint import load_checkpoint, save_checkpoint
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.errors import one_line
from larvae.evaluation import evaluate
from larvae.out_of_memory import is_out_of_memory
from larvae.together.group import Group
from larvae.training import Trainer

MOST_APART = 0.1
"""Most that a resumed member may be away from an uninterrupted one, by what that has moved since."""
METRICS = {"mig": 0.02, "l2": 0.02, "factor_vae_score": 0.05}
"""Metrics, with most that a GPU's may be away from a CPU's of the same parameters."""
CONTEXT = """
import torch
from larvae.out_of_memory import is_out_of_memory
try:
    torch.zeros(1, device="cuda").item()
    print("no error came")
except Exception as error:
    print(is_out_of_memory(error), type(error).__name__, " ".join(str(error).split())[:120])
"""
"""Makes a context of its own where the GPU is full, and tells what comes of it."""


def rows(settings: Settings) -> list[Row]:
    """The rows, the most informative first."""
    discriminated = [{"regulariser": "factor_vae", **member} for member in of_own_seeds(settings.in_small(4, 2))]
    return [
        Row("out of memory, small share", lambda: _out_of_memory(small_share, settings), 20),
        Row("out of memory, full GPU", lambda: _out_of_memory(full_gpu, settings), 20),
        Row("resumed into a captured step", lambda: alone(resumed, settings, settings.timeout), 120),
        Row("metrics, and a CPU's", lambda: alone(metrics, settings, settings.timeout), 120),
        way_row("group", discriminated, settings, name="FactorVAE's discriminator", at_least=60),
    ]


def resumed(settings: Settings) -> Iterator[Figures]:
    """Train a group twice without a stop, and once with a checkpoint between; compare, and time checkpoints."""
    torch.set_num_threads(1)
    half = settings.in_small(30, 3)
    whole, twin = (_trained(_trainers(settings), 2 * half) for _ in range(2))
    started = _trained(_trainers(settings), half)
    before = [{name: p.detach().clone() for name, p in trainer.parameters.items()} for trainer in started]
    resuming, without_adam = _trainers(settings), _trainers(settings)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.pt" for number in range(len(started))]
        clock = time.perf_counter()
        for trainer, path in zip(started, paths, strict=True):
            save_checkpoint(path, {"trainer": trainer.state_dict()})
        saved, clock = time.perf_counter() - clock, time.perf_counter()
        for trainer, path in zip(resuming, paths, strict=True):
            trainer.load_state_dict(load_checkpoint(path)["trainer"])
        loaded = time.perf_counter() - clock
        bytes_of_one = paths[0].stat().st_size
    for trainer, other in zip(without_adam, started, strict=True):
        trainer.model.load_state_dict(other.state_dict()["model"])
        trainer.iteration = other.iteration
    _trained(resuming, half)
    apart, apart_twins = _apart(resuming, whole, before), _apart(twin, whole, before)
    found = {
        "members": len(whole),
        "apart": apart,
        "twins_apart": apart_twins,
        "apart_without_adam": _apart(_trained(without_adam, half), whole, before),
        "save_seconds_per_member": round(saved / len(paths), 4),
        "load_seconds_per_member": round(loaded / len(paths), 4),
        "checkpoint_megabytes": round(bytes_of_one / 1e6, 2),
    }
    most = max(MOST_APART, 2 * apart_twins)
    yield found if apart <= most else found | {"failed": f"resumed ones are apart by {apart:.2g}, more than {most:.2g}"}


def metrics(settings: Settings) -> Iterator[Figures]:
    """Metrics of a member on the GPU, by the fused encoder and timed, and of the same parameters on the CPU."""
    torch.set_num_threads(4)
    size = settings.in_small(10_000, 100)
    [trainer] = _trained(_trainers(settings, 1), settings.in_small(300, 3))
    on_cpu = Trainer(trainer.config, trainer.dataset)
    on_cpu.load_state_dict(trainer.state_dict())
    found: Figures = {"images": size}
    faults = []
    evaluate(trainer, 10, ["l2"])  # compiles the encoder
    for name, most in METRICS.items():
        started = time.perf_counter()
        value = evaluate(trainer, size, [name])[name]
        seconds, expected = time.perf_counter() - started, evaluate(on_cpu, size, [name])[name]
        found |= {name: round(value, 4), f"{name}_on_cpu": round(expected, 4), f"{name}_seconds": round(seconds, 2)}
        if not abs(value - expected) <= most * max(1, abs(expected)):
            faults.append(f"{name} is {value:.4f}, but {expected:.4f} on the CPU")
    yield found | ({"failed": "; ".join(faults)} if faults else {})


def small_share(settings: Settings) -> Iterator[Figures]:
    """Errors of a process that may have a hundredth of the GPU; then a member alone must fit."""
    torch.cuda.set_per_process_memory_fraction(0.01)
    attempts = {
        "a large tensor": lambda: torch.empty(2**33, device="cuda"),
        "a group of 64": lambda: _trained(_trainers(settings, 64, compiled=False), 2),
    }
    yield _errors(attempts)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.2)
    _trained(_trainers(settings, 1, compiled=False), 2)
    yield {"trains_after": True}


def full_gpu(settings: Settings) -> Iterator[Figures]:
    """Errors where other memory than PyTorch's own runs out: of libraries' handles, and of another process."""
    trainers = _trainers(settings, 1, compiled=False)
    filled = []
    size = 2**30
    while size >= 2**20:  # larger pieces first
        try:
            filled.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
    attempts = {
        "a product": lambda: torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda"),
        "a factorisation": lambda: torch.linalg.qr(torch.ones(64, 64, device="cuda")),
        "a step": lambda: _awaited_step(trainers[0]),
    }
    yield _errors(attempts)
    told = _error_of_another_process()
    yield {"another_process": told} | ({} if told.startswith(("True", "no error")) else {"failed": told})
    filled.clear()
    torch.cuda.empty_cache()
    _awaited_step(trainers[0])
    yield {"trains_after": True}


def _error_of_another_process() -> str:
    try:
        done = subprocess.run([sys.executable, "-c", CONTEXT], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "another process has not answered within 120 s"
    return done.stdout.strip() or f"another process has told nothing: {done.stderr[-200:]}"


def _out_of_memory(work: Callable[[Settings], Iterator[Figures]], settings: Settings) -> Figures:
    if settings.device == "cpu":
        raise LeftOutError("it needs a GPU")
    return alone(work, settings, settings.timeout)


def _errors(attempts: Mapping[str, Callable[[], object]]) -> Figures:
    """The error of each attempt that fails: `failed` says which one is not known to be of memory."""
    errors: dict[str, str] = {}
    strange = []
    for name, attempt in attempts.items():
        try:
            attempt()
            errors[name] = "no error came"
        except Exception as error:
            errors[name] = one_line(error)[:200]
            if not is_out_of_memory(error):
                strange.append(name)
    found: Figures = {"errors": errors}
    if strange:
        found["failed"] = f"not recognised: {'; '.join(errors[name] for name in strange)}"
    elif set(errors.values()) == {"no error came"}:
        found["failed"] = "no error came"
    return found


def _trainers(settings: Settings, count: int = 4, *, compiled: bool = True) -> list[Trainer]:
    dataset: Dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    fields: dict[str, Any] = OBJECTIVE | {"batch_size": settings.batch_size}
    configs = [MemberConfig.from_dict(fields | {"seed": seed}) for seed in range(settings.in_small(count, 1))]
    return [Trainer(c, dataset, device=settings.device, compiled=compiled and not settings.small) for c in configs]


def _awaited_step(trainer: Trainer) -> None:
    trainer.step()
    torch.cuda.synchronize()


def _trained(trainers: list[Trainer], iterations: int) -> list[Trainer]:
    """The trainers, as a group, some iterations later."""
    group = Group(trainers)
    try:
        for _ in range(iterations):
            group.step()
        if group.trainers[0].device.type == "cuda":
            torch.cuda.synchronize()
    finally:
        group.close()
    return trainers


def _apart(some: list[Trainer], others: list[Trainer], before: list[dict[str, Tensor]]) -> float:
    """The largest distance of a member's parameters from another's, by what that has moved since `before`."""
    distances = []
    for ours, theirs, start in zip(some, others, before, strict=True):
        moved = _distance(theirs.parameters, start)
        distances.append(_distance(ours.parameters, theirs.parameters) / moved)
    return max(distances)


def _distance(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    return sum(float((some[name].detach().double() - others[name].detach()).square().sum()) for name in some) ** 0.5
