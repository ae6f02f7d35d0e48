"""A study: members, how long they train, and the folder that remembers them."""

from __future__ import annotations

import contextlib
import itertools
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from larvae import datasets
from larvae.config import FORMAT, LATER_FIELDS, MemberConfig, Schedule, require_format
from larvae.errors import InvalidInputError
from larvae.files import HeldError, has_shape, load_json, locked, save_json
from larvae.member_directory import MemberDirectory
from larvae.regularisers import REGULARISERS, SETTINGS

MOST_MEMBERS = 200_000
"""Members of a grid: three times as many as were ever scheduled at once; a driver takes seconds to make them."""
MOST_BYTES = 100
"""Bytes of a study's name: file systems have room for 255, and other names are made of it."""


@dataclass(frozen=True, slots=True)
class Study:
    """A set of members that train to the same iteration."""

    name: str
    members: tuple[MemberConfig, ...]
    schedule: Schedule
    fixed: Mapping[str, Any]
    """Fields of the configuration that all members share."""
    varied: tuple[str, ...]
    """Fields that differ between members, in the order in which they name them."""

    def label(self, member: MemberConfig) -> str:
        """A member's name by its values, such as `tau=1 beta_vae label_rate=0.01 seed=0`."""
        return label(member, self.varied)

    def told_apart_by(self, earlier: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """The varied fields in which members, and earlier ones, do differ; all where there are none yet."""
        fields = [*earlier, *(member.to_dict() for member in self.members)]
        return differing(self.varied, fields) or self.varied


def differing(names: Iterable[str], fields: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of some fields of which not all members have one value."""
    return tuple(name for name in names if len({repr(values.get(name)) for values in fields}) > 1)


def label(member: MemberConfig, varied: Sequence[str]) -> str:
    """A member's name by the values of some fields."""
    values = member.to_dict()
    return " ".join(_written(name, values[name]) for name in varied if name in values)


def _written(name: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        short = f"{value:g}"  # of six digits: other members may have the same
        return f"{name}={short if float(short) == value else value}"
    return f"{name}={value}"


def grid(name: str, fixed: Mapping[str, Any], swept: Mapping[str, Sequence[Any]], schedule: Schedule) -> Study:
    """The study of all combinations of the swept values; the last one varies fastest.

    Raises InvalidInputError when a value breaks its rule or a grid is empty.
    """
    for field, values in swept.items():
        if not values:
            raise InvalidInputError(f"`{field}` must have at least one value, got none")
    if (size := math.prod(map(len, swept.values()))) > MOST_MEMBERS:
        raise InvalidInputError(f"a grid must have at most {MOST_MEMBERS:,} members, got {size:,}: give fewer values")
    combinations = itertools.product(*(dict.fromkeys(values) for values in swept.values()))
    configs = (_of_its_regulariser({**fixed, **dict(zip(swept, values, strict=True))}) for values in combinations)
    members = tuple(dict.fromkeys(map(MemberConfig.from_dict, configs)))
    for setting in {*fixed, *swept}.intersection(SETTINGS):
        if not any(setting in member.to_dict() for member in members):
            regularisers = ", ".join(sorted({member.regulariser for member in members}))
            raise InvalidInputError(f"`{setting}` must be left out with the regulariser {regularisers}")
    for dataset, label_rate in {(member.dataset, member.label_rate) for member in members}:
        num_images = datasets.specification(dataset).num_images
        datasets.labelled_indices(num_images, label_rate, seed=0)  # raises where it leaves no image
    shared = {name: list(value) if isinstance(value, tuple) else value for name, value in fixed.items()}
    if "regulariser" in fixed:
        first = members[0].to_dict()
        shared |= {name: first[name] for name in ("gamma_tc", *SETTINGS) if name in first and name not in swept}
    return Study(name, members, schedule, fixed=shared, varied=tuple(reversed(list(swept))))


def _of_its_regulariser(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without settings of other regularisers, which its own members do not have."""
    known = REGULARISERS.get(fields.get("regulariser", MemberConfig().regulariser))
    others = set(SETTINGS) - {setting.name for setting in (known.settings if known else ())}
    return {name: value for name, value in fields.items() if name not in others}


@dataclass(frozen=True, slots=True)
class StudyDirectory:
    """The study's folder: the only truth about what is finished; MLflow can be rebuilt from it."""

    path: Path

    @property
    def scheduler_files(self) -> Path:
        """The folder of Ray Tune's own records, which nothing here reads back."""
        return self.path / "ray_tune"

    @property
    def gpu_rates(self) -> Path:
        """The rates that were measured on the cluster's GPUs, by their kind."""
        return self.path / "gpu_rates.json"

    def member(self, member: MemberConfig) -> MemberDirectory:
        return MemberDirectory(self.path / "members" / member.content_hash)

    def reached(self, member: MemberConfig) -> int:
        """Iterations of a member so far: those to its end, which perhaps is another now, or to its last row."""
        return self.member(member).reached()

    def unfinished(self, study: Study) -> list[MemberConfig]:
        """Members that still have to train, failed ones among them: a failure may have been the machine's."""
        return [m for m in study.members if self.member(m).last_evaluation(study.schedule.iterations) is None]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study; InvalidInputError while another process does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o750, exist_ok=True)  # whoever shall read more says so: `chmod`
        try:
            with locked(self.path / ".lock", waits=False):
                yield
        except HeldError as error:
            rule = "one process at a time runs a study"
            raise InvalidInputError(f"{rule}, but another runs `{self.path}`: {error}") from None

    def require_free(self) -> None:
        """Raise InvalidInputError while another process runs the study; a folder that is not there is not made."""
        if (self.path / ".lock").exists():
            with contextlib.suppress(OSError), self.locked():  # of others: whether it can be written is asked later
                pass

    def require_going_on(self, study: Study, fingerprints: Mapping[str, str]) -> None:
        """Raise InvalidInputError unless the study goes on with what the folder holds, if anything.

        Values may be added to the grid and iterations raised; members of other settings, images or
        a larger budget would not belong into one figure.
        """
        record = self.read_record()
        if record is None:
            return
        require_format(record.get("format"), f"`{self.path}` was written", "give another --study")
        now = {"space": None} | dict(study.fixed) | _images(fingerprints) | _measured(asdict(study.schedule))
        members = record["members"].values()  # an earlier version left fields out that had their defaults
        then = (
            {"space": None}
            | LATER_FIELDS
            | next(iter(members), {"config": {}})["config"]
            | _images(fingerprints)
            | record["fixed"]
        )
        then |= _images(record["fingerprints"]) | _measured(record["schedule"])
        for name, value in now.items():
            if then.get(name, value) != value:
                rule = f"a study keeps its {name}, but `{self.path}` has {then[name]}"
                raise InvalidInputError(f"{rule}, got {value}: give another --study")
        for name, value in _left_out(study, record["fixed"]).items():
            rule = f"a study keeps its {name}, but `{self.path}` has {value}"
            raise InvalidInputError(f"{rule}, got none: give it again, or another --study")
        if record["schedule"]["iterations"] > study.schedule.iterations:
            raise InvalidInputError(
                f"a study's `iterations` can only be raised: `{self.path}` has {record['schedule']['iterations']}, "
                f"got {study.schedule.iterations}: give another --study"
            )

    @property
    def is_unfinished(self) -> bool:
        """True if the folder holds a study of which no command has come to a good end since it was last begun."""
        record = self.read_record()
        return record is not None and not record.get("finished")

    def write_record(self, study: Study, fingerprints: Mapping[str, str], preset: str = "") -> None:
        """Remember what the study is, and that it has begun. preset: that of its command line."""
        earlier = self.read_record() or {}
        members = {m.content_hash: {"label": study.label(m), "config": m.to_dict()} for m in study.members}
        record = {
            "format": FORMAT,
            "name": study.name,
            "preset": preset or earlier.get("preset", ""),
            "finished": False,
            "schedule": asdict(study.schedule),
            "fingerprints": {**earlier.get("fingerprints", {}), **fingerprints},
            "fixed": study.fixed,
            "members": {**earlier.get("members", {}), **members},
        }
        save_json(self.path / "study.json", record)

    @property
    def is_held(self) -> bool:
        """True while a command runs the study; of a folder that only others can write, that is not known."""
        try:
            with self.locked():
                return False
        except InvalidInputError:
            return True
        except OSError:
            return False

    def delete(self) -> None:
        """Delete the folder with everything in it, and the link to it, if it is one."""
        shutil.rmtree(self.path.resolve())
        self.path.unlink(missing_ok=True)

    def write_finished(self) -> None:
        """Remember that a command has brought the study to a good end."""
        save_json(self.path / "study.json", (self.read_record() or {}) | {"finished": True})

    def read_record(self) -> dict[str, Any] | None:
        """The record that `write_record` wrote, if it has. Raises InvalidInputError where that is damaged."""
        path, remedy = self.path / "study.json", "delete it, and the study's own command writes it anew"
        try:
            record = load_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except InvalidInputError as error:
            raise InvalidInputError(f"{error}; {remedy}") from None
        if record.get("format") == FORMAT and not _is_record(record):
            raise InvalidInputError(f"`{path}` must be a study's record, but lacks some of it; {remedy}")
        return record


def _is_record(record: Mapping[str, Any]) -> bool:
    if not has_shape(record, members=dict, fixed=dict, fingerprints=dict, schedule=dict):
        return False
    schedule = record["schedule"]
    if not has_shape(schedule, iterations=int, evaluation_size=int, metrics=list, final_metrics=list):
        return False
    names = [*schedule["metrics"], *schedule["final_metrics"]]
    members = record["members"].values()
    return all(isinstance(name, str) for name in names) and all(
        has_shape(member, label=str, config=dict) for member in members
    )


def _images(fingerprints: Mapping[str, str]) -> dict[str, str]:
    return {f"images of {dataset}": fingerprint for dataset, fingerprint in fingerprints.items()}


def _left_out(study: Study, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier commands that a study neither has nor varies, unless its members have them by default.

    A search does not know its members before.
    """
    regulariser = fixed.get("regulariser")
    alike = [member.to_dict() for member in study.members if regulariser in (None, member.regulariser)]
    return {
        name: value
        for name, value in fixed.items()
        if value is not None and name not in (*study.fixed, *study.varied)
        if not study.members or any(values.get(name, value) != value for values in alike)
    }


def _measured(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that members must share for their results to be comparable."""
    return {
        "evaluation_size": schedule["evaluation_size"],
        "evaluation_samples": schedule.get("evaluation_samples", 1),  # which earlier versions did not have
        "final_metrics": sorted({*schedule["metrics"], *schedule["final_metrics"]}),
    }


def require_writable(name: str, folder: Path) -> None:
    """Raise InvalidInputError unless a file can be written in a folder, or where it would be made."""
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0")  # a full disk makes files, and takes nothing into them
            file.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(f"`{name}` must be a writable folder, got `{folder}`: {reason}") from None


def require_name(name: str) -> None:
    """Raise InvalidInputError for a study's name that no folder, or no terminal, could have."""
    is_of_folder = name and not set(name) & set("/\\") and not name.startswith(".")
    if not is_of_folder or not name.isprintable() or len(name.encode(errors="surrogateescape")) > MOST_BYTES:
        rule = f"`study` must be usable as a folder's name, of {MOST_BYTES} bytes at most"
        raise InvalidInputError(f"{rule}, got {name[:MOST_BYTES]!r}")
