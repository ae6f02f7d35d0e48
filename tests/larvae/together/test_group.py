"""A fused member equals the same member trained alone, and its end is its own."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae import datasets, functional
from larvae.checkpoint import save_checkpoint
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset, on_device
from larvae.datasets.layouts import PackedImages
from larvae.errors import InvalidInputError
from larvae.member import Member, train_member
from larvae.member_directory import MemberDirectory
from larvae.together.group import Group, likeness
from larvae.together.self_check import TOLERANCES, deviation
from larvae.together.training_together import Report, Together, train_together
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


def test_a_group_shrinks_with_its_members_and_those_left_go_on(dataset: Dataset) -> None:
    """By halves; what is left of a member that has been retired stays as it is."""
    some = [dataclasses.replace(BASE, seed=seed) for seed in range(5)]
    together = [Trainer(config, dataset) for config in some]
    group = Group(together)
    group.step()
    sizes = []
    for trainer in together[:4]:
        group.retire(trainer)
        smaller = group.compacted()
        assert smaller is group or len(smaller.trainers) < len(group.trainers)
        group = smaller
        sizes.append(len(group.trainers))
        group.step()
    assert sizes == [5, 5, 2, 1]
    assert [trainer.iteration for trainer in together] == [1, 2, 3, 4, 5]
    for config, trainer in zip(some, together, strict=True):
        alone = Trainer(config, dataset)
        expected = alone.train(trainer.iteration)
        assert trainer.take_means() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_slot_is_handed_on_and_nothing_is_where_it_was_not(dataset: Dataset) -> None:
    """A CUDA graph knows tensors by their addresses; the newcomer has trained before, with other weights."""
    some = configs({})
    leaving, staying, coming = (Trainer(config, dataset) for config in some)
    group = Group([leaving, staying])
    group.step()
    addresses = {name: parameter.data_ptr() for name, parameter in group.parameters.items()}
    group.retire(leaving)
    coming.train(1)
    coming.step()
    group.replace(coming)
    with pytest.raises(InvalidInputError, match="must be alike, got 2 kinds"):
        group.replace(Trainer(dataclasses.replace(BASE, z_dim=4), dataset))
    for _ in range(3):
        group.step()
    assert {name: parameter.data_ptr() for name, parameter in group.parameters.items()} == addresses
    assert [trainer.iteration for trainer in (leaving, staying, coming)] == [1, 4, 5]
    for config, ours, before in ((some[1], staying, 0), (some[2], coming, 1)):
        alone = Trainer(config, dataset)
        alone.train(before)
        assert ours.take_means() == pytest.approx(alone.train(ours.iteration - before), rel=1e-3, abs=1e-3)


def test_a_newcomer_in_a_used_slot_starts_as_if_nobody_had_been_there(dataset: Dataset) -> None:
    """It has taken no step, so that Adam has no state of it; the one before had."""
    leaving, staying, coming = (Trainer(config, dataset) for config in configs({}))
    group = Group([leaving, staying])
    for _ in range(5):
        group.step()
    group.retire(leaving)
    group.replace(coming)
    for _ in range(4):
        group.step()
    alone = Trainer(coming.config, dataset)
    for _ in range(4):
        alone.step()
    for optimiser, expected in zip(coming.optimisers.values(), alone.optimisers.values(), strict=True):
        assert {float(state["step"]) for state in optimiser.state.values()} == {4.0}
        for ours, its in zip(optimiser.state.values(), expected.state.values(), strict=True):
            difference = (ours["exp_avg"] - its["exp_avg"]).norm() / its["exp_avg"].norm()
            assert difference < 1e-3  # of the tensor: processors round elements that nearly cancel out differently
    assert coming.take_means() == pytest.approx(alone.take_means(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("others", [("dip_vae_i", "beta_vae"), ("annealed_vae", "beta_vae", "dip_vae_ii")], ids=str)
def test_regularisers_without_weight_are_one(dataset: Dataset, others: tuple[str, ...]) -> None:
    """Whatever settings they would have."""
    some = [dataclasses.replace(BASE, regulariser=name, gamma_tc=0.0, regulariser_settings=()) for name in others]
    trainers = [Trainer(config, dataset) for config in some]
    group = Group([trainers[0], trainers[-1]])
    group.step()
    group.retire(trainers[0])
    group.replace(Trainer(some[1], dataset))
    group.step()
    assert trainers[-1].take_means() == pytest.approx(Trainer(some[-1], dataset).train(2), rel=1e-3, abs=1e-3)


def test_a_rehearsal_leaves_no_trace(dataset: Dataset) -> None:
    """Nor does the check of which it is a part; both groups then take the same steps, bit for bit."""
    checked, unchecked = ([Trainer(config, dataset) for config in configs({})] for _ in range(2))
    for trainer in (*checked, *unchecked):
        trainer.train(1)
        trainer.step()
    ours, other = Group(checked), Group(unchecked)
    found = deviation(ours)
    assert found.is_within(TOLERANCES[torch.float32])
    for group in (ours, other):
        group.step()
    for trainer, expected in zip(checked, unchecked, strict=True):
        assert all(torch.equal(trainer.parameters[name], p) for name, p in expected.parameters.items())
        assert trainer.take_means() == expected.take_means()


def test_a_member_that_has_diverged_does_not_make_the_step_of_the_others_wrong(dataset: Dataset) -> None:
    trainers = [Trainer(config, dataset) for config in configs({})]
    with torch.no_grad():
        next(iter(trainers[0].parameters.values())).fill_(math.nan)
    assert deviation(Group(trainers)).is_within(TOLERANCES[torch.float32])
    with torch.no_grad():
        for trainer in trainers:
            next(iter(trainer.parameters.values())).fill_(math.nan)
    assert deviation(Group(trainers)) == (0, 0)


def test_a_step_that_is_wrong_is_found_and_members_go_on_with_the_plain_one(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong in one layer's gradient alone, of one member: the losses of the first step are right."""
    some = configs({})
    right = Group.rehearse

    def wrong(group: Group) -> list[tuple[dict[str, float], dict[str, Tensor]]]:
        stepped = right(group)
        start = group.trainers[1].parameters
        stepped[1] = stepped[1][0], {name: 2 * start[name].detach() - p for name, p in stepped[1][1].items()}
        return stepped

    monkeypatch.setattr(Group, "rehearse", wrong)
    with pytest.warns(UserWarning, match="the plain one runs, which is far slower"):
        reports = list(train_together(members(some, dataset, tmp_path), fused=True))
    assert {report.status for report in ends(reports).values()} == {"finished"}
    for config in some:
        result = MemberDirectory(tmp_path / config.content_hash).read_result()
        assert result is not None
        trainer = Trainer(config, dataset)
        expected = [trainer.train(2)["loss"] for _ in range(3)]
        assert [row["loss"] for row in result["history"]] == expected  # bit for bit
        assert result["history"][0]["fused_update_deviation"] == pytest.approx(2, rel=0.01)
        assert result["history"][0]["fused_loss_deviation"] < 1e-4
        assert result["environments"] == [result["environment"]]
        assert result["environment"].items() >= {"compiled": False, "precision": "float32", "iteration": 0}.items()


