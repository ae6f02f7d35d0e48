"""A fused member equals the same member trained alone, and its end is its own."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from larvae.checkpoint import save_checkpoint
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.datasets.layouts import PackedImages
from larvae.datasets.on_device import PackedOnDevice
from larvae.errors import InvalidInputError
from larvae.group import Group, Report, likeness, train_together
from larvae.member import Member, train_member
from larvae.member_directory import MemberDirectory
from larvae.training import Trainer

BASE = MemberConfig(batch_size=4, label_rate=0.001)
SCHEDULE = Schedule(iterations=6, log_every=2, evaluate_every=4, evaluation_size=40, final_metrics=())
UNLIKE_WEIGHTS = (
    {"seed": 0},
    {"seed": 1, "tau": 5.0, "learning_rate": 3e-4},
    {"seed": 0, "gamma_tc": 1.0, "alpha": 8.0, "label_rate": 0.002},
)
KINDS = (
    {},
    {"tau": 0.0},
    {"regulariser": "factor_vae", "gamma_tc": 10.0},
    {"regulariser": "beta_vae", "gamma_tc": 3.0, "instance_norm": False, "likelihood": "bernoulli"},
    {"alpha": 0.0, "tau": 0.0, "density_estimator": "minibatch_stratified"},
)


def configs(kind: dict[str, object]) -> list[MemberConfig]:
    """Three members of a kind that are alike in nothing else."""
    return [dataclasses.replace(BASE, **(weights | kind)) for weights in UNLIKE_WEIGHTS]


def members(some: list[MemberConfig], dataset: Dataset, folder: Path, schedule: Schedule = SCHEDULE) -> list[Member]:
    return [Member(config, schedule, dataset, MemberDirectory(folder / config.content_hash)) for config in some]


def ends(reports: list[Report]) -> dict[str, Report]:
    return {report.member.name: report for report in reports if report.status != "running"}


def test_a_member_s_checkpoint_has_nothing_of_the_others(dataset: Dataset, tmp_path: Path) -> None:
    alone, together = Trainer(BASE, dataset), [Trainer(config, dataset) for config in configs({})]
    Group(together).step()
    alone.step()
    for name, trainer in (("alone", alone), ("together", together[0])):
        save_checkpoint(tmp_path / name, trainer.state_dict())
    sizes = [(tmp_path / name).stat().st_size for name in ("alone", "together")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_those_of_members_alone(dataset: Dataset, kind: dict[str, object]) -> None:
    """To 1e-4 of a tensor's largest gradient: the order of sums differs, nothing else."""
    alone, together = ([Trainer(config, dataset) for config in configs(kind)] for _ in range(2))
    Group(together).step()
    for ours, expected in zip(together, alone, strict=True):
        expected.step()
        assert ours.iteration == expected.iteration == 1
        for name, parameter in expected.parameters.items():
            scale = float(parameter.grad.abs().max())
            assert float((ours.parameters[name].grad - parameter.grad).abs().max()) <= 1e-4 * scale + 1e-7, name


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_losses_stay_those_of_members_alone(dataset: Dataset, kind: dict[str, object]) -> None:
    """To a relative 1e-4 after twelve steps; Adam's first steps turn rounding into steps of the learning rate."""
    alone, together = ([Trainer(config, dataset) for config in configs(kind)] for _ in range(2))
    group = Group(together)
    for _ in range(12):
        group.step()
    for ours, expected in zip(together, alone, strict=True):
        for _ in range(12):
            expected.step()
        assert ours.take_means()["loss"] == pytest.approx(expected.take_means()["loss"], rel=1e-4)


def test_learning_rates_are_each_members_own(dataset: Dataset) -> None:
    slow, fast = (dataclasses.replace(BASE, learning_rate=rate) for rate in (1e-5, 1e-3))
    before = Trainer(BASE, dataset).parameters
    trainers = [Trainer(config, dataset) for config in (slow, fast)]
    Group(trainers).step()
    moved = [
        max(float((trainer.parameters[name] - before[name]).abs().max().detach()) for name in before)
        for trainer in trainers
    ]
    assert moved == pytest.approx([1e-5, 1e-3], rel=0.05)


