"""The command line of a sweep: one dataclass, presets as its defaults, one line an error."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tyro

from larvae import command_line
from larvae.config import MemberConfig, Schedule
from larvae.errors import InvalidInputError, require_known
from larvae.metrics import DEFAULT_METRICS, METRICS
from sweeps.study import StudyDirectory
from sweeps.tracking.addresses import take_passwords_off_command_line

BY_DEFAULT = ("paper", "quick")
"""Presets that a command without --preset may stand for, as Ray has GPUs or has not."""
QUICK_METRICS = tuple(name for name in DEFAULT_METRICS if not METRICS[name].is_slow)
"""Metrics that quick presets compute at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """Settings that all members of a study have in common."""

    alpha: float = 1.0
    """Weight α of the label loss; with α = 0 and τ = 0 learning is unsupervised."""
    density_estimator: str = "minibatch_weighted"
    """β-TCVAE's estimator of densities within a batch: minibatch_weighted or minibatch_stratified."""
    likelihood: str = "gaussian"
    """Likelihood p(x | y, z) of the pixels: gaussian, as the paper says, or bernoulli."""
    pixel_mean: str = "linear"
    """A Gaussian pixel's mean: linear, the decoder's output itself, as the paper's Table D.2 ends; or its sigmoid."""
    pixel_variance: float = 0.5
    """A Gaussian pixel's variance σ². It moves every other weight: 2σ²·L = squared error + 2σ²·(KL + γ_tc·R_u +
    α·label loss) + τ·(squared error + 2σ²·KL of z), so a smaller σ² weakens the labels at the same α."""
    replacement_likelihood: str | None = None
    """Likelihood of label replacement's L_rep. Left out: --likelihood. Another one needs --pixel-mean sigmoid."""
    instance_norm: bool = True
    """Normalise instances after each convolution, as the paper does."""
    learning_rate: float = 1e-4
    """Adam's learning rate."""
    batch_size: int = 64
    """Images of each of the two batches of an iteration: all data, and labelled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions(TrainingOptions):
    """The same, with the data set and the regulariser."""

    dataset: str = "dsprites"
    """Data set to train on: `python -m larvae.datasets` lists them."""
    data_file: Path | None = None
    """Published file, or folder of files, of the data set. Left out: rendered, or as prepared before."""
    observed_factors: tuple[str, ...] = ()
    """Factors whose labels are known, the others being left to z. Left out: all."""
    regulariser: str = "beta_tcvae"
    """beta_vae, beta_tcvae or factor_vae."""
    gamma_tc: float | None = None
    """Weight γ_tc of the regulariser. Left out: 3 for beta_vae (β = 4), 4 for beta_tcvae (β = 5), 10 for factor_vae."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhereOptions:
    """Machines that run trials, what each trial takes there, and places for results."""

    address: str | None = None
    """Ray cluster to join: auto, or HOST:PORT. Left out, Ray is started on this machine."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow: a database on this machine, or http://HOST:PORT of a server. Set MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD for one that asks for a login; a password in the address others could read."""
    storage_path: Path = Path("results")
    """Folder of checkpoints and results; on a cluster, one that all nodes share."""
    cpus_per_trial: int = 1
    """CPUs, and PyTorch threads, of each trial."""
    gpus_per_trial: float | None = None
    """GPUs of each trial: a share, e.g. 0.25, or whole ones. Left out: what a probe measures where Ray has GPUs, 0
    elsewhere."""
    members_per_trial: int | None = None
    """Members that a trial trains together, where their models have one shape. Left out: 1 on CPUs, as many seeds and
    other weights as fit, up to 8, on GPUs."""
    preflight: bool = True
    """Ask every node of a cluster first whether the study can run there; it takes seconds."""
    compile: bool = True
    """Fuse the training step with torch.compile where a C++ compiler is found."""

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no machine could do."""
        if self.cpus_per_trial <= 0:
            raise InvalidInputError(f"`cpus_per_trial` must be > 0, got {self.cpus_per_trial}")
        if self.members_per_trial is not None and self.members_per_trial <= 0:
            raise InvalidInputError(f"`members_per_trial` must be > 0, got {self.members_per_trial}")
        if self.gpus_per_trial is not None:
            require_gpus(self.gpus_per_trial)
        require_folder("storage_path", self.storage_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """Options of every sweep. The defaults shown are those of the chosen preset."""

    figure_command: ClassVar[str]
    """The script, with its arguments, that draws the study's figure."""

    preset: str
    """quick (minutes on two cores), laptop (a night on 2 to 8 cores) or paper (needs GPUs). Left out: paper where
    Ray has GPUs, quick elsewhere, but the other one where only its study lies unfinished. Give it before --help to
    see its numbers."""
    study: str
    """Name of the study: of its folder under --storage-path and of its MLflow experiment. The same name goes on."""
    seeds: int
    """Number of seeds: 0, 1, …"""
    plan: bool = False
    """Tell what the study would cost, in time, memory and money, and train nothing."""
    price: float | None = None
    """Price of an hour, for --plan: of one GPU or, where trials hold none, of one CPU core."""
    schedule: Schedule
    """Length of training, and intervals of logging, evaluation and checkpoints."""
    model: TrainingOptions = TrainingOptions()
    """Model to train."""
    where: WhereOptions = WhereOptions()
    """Machines that run trials, what each trial takes there, and places for results."""

    @property
    def shared_fields(self) -> dict[str, Any]:
        """The fields of a member's configuration that are given once and for all."""
        names = [field.name for field in fields(MemberConfig)]
        values = {name: getattr(self, name, getattr(self.model, name, None)) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def data_files(self) -> dict[str, Path]:
        """Published files to use, by data set."""
        return {}

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no member's configuration would catch."""
        if self.seeds <= 0:
            raise InvalidInputError(f"`seeds` must be > 0, got {self.seeds}")
        self.where.require_valid()
        if self.price is not None and not (self.price >= 0 and math.isfinite(self.price)):
            raise InvalidInputError(f"`price` must be finite and >= 0, got {self.price}")
        if not self.study or set(self.study) & set("/\\\0") or self.study.startswith("."):
            raise InvalidInputError(f"`study` must be usable as a folder's name, got '{self.study}'")


@dataclass(frozen=True, kw_only=True, slots=True)
class OneModelOptions(StudyOptions):
    """Options of sweeps of one data set and one regulariser."""

    model: ModelOptions = ModelOptions()
    """Data set, and model to train on it."""

    @property
    def data_files(self) -> dict[str, Path]:
        return {} if self.model.data_file is None else {self.model.dataset: self.model.data_file}


def require_gpus(gpus: float) -> None:
    """Raise InvalidInputError for GPUs of a trial that Ray cannot reserve: it counts in ten-thousandths of one."""
    if not (0.0001 <= gpus <= 1 or gpus in range(9)):
        raise InvalidInputError(f"`gpus_per_trial` must be 0, in [0.0001, 1], or a whole number up to 8, got {gpus:g}")


def require_folder(name: str, path: Path) -> None:
    """Raise InvalidInputError for an address, such as s3://bucket, of which a path would be a folder `s3:`."""
    if path.parts and path.parts[0].endswith(":"):
        address = str(path).replace(":/", "://", 1)
        raise InvalidInputError(f"`{name}` must be a folder, on a cluster one that all nodes share, got {address}")


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
    for flag in ("--preset", "--address", "--study"):
        first.add_argument(flag)
    first.add_argument("--storage-path", "--storage_path", type=Path, default=Path("results"))
    try:
        known, _ = first.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise InvalidInputError(str(error)) from None
    name = known.preset or "quick"
    require_known("preset", name, presets)
    chosen = _parse_over(presets[name], arguments, description)
    if known.preset:
        return chosen
    # Asked last: it takes Ray, or PyTorch, seconds to tell.
    meant = _resumed_preset(default_preset(known.address), presets, known.study, known.storage_path)
    return chosen if meant == name else _parse_over(presets[meant], arguments, description)


def default_preset(address: str | None) -> str:
    """`paper` where Ray will have GPUs, `quick` elsewhere. Joins the cluster at `address`, where one is given."""
    if address is None:
        import torch

        return "paper" if torch.cuda.is_available() else "quick"
    import ray

    from sweeps.driver import connection

    connection.connect(address)
    return "paper" if ray.cluster_resources().get("GPU", 0) > 0 else "quick"


def _parse_over(preset: Options, arguments: Sequence[str], description: str) -> Options:
    """Parse a command line, a preset being its defaults. Raises InvalidInputError."""
    chosen = command_line.parse(
        lambda: tyro.cli(
            type(preset),
            args=list(arguments),
            default=preset,
            description=description,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    )
    chosen.require_valid()
    return chosen


def _resumed_preset(default: str, presets: Mapping[str, StudyOptions], study: str | None, storage: Path) -> str:
    """The preset that the same command had before: clusters lose their GPUs, and `default` changes with them.

    A study that is named has its preset on record. Else it is the other one of those that Ray's GPUs decide between,
    if its study lies unfinished and that of `default` does not. Says so in a line where it is not `default`.
    """
    if study:
        folder = StudyDirectory(storage / study)
        resumed = str((folder.read_record() or {}).get("preset"))
    else:
        resumed = next(name for name in BY_DEFAULT if name != default)
        folder = StudyDirectory(storage / presets[resumed].study)
        if not folder.is_unfinished or StudyDirectory(storage / presets[default].study).is_unfinished:
            return default
    if resumed not in presets or resumed == default:
        return default
    print(f"Going on with `{folder.path}`, of preset {resumed}; a new study would now be of preset {default}")
    return resumed


def main(run: Callable[[Sequence[str]], int]) -> int:
    """Run a sweep on this process's command line; bad input becomes one line and exit code 2."""
    take_passwords_off_command_line()
    return command_line.run(lambda: run(sys.argv[1:]), stopped="Stopped. The same command again goes on.")