def test_a_group_with_room_is_checked_as_a_full_one_is(dataset: Dataset, tmp_path: Path) -> None:
    """Spare slots step in the check, and never after."""
    together = Together(fused=True, slots=5)
    some = members(configs({}), dataset, tmp_path)
    together.add(some)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it would be told that the plain step runs
        while together.members:
            rows = [row for report in together.iterate() for row in report.rows]
            assert all(row["fused_update_deviation"] < 0.05 for row in rows if row["iteration"] == 2)
    assert {member.trainer.iteration for member in some} == {6}
    together.close()


def test_a_closed_group_leaves_nothing_behind(dataset: Dataset) -> None:
    """Not even until Python looks for circles: its tensors are a GPU's, and so is what its step has captured."""
    group = Group([Trainer(config, dataset) for config in configs({})], ahead=2)
    group.step()
    gone = weakref.ref(group)
    gc.disable()
    try:
        group.close()
        with pytest.raises(RuntimeError, match="closed takes no step"):
            group.step()
        del group
        assert gone() is None
    finally:
        gc.enable()


def test_members_that_are_not_alike_are_refused(dataset: Dataset) -> None:
    others = [{"z_dim": 4}, {"tau": 0.0}, {"batch_size": 3}, {"regulariser": "beta_vae"}, {"likelihood": "bernoulli"}]
    others.append({"label_loss": "cross_entropy"})  # one without targets would be trained by another's loss
    assert all(likeness(dataclasses.replace(BASE, **change)) != likeness(BASE) for change in others)
    assert len({likeness(config) for config in configs({})}) == 1
    with pytest.raises(InvalidInputError, match="must be alike, got 2 kinds"):
        Group([Trainer(BASE, dataset), Trainer(dataclasses.replace(BASE, **others[0]), dataset)])