def test_group_goes_on_from_members_alone_and_back(dataset: Dataset, tmp_path: Path) -> None:
    """A member's checkpoint does not know whether the member was alone."""
    some = configs({})
    together, mixed = tmp_path / "together", tmp_path / "mixed"
    expected = [report.rows for report in train_together(members(some, dataset, together), fused=True) if report.rows]
    short = dataclasses.replace(SCHEDULE, iterations=2)
    for config in some:
        list(train_member(config, short, dataset, MemberDirectory(mixed / config.content_hash)))
    reports = list(train_together(members(some, dataset, mixed), fused=True))
    losses = [{r["iteration"]: r["loss"] for r in report.member.history} for report in ends(reports).values()]
    assert len(losses) == len(some)
    for member_losses, rows in zip(losses, ends(reports).values(), strict=True):
        assert sorted(member_losses) == [2, 4, 6]
        assert rows.status == "finished"
    assert len(expected) == 9
    for config in some:
        first, second = (MemberDirectory(folder / config.content_hash).read_result() for folder in (together, mixed))
        assert first is not None
        assert second is not None
        ours, theirs = ([row["loss"] for row in result["history"]] for result in (first, second))
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_member_that_diverges_leaves_the_others_alone(dataset: Dataset, tmp_path: Path, fused: bool) -> None:
    sound = configs({})
    broken = dataclasses.replace(BASE, seed=7, learning_rate=1e30)
    reports = ends(list(train_together(members([sound[0], broken, *sound[1:]], dataset, tmp_path / "a"), fused=fused)))
    assert reports[broken.content_hash].status == "failed"
    assert "not finite" in reports[broken.content_hash].reason
    result = MemberDirectory(tmp_path / "a" / broken.content_hash).read_result()
    assert result is not None
    assert (result["status"], result["reason"]) == ("failed", reports[broken.content_hash].reason)
    without = ends(list(train_together(members(sound, dataset, tmp_path / "b"), fused=fused)))
    for name, report in without.items():
        assert reports[name].status == report.status == "finished"
        losses = [[row["loss"] for row in r.member.history] for r in (reports[name], report)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert np.isfinite(losses).all()


def test_members_one_after_the_other_are_exactly_members_alone(dataset: Dataset, tmp_path: Path) -> None:
    some = configs({})
    reports = ends(list(train_together(members(some, dataset, tmp_path / "a"), fused=False)))
    for config in some:
        rows = list(train_member(config, SCHEDULE, dataset, MemberDirectory(tmp_path / "b" / config.content_hash)))
        ours = reports[config.content_hash].member.history
        assert [row["loss"] for row in ours] == [row["loss"] for row in rows]


def test_member_at_its_end_is_only_finished(dataset: Dataset, tmp_path: Path) -> None:
    """Killed between its last checkpoint and its result, say: it must not train beyond its end."""
    some = configs({})[:2]
    list(train_together(members(some, dataset, tmp_path), fused=True))
    MemberDirectory(tmp_path / some[0].content_hash).result.unlink()
    reports = ends(list(train_together(members(some, dataset, tmp_path), fused=True)))
    assert {report.status for report in reports.values()} == {"finished"}
    assert [report.member.trainer.iteration for report in reports.values()] == [6, 6]


def test_members_that_are_not_alike_are_refused(dataset: Dataset) -> None:
    others = [{"z_dim": 4}, {"tau": 0.0}, {"batch_size": 3}, {"regulariser": "beta_vae"}, {"likelihood": "bernoulli"}]
    for change in others:
        other = dataclasses.replace(BASE, **change)
        assert likeness(other) != likeness(BASE)
        with pytest.raises(InvalidInputError, match="must be alike, got 2 kinds"):
            Group([Trainer(BASE, dataset), Trainer(other, dataset)])


def test_packed_images_on_a_device_are_the_data_sets(dataset: Dataset) -> None:
    assert isinstance(dataset.store, PackedImages)
    indices = np.random.default_rng(0).integers(dataset.num_images, size=20)
    images = PackedOnDevice(dataset.store, torch.device("cpu")).images(indices)
    assert images.dtype == torch.float32
    assert np.array_equal(images.numpy(), dataset.images(indices))


def test_trained_members_leave_nothing_behind(dataset: Dataset, tmp_path: Path) -> None:
    """A trial's process trains many members: their memory must be free at once, not when garbage is collected."""
    gc.collect()
    gc.disable()
    try:
        some = members(configs({})[:1], dataset, tmp_path)
        trainer = weakref.ref(some[0].trainer)
        for report in train_together(some, fused=False):
            last = report
        assert last.status == "finished"
        del some, report, last
        assert trainer() is None
    finally:
        gc.enable()
