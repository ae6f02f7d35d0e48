"""A member's life: rows, interruptions, resumption, budgets, results and failures."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from larvae.checkpoint import load_checkpoint, save_checkpoint
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, NonFiniteLossError
from larvae.evaluation import evaluate
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.resuming import checkpoint_config, restore
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

CONFIG = MemberConfig(batch_size=4, label_rate=0.001)
FACTOR_VAE = dataclasses.replace(CONFIG, regulariser="factor_vae", gamma_tc=10.0)
SCHEDULE = Schedule(
    iterations=5,
    log_every=2,
    evaluate_every=4,
    evaluation_size=200,
    final_metrics=("mig", "l2", "modularity"),
    checkpoint_seconds=0,
)
NEVER_SAVED = dataclasses.replace(SCHEDULE, checkpoint_seconds=1e9)
TIMES = {"seconds", "seconds_per_iteration", "timestamp"}
"""What differs between equal runs."""


@pytest.fixture
def directory(tmp_path: Path) -> MemberDirectory:
    return MemberDirectory(tmp_path / "member")


@pytest.fixture(scope="module")
def uninterrupted(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], dict[str, Any]]:
    """The rows and the final training state of `SCHEDULE`, trained in one go."""
    directory = MemberDirectory(tmp_path_factory.mktemp("uninterrupted"))
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    return rows, final_state(directory)


def final_state(directory: MemberDirectory) -> dict[str, Any]:
    return load_checkpoint(directory.checkpoint)["trainer"]


def without_times(rows: list[Row]) -> list[Row]:
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


def test_rows_come_at_multiples_of_log_every_and_at_the_end(uninterrupted: tuple[list[Row], Any]) -> None:
    rows, _ = uninterrupted
    assert [row["iteration"] for row in rows] == [2, 4, 5]
    losses = {"loss", "reconstruction", "kl", "label_loss", "total_correlation", "label_replacement_loss"}
    assert all(losses | TIMES <= row.keys() for row in rows)


def test_metrics_come_at_multiples_of_evaluate_every_and_at_the_end(uninterrupted: tuple[list[Row], Any]) -> None:
    rows, _ = uninterrupted
    assert [row["iteration"] for row in rows if "mig" in row] == [4, 5]
    assert [row["iteration"] for row in rows if "l2" in row] == [4, 5]


def test_the_end_has_metrics_of_its_own(uninterrupted: tuple[list[Row], Any]) -> None:
    rows, _ = uninterrupted
    assert [row["iteration"] for row in rows if "modularity" in row] == [5]


def test_metrics_are_those_of_the_schedule(dataset: Dataset, directory: MemberDirectory) -> None:
    schedule = dataclasses.replace(SCHEDULE, evaluate_every=2, metrics=("modularity",), final_metrics=("l2", "sap"))
    rows = list(train_member(CONFIG, schedule, dataset, directory))
    names = ("mig", "l2", "sap", "modularity")
    computed = [[name for name in names if name in row] for row in rows]
    assert computed == [["modularity"], ["modularity"], ["l2", "sap", "modularity"]]


def test_a_schedule_without_metrics_computes_none(
    dataset: Dataset, directory: MemberDirectory, uninterrupted: tuple[list[Row], dict[str, Any]]
) -> None:
    rows = list(train_member(CONFIG, dataclasses.replace(SCHEDULE, metrics=(), final_metrics=()), dataset, directory))
    losses = uninterrupted[0][0].keys()  # of a row that was not evaluated
    assert [row.keys() for row in rows] == [losses] * 3
    assert_equal_states(final_state(directory), uninterrupted[1])


def test_rows_are_what_the_trainer_says(dataset: Dataset, uninterrupted: tuple[list[Row], Any]) -> None:
    trainer = Trainer(CONFIG, dataset)
    expected = [
        {"iteration": 2, **trainer.train(2)},
        {"iteration": 4, **trainer.train(2), **evaluate(trainer, 200, SCHEDULE.metrics)},
        {"iteration": 5, **trainer.train(1), **evaluate(trainer, 200, SCHEDULE.final_metrics)},
    ]
    rows, state = uninterrupted
    assert without_times(rows) == expected
    assert_equal_states(state, trainer.state_dict())


def test_how_often_a_member_is_looked_at_does_not_change_it(
    dataset: Dataset, directory: MemberDirectory, uninterrupted: tuple[Any, dict[str, Any]]
) -> None:
    schedule = Schedule(
        iterations=5, log_every=1, evaluate_every=1, evaluation_size=50, final_metrics=("mig", "factor_vae_score")
    )
    rows = list(train_member(CONFIG, schedule, dataset, directory))
    assert [row["iteration"] for row in rows if "mig" in row] == [1, 2, 3, 4, 5]
    assert_equal_states(final_state(directory), uninterrupted[1])


def test_a_row_s_time_includes_its_training(uninterrupted: tuple[list[Row], Any]) -> None:
    rows, _ = uninterrupted
    steps = [2, 2, 1]
    for row, step in zip(rows, steps, strict=True):
        assert 0 < row["seconds_per_iteration"] * step <= row["seconds"]


# Interruptions


@pytest.mark.parametrize("num_rows", [0, 1, 2, 3])
@pytest.mark.parametrize("schedule", [SCHEDULE, NEVER_SAVED], ids=["always saved", "never saved"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    dataset: Dataset,
    directory: MemberDirectory,
    uninterrupted: tuple[list[Row], dict[str, Any]],
    num_rows: int,
    schedule: Schedule,
) -> None:
    rows, state = uninterrupted
    before = interrupt_after(num_rows, schedule, dataset, directory)
    assert without_times(before) == without_times(rows[:num_rows])
    saved = load_checkpoint(directory.checkpoint)["history"] if directory.checkpoint.exists() else []
    after = list(train_member(CONFIG, schedule, dataset, directory))
    assert without_times(after) == without_times(rows)
    assert after[: len(saved)] == saved  # times included: these rows were not trained again
    assert_equal_states(final_state(directory), state)
    assert without_times(directory.read_result()["history"]) == without_times(rows)


def test_killed_between_checkpoints_equals_uninterrupted_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory, uninterrupted: tuple[list[Row], dict[str, Any]]
) -> None:
    """A checkpoint older than the last row: what came after it is trained again."""
    interrupt_after(1, SCHEDULE, dataset, directory)
    saved_at = final_state(directory)["iteration"]
    assert 0 < saved_at < 4
    assert [row["iteration"] for row in interrupt_after(2, NEVER_SAVED, dataset, directory)] == [2, 4]
    assert final_state(directory)["iteration"] == saved_at
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    assert without_times(rows) == without_times(uninterrupted[0])
    assert_equal_states(final_state(directory), uninterrupted[1])


def test_interrupted_within_a_row_equals_uninterrupted_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory, uninterrupted: tuple[list[Row], dict[str, Any]]
) -> None:
    """Rows may be far apart, so checkpoints need not wait for one; the row's means must not lose their beginning."""
    interrupt_after(1, SCHEDULE, dataset, directory)
    assert final_state(directory)["iteration"] == 1
    assert load_checkpoint(directory.checkpoint)["history"] == []
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    assert without_times(rows) == without_times(uninterrupted[0])
    assert_equal_states(final_state(directory), uninterrupted[1])


