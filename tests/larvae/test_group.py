"""A fused member equals the same member trained alone, and its end is its own."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.checkpoint import save_checkpoint
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.datasets.layouts import PackedImages
from larvae.datasets.on_device import Packed, receiver
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
    {"regulariser": "dip_vae_ii", "gamma_tc": 10.0},
    {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0.0, "gamma_tc": 0.0},
    {"regulariser": "annealed_vae", "regulariser_settings": (("capacity", 8.0), ("capacity_iterations", 2.0))},
)


def configs(kind: dict[str, object]) -> list[MemberConfig]:
    """Three members of a kind that are alike in nothing else."""
    return [dataclasses.replace(BASE, **(weights | kind)) for weights in UNLIKE_WEIGHTS]


def members(some: list[MemberConfig], dataset: Dataset, folder: Path, schedule: Schedule = SCHEDULE) -> list[Member]:
    return [Member(config, schedule, dataset, MemberDirectory(folder / config.content_hash)) for config in some]


def ends(reports: list[Report]) -> dict[str, Report]:
    return {report.name: report for report in reports if report.status != "running"}


def gradient_of(trainer: Trainer, name: str) -> Tensor:
    """Of a trainer's first step, from Adam's first moment."""
    optimiser = trainer.optimisers["discriminator" if name.startswith("discriminator.") else "model"]
    beta = optimiser.param_groups[0]["betas"][0]
    return optimiser.state[trainer.parameters[name]]["exp_avg"] / (1 - beta)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_and_losses_are_those_of_members_alone(dataset: Dataset, kind: dict[str, object]) -> None:
    """To 1e-4 of a tensor's largest gradient: the order of sums differs, nothing else."""
    alone, together = ([Trainer(config, dataset) for config in configs(kind)] for _ in range(2))
    group = Group(together)
    group.step()
    for ours, expected in zip(together, alone, strict=True):
        expected.step()
        assert ours.iteration == expected.iteration == 1
        for name, parameter in expected.parameters.items():
            gradient = gradient_of(ours, name)
            scale = float(parameter.grad.abs().max())
            assert float((gradient - parameter.grad).abs().max()) <= 1e-4 * scale + 1e-7, name
    group.step()
    for trainer in together[1:]:
        group.retire(trainer)
    group.step()
    for ours, expected, steps in zip(together, alone, (3, 2, 2), strict=True):
        for _ in range(1, steps):
            expected.step()
        assert ours.iteration == expected.iteration
        assert ours.take_means()["loss"] == pytest.approx(expected.take_means()["loss"], rel=1e-4)


def test_learning_rates_are_each_members_own_and_so_are_checkpoints(dataset: Dataset, tmp_path: Path) -> None:
    """A slice of the group's tensors would be saved with all of them."""
    slow, fast = (dataclasses.replace(BASE, learning_rate=rate) for rate in (1e-5, 1e-3))
    alone = Trainer(BASE, dataset)
    before = {name: parameter.detach().clone() for name, parameter in alone.parameters.items()}
    trainers = [Trainer(config, dataset) for config in (slow, fast)]
    Group(trainers).step()
    alone.step()
    moved = [
        max(float((trainer.parameters[name] - before[name]).abs().max().detach()) for name in before)
        for trainer in trainers
    ]
    assert moved == pytest.approx([1e-5, 1e-3], rel=0.05)
    for name, trainer in (("alone", alone), ("together", trainers[0])):
        save_checkpoint(tmp_path / name, trainer.state_dict())
    sizes = [(tmp_path / name).stat().st_size for name in ("alone", "together")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_group_goes_on_from_members_alone_and_back(dataset: Dataset, tmp_path: Path) -> None:
    """A member's checkpoint does not know whether the member was alone, and none trains beyond its end."""
    some = configs({})[:2]
    short = dataclasses.replace(SCHEDULE, iterations=2)
    for config in some:
        list(train_member(config, short, dataset, MemberDirectory(tmp_path / config.content_hash)))
    reports = list(train_together(members(some, dataset, tmp_path), fused=True))
    assert [report.rows[0]["iteration"] for report in reports[:2]] == [2, 2]
    MemberDirectory(tmp_path / some[0].content_hash).result.unlink()
    resumed = members(some, dataset, tmp_path)
    again = ends(list(train_together(resumed, fused=True)))
    assert [again[member.name].status for member in resumed] == ["finished", "finished"]
    assert [member.trainer.iteration for member in resumed] == [6, 6]
    for config in some:
        result = MemberDirectory(tmp_path / config.content_hash).read_result()
        assert result is not None
        trainer = Trainer(config, dataset)
        expected = [trainer.train(2)["loss"] for _ in range(3)]
        assert [row["loss"] for row in result["history"]] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_member_that_diverges_leaves_the_others_alone(dataset: Dataset, tmp_path: Path, fused: bool) -> None:
    """Those beside it in a group nearly, and those that take turns with it exactly, are members alone."""
    sound, broken = configs({})[:2], dataclasses.replace(BASE, seed=7, learning_rate=1e30)
    schedule = dataclasses.replace(SCHEDULE, iterations=4, log_every=1, metrics=())
    some = members([sound[0], broken, sound[1]], dataset, tmp_path, dataclasses.replace(schedule, evaluate_every=1))
    reports = ends(list(train_together(some, fused=fused)))
    failed = reports.pop(broken.content_hash)
    assert failed.status == "failed"
    assert "not finite" in failed.reason
    result = MemberDirectory(tmp_path / broken.content_hash).read_result()
    assert result is not None
    assert (result["status"], result["reason"]) == ("failed", failed.reason)
    for member in (some[0], some[2]):
        alone = Trainer(member.trainer.config, dataset)
        losses = [row["loss"] for row in member.history]
        expected = [alone.train(1)["loss"] for _ in range(4)]
        assert reports[member.name].status == "finished"
        assert losses == (pytest.approx(expected, rel=1e-4) if fused else expected)


def test_members_that_are_not_alike_are_refused(dataset: Dataset) -> None:
    others = [{"z_dim": 4}, {"tau": 0.0}, {"batch_size": 3}, {"regulariser": "beta_vae"}, {"likelihood": "bernoulli"}]
    assert all(likeness(dataclasses.replace(BASE, **change)) != likeness(BASE) for change in others)
    assert len({likeness(config) for config in configs({})}) == 1
    with pytest.raises(InvalidInputError, match="must be alike, got 2 kinds"):
        Group([Trainer(BASE, dataset), Trainer(dataclasses.replace(BASE, **others[0]), dataset)])


def test_packed_images_on_a_device_are_the_data_sets(dataset: Dataset) -> None:
    assert isinstance(dataset.store, PackedImages)
    indices = np.random.default_rng(0).integers(dataset.num_images, size=20)
    packed = receiver(dataset, torch.device("cpu"), free_bytes=0)
    assert isinstance(packed, Packed)
    images = packed.images(torch.from_numpy(indices))
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
