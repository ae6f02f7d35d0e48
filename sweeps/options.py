"""The command line of a sweep: one dataclass, presets as its defaults, one line an error."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from larvae import command_line
from larvae.config import MemberConfig, Schedule
from larvae.errors import InvalidInputError, require_known
from larvae.metrics import DEFAULT_METRICS, METRICS
from larvae.regularisers import REGULARISERS
from sweeps.console.flags import flags_of, flags_of_model, given
from sweeps.console.terminal import working
from sweeps.console.tracking_uri import TrackingUri
from sweeps.study import StudyDirectory, require_name
from sweeps.tracking.addresses import default_uri, take_passwords_off_command_line

Anything = TypeVar("Anything")
Unseen = Annotated[Anything, tyro.conf.Suppress, tyro.conf.Fixed]
"""Values of a preset that are no options."""
Values = Mapping[str, tuple[Any, ...]]
"""Values by field, the field first that is first in a member's name."""
BY_DEFAULT = ("paper", "quick")
"""Presets that a command without --preset may stand for, as Ray has GPUs or has not."""
GPU_DEVICES = ("nvidia*", "nvhost*", "kfd", "dxg")
"""Devices, in /dev, of which Linux has one where PyTorch finds a GPU: NVIDIA's, AMD's, those of Windows' subsystem."""
MOST_SEEDS = 10_000
QUICK_METRICS = tuple(name for name in DEFAULT_METRICS if not METRICS[name].is_slow)
"""Metrics that quick presets compute at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhereOptions:
    """Machines that run trials, what each trial takes there, and places of data and results."""

    address: str | None = None
    """Ray cluster to join: auto, or HOST:PORT. Left out, Ray is started on this machine."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow: a database on this machine, or http://HOST:PORT of a server. Set MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD for one that asks for a login; a password in the address others could read."""
    storage_path: Path = Path("results")
    """Folder of checkpoints and results; on a cluster, one that all nodes share."""
    data_file: tuple[str, ...] = ()
    """Published file, or folder of files, of the data set; NAME=PATH for each of several. Left out: rendered, or as
    prepared before."""
    cpus_per_trial: int = 1
    """CPUs, and PyTorch threads, of each trial."""
    gpus_per_trial: float | None = None
    """GPUs of each trial: a share, e.g. 0.25, or whole ones. Left out: as is measured to be fastest where Ray has GPUs,
    0 elsewhere."""
    members_per_trial: int | None = None
    """Members that a trial trains together, where their models have one shape. Left out: 1 on CPUs; on GPUs as many
    seeds and other weights, up to 32, as are measured to be fastest, or up to 8 where --gpus-per-trial is given."""
    probe_minutes: float = 10.0
    """Minutes, at most, in which the fastest is sought for each kind of GPU, once for a study."""
    preflight: bool = True
    """Ask every node of a cluster first whether the study can run there; it takes seconds."""
    compile: bool = True
    """Fuse the training step with torch.compile where a C++ compiler is found."""

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no machine could do."""
        require_cpus(self.cpus_per_trial)
        if self.members_per_trial is not None and self.members_per_trial <= 0:
            raise InvalidInputError(f"`members_per_trial` must be > 0, got {self.members_per_trial}")
        if not 1 <= self.probe_minutes <= 60:
            raise InvalidInputError(f"`probe_minutes` must be in [1, 60], got {self.probe_minutes:g}")
        if self.gpus_per_trial is not None:
            require_gpus(self.gpus_per_trial)
        require_storage_folder(self.storage_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """Options of every sweep. The defaults shown are those of the chosen preset."""

    hidden: ClassVar[frozenset[str]] = frozenset({"seed", "held_out"})
    """Fields of MemberConfig that the command line leaves out."""

    figure_command: Unseen[str]
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
    model: Mapping[str, Any] = field(default_factory=dict)
    """Data set and model to train: fields of MemberConfig that all members share."""
    where: WhereOptions = WhereOptions()
    """Machines that run trials, what each trial takes there, and places of data and results."""

    @property
    def varied(self) -> Values:
        """Fields that vary between members, seed apart, with their values."""
        return {}

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets that members train on."""
        return tuple(self.varied.get("dataset", ())) or (self.model["dataset"],)

    @property
    def data_files(self) -> dict[str, Path]:
        """Published files to use, by data set. Raises InvalidInputError for what names none."""
        files: dict[str, Path] = {}
        for text in self.where.data_file:
            name, equals, path = text.partition("=")
            if not equals or "/" in name:
                name, path = self.datasets[0] if len(self.datasets) == 1 else "", text
            require_known("data_file", name, self.datasets)
            files[name] = Path(path).absolute()  # trials have folders of their own
        return files

    def flags(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The groups of flags that are made of other classes' fields, by name."""
        usual = [self.model.get("regulariser", MemberConfig().regulariser)]
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--regulariser", dest="chosen", nargs="*", default=self.varied.get("regulariser", usual))
        first.add_argument("--regularisers", dest="chosen", nargs="*")
        first.add_argument("--graphical-model", "--graphical_model", nargs="?", default="")
        known = first.parse_known_args(list(arguments))[0]
        models = {known.graphical_model, *self.varied.get("graphical_model", ())}
        return {
            "schedule": flags_of(Schedule, dataclasses.asdict(self.schedule)),
            "model": flags_of_model(
                self.model, self.hidden | self.varied.keys(), known.chosen, are_weighted="conditional" not in models
            ),
        }

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no member's configuration would catch."""
        if not 0 < self.seeds <= MOST_SEEDS:
            raise InvalidInputError(f"`seeds` must be in [1, {MOST_SEEDS:,}], got {self.seeds}")
        self.where.require_valid()
        if self.price is not None and not (self.price >= 0 and math.isfinite(self.price)):
            raise InvalidInputError(f"`price` must be finite and >= 0, got {self.price}")
        require_name(self.study)
        if "regulariser" in self.model:
            require_known("regulariser", self.model["regulariser"], REGULARISERS)


def require_cpus(cpus: int) -> None:
    """Raise InvalidInputError for CPUs of a trial with which it could not run."""
    if cpus <= 0:
        raise InvalidInputError(f"`cpus_per_trial` must be > 0, got {cpus}")


def require_gpus(gpus: float) -> None:
    """Raise InvalidInputError for GPUs of a trial that Ray cannot reserve: it counts in ten-thousandths of one."""
    if not (0.0001 <= gpus <= 1 or gpus in range(9)):
        raise InvalidInputError(f"`gpus_per_trial` must be 0, in [0.0001, 1], or a whole number up to 8, got {gpus:g}")


def require_storage_folder(path: Path) -> None:
    """Raise InvalidInputError for an address, such as s3://bucket, of which a path would be a folder `s3:`."""
    if path.parts and path.parts[0].endswith(":"):
        address = str(path).replace(":/", "://", 1)
        raise InvalidInputError(
            f"`storage_path` must be a folder, on a cluster one that all nodes share, got {address}"
        )


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
    if known.preset:
        require_known("preset", known.preset, presets)
        return _parse_over(presets[known.preset], arguments, description)
    name, chosen = _parse_over_any(presets, arguments, description)
    # Asked last: it takes Ray, or PyTorch, seconds to tell.
    meant = _resumed_preset(default_preset(known.address), presets, known.study, known.storage_path)
    return chosen if meant == name else _parse_over(presets[meant], arguments, description)


def require_free(options: StudyOptions) -> None:
    """Raise InvalidInputError where the study is another process's; asked before what takes seconds to load."""
    if not options.plan:
        StudyDirectory(options.where.storage_path / options.study).require_free()


def default_preset(address: str | None) -> str:
    """`paper` where Ray will have GPUs, `quick` elsewhere. Joins the cluster at `address`, where one is given."""
    if address is None:
        if sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in GPU_DEVICES):
            return "quick"  # PyTorch, which takes seconds to load, would find none either
        with working("loading PyTorch"):
            import torch

        return "paper" if torch.cuda.is_available() else "quick"
    import ray

    from sweeps.driver import connection

    connection.connect(address)
    return "paper" if ray.cluster_resources().get("GPU", 0) > 0 else "quick"