def test_interrupted_after_every_row_equals_uninterrupted_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory, uninterrupted: tuple[list[Row], dict[str, Any]]
) -> None:
    for num_rows in (1, 2, 3):
        rows = interrupt_after(num_rows, SCHEDULE, dataset, directory)
    assert without_times(rows) == without_times(uninterrupted[0])
    assert_equal_states(final_state(directory), uninterrupted[1])


@pytest.mark.parametrize(
    "config",
    [FACTOR_VAE, dataclasses.replace(FACTOR_VAE, tau=0), dataclasses.replace(CONFIG, tau=0, alpha=0)],
    ids=["FactorVAE", "FactorVAE's baseline", "unsupervised"],
)
def test_interrupted_members_of_other_kinds_equal_uninterrupted_ones_bit_for_bit(
    dataset: Dataset, directory: MemberDirectory, tmp_path: Path, config: MemberConfig
) -> None:
    """Within a row, by a kill between checkpoints, and after a row; the discriminator's state goes along."""
    seldom = dataclasses.replace(SCHEDULE, checkpoint_seconds=1e9)
    at_once = MemberDirectory(tmp_path / "at once")
    expected = list(train_member(config, seldom, dataset, at_once))
    interrupt_after(1, SCHEDULE, dataset, directory, config)
    saved = final_state(directory)
    assert saved["iteration"] == 1
    kinds = {"model", "discriminator"} if config.regulariser == "factor_vae" else {"model"}
    assert saved["optimisers"].keys() == kinds
    interrupt_after(2, seldom, dataset, directory, config)
    assert final_state(directory)["iteration"] == 1
    rows = list(train_member(config, SCHEDULE, dataset, directory))
    assert without_times(rows) == without_times(expected)
    assert_equal_states(final_state(directory), final_state(at_once))
    assert directory.traversal.read_bytes() == at_once.traversal.read_bytes()


