"""A member's life: rows, interruptions, resumption, budgets, results, failures, and checkpoints that do not fit."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from larvae.advice import Advice
from larvae.checkpoint import DamagedCheckpointError, load_checkpoint, previous, save_checkpoint
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, NonFiniteLossError
from larvae.evaluation import evaluate
from larvae.member import Member, train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.metrics import HELD_OUT_METRICS
from larvae.resuming import checkpoint_config, restore
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

CONFIG = MemberConfig(batch_size=3, label_rate=0.001)
SCHEDULE = Schedule(
    iterations=5,
    log_every=2,
    evaluate_every=4,
    evaluation_size=60,
    final_metrics=("mig", "l2", "modularity"),
    checkpoint_seconds=0,
)
SELDOM = dataclasses.replace(SCHEDULE, checkpoint_seconds=1e9)
"""Saved at the end only."""
TIMES = {"seconds", "seconds_per_iteration", "timestamp"}
"""Fields that differ between equal runs."""


@pytest.fixture
def directory(tmp_path: Path) -> MemberDirectory:
    return MemberDirectory(tmp_path / "member")


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> MemberDirectory:
    """A member trained in one go, to be left as it is."""
    directory = MemberDirectory(tmp_path_factory.mktemp("finished") / "member")
    list(train_member(CONFIG, SCHEDULE, dataset, directory))
    return directory


@pytest.fixture(scope="module")
def interrupted(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> MemberDirectory:
    """A member stopped after its first row, its checkpoint within it, to be left as it is."""
    directory = MemberDirectory(tmp_path_factory.mktemp("interrupted") / "member")
    interrupt_after(1, SCHEDULE, dataset, directory)
    return directory


def copied(member: MemberDirectory, directory: MemberDirectory) -> MemberDirectory:
    return MemberDirectory(Path(shutil.copytree(member.path, directory.path)))


def history(directory: MemberDirectory) -> list[Row]:
    result = directory.read_result()
    assert result is not None
    return result["history"]


def final_state(directory: MemberDirectory) -> dict[str, Any]:
    return load_checkpoint(directory.checkpoint)["trainer"]


def without_times(rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def tensors_of(state: Any, name: str = "") -> dict[str, Tensor | int | float]:
    """The leaves of a nested state, by their place in it."""
    if isinstance(state, dict):
        parts = state.items()
    elif isinstance(state, list | tuple):
        parts = enumerate(state)
    else:
        return {name: state}
    return dict(itertools.chain.from_iterable(tensors_of(part, f"{name}/{key}").items() for key, part in parts))


def assert_equal_states(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Parameters, optimiser and iteration, bit for bit."""
    ours, theirs = tensors_of(a), tensors_of(b)
    assert ours.keys() == theirs.keys()
    assert sum(isinstance(value, Tensor) for value in ours.values()) > 3 * 20  # parameters and two moments of each
    for name, value in ours.items():
        same = torch.equal(value, theirs[name]) if isinstance(value, Tensor) else value == theirs[name]
        assert same, name


def interrupt_after(
    num_rows: int, schedule: Schedule, dataset: Dataset, directory: MemberDirectory, config: MemberConfig = CONFIG
) -> list[Row]:
    """Train until so many rows were yielded, then stop as a closed generator does."""
    training = train_member(config, schedule, dataset, directory)
    rows = list(itertools.islice(training, num_rows))
    training.close()
    return rows


# Rows


def test_rows_result_and_picture_are_what_the_trainer_says(dataset: Dataset, finished: MemberDirectory) -> None:
    """Losses at multiples of `log_every`, metrics at those of `evaluate_every`, and all of them at the end."""
    trainer = Trainer(CONFIG, dataset)
    expected = [
        {"iteration": 2, **trainer.train(2)},
        {"iteration": 4, **trainer.train(2), **evaluate(trainer, 60, SCHEDULE.metrics)},
        {"iteration": 5, **trainer.train(1), **evaluate(trainer, 60, SCHEDULE.final_metrics)},
    ]
    result = json.loads(finished.result.read_text())
    assert without_times(result["history"]) == expected
    assert_equal_states(final_state(finished), trainer.state_dict())
    picture = traversal_png(trainer, reference_index(dataset.num_images, CONFIG.seed))
    assert finished.traversal.read_bytes() == picture
    for row, steps in zip(result["history"], (2, 2, 1), strict=True):
        assert 0 < row["seconds_per_iteration"] * steps <= row["seconds"]
    assert set(result) == {"format", "status", "reason", "config", "history", "environment", "environments"}
    assert (result["format"], result["status"], result["reason"]) == (FORMAT, "finished", "")
    assert MemberConfig(**result["config"]) == CONFIG
    assert result["environments"] == [result["environment"]]
    assert result["environment"].items() >= {"iteration": 0, "torch": torch.__version__, "compiled": False}.items()
    checkpoints = {"checkpoint.pt", "checkpoint.previous.pt"}
    assert {path.name for path in finished.path.iterdir()} == checkpoints | {"result.json", "traversal.png"}


