"""The work of one process of a row: members trained in one way, compared, timed, and looked at."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from gpu import launches
from gpu import processes as together
from gpu.agreement import HALF, TOLERANCES, deviation, observe
from gpu.rows import Figures, LeftOutError, Row, Settings
from gpu.ways import WAYS
from larvae import datasets
from larvae.advice import advice_taken
from larvae.config import MemberConfig

OBJECTIVE = {"likelihood": "bernoulli", "alpha": 64.0}
"""The objective that textbook and peers have."""
WEIGHTS = [(tau, rate) for tau in (0.1, 0.5, 1.0, 5.0, 10.0) for rate in (0.01, 0.02)]
"""The τ sweep's members of one seed that are alike."""


class Task(NamedTuple):
    """The work of one process."""

    way: str
    members: tuple[dict[str, Any], ...]
    """Fields of each member's configuration, beside OBJECTIVE."""
    device: str
    compiled: bool
    seconds: float
    """Seconds over which the rate is measured."""
    half: int
    """Half of the iterations that are compared."""
    threads: int = 1
    """Threads of the reference on the CPU; all else has one."""
    profiled: int = 0
    """Steps that are profiled, at the end."""


def task(way: str, members: list[dict[str, Any]], settings: Settings, **more: Any) -> Task:
    """A task with the settings of a run."""
    fields = tuple({"batch_size": settings.batch_size} | member for member in members)
    usual = {"seconds": settings.seconds, "half": settings.in_small(HALF, 2)}
    return Task(way, fields, settings.device, WAYS[way].is_compiled and not settings.small, **usual | more)


def of_own_seeds(count: int) -> list[dict[str, Any]]:
    """Members that have no draws in common."""
    return [{"seed": seed} for seed in range(count)]


def as_in_the_sweep(count: int) -> list[dict[str, Any]]:
    """Members as the τ sweep has them: ten of a seed, whose draws are made once."""
    weights = [(seed, *WEIGHTS[place]) for seed, place in (divmod(number, len(WEIGHTS)) for number in range(count))]
    return [{"seed": seed, "tau": tau, "label_rate": rate} for seed, tau, rate in weights]


def answers(task: Task) -> Iterator[dict[str, Any]]:
    """Yield figures after warming up; after timing; while all processes of the row hold their memory; at the end."""
    torch.set_num_threads(1)
    synchronise = torch.cuda.synchronize if task.device == "cuda" else lambda: None
    started, kind = time.perf_counter(), WAYS[task.way]
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    configs = [MemberConfig.from_dict(OBJECTIVE | fields) for fields in task.members]
    with advice_taken() as advice:
        way = kind.make(configs, dataset, task.device, compiled=task.compiled)
        found = observe(way, task.half)
    synchronise()
    set_up = time.perf_counter() - started
    slots = sorted({0, len(configs) - 1})
    torch.set_num_threads(task.threads)
    expected = observe(kind.reference([configs[slot] for slot in slots], dataset, "cpu", compiled=False), task.half)
    torch.set_num_threads(1)
    deviates = deviation(found, expected, slots)
    precision = str(way.precision).removeprefix("torch.")
    fault = deviates.fault(TOLERANCES[way.precision])
    if kind.captures and task.device == "cuda" and not way.is_captured:
        fault = fault or "its step is no CUDA graph"
    loss = sum(second for _, second in found.losses) / len(configs)
    yield {
        "set_up": set_up,
        "mean_loss": loss,
        "precision": precision,
        "captured": way.is_captured,
        "tf32": torch.backends.cudnn.allow_tf32,
        "advice": advice,
        "fault": fault,
    } | deviates._asdict()
    halves = [steps_per_second(way.step, task.seconds / 2, synchronise) for _ in range(2)]
    rate = sum(halves) / 2
    apart = abs(halves[1] - halves[0]) / rate
    yield {"rate": rate * len(configs), "halves_apart": apart, "step_milliseconds": 1e3 / rate}
    if not all(map(math.isfinite, way.take_losses())):
        raise FloatingPointError("a loss is not finite")
    yield _memory(task.device)
    yield launches.profiled(way.step, task.profiled, task.device, 1e3 / rate) if task.profiled else {}
    way.close()


def steps_per_second(step: Callable[[], object], seconds: float, synchronise: Callable[[], None]) -> float:
    """The rate of a step, over some seconds."""
    synchronise()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        count += 1
    synchronise()
    return count / (time.perf_counter() - started)


def _memory(device: str) -> dict[str, Any]:
    """Bytes that the GPU's processes use, and that this one has reserved."""
    free, total = torch.cuda.mem_get_info() if device == "cuda" else (0, 0)
    return {"used": total - free, "reserved": torch.cuda.memory_reserved(), "peak": torch.cuda.max_memory_reserved()}


def figures(phase: int, answered: list[dict[str, Any]], members: int) -> dict[str, Any]:
    """The figures of a row by the answers of its processes to one phase of `answers`."""
    if phase == 0:
        faults = [answer["fault"] for answer in answered if answer["fault"]]
        return {
            "precision": answered[0]["precision"],
            "captured": answered[0]["captured"],
            "tf32": answered[0]["tf32"],
            "advice": list(dict.fromkeys(line for answer in answered for line in answer["advice"])),
            "gradient_deviation": max(answer["gradient"] for answer in answered),
            "loss_deviation": max(answer["loss"] for answer in answered),
            "loss": round(sum(answer["mean_loss"] for answer in answered) / len(answered), 2),
            "set_up_seconds": round(max(answer["set_up"] for answer in answered), 1),
        } | ({"failed": faults[0]} if faults else {})
    if phase == 1:
        return {
            "iterations_per_second": round(sum(answer["rate"] for answer in answered), 1),
            "halves_apart": round(max(answer["halves_apart"] for answer in answered), 3),
            "step_milliseconds": round(max(answer["step_milliseconds"] for answer in answered), 3),
        }
    if phase == 2:
        reserved, peak = (sum(answer[name] for answer in answered) for name in ("reserved", "peak"))
        contexts = max(0, max(answer["used"] for answer in answered) - reserved)
        return {"gigabytes_per_member": round((peak + contexts) / members / 1e9, 3)}
    return answered[0]


def row(way: str, members: list[dict[str, Any]], settings: Settings, *, processes: int = 1, **more: Any) -> Row:
    """A row of some members in one way, spread over processes.

    more: `mps`; `at_least`, as `Row` has it; `name`, of what numbers do not tell; else fields of the tasks.
    """
    mps, at_least, name = more.pop("mps", False), more.pop("at_least", 15.0), more.pop("name", "")
    title = f"{WAYS[way].title}, {len(members)} member{'s' if len(members) > 1 else ''}"
    title += f" in {processes} processes" if processes > 1 else ""
    title += f", {name}" if name else ""
    title += ", MPS" if mps else ""
    more |= {"threads": max(1, min(4, (os.cpu_count() or 1) // processes))}

    def measured() -> Figures:
        if mps and settings.device == "cpu":
            raise LeftOutError("it needs a GPU")
        shares = [members[first::processes] for first in range(processes)]
        tasks = [task(way, share, settings, **more) for share in shares]
        of_all = functools.partial(figures, members=len(members))
        found = {"way": way, "members": len(members), "mps": mps}
        return found | together.row(answers, tasks, settings.timeout, of_all, mps=mps)

    return Row(title, measured, at_least)