def test_interrupted_member_has_no_result(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(2, SCHEDULE, dataset, directory)
    assert directory.read_result() is None
    assert directory.last_evaluation(1) is None
    assert not directory.traversal.exists()


def test_finished_member_is_not_trained_again(dataset: Dataset, directory: MemberDirectory) -> None:
    first = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    written = directory.checkpoint.stat().st_mtime_ns
    assert list(train_member(CONFIG, SCHEDULE, dataset, directory)) == first
    assert directory.checkpoint.stat().st_mtime_ns == written


def test_killed_between_last_checkpoint_and_result_still_gets_a_result(
    dataset: Dataset, directory: MemberDirectory
) -> None:
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    directory.result.unlink()  # as if the process had been killed just before it was written
    assert list(train_member(CONFIG, SCHEDULE, dataset, directory)) == rows
    result = directory.read_result()
    assert result is not None
    assert result["status"] == "finished"
    assert result["history"] == rows


# Budgets


@pytest.mark.parametrize("iterations", [4, 5], ids=["whole rows", "last row in part"])
def test_raised_budget_goes_on_from_the_checkpoint(
    dataset: Dataset, directory: MemberDirectory, tmp_path: Path, iterations: int
) -> None:
    small = dataclasses.replace(SCHEDULE, iterations=iterations)
    large = dataclasses.replace(SCHEDULE, iterations=8)
    first = list(train_member(CONFIG, small, dataset, directory))
    raised = list(train_member(CONFIG, large, dataset, directory))
    assert raised[: len(first)] == first  # times included: nothing was trained again
    at_once = MemberDirectory(tmp_path / "at once")
    direct = list(train_member(CONFIG, large, dataset, at_once))
    assert_equal_states(final_state(directory), final_state(at_once))
    assert [row["iteration"] for row in raised] == sorted({iterations} | {2, 4, 6, 8})
    assert without_times(raised)[-1] == without_times(direct)[-1]
    assert directory.read_result()["history"] == raised


def test_budget_lowered_to_the_checkpoint_finishes_the_member(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(2, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory)
    rows = list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=4), dataset, directory))
    assert [row["iteration"] for row in rows] == [2, 4]
    assert directory.last_evaluation(4) == rows[-1]


@pytest.mark.parametrize("iterations", [2, 3])
def test_budget_lowered_below_the_checkpoint_is_refused(
    dataset: Dataset, directory: MemberDirectory, iterations: int
) -> None:
    """The checkpoint lies within a row, at 3: neither it nor the last row was evaluated."""
    interrupt_after(2, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory)
    assert final_state(directory)["iteration"] == 3
    with pytest.raises(InvalidInputError, match=f"which is at 3, got {iterations}"):
        list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=iterations), dataset, directory))
    assert directory.last_evaluation(iterations) is None


def test_budget_lowered_before_the_first_row_is_refused(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(1, dataclasses.replace(SCHEDULE, iterations=8), dataset, directory)
    assert load_checkpoint(directory.checkpoint)["history"] == []
    with pytest.raises(InvalidInputError, match="which is at 1, got 1"):
        list(train_member(CONFIG, dataclasses.replace(SCHEDULE, iterations=1), dataset, directory))
    assert directory.last_evaluation(1) is None


# Checkpoints that do not fit


def refusal(config: MemberConfig, dataset: Dataset, directory: MemberDirectory) -> str:
    """The one line with which the directory's checkpoint is refused."""
    before = directory.checkpoint.read_bytes()
    with pytest.raises(InvalidInputError, match=r"^[^\n]+$") as caught:
        list(train_member(config, SCHEDULE, dataset, directory))
    assert directory.checkpoint.read_bytes() == before
    assert directory.read_result() is None
    assert str(directory.checkpoint) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.5},
        {"seed": 1},
        {"z_dim": 2},
        {"regulariser": "factor_vae"},
        {"observed_factors": ("shape",)},
        {"instance_norm": False},
        {"likelihood": "bernoulli"},
        {"density_estimator": "minibatch_stratified"},
    ],
    ids=str,
)
def test_checkpoint_of_another_configuration_is_refused(
    dataset: Dataset, directory: MemberDirectory, change: dict[str, Any]
) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    assert "must have config" in refusal(dataclasses.replace(CONFIG, **change), dataset, directory)