@pytest.mark.parametrize(
    ("metrics", "final_metrics", "computed"),
    [((), (), [[], [], []]), (("modularity",), ("l2", "mig"), [["modularity"]] * 2 + [["mig", "l2", "modularity"]])],
    ids=["none", "some"],
)
def test_metrics_are_those_of_the_schedule_and_change_no_member(
    dataset: Dataset,
    directory: MemberDirectory,
    finished: MemberDirectory,
    metrics: tuple[str, ...],
    final_metrics: tuple[str, ...],
    computed: list[list[str]],
) -> None:
    schedule = dataclasses.replace(SCHEDULE, evaluate_every=2, metrics=metrics, final_metrics=final_metrics)
    rows = list(train_member(CONFIG, schedule, dataset, directory))
    assert [[name for name in ("mig", "l2", "modularity") if name in row] for row in rows] == computed
    assert_equal_states(final_state(directory), final_state(finished))


# Interruptions


@pytest.mark.parametrize(
    "interruptions",
    [[(0, SCHEDULE), (2, SELDOM)], [(1, SCHEDULE), (2, SELDOM)], [(1, SCHEDULE), (2, SCHEDULE), (3, SCHEDULE)]],
    ids=["never saved", "killed between checkpoints", "after every row"],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    dataset: Dataset,
    directory: MemberDirectory,
    finished: MemberDirectory,
    interruptions: list[tuple[int, Schedule]],
) -> None:
    """Rows may be far apart, so checkpoints lie within them too; a row's means must not lose their beginning."""
    expected = without_times(history(finished))
    for num_rows, schedule in interruptions:
        assert without_times(interrupt_after(num_rows, schedule, dataset, directory)) == expected[:num_rows]
        assert directory.read_result() is None
        assert not directory.traversal.exists()
    saved = load_checkpoint(directory.checkpoint)["history"] if directory.checkpoint.exists() else []
    after = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    assert without_times(after) == expected
    assert after[: len(saved)] == saved  # times included: these rows were not trained again
    assert history(directory) == after
    assert_equal_states(final_state(directory), final_state(finished))


@pytest.mark.parametrize(
    "change",
    [{"regulariser": "factor_vae", "held_out": 0.1}, pytest.param({"tau": 0, "alpha": 0}, marks=pytest.mark.slow)],
    ids=str,
)
def test_other_kinds_of_members_are_resumed_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Within a row and by a kill between checkpoints; the discriminator's state goes along."""
    config, at_once = dataclasses.replace(CONFIG, **change), MemberDirectory(tmp_path / "at once")
    expected = list(train_member(config, SELDOM, dataset, at_once))
    interrupt_after(1, SCHEDULE, dataset, directory, config)
    kinds = {"model", "discriminator"} if config.regulariser == "factor_vae" else {"model"}
    assert final_state(directory)["optimisers"].keys() == kinds
    interrupt_after(2, SELDOM, dataset, directory, config)
    assert final_state(directory)["iteration"] == 1
    rows = list(train_member(config, SCHEDULE, dataset, directory))
    assert without_times(rows) == without_times(expected)
    assert_equal_states(final_state(directory), final_state(at_once))
    held_out = {f"held_out_{name}" for name in HELD_OUT_METRICS if config.held_out}
    assert [held_out <= row.keys() for row in rows] == [not held_out, True, True]


def test_finished_member_is_not_trained_again_and_a_lost_result_is_written_anew(
    dataset: Dataset, directory: MemberDirectory, finished: MemberDirectory
) -> None:
    """The process may be killed between the last checkpoint and the result, or within the result."""
    copied(finished, directory)
    whole, content = finished.read_result(), finished.result.read_bytes()
    written = directory.checkpoint.stat().st_mtime_ns
    for damage in (content, None, content[:-30]):
        if damage is None:
            directory.result.unlink()
        else:
            directory.result.write_bytes(damage)
        assert list(train_member(CONFIG, SCHEDULE, dataset, directory)) == history(finished)
        assert directory.read_result() == whole
    assert directory.checkpoint.stat().st_mtime_ns == written


