"""Commands run in this process: until they would begin with their work, with everything that they leave checked."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mlflow import MlflowClient

from larvae import allocator, command_line
from larvae.config import MemberConfig
from larvae.datasets import integrity
from sweeps import kept_study, preparation, runner
from sweeps.adaptive import search_runner
from sweeps.analysis import style
from sweeps.driver import connection
from sweeps.options import StudyOptions
from sweeps.preparation import Trials
from sweeps.study import MOST_MEMBERS, Study, StudyDirectory, grid
from sweeps.tracking import tracker
from tests.analysis.invented import STUDIES, log_study
from tests.analysis.search.invented_search import SEARCHES, log_search
from tests.commands import ROOT
from tests.faults.drawn_command_lines import HELP, Ended, Part, call, commands, lines, means
from tests.sweeps.commands import SCHEDULE
from tests.sweeps.test_options import fields, flag_of

Line = tuple[str, list[Part]]
Check = Callable[[Line], Ended | None]


class ReachedError(Exception):
    """A command has accepted its line, and would begin with its work."""


class Accepted:
    """The options that a command has parsed, and the study that it would run, if it has come so far."""

    options: object = None
    study: Study | None = None
    chosen: StudyOptions | None = None


@contextlib.contextmanager
def accepting() -> Iterator[Accepted]:
    """What commands accept; they end before Ray is started, data are rendered, or anything is deleted."""
    seen, parse, prepare = Accepted(), command_line.parse, preparation.prepare

    def parsed(parser: Callable[[], Any]) -> Any:
        seen.options = parse(parser)
        return seen.options

    def prepared(study: Study, options: StudyOptions, trials: Trials, console: Any) -> Any:
        seen.study, seen.chosen = study, options
        return prepare(study, options, trials, console)

    def reach(*_: object, **__: object) -> None:
        raise ReachedError

    def answer(*_: object) -> bool:
        raise ConnectionError("no answer")

    def resolve(host: str, *_: object, **__: object) -> Any:
        raise socket.gaierror(f"{host} has no address here")

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "parse", parsed)
        for module in (runner, search_runner):
            patch.setattr(module, "prepare", prepared)
        patch.setattr(connection, "start_local", reach)
        patch.setattr(connection, "_answers", answer)
        patch.setattr(integrity, "made_once", reach)
        patch.setattr(StudyDirectory, "delete", reach)
        patch.setattr(tracker, "delete_runs", lambda uri, study: 0)
        patch.setattr(kept_study, "take_lowest_priority", lambda: None)
        patch.setattr(allocator, "require_environment", lambda: None)
        patch.setattr(style, "figure_bytes", lambda figure, kind, numbers="": kind.encode())
        patch.setattr(ray, "is_initialized", lambda: False)
        patch.setattr(socket, "getaddrinfo", resolve)
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # for auto: no cluster that runs here
        yield seen
    torch.set_num_threads(threads)


def fill(folder: Path) -> None:
    """Give a folder a file, a study and kept results, for command lines that name them."""
    folder.mkdir(parents=True)
    (folder / "file").write_text("no folder, no database")
    shutil.copytree(ROOT / "docs/results/control", folder / "folder")
    StudyDirectory(folder / "results/study").write_record(grid("study", {}, {"seed": (0, 1)}, SCHEDULE), {})


def invent(uri: str) -> None:
    """Make an MLflow database with a sweep, label rates and a search."""
    client = MlflowClient(uri)
    for name in ("mixed", "label-rates"):
        log_study(client, name, STUDIES[name])
    log_search(client, "two-objectives", SEARCHES["two-objectives"])


def things(folder: Path) -> dict[Path, int]:
    """The files in a folder, with their sizes."""
    return {path: path.lstat().st_size for path in folder.rglob("*") if ".lock" not in path.name}


@contextlib.contextmanager
def in_process(place: Path, *, draws: bool = False) -> Iterator[Check]:
    """Yield a function that runs a line in a filled folder and checks it; None where it would begin with work.

    draws: the folder has studies in MLflow too, of which scripts make figures, but do not render them.
    """
    folder = place / "folder"
    fill(folder)
    if draws:
        invent(f"sqlite:///{folder}/mlflow.db")
    with contextlib.chdir(folder), accepting() as accepted:

        def check(line: Line) -> Ended | None:
            before = things(folder)
            accepted.options = accepted.study = accepted.chosen = None
            ended: Ended | None = None
            with contextlib.suppress(ReachedError):
                ended = call(line[0], words_of(line))
                assert_well_ended(ended)
            after = things(folder)
            if ended is None or (ended.code == 0 and "usage: " not in ended.out):
                assert_as_typed(accepted.options, line[1])
                if accepted.study and accepted.chosen:
                    assert_kept_whole(accepted.study, accepted.chosen, place / "kept")
            else:
                assert after == before
            for path in {path for path in after.keys() - before.keys() if "mlflow" not in str(path)}:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            return ended

        yield check


def any_line() -> SearchStrategy[Line]:
    """Lines of all commands, each as often as the others."""
    return st.one_of([st.tuples(st.just(command), lines(command)) for command in commands()])


def words_of(line: Line) -> list[str]:
    """A line as it is typed after the command."""
    return [word for part in line[1] for word in part.words]


def assert_well_ended(ended: Ended) -> None:
    """A line that is wrong is told in one line; a command that is told to be wrong has no other output."""
    assert ended.code in (0, 2) or "answer y" in ended.err, ended  # where the user says nothing
    assert "Traceback" not in ended.out + ended.err
    told = [line for line in ended.err.splitlines() if not re.match(r"(advice|warning): |missing: ", line)]
    if ended.code == 2:
        assert len(told) == 1, ended
        assert re.match(r"error: .", told[0]), ended


def assert_as_typed(options: object, parts: list[Part]) -> None:
    """Each option has the value that was typed last."""
    assert all(part.option or part.values or part is HELP for part in parts), "what is no option was accepted"
    if options is None:
        return
    values = {flag_of(path): value for path, value in fields(options)} | {"--preset": getattr(options, "preset", None)}
    typed = {part.option.name: part for part in parts if part.option}
    for name, part in typed.items():
        option, value = part.option, values[name]
        assert option is not None
        if option.negation:
            assert value == (part.values[0] != option.negation)
        elif isinstance(value, tuple) and name in ("--grid", "--where"):
            assert value == tuple(word for other in parts if other.option == option for word in other.values)
        else:
            meant = tuple(means(option, word) for word in part.values)
            several = tuple(word for word in meant if word != "--")  # which ends options, and is no value
            assert value == (several if isinstance(value, tuple) else meant[0])


def assert_kept_whole(study: Study, chosen: StudyOptions, folder: Path) -> None:
    """Numbers are finite; members have names of their own; they, and the study's record, can be read again."""
    for path, value in fields(chosen):
        for number in value if isinstance(value, tuple) else (value,):
            assert not isinstance(number, float) or abs(number) < float("inf"), path
    assert len(study.members) <= MOST_MEMBERS
    assert len({study.label(member) for member in study.members}) == len(study.members)
    for member in study.members[:20]:
        assert MemberConfig.from_dict(json.loads(json.dumps(member.to_dict()))) == member
    directory = StudyDirectory(folder)
    directory.write_record(study, {})
    directory.require_going_on(study, {})
    shutil.rmtree(folder)