def test_packed_images_on_a_device_are_the_data_sets(dataset: Dataset) -> None:
    assert isinstance(dataset.store, PackedImages)
    indices = np.random.default_rng(0).integers(dataset.num_images, size=20)
    packed = on_device.receiver(dataset, torch.device("cpu"), free_bytes=0)
    assert isinstance(packed, on_device.Packed)
    images = packed.images(torch.from_numpy(indices))
    assert images.dtype == torch.float32
    assert np.array_equal(images.numpy(), dataset.images(indices))


def test_the_share_of_a_gpu_that_a_process_is_held_to_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the device is named without an index, which not all of PyTorch's functions take."""
    monkeypatch.setattr("torch.cuda.memory._lazy_init", lambda: None)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 100)
    for share, expected in ((0.5, 400), (1.0, 700)):
        monkeypatch.setattr("torch._C._cuda_getMemoryFraction", lambda index, share=share: share, raising=False)
        assert on_device._free_bytes(torch.device("cuda")) == expected


def test_images_rendered_or_held_on_a_device_are_the_data_sets() -> None:
    """To the byte, for any shape of indices; images of which too little memory is free are sent."""
    rendered = datasets.open_dataset("shapes3d-rendered", datasets.prepare("shapes3d-rendered"))
    some = dataclasses.replace(rendered, specification=dataclasses.replace(rendered.specification, num_images=5000))
    indices = np.random.default_rng(0).integers(some.num_images, size=(4, 10))
    expected = some.images(indices.flatten()).reshape(4, 10, 3, 64, 64) / np.float32(255)
    compressed = dataclasses.replace(some, store=SimpleNamespace(images=some.images))
    for dataset, free, kind in (
        (some, 0, on_device.Rendered),
        (compressed, 4 * 5000 * 3 * 64 * 64, on_device.Bytes),
        (compressed, 2 * 5000 * 3 * 64 * 64, on_device.Pixels),
    ):
        receiver = on_device.receiver(dataset, torch.device("cpu"), free)
        assert isinstance(receiver, kind)
        sent = indices if kind is not on_device.Pixels else dataset.images(indices.flatten()).reshape(expected.shape)
        assert np.array_equal(receiver.images(torch.from_numpy(sent)).numpy(), expected)


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


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"dataset": "shapes3d-rendered", "regulariser": "annealed_vae"}], ids=str)
def test_a_groups_functions_are_one_graph_each_whatever_receives_images(
    fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A break would leave gathering, Adam or the sums outside of what is compiled, and be found on a GPU only."""
    whole = functools.partial(torch.compile, backend="eager", fullgraph=True, dynamic=False)
    monkeypatch.setattr(functional, "_fused", whole)
    config = MemberConfig.from_dict({"batch_size": 4, **fields})
    images = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset))
    trainers = [Trainer(dataclasses.replace(config, seed=seed), images) for seed in (0, 1)]
    for trainer in trainers:
        trainer.receiver = on_device.receiver(images, torch.device("cpu"), 0)
        trainer.sampler._send = lambda indices: indices
    group = Group(trainers)
    group._functions = functional.group_functions.__wrapped__(trainers[0].structure, torch.float32)
    assert deviation(group).is_within(TOLERANCES[torch.float32])
    group.step()