def test_going_on_with_other_arithmetic_is_told_and_kept(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(interrupted, directory)
    monkeypatch.setattr("larvae.member.device_name", lambda device: "another processor")
    with pytest.warns(UserWarning, match=r"goes on from iteration 1 with device another processor after"):
        list(train_member(CONFIG, SCHEDULE, dataset, directory))
    result = directory.read_result()
    assert result is not None
    first, second = result["environments"]
    assert second == result["environment"] == first | {"device": "another processor", "iteration": 1}


def test_another_number_of_threads_is_other_arithmetic_and_what_an_older_checkpoint_does_not_tell_is_none(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(interrupted, directory)
    state = load_checkpoint(directory.checkpoint)
    for known in state["environments"]:
        del known["threads"], known["numpy"]
    save_checkpoint(directory.checkpoint, state)
    assert len(Member(CONFIG, SCHEDULE, dataset, directory).environments) == 1
    shutil.copy(interrupted.checkpoint, directory.checkpoint)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.warns(UserWarning, match=r"with threads 7 after 1: not bit for bit as before"):
        assert len(Member(CONFIG, SCHEDULE, dataset, directory).environments) == 2


# Budgets


@pytest.mark.parametrize("iterations", [SCHEDULE.iterations, 8], ids=["the same end", "a later one"])
def test_killed_while_its_metrics_are_computed_it_has_trained(
    iterations: int, dataset: Dataset, directory: MemberDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = (4, iterations)  # at the first, there are metrics during training too
    schedules = [dataclasses.replace(SELDOM, iterations=end) for end in ends]
    with monkeypatch.context() as patch:
        patch.setattr(Member, "evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            list(train_member(CONFIG, schedules[0], dataset, directory))
    assert load_checkpoint(directory.checkpoint)["last_row"]["iteration"] == 4
    list(train_member(CONFIG, schedules[1], dataset, directory))
    straight = MemberDirectory(tmp_path / "straight")
    list(train_member(CONFIG, schedules[1], dataset, straight))
    assert without_times(history(directory)) == without_times(history(straight))


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_raised_budget_goes_on_from_the_checkpoint(
    dataset: Dataset, directory: MemberDirectory, finished: MemberDirectory
) -> None:
    copied(finished, directory)
    raised = list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory))
    assert raised[:3] == history(finished)  # times included: nothing was trained again
    assert [row["iteration"] for row in raised] == [2, 4, 5, 6, 8]
    at_once = Trainer(CONFIG, dataset)
    at_once.train(6)
    assert raised[-1]["loss"] == at_once.train(2)["loss"]
    assert_equal_states(final_state(directory), at_once.state_dict())
    assert history(directory) == raised


def test_a_row_on_the_way_is_not_taken_for_the_end_of_a_lowered_budget(
    dataset: Dataset, directory: MemberDirectory
) -> None:
    """It lacks the final metrics."""
    member = Member(CONFIG, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory)
    for _ in range(4):
        member.trainer.step()
        member.after_step()
    member.save()
    with pytest.raises(InvalidInputError, match="which is at 4, got 4"):
        list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=4), dataset, directory))


def test_what_killed_processes_left_of_a_checkpoint_is_removed(dataset: Dataset, directory: MemberDirectory) -> None:
    """Not what a living one writes, whose number the name ends in."""
    gone, living = (directory.path / f".checkpoint.pt.partial-{platform.node()}-{pid}" for pid in (2**30, os.getpid()))
    for path in (gone, living):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    Member(CONFIG, SCHEDULE, dataset, directory)
    assert [gone.exists(), living.exists()] == [False, True]


def test_lowered_budget_ends_at_the_checkpoint_or_beyond_and_is_refused_before(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory
) -> None:
    """A checkpoint within a row was not evaluated, so a budget that ends there has no last row."""
    copied(interrupted, directory)
    with pytest.raises(InvalidInputError, match="which is at 1, got 1"):
        list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=1), dataset, directory))
    interrupt_after(2, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory)
    for iterations in (2, 3):
        with pytest.raises(InvalidInputError, match=f"which is at 3, got {iterations}"):
            list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=iterations), dataset, directory))
        assert directory.last_evaluation(iterations) is None
    rows = list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=4), dataset, directory))
    assert [row["iteration"] for row in rows] == [2, 4]
    assert directory.last_evaluation(4) == rows[-1]


# Results


