"""Processes of a row, which go on together from phase to phase; a fresh one each, so that no failure reaches others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from gpu.rows import Figures, LeftOutError
from larvae.errors import one_line

MPS = "nvidia-cuda-mps-control"
TRIAL = "import torch; torch.ones(1, device='cuda').item()"
_faults_of_mps: list[str] = []
Work = Callable[[Any], Iterator[Figures]]
"""Yields the answer of each phase."""


class ProcessFailedError(Exception):
    """A process of a row has failed."""


def together(work: Work, tasks: list[Any], timeout: float) -> Iterator[list[Figures]]:
    """Yield the answers of each phase, one a process. Raises ProcessFailedError where one has died or is late."""
    context = multiprocessing.get_context("spawn")
    deadline = time.monotonic() + timeout
    processes, pipes = [], []
    try:
        for task in tasks:
            pipe, other = context.Pipe()
            processes.append(context.Process(target=_work, args=(other, work, task)))
            processes[-1].start()
            other.close()
            pipes.append(pipe)
        while answers := _gathered(pipes, deadline, timeout):
            yield answers
            for pipe in pipes:
                with contextlib.suppress(OSError):  # of one that has died: its next answer tells
                    pipe.send("go on")
        for process in processes:
            process.join(20)
    finally:
        for process in processes:
            process.kill()
            process.join()


def row(
    work: Work, tasks: list[Any], timeout: float, figures: Callable[[int, list[Figures]], Figures], *, mps: bool = False
) -> Figures:
    """The figures of a row by its processes, phase by phase; of the phases before, where one has failed."""
    found: Figures = {"processes": len(tasks)}
    deadline = time.monotonic() + timeout
    try:
        with _mps() if mps else contextlib.nullcontext():
            for phase, answers in enumerate(together(work, tasks, deadline - time.monotonic())):
                found |= figures(phase, answers)
    except ProcessFailedError as error:
        found["failed"] = str(error)
    return found


def alone(work: Work, task: Any, timeout: float) -> Figures:
    """The answers of one process, all phases put together."""
    return row(work, [task], timeout, lambda phase, answers: answers[0])


def _work(pipe: Connection, work: Work, task: Any) -> None:
    """A process: after each answer it waits for a word to go on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    try:
        for answer in work(task):
            pipe.send(answer)
            pipe.recv()
        pipe.send(None)
    except LeftOutError as error:
        pipe.send(error)
    except Exception as error:
        traceback.print_exc()
        pipe.send(ProcessFailedError(one_line(error)))


def _gathered(pipes: list[Connection], deadline: float, timeout: float) -> list[Figures]:
    """The next answer of each process; none at the end."""
    answers: list[Figures] = []
    for pipe in pipes:
        if not pipe.poll(max(0, deadline - time.monotonic())):
            raise ProcessFailedError(f"no answer within {timeout:.0f} s")
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            raise ProcessFailedError("a process has died; its message is above") from None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answers.append(answer)
    return answers


@contextlib.contextmanager
def sharing_the_gpu(device: str) -> Iterator[bool]:
    """Hold NVIDIA's daemon for processes that are started within, where it works; yields True if it does."""
    with contextlib.ExitStack() as stack:
        works = False
        with contextlib.suppress(LeftOutError, ProcessFailedError):
            if device == "cuda":
                stack.enter_context(_mps())
                works = True
        yield works


@contextlib.contextmanager
def _mps() -> Iterator[None]:
    """NVIDIA's daemon that lets processes use a GPU at once, with its pipes in a folder that goes with it.

    Tried once: a daemon that hangs would take the time of all rows that want it.
    """
    if not shutil.which(MPS):
        raise LeftOutError(f"not there: {MPS}")
    if _faults_of_mps:
        raise LeftOutError(_faults_of_mps[0])
    with tempfile.TemporaryDirectory(prefix="mps", ignore_cleanup_errors=True) as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        os.environ |= dict.fromkeys(names, folder)
        try:
            _try_mps([MPS, "-d"], "has not started")
            _try_mps([sys.executable, "-c", TRIAL], "lets no process use the GPU")
            yield
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([MPS], input="quit\n", text=True, timeout=10)
            for name in names:
                del os.environ[name]


def _try_mps(command: list[str], fault: str) -> None:
    """Raise LeftOutError where a command fails or hangs, from now on."""
    try:
        failed = subprocess.run(command, timeout=25).returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        _faults_of_mps.append(f"{MPS} {fault}")
        raise LeftOutError(_faults_of_mps[0])
