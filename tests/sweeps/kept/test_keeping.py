"""Members that are kept for ever: each is trained once, to one file; the studies are those that the pages promise."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from larvae import allocator
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.errors import InvalidInputError
from larvae.files import load_json
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from sweeps import kept_study
from sweeps.kept import keeping, priority
from sweeps.kept.kept_studies import STUDIES, KeptStudy

TINY = MemberConfig(batch_size=2, label_rate=0.001, z_dim=0)
MEMBERS = (TINY, dataclasses.replace(TINY, learning_rate=1e38), dataclasses.replace(TINY, seed=1))
SCHEDULE = Schedule(
    iterations=4, log_every=1, evaluate_every=4, evaluation_size=8, metrics=("l2",), final_metrics=("l2",)
)


@pytest.fixture(autouse=True)
def tiny_study(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three members, of which the second fails."""
    monkeypatch.setattr(kept_study, "STUDIES", {"tiny": lambda: KeptStudy(MEMBERS, SCHEDULE)})
    monkeypatch.setattr(kept_study, "take_lowest_priority", lambda: None)  # it would be the tests'
    monkeypatch.setattr(allocator, "require_environment", lambda: None)  # so would this
    monkeypatch.setattr(keeping, "can_compile", lambda: False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(folder: Path, *more: str) -> int:
    places = ["--results", str(folder / "kept"), "--storage-path", str(folder / "checkpoints")]
    return kept_study.run(["--study", "tiny", *places, *more])


def kept(folder: Path, member: MemberConfig) -> Path:
    return folder / "kept/tiny" / f"{member.content_hash}.json"


@pytest.mark.usefixtures("dataset")
def test_each_member_becomes_one_file_that_is_not_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--members", "1") == 0
    assert capsys.readouterr().out.startswith("1 of 3 members of tiny have ended")
    first = kept(tmp_path, TINY)
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    result, written = load_json(first), first.stat().st_mtime_ns
    assert (result["format"], result["status"], result["config"]) == (FORMAT, "finished", TINY.to_dict())
    assert [row["iteration"] for row in result["history"]] == [1, 2, 3, 4]
    assert result["history"][-1]["l2"] > 0
    assert result["seconds"] == pytest.approx(sum(row["seconds"] for row in result["history"]))
    assert {"commits", "processor", "ended", "environments"} <= result.keys()
    assert train(tmp_path) == 1  # one has failed, and is kept as such
    assert first.stat().st_mtime_ns == written
    failed = load_json(kept(tmp_path, MEMBERS[1]))
    assert failed["status"] == "failed"
    assert "not finite" in failed["reason"]
    assert load_json(kept(tmp_path, MEMBERS[2]))["status"] == "finished"
    assert train(tmp_path) == 0  # nothing is left to do


def test_a_member_goes_on_from_its_checkpoint(tmp_path: Path, dataset: object) -> None:
    directory = MemberDirectory(tmp_path / "checkpoints/tiny" / TINY.content_hash)
    often = dataclasses.replace(SCHEDULE, checkpoint_seconds=0)
    rows = list(itertools.islice(train_member(TINY, often, dataset, directory), 3))  # type: ignore[arg-type]
    assert train(tmp_path, "--members", "1") == 0
    history = load_json(kept(tmp_path, TINY))["history"]
    assert history[:2] == rows[:2]  # the third was not yet saved
    assert [row["iteration"] for row in history] == [1, 2, 3, 4]


@pytest.mark.usefixtures("dataset")
def test_all_members_of_a_process_are_of_the_commit_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter(["begun", "moved on", "and on", "and on"])
    monkeypatch.setattr(keeping, "git_commit", lambda: next(commits))
    train(tmp_path)
    assert [load_json(kept(tmp_path, member))["commits"] for member in MEMBERS] == [["begun"]] * 3


@pytest.mark.usefixtures("dataset")
def test_a_member_of_two_studies_is_trained_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = dataclasses.replace(SCHEDULE, iterations=2, evaluate_every=2)
    studies = {"tiny": SCHEDULE, "shorter": shorter}
    known = {name: lambda schedule=schedule: KeptStudy((TINY,), schedule) for name, schedule in studies.items()}
    monkeypatch.setattr(kept_study, "STUDIES", known)
    assert (train(tmp_path), train(tmp_path, "--study", "shorter")) == (0, 0)
    files = [tmp_path / "kept" / name / f"{TINY.content_hash}.json" for name in studies]
    assert [load_json(file)["history"][-1]["iteration"] for file in files] == [4, 2]


@pytest.mark.parametrize("text", ["", "\0\0", "{}", "[]", '{"commits": 3}', '{"commits": null}', '{"commits": ["a"'])
def test_damage_to_where_results_come_from_ends_no_training(text: str, tmp_path: Path) -> None:
    path = tmp_path / "commits.json"
    path.write_text(text)
    assert keeping._with_commit(path, "abc") == ["abc"] == load_json(path)["commits"]


def test_it_has_the_lowest_priority_within_its_session_and_of_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[int] = []
    monkeypatch.setattr(priority.os, "nice", added.append)
    monkeypatch.setattr(priority, "AUTOGROUP", tmp_path / "autogroup")
    priority.take_lowest_priority()
    assert (added, priority.AUTOGROUP.read_text()) == ([19], "19")
    monkeypatch.setattr(priority, "AUTOGROUP", tmp_path / "no Linux" / "autogroup")
    priority.take_lowest_priority()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    for arguments, message in (
        (["--study", "other"], "`study` must be one of tiny, got other"),
        (["--members", "0"], "`members` must be > 0, got 0"),
        (["--threads", "-1"], "`threads` must be > 0, got -1"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            train(tmp_path, *arguments)
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_studies_are_those_of_the_pages() -> None:
    section, curve = STUDIES["study"](), STUDIES["curve"]()
    assert {study.schedule.iterations for study in (section, curve)} == {10_000, 4_000}
    unsupervised = [m for m in section.members if m.alpha == 0]
    taus = [m for m in section.members if m.z_dim == 5 and m.alpha > 0]
    assert [m.tau for m in unsupervised] == [0.0] * 3
    assert len(taus) == 6 * 2 * 2 * 3
    assert len(section.members) == len(taus) + len(unsupervised) + 4 * 2 * 3  # z = 5 at τ = 1 is in both sweeps
    assert {(m.tau, m.alpha) for m in section.members if m.z_dim != 5} == {(1, 1)}
    assert {(m.likelihood, m.pixel_mean) for m in section.members} == {("gaussian", "linear")}
    assert len([m for m in curve.members if m.pixel_mean == "sigmoid"]) == 3 * 2 * 3 * 2
    variances = [m for m in curve.members if m.pixel_mean == "linear"]
    assert {(2 * m.pixel_variance * m.alpha, 2 * m.pixel_variance * m.gamma_tc) for m in variances} == {
        (1, 4),
        (0.25, 1),
    }
    assert {m.label_rate for m in curve.members} == {0.01}
    rates = STUDIES["label-rates"]()
    assert len(rates.members) == 3 * 3 * 2 * 2
    assert {(m.regulariser, m.gamma_tc) for m in rates.members} == {
        ("beta_tcvae", 4),
        ("beta_vae", 3),
        ("factor_vae", 10),
    }
    alike = STUDIES["look-alike"]()
    assert {(m.dataset, m.regulariser) for m in alike.members} == {("shapes3d-rendered", "beta_tcvae")}
    assert len(alike.members) == 3 * 2 * 2
    assert (rates.schedule.iterations, alike.schedule.iterations) == (5_000, 2_000)