def test_results_of_any_end(directory: MemberDirectory) -> None:
    assert directory.last_evaluation(1) is None  # not even a directory
    rows = [{"iteration": 2, "loss": 1.0}, {"iteration": 4, "loss": 0.5, "mig": 0.1}]
    directory.write_result(CONFIG, "finished", rows)
    assert directory.last_evaluation(3) == directory.last_evaluation(4) == rows[-1]
    assert directory.last_evaluation(5) is None
    directory.write_result(CONFIG, "stopped", rows, stopped_at=4)
    assert (directory.stopped_at, directory.last_evaluation(1)) == (4, None)
    assert directory.write_failure(CONFIG, NonFiniteLossError("loss\nand more"), rows) == "NonFiniteLossError: loss"
    result = directory.read_result()
    assert result is not None
    assert "and more" in result.pop("traceback")
    reason = "NonFiniteLossError: loss"
    expected = {"format": FORMAT, "status": "failed", "reason": reason, "config": CONFIG.to_dict(), "history": rows}
    assert result == expected
    assert directory.last_evaluation(1) is None
    for content in (b"", b"\0" * 40, b'{"status": "fini', b"\xff\xfe", b"[]", b"{}"):
        directory.result.write_bytes(content)
        assert (directory.read_result(), directory.stopped_at, directory.last_evaluation(1)) == (None, None, None)


def test_diverging_member_raises_and_is_not_finished(dataset: Dataset, directory: MemberDirectory) -> None:
    """In the next loss, or in the codes of an evaluation while the losses of its row are still finite."""
    diverging = dataclasses.replace(CONFIG, learning_rate=1e38)
    schedule = dataclasses.replace(SCHEDULE, iterations=4, log_every=1)
    training = train_member(diverging, schedule, dataset, directory)
    assert next(training)["iteration"] == 1  # the loss before the first step is sound
    with pytest.raises(NonFiniteLossError, match="not finite"):
        next(training)
    with pytest.raises(NonFiniteLossError, match="not finite"):  # and so again when it is resumed
        list(train_member(diverging, schedule, dataset, directory))
    directory.checkpoint.unlink()
    previous(directory.checkpoint).unlink()
    with pytest.raises(NonFiniteLossError, match="posterior means"):
        list(train_member(diverging, dataclasses.replace(schedule, iterations=1), dataset, directory))
    assert directory.read_result() is None


# Checkpoints


def test_restored_member_is_the_one_that_was_saved_and_goes_on_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory
) -> None:
    change = {"z_dim": 3, "observed_factors": ("shape", "scale"), "instance_norm": False}
    config = dataclasses.replace(CONFIG, **change)
    interrupt_after(2, SCHEDULE, dataset, directory, config)
    restored, uninterrupted = restore(directory.checkpoint, dataset), Trainer(config, dataset)
    assert restored.config == checkpoint_config(directory.checkpoint) == config
    assert restored.iteration == 3
    assert_equal_states(restored.state_dict(), final_state(directory))
    uninterrupted.train(2)
    uninterrupted.step()
    assert restored.train(1) == uninterrupted.train(1)
    assert_equal_states(restored.state_dict(), uninterrupted.state_dict())


@pytest.mark.parametrize(
    "change",
    [{"tau": 0.5}, {"seed": 1}, {"observed_factors": ("shape",)}, {"instance_norm": False}, {"held_out": 0.1}],
    ids=str,
)
def test_checkpoint_of_another_configuration_is_refused(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory, change: dict[str, Any]
) -> None:
    copied(interrupted, directory)
    before = directory.checkpoint.read_bytes()
    with pytest.raises(InvalidInputError, match=r"^[^\n]+ must have config [^\n]+; delete it to train from the start$"):
        list(train_member(dataclasses.replace(CONFIG, **change), SCHEDULE, dataset, directory))
    assert directory.checkpoint.read_bytes() == before
    assert directory.read_result() is None
    whole = dataclasses.replace(CONFIG, tau=1, gamma_tc=4, alpha=1)  # the same one in whole numbers
    assert next(train_member(whole, SCHEDULE, dataset, directory))["iteration"] == 2


