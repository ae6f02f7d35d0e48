"""Isaac3D from its published layout."""

from __future__ import annotations

import io
import shutil
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


def test_prepared_file_holds_the_images_at_half_their_size(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they are published; the source is the folder or the one around it."""
    assert isaac3d.GRID.sizes == (3, 8, 5, 4, 4, 4, 6, 4, 4)
    for source in (tiny.source, tiny.source.parent):
        assert datasets.verify("isaac3d", source) == tiny_files.sha256(tiny.source / "labels.npy")
    dataset = prepare(tiny)
    indices = np.arange(0, dataset.num_images, 17)
    images = dataset.images(indices).transpose(0, 2, 3, 1)
    assert np.abs(images - halved(tiny.images[indices])).max() <= 1  # Pillow rounds after each axis
    order = np.random.default_rng(0).permutation(dataset.num_images)
    (tiny.source / "images").rename(tiny.source / "former")
    (tiny.source / "images").mkdir()
    for number, index in enumerate(order):
        (tiny.source / f"former/{index:06d}.png").rename(tiny.source / f"images/{number:06d}.png")
    np.save(tiny.source / "labels.npy", np.load(tiny.source / "labels.npy")[order])
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tiny.source.parent / "another cache"))
    assert prepare(tiny).fingerprint == dataset.fingerprint


def test_folders_of_another_kind_are_refused(tiny: Tiny) -> None:
    rule = r"^isaac3d is not prepared: run `[^\n]+ --source FOLDER`, with [^\n]+, from https://[^\n]+$"
    with pytest.raises(InvalidInputError, match=rule):
        datasets.prepare("isaac3d")
    with pytest.raises(InvalidInputError, match=r"^the source of Isaac3D must be the folder Isaac3D_down128 [^\n]+$"):
        datasets.verify("isaac3d", tiny.source / "images")
    (tiny.source / "images/000511.png").unlink()
    with pytest.raises(InvalidInputError, match=r"must have 512 images, got no `[^\n]+000511.png`$"):
        datasets.verify("isaac3d", tiny.source)


def test_labels_that_are_no_grid_are_refused(tiny: Tiny) -> None:
    """Those a little beside their class are rounded to it, and nothing is unpickled."""
    path = tiny.source / "labels.npy"
    labels = np.load(path)
    np.save(path, labels * (1 - 1e-6))
    datasets.verify("isaac3d", tiny.source)
    for changed in (
        labels[np.zeros(len(labels), np.int64)],  # one image again and again
        labels * 2,
        np.where(labels == 1, 0.5, labels),
        np.where(np.arange(9) == 4, np.nan, labels),
        labels[:, 1:],
        labels.astype(str),
    ):
        np.save(path, changed)
        with pytest.raises(InvalidInputError, match=r"^`[^\n]+labels.npy` must hold [^\n]+, got [^\n]+$"):
            datasets.verify("isaac3d", tiny.source)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"must be a NumPy array of numbers, but: [^\n]+$"):
        datasets.verify("isaac3d", tiny.source)


def test_broken_image_is_named_and_nothing_is_left(tiny: Tiny) -> None:
    image = tiny.source / "images/000003.png"
    small = io.BytesIO()
    Image.open(image).resize((64, 64)).save(small, "PNG")
    for damaged in (image.read_bytes()[:-50], small.getvalue(), b"no image", None):
        image.unlink() if damaged is None else image.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"^the image `000003.png` must be a whole one, but: [^\n]+$"):
            datasets.prepare("isaac3d", tiny.source)
    cached = datasets.cached_path("isaac3d")
    assert [path.name for path in cached.parent.iterdir()] == [f"{cached.name}.lock"]
