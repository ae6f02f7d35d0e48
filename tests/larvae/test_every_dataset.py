"""Every data set that comes as files, from these to the traversals of a member that was trained on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.datasets import SPECIFICATIONS, Dataset
from larvae.datasets.factors import FactorGrid
from larvae.errors import InvalidInputError
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.metrics import METRICS, applicable
from larvae.resuming import restore
from larvae.traversal import STEPS, reference_index, traverse, traverse_data, traversed_values, value_names
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

LABEL_RATES = {"dsprites": 0.2, "shapes3d": 0.2, "isaac3d": 0.1, "celeba": 0.5}
"""A few labelled images of each data set."""
FIXTURES: dict[str, Callable[[Path], Tiny]] = {
    "dsprites": tiny_files.dsprites,
    "shapes3d": tiny_files.shapes3d,
    "isaac3d": tiny_files.isaac3d,
    "celeba": tiny_files.celeba,
}
QUICK = tuple(metric for metric in METRICS if metric != "dci")
"""All metrics but the one that takes seconds."""
OF_FACTORS = {"mig", "mig_y", "mig_aligned", "factor_vae_score", "beta_vae_score", "sap", "modularity"}
"""Metrics of independent factors among them."""
SCHEDULE = Schedule(iterations=2, log_every=1, evaluate_every=1, evaluation_size=40, final_metrics=QUICK)
GAP, LINE, SIZE = 4, 12, 64
"""Pixels between images of a member's picture, above them for text, and of an image."""

each_name = pytest.mark.parametrize("name", FIXTURES)


class Prepared(NamedTuple):
    """A data set as it was prepared."""

    dataset: Dataset
    source: Path
    path: Path


class Trained(NamedTuple):
    """A member of a data set at its end."""

    dataset: Dataset
    config: MemberConfig
    directory: MemberDirectory
    rows: list[Row]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Prepared]]:
    """Tiny data sets, verified, converted and opened."""
    root, opened = tmp_path_factory.mktemp("every"), {}
    with pytest.MonkeyPatch.context() as patch:
        for name, make in FIXTURES.items():
            (root / name).mkdir()
            tiny = make(root / name)
            tiny_files.register(tiny, patch, root / "cache")
            datasets.verify(name, tiny.source)
            path = datasets.prepare(name, tiny.source)
            opened[name] = Prepared(datasets.open_dataset(name, path), tiny.source, path)
        yield opened


@pytest.fixture(scope="module")
def trained(prepared: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A member of each."""
    root, members = tmp_path_factory.mktemp("members"), {}
    for name, (dataset, _, _) in prepared.items():
        observed = ("smiling", "male") if name == "celeba" else ()
        rates = {"label_rate": LABEL_RATES[name], "batch_size": 3, "z_dim": 2, "seed": 1}
        config, directory = MemberConfig(dataset=name, observed_factors=observed, **rates), MemberDirectory(root / name)
        rows = list(train_member(config, SCHEDULE, dataset, directory))
        members[name] = Trained(dataset, config, directory, rows)
    return members


def test_every_data_set_is_tried() -> None:
    assert FIXTURES.keys() | {"shapes3d-rendered"} == SPECIFICATIONS.keys()


@each_name
def test_prepared_once_it_is_known_from_then_on(prepared: dict[str, Prepared], name: str) -> None:
    dataset, source, path = prepared[name]
    assert datasets.verify(name, path) == dataset.fingerprint  # a prepared file is as good as the published one
    assert {datasets.prepare(name, source), datasets.prepare(name, path)} == {path}
    if not dataset.specification.is_rendered:
        assert datasets.prepare(name) == path
    assert dataset.images(np.array([0, 3])).shape == (2, dataset.channels, SIZE, SIZE)


@each_name
def test_rows_are_finite_and_have_the_metrics_that_apply(trained: dict[str, Trained], name: str) -> None:
    dataset, config, _, rows = trained[name]
    independent = isinstance(dataset.factors, FactorGrid)
    assert independent == (name != "celeba")
    assert applicable(METRICS, dataset.specification) == (tuple(METRICS) if independent else ("l2",))
    errors = {"l2", *(f"rmse_{label}" for label in config.labels)}
    of_factors = [{"mig", "mig_y", "mig_aligned"}, OF_FACTORS] if independent else [set(), set()]
    for row, expected in zip(rows, of_factors, strict=True):
        assert all(math.isfinite(value) for value in row.values())
        assert {n for n in row if n in OF_FACTORS or n == "l2" or n.startswith("rmse_")} == errors | expected
        assert all(0 <= row[score] <= 1 for score in expected - {"mig_aligned"})
        assert all(row[error] > 0 for error in errors)


@each_name
def test_a_member_is_restored_and_traversed(trained: dict[str, Trained], name: str) -> None:
    """In the data set's order, whatever the order in which some factors are observed; its picture has a row of each."""
    dataset, config, directory, _ = trained[name]
    trainer = restore(directory.checkpoint, dataset)
    assert trainer.iteration == SCHEDULE.iterations
    factors = ("male", "smiling") if name == "celeba" else dataset.factors.names
    traversals = traverse(trainer, reference_index(dataset.num_images, config.seed))
    assert tuple(traversal.factor for traversal in traversals) == factors
    for factor, names, images in traversals:
        assert names == value_names(dataset.factors, factor, traversed_values(dataset.factors, factor))
        assert images.shape == (STEPS, dataset.channels, SIZE, SIZE)  # of an attribute that is there or not too
        assert images.dtype == np.uint8
        assert not np.array_equal(images[0], images[-1])  # the label says something
    with Image.open(directory.traversal) as picture:
        assert picture.size == (GAP + (1 + STEPS) * (SIZE + GAP), GAP + len(factors) * (SIZE + LINE + GAP))


@pytest.mark.parametrize("name", [name for name in FIXTURES if name != "celeba"])
def test_a_grid_s_own_images_are_traversed(prepared: dict[str, Prepared], name: str) -> None:
    dataset, reference = prepared[name].dataset, 17
    factors = dataset.factors
    assert isinstance(factors, FactorGrid)
    traversals = traverse_data(dataset, reference, factors.names, classes=True)
    for column, (factor, names, images) in enumerate(traversals):
        shown = traversed_values(factors, factor, classes=True).astype(int)
        classes = np.array([factors.classes(np.array([reference]))[0]] * len(shown))
        classes[:, column] = shown
        white = {1: 255, 255: 1}[dataset.maximum]
        assert np.array_equal(images, dataset.images(np.ravel_multi_index(tuple(classes.T), factors.sizes)) * white)
        assert (factor, names) == (factors.names[column], tuple(factors.value_name(factor, int(v)) for v in shown))
        assert images.max() > 128  # 0 to 255, dSprites too


def test_celeba_s_factors_are_no_grid_and_unobserved_ones_cannot_be_varied(trained: dict[str, Trained]) -> None:
    dataset, _, directory, _ = trained["celeba"]
    with pytest.raises(InvalidInputError, match=r"^[^\n]*all combinations of factors[^\n]*got celeba$"):
        traverse_data(dataset, 0, ["smiling"])
    trainer = restore(directory.checkpoint, dataset)
    with pytest.raises(InvalidInputError, match=r"^`factor` must be one of male, smiling, got young$"):
        traverse(trainer, 3, ["young"])
    with pytest.raises(InvalidInputError, match=r"must be of the data set isaac3d, got one of celeba$"):
        restore(directory.checkpoint, trained["isaac3d"].dataset)
