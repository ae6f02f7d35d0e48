"""Isaac3D from its published layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from larvae import datasets
from larvae.datasets import Dataset, isaac3d
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_files.isaac3d(tmp_path_factory.mktemp("isaac3d"))


@pytest.fixture
def tiny(written: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A copy that a test may break."""
    copy = written._replace(source=Path(shutil.copytree(written.source, tmp_path / written.source.name)))
    tiny_files.register(copy, monkeypatch, tmp_path / "cache")
    return copy


def prepare(tiny: Tiny) -> Dataset:
    return datasets.open_dataset("isaac3d", datasets.prepare("isaac3d", tiny.source))


def halved(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """128×128 to 64×64: weights 1, 3, 3, 1 of the nearest pixels on either axis, less at the edges."""
    size = images.shape[1] // 2
    distances = np.abs(np.arange(2 * size) + 0.5 - 2 * (np.arange(size)[:, None] + 0.5))
    weights = np.maximum(0, 1 - distances / 2)
    weights /= weights.sum(1, keepdims=True)
    return np.stack([weights @ image.transpose(2, 0, 1) @ weights.T for image in images]).transpose(0, 2, 3, 1)


def test_real_grid_is_that_of_the_demonstration_script() -> None:
    assert isaac3d.SPECIFICATION.num_images == 737_280
    assert isaac3d.GRID.sizes == (3, 8, 5, 4, 4, 4, 6, 4, 4)


def test_prepared_file_holds_the_images_at_half_their_size(tiny: Tiny) -> None:
    dataset = prepare(tiny)
    indices = np.arange(0, dataset.num_images, 17)
    images = dataset.images(indices).transpose(0, 2, 3, 1)
    assert np.abs(images - halved(tiny.images[indices])).max() <= 1  # Pillow rounds after each axis


@pytest.mark.parametrize("inside", [True, False])
def test_source_is_the_folder_or_the_one_around_it(tiny: Tiny, inside: bool) -> None:
    source = tiny.source if inside else tiny.source.parent
    assert datasets.verify("isaac3d", source) == tiny_files.sha256(tiny.source / "labels.npy")


def test_images_in_any_order_give_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = set()
    for shuffle in (False, True):
        made = tiny_files.isaac3d(tmp_path / str(shuffle), (3, 2, 2, 2, 2, 2, 2, 2, 2), shuffle)
        tiny_files.register(made, monkeypatch, tmp_path / f"cache-{shuffle}")
        fingerprints.add(prepare(made).fingerprint)
    assert len(fingerprints) == 1


def test_without_a_source_it_says_where_to_get_one(tiny: Tiny) -> None:
    rule = r"^isaac3d is not prepared: run `[^\n]+ --source FOLDER`, with [^\n]+, from https://[^\n]+$"
    with pytest.raises(InvalidInputError, match=rule):
        datasets.prepare("isaac3d")


def test_folder_without_labels_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^the source of Isaac3D must be the folder Isaac3D_down128 [^\n]+$"):
        datasets.verify("isaac3d", tiny.source / "images")


def duplicate(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return labels[np.zeros(len(labels), np.int64)]


def leave_the_interval(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return labels * 2


def fall_between(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return np.where(labels == 1, 0.5, labels)


def lose_a_number(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return np.where(np.arange(9) == 4, np.nan, labels)


def drop_a_factor(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return labels[:, 1:]


def become_words(labels: NDArray[np.floating]) -> NDArray[np.generic]:
    return labels.astype(str)


@pytest.mark.parametrize(
    "change", [duplicate, leave_the_interval, fall_between, lose_a_number, drop_a_factor, become_words]
)
def test_labels_that_are_no_grid_are_refused(
    tiny: Tiny, change: Callable[[NDArray[np.floating]], NDArray[np.generic]]
) -> None:
    path = tiny.source / "labels.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+labels.npy` must hold [^\n]+, got [^\n]+$"):
        datasets.verify("isaac3d", tiny.source)


def test_labels_are_never_unpickled(tiny: Tiny) -> None:
    np.save(tiny.source / "labels.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"must be a NumPy array of numbers, but: [^\n]+$"):
        datasets.verify("isaac3d", tiny.source)


def test_labels_a_little_beside_their_class_are_rounded_to_it(tiny: Tiny) -> None:
    path = tiny.source / "labels.npy"
    np.save(path, np.load(path) * (1 - 1e-6))
    datasets.verify("isaac3d", tiny.source)


def remove(image: Path) -> None:
    image.unlink()


def truncate(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-50])


def shrink(image: Path) -> None:
    Image.open(image).resize((64, 64)).save(image)


def replace_by_text(image: Path) -> None:
    image.write_text("no image")


@pytest.mark.parametrize("damage", [remove, truncate, shrink, replace_by_text])
def test_broken_image_is_named_and_nothing_is_left(tiny: Tiny, damage: Callable[[Path], None]) -> None:
    damage(tiny.source / "images/000300.png")
    with pytest.raises(InvalidInputError, match=r"^the image `000300.png` must be a whole one, but: [^\n]+$"):
        datasets.prepare("isaac3d", tiny.source)
    cached = datasets.cached_path("isaac3d")
    assert [path.name for path in cached.parent.iterdir()] == [f"{cached.name}.lock"]


def test_half_unpacked_folder_is_refused_before_anything_is_converted(tiny: Tiny) -> None:
    (tiny.source / "images/000511.png").unlink()
    with pytest.raises(InvalidInputError, match=r"must have 512 images, got no `[^\n]+000511.png`$"):
        datasets.verify("isaac3d", tiny.source)
