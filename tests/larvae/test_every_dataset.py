"""Every data set from its published files to the traversals of a member that was trained on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from larvae import datasets
from larvae.config import DEFAULT_GAMMA_TC, METRICS, MemberConfig, Schedule
from larvae.datasets import SPECIFICATIONS, Dataset
from larvae.datasets.factors import FactorGrid
from larvae.errors import InvalidInputError
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.resuming import restore
from larvae.training import Trainer
from larvae.traversal import STEPS, reference_index, traverse, traverse_data, traversed_values, value_names
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

LABEL_RATES = {"dsprites": 0.2, "shapes3d": 0.2, "shapes3d-rendered": 1e-4, "isaac3d": 0.1, "celeba": 0.5}
"""A few labelled images of each data set."""
FIXTURES: dict[str, Callable[[Path], Tiny]] = {
    "dsprites": tiny_files.dsprites,
    "shapes3d": tiny_files.shapes3d,
    "isaac3d": tiny_files.isaac3d,
    "celeba": tiny_files.celeba,
}
"""Those that come as files."""
SCORES = {
    "mig",
    "mig_y",
    "mig_aligned",
    "factor_vae_score",
    "beta_vae_score",
    "sap",
    "modularity",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
}
"""What is logged of independent factors, beside ℓ2 and the errors."""
SCHEDULE = Schedule(
    iterations=5, log_every=2, evaluate_every=2, evaluation_size=60, metrics=("mig", "l2"), checkpoint_seconds=1e9
)
ONLY_ERRORS = Schedule(
    iterations=3, log_every=3, evaluate_every=3, evaluation_size=8, final_metrics=("l2",), checkpoint_seconds=1e9
)
GAP, LINE, SIZE = 4, 12, 64
"""Pixels between images of a member's picture, above them for text, and of an image."""

each_name = pytest.mark.parametrize("name", SPECIFICATIONS)


class Prepared(NamedTuple):
    """A data set as it was prepared."""

    dataset: Dataset
    source: Path | None
    path: Path


class Trained(NamedTuple):
    """A member of a data set at its end."""

    dataset: Dataset
    config: MemberConfig
    directory: MemberDirectory
    rows: list[Row]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Prepared]]:
    """All data sets, tiny where they come as files, verified, converted and opened."""
    root = tmp_path_factory.mktemp("every")
    opened = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in SPECIFICATIONS:
            source = None
            patch.setenv("LARVAE_CACHE_DIR", str(root / "cache"))
            if name in FIXTURES:
                (root / name).mkdir()
                tiny = FIXTURES[name](root / name)
                tiny_files.register(tiny, patch, root / "cache")
                source = tiny.source
            datasets.verify(name, source)
            path = datasets.prepare(name, source)
            opened[name] = Prepared(datasets.open_dataset(name, path), source, path)
        yield opened


def config_of(name: str, **others: object) -> MemberConfig:
    return MemberConfig(**{"dataset": name, "label_rate": LABEL_RATES[name], "batch_size": 4, "z_dim": 2, **others})


def train(dataset: Dataset, config: MemberConfig, schedule: Schedule, path: Path) -> Trained:
    directory = MemberDirectory(path)
    return Trained(dataset, config, directory, list(train_member(config, schedule, dataset, directory)))


