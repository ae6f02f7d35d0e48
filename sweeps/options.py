"""The command line of a sweep: one dataclass, presets as its defaults, one line an error."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro

from larvae.config import Schedule
from larvae.errors import InvalidInputError

INTERRUPTED = 130
"""Exit code of a command that was told to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """What every sweep can be told. The defaults shown are those of the chosen preset."""

    preset: str
    """quick (minutes on two cores), laptop (a night on 2 to 8 cores) or paper (needs GPUs). Left out: paper where
    Ray has GPUs, quick elsewhere. Give it before --help to see its numbers."""
    study: str
    """Name of the study: of its folder under --storage-path and of its MLflow experiment. The same name goes on."""
    seeds: int
    """Number of seeds: 0, 1, …"""
    iterations: int
    """Optimiser steps of each member. Raise it later and members go on from where they stopped."""
    log_every: int
    """Iterations between points of the loss curves."""
    evaluate_every: int
    """Iterations between evaluations of MIG and ℓ2, a multiple of --log-every; the end is always evaluated."""
    evaluation_size: int = 10_000
    """Images that MIG and ℓ2 are computed on."""
    dataset: str = "dsprites"
    """Data set to train on."""
    data_file: Path | None = None
    """Published dSprites .npz or .hdf5 to use; left out, the images are rendered to the pixel (about 10 s, once)."""
    regulariser: str = "beta_tcvae"
    """beta_tcvae or beta_vae."""
    z_dim: int = 5
    """Dimensions of the nuisance z."""
    gamma_tc: float = 4.0
    """Weight γ_tc of the unsupervised regulariser: β − 1."""
    alpha: float = 64.0
    """Weight α of the label loss."""
    learning_rate: float = 1e-4
    """Adam's learning rate."""
    batch_size: int = 64
    """Images of each of the two batches of an iteration: all data, and labelled."""
    address: str | None = None
    """Ray cluster to join: auto, or HOST:PORT. Left out, Ray is started on this machine."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow: a database on this machine, or http://HOST:PORT of a server."""
    storage_path: Path = Path("results")
    """Folder of checkpoints and results; on a cluster, one that all nodes share."""
    cpus_per_trial: int = 1
    """CPUs, and PyTorch threads, of each trial."""
    gpus_per_trial: float | None = None
    """GPUs of each trial, e.g. 0.25. Left out: what a probe measures where Ray has GPUs, 0 elsewhere."""
    compile: bool = True
    """Fuse the training step with torch.compile where a trial runs on a CPU and a C++ compiler is found."""

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            iterations=self.iterations,
            log_every=self.log_every,
            evaluate_every=self.evaluate_every,
            evaluation_size=self.evaluation_size,
        )

    @property
    def shared_fields(self) -> dict[str, str | int | float]:
        """The fields of a member's configuration that a study keeps fixed unless it sweeps them."""
        names = ("dataset", "regulariser", "z_dim", "gamma_tc", "alpha", "learning_rate", "batch_size")
        return {name: getattr(self, name) for name in names}

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no member's configuration would catch."""
        for name in ("seeds", "cpus_per_trial"):
            if getattr(self, name) <= 0:
                raise InvalidInputError(f"`{name}` must be > 0, got {getattr(self, name)}")
        if self.gpus_per_trial is not None and not 0 <= self.gpus_per_trial <= 8:
            raise InvalidInputError(f"`gpus_per_trial` must lie in [0, 8], got {self.gpus_per_trial:g}")
        if not self.study or set(self.study) & set("/\\\0") or self.study.startswith("."):
            raise InvalidInputError(f"`study` must be usable as a folder's name, got '{self.study}'")


Options = TypeVar("Options", bound=StudyOptions)


def parse(
    arguments: Sequence[str],
    presets: Mapping[str, Options],
    default_preset: Callable[[str | None], str],
    description: str,
) -> Options:
    """Parse a command line over the preset that it names.

    default_preset: given --address, the preset's name where --preset is left out.
    Raises InvalidInputError in place of the parser's own many lines.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset")
    first.add_argument("--address")
    try:
        known, _ = first.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise InvalidInputError(str(error)) from None
    wants_help = bool({"-h", "--help"} & set(arguments))
    name = known.preset or ("quick" if wants_help else default_preset(known.address))
    if name not in presets:
        raise InvalidInputError(f"`preset` must be one of {', '.join(presets)}, got {name}")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            default = presets[name]
            chosen = tyro.cli(type(default), args=list(arguments), default=default, description=description)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InvalidInputError(_message(errors.getvalue())) from None
    chosen.require_valid()
    return chosen


def main(run: Callable[[Sequence[str]], int]) -> int:
    """Run a sweep on this process's command line; bad input becomes one line and exit code 2."""
    try:
        return run(sys.argv[1:])
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command again goes on.", file=sys.stderr)
        return INTERRUPTED


def _message(boxed: str) -> str:
    """The parser's message out of its box: the lines between its first two rules, drawn in any alphabet."""
    between = [*re.split(r"[─-]{3,}", boxed), "", ""][1]
    return " ".join(between.translate(str.maketrans("│╮╰", "   ")).split()) or "see --help"
