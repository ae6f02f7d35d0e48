"""CelebA from its published layout."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from larvae import datasets
from larvae.datasets import Dataset, celeba, layouts
from larvae.datasets.factors import FactorGrid
from larvae.datasets.specification import Crop
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

ATTRIBUTES_FILE = "list_attr_celeba.txt"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    made = tiny_files.celeba(tmp_path)
    tiny_files.register(made, monkeypatch, tmp_path / "cache")
    return made


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Photographs in an archive, in a cache of its own."""
    made = tiny_files.celeba(tmp_path / "packed", archive=True)
    tiny_files.register(made, monkeypatch, tmp_path / "cache-packed")
    return made


def prepare(tiny: Tiny, crop: Crop | None = None) -> Dataset:
    return datasets.open_dataset("celeba", datasets.prepare("celeba", tiny.source, crop=crop))


def cut(images: NDArray[np.uint8], size: int, left: int, top: int) -> NDArray[np.uint8]:
    """Crops by slicing, and Pillow's bilinear filter."""
    cropped = [Image.fromarray(image[top : top + size, left : left + size]) for image in images]
    return np.stack([np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) for image in cropped])


def test_known_attributes_are_the_published_ones_in_lower_case() -> None:
    assert celeba.FACTORS.names == tuple(tiny_files.PUBLISHED_ATTRIBUTES.lower().split())
    assert (celeba.FACTORS.sizes, celeba.SPECIFICATION.num_images) == ((2,) * 40, 202_599)
    assert celeba.FACTORS.value_name("bangs", 1) == "yes"
    assert not isinstance(celeba.FACTORS, FactorGrid)
    assert not celeba.SPECIFICATION.has_independent_factors


def test_prepared_file_holds_the_cropped_faces_and_their_attributes(tiny: Tiny) -> None:
    dataset, order = prepare(tiny), np.array([19, 0, 3, *range(20)])
    assert dataset.num_images == 20
    assert np.array_equal(dataset.images(order).transpose(0, 2, 3, 1), cut(tiny.images, 128, 25, 57)[order])
    lines = (tiny.source / ATTRIBUTES_FILE).read_text().splitlines()[2:]
    expected = np.array([[int(value) for value in line.split()[1:]] for line in lines])
    classes = dataset.classes(order)
    assert classes.dtype == np.int64
    assert np.array_equal(classes, (expected[order] + 1) // 2)
    assert set(np.unique(dataset.factors.to_labels(classes))) == {-1.0, 1.0}


def test_altered_attribute_is_found(tiny: Tiny) -> None:
    specification, path = prepare(tiny).specification, datasets.cached_path("celeba")
    layouts.require_digest(path, specification)
    with h5py.File(path, "r+", locking=False) as file:
        file["classes"][0, 0] ^= 1
    with pytest.raises(InvalidInputError, match="it has been altered"):
        layouts.require_digest(path, specification)


def test_fingerprint_is_of_images_and_attributes_wherever_they_lie(
    tiny: Tiny, packed: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive, or the publisher's folders, give the same data set as a folder of photographs."""
    fingerprint = prepare(packed).fingerprint
    cache = packed.source.parents[1]
    for folder, name in (("Anno", ATTRIBUTES_FILE), ("Img", "img_align_celeba.zip")):
        (packed.source / folder).mkdir()
        shutil.move(packed.source / name, packed.source / folder / name)
    for number, made in enumerate((packed, tiny)):
        tiny_files.register(made, monkeypatch, cache / f"cache-{number}")
        assert prepare(made).fingerprint == fingerprint
    tiny_files.write_attributes(tiny.source / ATTRIBUTES_FILE, np.zeros((20, 40), np.int64))
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(cache / "another"))
    assert prepare(tiny).fingerprint != fingerprint


# Crops


def test_another_crop_gets_a_file_of_its_own_that_is_taken_for_data(tiny: Tiny) -> None:
    other = prepare(tiny, Crop(160, 89, 110))
    path = datasets.cached_path("celeba").with_name("celeba-160-89-110.h5")
    assert datasets.prepare("celeba", path) == path
    assert np.array_equal(other.images(np.arange(20)).transpose(0, 2, 3, 1), cut(tiny.images, 160, 9, 30))
    usual = datasets.prepare("celeba", tiny.source, crop=Crop(128, 89, 121))
    assert usual == datasets.cached_path("celeba")
    assert datasets.verify("celeba", usual) != other.fingerprint == datasets.verify("celeba", path)


def test_crops_lie_within_the_photographs_and_are_celeba_s_alone(tiny: Tiny) -> None:
    for crop in (Crop(178, 89, 109), Crop(1, 0, 0), Crop(128, 64, 64), Crop(128, 114, 154)):
        celeba.require_inside(crop)
    for crop in (Crop(0, 89, 121), Crop(180, 89, 121), Crop(128, 60, 121), Crop(128, 89, 155)):
        with pytest.raises(InvalidInputError, match=r"^`crop` must lie within 178×218 pixels, got size [^\n]+$"):
            datasets.prepare("celeba", tiny.source, crop=crop)
    with pytest.raises(InvalidInputError, match=r"^`crop` must be left out except with celeba, got it with dsprites$"):
        datasets.prepare("dsprites", crop=Crop(128, 89, 121))


# Bad sources


@pytest.mark.parametrize("name", [ATTRIBUTES_FILE, "img_align_celeba"])
def test_missing_part_is_named(tiny: Tiny, name: str) -> None:
    (tiny.source / name).rename(tiny.source.parent / "something else")
    rule = r"^the source of CelebA must be list_attr_celeba.txt and [^\n]+ without [a-zA-Z_/.]+$"
    with pytest.raises(InvalidInputError, match=rule):
        datasets.verify("celeba", tiny.source)


def test_broken_photograph_is_named_and_nothing_is_left(tiny: Tiny) -> None:
    image = tiny.source / "img_align_celeba/000013.jpg"
    small = io.BytesIO()
    Image.open(image).resize((178, 178)).save(small, "JPEG")
    for damaged in (image.read_bytes()[:200], small.getvalue()):
        image.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=rf"^the image `{image}` must be a whole one, but: [^\n]+$"):
            datasets.prepare("celeba", tiny.source)
        assert not datasets.cached_path("celeba").exists()