def _parse_over(preset: Options, arguments: Sequence[str], description: str) -> Options:
    """Parse a command line, a preset being its defaults. Raises InvalidInputError."""
    made = preset.flags(arguments)
    values = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)} | made
    flags = dataclasses.make_dataclass(
        "Flags", [(name, type(group)) for name, group in made.items()], bases=(type(preset),), kw_only=True, frozen=True
    )
    parsed = command_line.parse(
        lambda: tyro.cli(
            flags,
            args=list(arguments),
            default=flags(**values),
            description=description,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    )
    values = {name: getattr(parsed, name) for name in values}
    values |= {name: given(getattr(parsed, name)) for name in made}
    chosen = type(preset)(**values | {"schedule": Schedule(**values["schedule"])})
    chosen.require_valid()
    return chosen


def _parse_over_any(presets: Mapping[str, Options], arguments: Sequence[str], description: str) -> tuple[str, Options]:
    """Parse a command line over `quick`, or another preset where only that allows it; its name, and the options."""
    errors = []
    for name in sorted(presets, key=lambda name: name != "quick"):
        try:
            return name, _parse_over(presets[name], arguments, description)
        except InvalidInputError as error:
            errors.append(error)
    raise errors[0]


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
    code = command_line.run(lambda: run(sys.argv[1:]), stopped="Stopped. The same command again goes on.")
    if "ray" in sys.modules:
        from sweeps.driver.ray_watch import leave_if_lost  # after Ray, which help does without

        leave_if_lost(code)
    return code