@pytest.fixture(scope="module")
def trained(prepared: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A member of every data set, with every metric at its end."""
    root = tmp_path_factory.mktemp("members")
    return {
        name: train(made.dataset, config_of(name, seed=1), SCHEDULE, root / name) for name, made in prepared.items()
    }


def errors_of(config: MemberConfig) -> set[str]:
    return {"l2", *(f"rmse_{name}" for name in config.labels)}


def evaluated(row: Row) -> set[str]:
    """What a row says of metrics."""
    return {name for name in row if name in SCORES or name == "l2" or name.startswith("rmse_")}


def test_every_data_set_is_tried() -> None:
    assert FIXTURES.keys() | {"shapes3d-rendered"} == SPECIFICATIONS.keys() == LABEL_RATES.keys()


@each_name
def test_prepared_once_it_is_known_from_then_on(prepared: dict[str, Prepared], name: str) -> None:
    dataset, source, path = prepared[name]
    assert datasets.verify(name, path) == dataset.fingerprint  # a prepared file is as good as the published one
    assert datasets.prepare(name, source) == path
    assert datasets.prepare(name, path) == path
    if not dataset.specification.is_rendered:
        assert datasets.prepare(name) == path
    assert dataset.images(np.array([0, 3])).shape == (2, dataset.channels, SIZE, SIZE)


@each_name
def test_rows_are_finite_and_have_the_metrics_that_apply(trained: dict[str, Trained], name: str) -> None:
    dataset, config, _, rows = trained[name]
    assert [row["iteration"] for row in rows] == [2, 4, 5]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    independent = isinstance(dataset.factors, FactorGrid)
    assert independent == (name != "celeba")
    mig = {"mig", "mig_y", "mig_aligned"} if independent else set()
    assert [evaluated(row) for row in rows[:-1]] == [errors_of(config) | mig] * 2
    assert evaluated(rows[-1]) == errors_of(config) | (SCORES if independent else set())
    assert set(METRICS) <= set(SCHEDULE.final_metrics)


@each_name
def test_scores_lie_where_they_can(trained: dict[str, Trained], name: str) -> None:
    for row in trained[name].rows:
        assert all(0 <= row[score] <= 1 for score in SCORES & row.keys() - {"mig_aligned"})
        assert all(row[error] > 0 for error in errors_of(trained[name].config) & row.keys())


@each_name
def test_the_picture_has_a_row_a_factor(trained: dict[str, Trained], name: str) -> None:
    dataset, _, directory, _ = trained[name]
    picture = Image.open(directory.traversal)
    picture.load()
    rows, columns = dataset.factors.num_factors, 1 + STEPS
    assert picture.size == (GAP + columns * (SIZE + GAP), GAP + rows * (SIZE + LINE + GAP))


@each_name
def test_a_member_is_restored_and_traversed(trained: dict[str, Trained], name: str) -> None:
    dataset, config, directory, _ = trained[name]
    trainer = restore(directory.checkpoint, dataset)
    assert trainer.iteration == SCHEDULE.iterations
    reference = reference_index(dataset.num_images, config.seed)
    traversals = traverse(trainer, reference)
    assert [traversal.factor for traversal in traversals] == list(dataset.factors.names)
    for factor, names, images in traversals:
        assert names == value_names(dataset.factors, factor, traversed_values(dataset.factors, factor))
        assert images.shape == (STEPS, dataset.channels, SIZE, SIZE)  # of an attribute that is there or not too
        assert images.dtype == np.uint8
        assert not np.array_equal(images[0], images[-1])  # the label says something


@pytest.mark.parametrize("name", [name for name in SPECIFICATIONS if name != "celeba"])
def test_a_grid_s_own_images_are_traversed(prepared: dict[str, Prepared], name: str) -> None:
    dataset, reference = prepared[name].dataset, 17
    factors = dataset.factors
    assert isinstance(factors, FactorGrid)
    traversals = traverse_data(dataset, reference, factors.names, classes=True)
    assert [traversal.factor for traversal in traversals] == list(factors.names)
    for column, (factor, names, images) in enumerate(traversals):
        shown = traversed_values(factors, factor, classes=True).astype(int)
        classes = np.array([factors.classes(np.array([reference]))[0]] * len(shown))
        classes[:, column] = shown
        white = {1: 255, 255: 1}[dataset.maximum]
        expected = dataset.images(np.ravel_multi_index(tuple(classes.T), factors.sizes)) * white
        assert np.array_equal(images, expected)
        assert names == tuple(factors.value_name(factor, int(value)) for value in shown)
        assert images.max() > 128  # 0 to 255, dSprites too


def test_celeba_has_no_images_of_all_combinations(prepared: dict[str, Prepared]) -> None:
    with pytest.raises(InvalidInputError, match=r"^[^\n]*all combinations of factors[^\n]*got celeba$"):
        traverse_data(prepared["celeba"].dataset, 0, ["smiling"])


@pytest.mark.parametrize("regulariser", DEFAULT_GAMMA_TC)
def test_every_regulariser_trains_in_colour(prepared: dict[str, Prepared], tmp_path: Path, regulariser: str) -> None:
    config = config_of("shapes3d", regulariser=regulariser, gamma_tc=DEFAULT_GAMMA_TC[regulariser])
    [row] = train(prepared["shapes3d"].dataset, config, ONLY_ERRORS, tmp_path).rows
    assert all(math.isfinite(value) for value in row.values())
    assert ("total_correlation" in row) == (regulariser != "beta_vae")
    assert ("discriminator_loss" in row) == (regulariser == "factor_vae")


def test_some_of_celeba_s_attributes_are_observed(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    """In the data set's order, whatever the order in which they are given; the others are left to z."""
    dataset = prepared["celeba"].dataset
    config = config_of("celeba", observed_factors=("smiling", "male"))
    _, _, directory, [row] = train(dataset, config, ONLY_ERRORS, tmp_path)
    assert evaluated(row) == {"l2", "rmse_male", "rmse_smiling"}
    trainer: Trainer = restore(directory.checkpoint, dataset)
    assert trainer.num_latents == 2 + config.z_dim
    traversals = traverse(trainer, 3)
    assert [(traversal.factor, traversal.value_names) for traversal in traversals] == [
        ("male", ("no", "≈no", "≈yes", "≈yes", "yes")),
        ("smiling", ("no", "≈no", "≈yes", "≈yes", "yes")),
    ]
    assert all(traversal.images.shape == (STEPS, 3, SIZE, SIZE) for traversal in traversals)
    with Image.open(directory.traversal) as picture:
        assert picture.size == (GAP + (1 + STEPS) * (SIZE + GAP), GAP + 2 * (SIZE + LINE + GAP))
    with pytest.raises(InvalidInputError, match=r"^`factor` must be one of male, smiling, got young$"):
        traverse(trainer, 3, ["young"])


def test_a_checkpoint_is_refused_by_another_data_set(trained: dict[str, Trained]) -> None:
    checkpoint = trained["shapes3d"].directory.checkpoint
    with pytest.raises(InvalidInputError, match=r"must be of the data set isaac3d, got one of shapes3d$"):
        restore(checkpoint, trained["isaac3d"].dataset)