def test_checkpoint_of_other_data_is_refused(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    other = dataclasses.replace(dataset, store=dataclasses.replace(dataset.store, fingerprint="another"))
    assert "must have fingerprint another, got" in refusal(CONFIG, other, directory)


def test_checkpoint_of_the_same_configuration_in_whole_numbers_is_taken(
    dataset: Dataset, directory: MemberDirectory
) -> None:
    before = interrupt_after(2, SCHEDULE, dataset, directory)
    whole = dataclasses.replace(CONFIG, tau=1, gamma_tc=4, alpha=1)
    assert next(train_member(whole, SCHEDULE, dataset, directory)) == before[0]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"not a checkpoint"],
    ids=["empty", "half", "text"],
)
def test_damaged_checkpoint_is_refused(
    dataset: Dataset, directory: MemberDirectory, damage: Callable[[bytes], bytes]
) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    directory.checkpoint.write_bytes(damage(directory.checkpoint.read_bytes()))
    assert "must be a whole checkpoint" in refusal(CONFIG, dataset, directory)


@pytest.mark.parametrize("missing", ["config", "fingerprint", "history", "trainer"])
def test_checkpoint_with_something_missing_is_refused(
    dataset: Dataset, directory: MemberDirectory, missing: str
) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    state = load_checkpoint(directory.checkpoint)
    del state[missing]
    save_checkpoint(directory.checkpoint, state)
    assert missing in refusal(CONFIG, dataset, directory)


# Results


def test_result_says_what_was_trained_and_how_it_went(dataset: Dataset, directory: MemberDirectory) -> None:
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    result = json.loads(directory.result.read_text())
    assert result == directory.read_result()
    assert set(result) == {"format", "status", "reason", "config", "history", "environment", "environments"}
    assert (result["status"], result["reason"]) == ("finished", "")
    assert MemberConfig(**result["config"]) == CONFIG
    assert result["history"] == rows
    environment = result["environment"]
    assert environment["torch"] == torch.__version__
    assert (environment["compiled"], environment["native"]) == (False, False)
    assert environment["device"]
    assert environment["python"].startswith("3.")
    files = sorted(path.name for path in directory.path.iterdir())
    assert files == ["checkpoint.pt", "result.json", "traversal.png"]