OTHER = CONFIG.to_dict()
TAMPERED: dict[str, tuple[dict[str, Any], str]] = {
    "first format": ({"format": None}, "was written in format 1, whose settings mean something else in 2"),
    "older format": ({"format": 1}, "was written in format 1"),
    "data set": ({"config": OTHER | {"dataset": "shapes3d"}}, "must be of the data set dsprites, got one of shapes3d"),
    "fingerprint": ({"fingerprint": "another"}, "must have fingerprint"),
    "fewer latents": ({"config": OTHER | {"z_dim": 0}}, "must fit 5 latents and its configuration"),
    "other networks": ({"config": OTHER | {"instance_norm": False}}, "must fit 10 latents and its configuration"),
    "discriminator": ({"config": OTHER | {"regulariser": "factor_vae"}}, "must fit 10 latents"),
    "rule": ({"config": OTHER | {"tau": -1.0}}, "`tau` must be finite and >= 0, got -1.0"),
    "unknown field": ({"config": OTHER | {"unknown": 1}}, "must have a member's configuration"),
    "text": ({"config": "text"}, "must have a member's configuration"),
    "no configuration": ({"config": None}, ""),
    "no trainer": ({"trainer": None}, "must have a trainer at some iteration, got None"),
    "no state": ({"trainer": {"iteration": 1}}, "must fit 10 latents"),
    "half a state": ({"trainer": {"iteration": 1, "model": None}}, "must fit 10 latents"),
}
"""Changes of a checkpoint, and parts of their refusals."""


def refusals(checkpoint: Path, dataset: Dataset) -> list[str]:
    """The lines with which a checkpoint is refused: by who looks at it, and by who would train on."""
    messages = []
    for look in (
        lambda: restore(checkpoint, dataset),
        lambda: list(train_member(CONFIG, SCHEDULE, dataset, MemberDirectory(checkpoint.parent))),
    ):
        with pytest.raises(InvalidInputError, match=r"^[^\n]{,1500}$") as caught:
            look()
        messages.append(str(caught.value))
    return messages


@pytest.mark.parametrize("name", TAMPERED)
def test_checkpoint_with_something_else_in_it_is_refused_in_a_line(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory, name: str
) -> None:
    changes, rule = TAMPERED[name]
    save_checkpoint(directory.checkpoint, load_checkpoint(interrupted.checkpoint) | changes)
    looking, going_on = refusals(directory.checkpoint, dataset)
    assert rule in looking
    assert str(directory.checkpoint) in looking or name == "rule"
    assert str(directory.checkpoint) in going_on


def test_incomplete_and_foreign_checkpoints_are_refused_in_a_line(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory
) -> None:
    whole = load_checkpoint(interrupted.checkpoint)
    for missing in whole.keys() - {"last_row", "evaluated"}:  # of a member that has not ended
        save_checkpoint(directory.checkpoint, {name: part for name, part in whole.items() if name != missing})
        assert all(str(directory.checkpoint) in message for message in refusals(directory.checkpoint, dataset)), missing


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """One bit of a parameter is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b""])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    dataset: Dataset, directory: MemberDirectory, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """And where both are damaged, the member starts again: in each case to the same rows, bit for bit."""
    newest = directory.checkpoint
    expected = list(train_member(CONFIG, SCHEDULE, dataset, MemberDirectory(tmp_path / "uninterrupted")))
    for damaged in ([newest], [newest, previous(newest)]):
        interrupt_after(2, SCHEDULE, dataset, directory, CONFIG)
        for path in damaged:
            path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(DamagedCheckpointError, match=r"^`[^\n]+` must be a whole checkpoint, but: [^\n]+$"):
            restore(newest, dataset)
        with pytest.warns(Advice) as told:
            rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
        assert ["starts again" in str(line.message) for line in told] == [False, True][: len(damaged)]
        assert without_times(rows) == without_times(expected)
        shutil.rmtree(directory.path)


def test_a_kill_between_two_checkpoints_costs_none(dataset: Dataset, directory: MemberDirectory) -> None:
    """The newest is kept as the previous one before there is another newest."""
    interrupt_after(2, SCHEDULE, dataset, directory, CONFIG)
    directory.checkpoint.replace(previous(directory.checkpoint))
    with pytest.warns(Advice, match=rf"`{directory.checkpoint}` is missing: the one before is used$"):
        rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    assert [row["iteration"] for row in rows] == [2, 4, 5]


def test_a_file_system_that_fails_costs_no_checkpoint(
    dataset: Dataset, directory: MemberDirectory, interrupted: MemberDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read now is not damaged: the member goes on from it once it can."""
    copied(interrupted, directory)
    before = {path.name: path.read_bytes() for path in directory.path.iterdir()}

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(OSError, match="Input/output"):
            Member(CONFIG, SCHEDULE, dataset, directory)
    assert {path.name: path.read_bytes() for path in directory.path.iterdir()} == before
