"""The project's own results, trained one member after another at the lowest priority, for weeks if need be.

A member that has ended is one small file under docs/results, written once and meant to be committed: it is never
trained again, on whatever machine. Stop this whenever you like; the same command goes on from 30 s before. Several may
run beside each other with one --storage-path.

    python sweeps/kept_study.py                     Section 5.2 on dSprites: τ at α = 1 and 64, z at α = 1
    python sweeps/kept_study.py --study curve       what decides whether label replacement helps
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from filelock import FileLock, Timeout
from tqdm import tqdm

from larvae import command_line, datasets
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, NonFiniteLossError, one_line, require_known
from larvae.files import load_json, save_json
from larvae.functional import can_compile
from larvae.hardware import processor_name
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from sweeps import tau_sweep, z_dim_sweep
from sweeps.options import QUICK_METRICS
from sweeps.study import label
from sweeps.tracking.provenance import git_commit

LOWEST_PRIORITY = 19
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux' priority of a terminal's processes against those of others: within it alone counts what `nice` says."""
_ALPHAS = (1.0, 64.0)
_SEEDS = range(3)


class KeptStudy(NamedTuple):
    """Members in the order in which they are trained."""

    members: tuple[MemberConfig, ...]
    schedule: Schedule


def _schedule(iterations: int) -> Schedule:
    return Schedule(iterations=iterations, log_every=500, evaluate_every=500, final_metrics=QUICK_METRICS)


def section_5_2() -> KeptStudy:
    """The τ sweep at two weights of the label loss and the z sweep at α = 1; what is in both is trained once."""
    taus, z_dims = tau_sweep.PRESETS["laptop"].taus, z_dim_sweep.PRESETS["laptop"].z_dims
    members = []
    for label_rate in tau_sweep.PRESETS["laptop"].label_rates:
        members += [
            MemberConfig(label_rate=label_rate, seed=seed, alpha=alpha, tau=tau)
            for seed, alpha, tau in product(_SEEDS, _ALPHAS, taus)
        ]
        members += [
            MemberConfig(label_rate=label_rate, seed=seed, z_dim=z_dim) for seed, z_dim in product(_SEEDS, z_dims)
        ]
    return KeptStudy(tuple(dict.fromkeys(members)), _schedule(10_000))


def curve() -> KeptStudy:
    """τ at two weights of the label loss for the likelihoods that are not the default; then σ² for the one that is.

    Of σ² = 1/8 there is one with 2σ²·α and 2σ²·γ_tc as at σ² = 1/2, and one with α and γ_tc as there.
    """
    sigmoid = [{"likelihood": "gaussian", "pixel_mean": "sigmoid"}, {"likelihood": "bernoulli"}]
    variance = [{"pixel_variance": 0.125, "alpha": 4.0, "gamma_tc": 16.0}, {"pixel_variance": 0.125}]
    settings = [{**fields, "alpha": alpha} for fields, alpha in product(sigmoid, _ALPHAS)] + variance
    members = [
        MemberConfig(**fields, seed=seed, tau=tau) for fields, seed, tau in product(settings, _SEEDS, (0.0, 1.0, 10.0))
    ]
    return KeptStudy(tuple(members), _schedule(4_000))


STUDIES: Mapping[str, Callable[[], KeptStudy]] = {"study": section_5_2, "curve": curve}


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """What to train, where to keep it, and on what."""

    study: str = "study"
    """study or curve."""
    results: Path = Path("docs/results")
    """Folder of the kept files: of each study in a folder of its name."""
    storage_path: Path = Path("results/kept")
    """Folder of checkpoints of members that have not ended."""
    members: int | None = None
    """How many members to train before it stops. Left out: all that are missing."""
    threads: int = 1
    """PyTorch's threads."""


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and train; the exit code: 1 where a member has failed."""
    chosen = command_line.parse(lambda: tyro.cli(Arguments, args=list(arguments), description=__doc__))
    require_known("study", chosen.study, STUDIES)
    for name, value in (("members", chosen.members), ("threads", chosen.threads)):
        if value is not None and value <= 0:
            raise InvalidInputError(f"`{name}` must be > 0, got {value}")
    torch.set_num_threads(chosen.threads)
    study = STUDIES[chosen.study]()
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites", progress=True))
    trained = failed = 0
    for member in study.members:
        if trained == chosen.members:
            break
        result = _train_if_missing(member, study, dataset, chosen)
        trained += result is not None
        failed += result == "failed"
    ended = sum(_kept_file(member, chosen).exists() for member in study.members)
    print(f"{ended} of {len(study.members)} members of {chosen.study} have ended: `{chosen.results / chosen.study}`")
    return int(failed > 0)


def _train_if_missing(member: MemberConfig, study: KeptStudy, dataset: Dataset, chosen: Arguments) -> str | None:
    """Train a member to its end and keep it: finished or failed; None where it has ended or another process has it."""
    file, directory = _kept_file(member, chosen), MemberDirectory(chosen.storage_path / member.content_hash)
    directory.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory.path / ".lock", timeout=0):
            if file.exists():
                return None
            commits = _with_this_commit(directory.path / "commits.json")
            _train(member, study.schedule, dataset, directory)
            result = directory.read_result()
            assert result is not None
            ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            seconds = sum(row["seconds"] for row in result["history"])
            of_machine = {"processor": processor_name(), "commits": commits, "seconds": seconds, "ended": ended}
            save_json(file, {**result, **of_machine})
            return str(result["status"])
    except Timeout:
        return None


def _train(member: MemberConfig, schedule: Schedule, dataset: Dataset, directory: MemberDirectory) -> None:
    """Train a member to its end, with a bar that shows how far it is."""
    title = label(member, ("tau", "alpha", "z_dim", "label_rate", "likelihood", "seed"))
    history: list[Row] = []
    with tqdm(total=schedule.iterations, desc=title, unit="iteration") as bar:
        try:
            for row in train_member(member, schedule, dataset, directory, compiled=can_compile()):
                history.append(row)
                bar.update(int(row["iteration"]) - bar.n)
        except NonFiniteLossError as error:
            tqdm.write(f"{title}: {one_line(error)}")
            directory.write_failure(member, error, history)


def _kept_file(member: MemberConfig, chosen: Arguments) -> Path:
    return chosen.results / chosen.study / f"{member.content_hash}.json"


def _with_this_commit(path: Path) -> list[str]:
    """The commits that a member has been trained by, the one of now among them."""
    commits = load_json(path)["commits"] if path.exists() else []
    if (commit := git_commit()) not in commits:
        commits.append(commit)
        save_json(path, {"commits": commits})
    return commits


def take_lowest_priority() -> None:
    """Let this process have what others leave. Where Linux shares time out by terminal first, of its terminal too."""
    os.nice(LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(str(LOWEST_PRIORITY))


def main() -> int:
    """Run on this process's command line, at the lowest priority; whoever ends it with SIGTERM loses no more."""
    take_lowest_priority()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return command_line.run(lambda: run(sys.argv[1:]), stopped="Stopped. The same command again goes on.")


if __name__ == "__main__":
    sys.exit(main())