DAMAGED = [b"", b"\0" * 40, b'{"status": "fini', b"\xff\xfe", b"[]", b"{}"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_result_counts_as_none(content: bytes, directory: MemberDirectory) -> None:
    directory.path.mkdir(parents=True)
    directory.result.write_bytes(content)
    assert directory.read_result() is None
    assert directory.stopped_at is None
    assert directory.last_evaluation(1) is None


def test_a_damaged_result_is_written_anew_from_the_checkpoint(dataset: Dataset, directory: MemberDirectory) -> None:
    rows = list(train_member(CONFIG, SCHEDULE, dataset, directory))
    whole = directory.read_result()
    directory.result.write_bytes(directory.result.read_bytes()[:-30])
    assert list(train_member(CONFIG, SCHEDULE, dataset, directory)) == rows
    assert directory.read_result() == whole


def test_going_on_with_other_arithmetic_is_told_and_kept(
    dataset: Dataset, directory: MemberDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    monkeypatch.setattr("larvae.member.device_name", lambda device: "another processor")
    with pytest.warns(UserWarning, match=r"goes on from iteration \d with device another processor after"):
        list(train_member(CONFIG, SCHEDULE, dataset, directory))
    result = json.loads(directory.result.read_text())
    first, second = result["environments"]
    assert (first["iteration"], second["device"]) == (0, "another processor")
    assert 0 < second["iteration"] <= 2
    assert second == result["environment"] == first | {"device": "another processor", "iteration": second["iteration"]}


def test_going_on_as_before_is_one_environment(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory)
    list(train_member(CONFIG, SCHEDULE, dataset, directory))
    assert len(json.loads(directory.result.read_text())["environments"]) == 1


def test_member_leaves_a_picture_of_its_end(dataset: Dataset, directory: MemberDirectory) -> None:
    list(train_member(CONFIG, SCHEDULE, dataset, directory))
    trainer = Trainer(CONFIG, dataset)
    trainer.train(5)
    expected = traversal_png(trainer, reference_index(dataset.num_images, CONFIG.seed))
    assert directory.traversal.read_bytes() == expected


def test_last_evaluation_is_that_of_a_member_finished_far_enough(directory: MemberDirectory) -> None:
    assert directory.last_evaluation(1) is None  # not even a directory
    history = [{"iteration": 2, "loss": 1.0}, {"iteration": 4, "loss": 0.5, "mig": 0.1}]
    directory.write_result(CONFIG, "finished", history)
    assert directory.last_evaluation(3) == directory.last_evaluation(4) == history[-1]
    assert directory.last_evaluation(5) is None


@pytest.mark.parametrize("history", [[], [{"iteration": 2, "loss": 1.0}]], ids=["no row", "a row"])
def test_failed_member_has_a_reason_and_no_last_evaluation(directory: MemberDirectory, history: list[Row]) -> None:
    directory.write_result(CONFIG, "failed", history, reason="loss not finite", attempts=2)
    result = directory.read_result()
    assert result == {
        "format": FORMAT,
        "status": "failed",
        "reason": "loss not finite",
        "config": CONFIG.to_dict(),
        "history": history,
        "attempts": 2,
    }
    assert directory.last_evaluation(1) is None


# Failures

DIVERGING = dataclasses.replace(CONFIG, learning_rate=1e38)


def test_diverging_member_raises_and_is_not_finished(dataset: Dataset, directory: MemberDirectory) -> None:
    schedule = dataclasses.replace(SCHEDULE, iterations=4, log_every=1)
    training = train_member(DIVERGING, schedule, dataset, directory)
    assert next(training)["iteration"] == 1  # the loss before the first step is sound
    with pytest.raises(NonFiniteLossError, match="not finite"):
        next(training)
    assert directory.read_result() is None
    with pytest.raises(NonFiniteLossError, match="not finite"):  # and so again when it is resumed
        list(train_member(DIVERGING, schedule, dataset, directory))
    assert directory.read_result() is None


def test_member_that_diverges_in_the_step_before_an_evaluation_is_a_failed_member(
    dataset: Dataset, directory: MemberDirectory
) -> None:
    """The losses of the row are still finite, the codes are not."""
    schedule = dataclasses.replace(SCHEDULE, iterations=1, log_every=1)
    with pytest.raises(NonFiniteLossError):
        list(train_member(DIVERGING, schedule, dataset, directory))
    assert directory.read_result() is None


# Members as their checkpoints have them


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a member that reached its end, of which nothing is a default that matters."""
    config = dataclasses.replace(CONFIG, z_dim=3, observed_factors=("shape", "scale"), instance_norm=False)
    directory = MemberDirectory(tmp_path_factory.mktemp("finished"))
    list(train_member(config, SCHEDULE, dataset, directory))
    return directory.checkpoint


def tampered(checkpoint: Path, path: Path, **changes: Any) -> Path:
    """A copy of a checkpoint with something else in it."""
    save_checkpoint(path, load_checkpoint(checkpoint) | changes)
    return path


def restore_refusal(checkpoint: Path, dataset: Dataset) -> str:
    """The one line with which a checkpoint is refused."""
    with pytest.raises(InvalidInputError, match=r"^[^\n]+$") as caught:
        restore(checkpoint, dataset)
    return str(caught.value)


def test_restored_member_is_the_one_that_was_saved(dataset: Dataset, finished: Path) -> None:
    trainer = restore(finished, dataset)
    assert trainer.config == checkpoint_config(finished)
    assert trainer.config.observed_factors == ("shape", "scale")
    assert trainer.config.z_dim == 3
    assert trainer.iteration == 5
    assert_equal_states(trainer.state_dict(), final_state(MemberDirectory(finished.parent)))
    again = traversal_png(trainer, reference_index(dataset.num_images, trainer.config.seed))
    assert again == MemberDirectory(finished.parent).traversal.read_bytes()


def test_restored_member_goes_on_bit_for_bit(dataset: Dataset, finished: Path) -> None:
    restored, uninterrupted = restore(finished, dataset), Trainer(checkpoint_config(finished), dataset)
    uninterrupted.train(5)
    assert restored.train(2) == uninterrupted.train(2)
    assert_equal_states(restored.state_dict(), uninterrupted.state_dict())


def test_checkpoint_within_a_row_can_be_restored(dataset: Dataset, directory: MemberDirectory) -> None:
    interrupt_after(1, SCHEDULE, dataset, directory, FACTOR_VAE)
    trainer = restore(directory.checkpoint, dataset)
    assert (trainer.config, trainer.iteration) == (FACTOR_VAE, 1)


def test_restoring_with_other_data_is_refused(dataset: Dataset, finished: Path) -> None:
    other = dataclasses.replace(dataset, store=dataclasses.replace(dataset.store, fingerprint="another"))
    message = restore_refusal(finished, other)
    assert f"`{finished}` must have fingerprint another, got {dataset.fingerprint}" == message


def test_restoring_a_member_of_another_data_set_is_refused(dataset: Dataset, finished: Path, tmp_path: Path) -> None:
    config = MemberConfig(dataset="shapes3d").to_dict()
    restore_refusal(tampered(finished, tmp_path / "checkpoint.pt", config=config), dataset)


@pytest.mark.parametrize("z_dim", [0, 4])
def test_restoring_another_number_of_latents_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path, z_dim: int
) -> None:
    config = load_checkpoint(finished)["config"] | {"z_dim": z_dim}
    path = tampered(finished, tmp_path / "checkpoint.pt", config=config)
    message = restore_refusal(path, dataset)
    assert f"`{path}` must fit {2 + z_dim} latents" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "change",
    [{"instance_norm": True}, {"regulariser": "factor_vae"}, {"observed_factors": ["shape"]}],
    ids=str,
)
def test_restoring_networks_of_another_shape_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = load_checkpoint(finished)["config"] | change
    path = tampered(finished, tmp_path / "checkpoint.pt", config=config)
    assert str(path) in restore_refusal(path, dataset)


def test_restoring_a_configuration_that_breaks_a_rule_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path
) -> None:
    config = load_checkpoint(finished)["config"] | {"tau": -1.0}
    path = tampered(finished, tmp_path / "checkpoint.pt", config=config)
    assert "`tau` must be finite and >= 0, got -1.0" in restore_refusal(path, dataset)


@pytest.mark.parametrize("config", [None, {}, {"unknown": 1}, "text", 3], ids=str)
def test_restoring_without_a_configuration_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path, config: object
) -> None:
    path = tampered(finished, tmp_path / "checkpoint.pt", config=config)
    assert str(path) in restore_refusal(path, dataset)


@pytest.mark.parametrize("state", [None, {}, {"iteration": 1}, {"iteration": 1, "model": None}], ids=str)
def test_restoring_without_a_whole_state_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path, state: object
) -> None:
    path = tampered(finished, tmp_path / "checkpoint.pt", trainer=state)
    assert str(path) in restore_refusal(path, dataset)


@pytest.mark.parametrize("missing", ["config", "fingerprint", "history", "trainer"])
def test_restoring_a_checkpoint_with_something_missing_is_refused(
    dataset: Dataset, finished: Path, tmp_path: Path, missing: str
) -> None:
    state = load_checkpoint(finished)
    del state[missing]
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state)
    assert str(path) in restore_refusal(path, dataset)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x89PNG"], ids=["empty", "text", "picture"])
def test_restoring_what_is_no_checkpoint_is_refused(dataset: Dataset, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    assert f"`{path}` must be a whole checkpoint" in restore_refusal(path, dataset)
    assert f"`{tmp_path / 'none'}` must be a whole checkpoint" in restore_refusal(tmp_path / "none", dataset)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), None], ids=["list", "tensor", "nothing"])
def test_restoring_what_another_program_saved_is_refused(dataset: Dataset, tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert str(path) in restore_refusal(path, dataset)
