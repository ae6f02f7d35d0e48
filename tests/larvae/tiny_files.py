"""Tiny data sets in their published formats, to be prepared like the real ones.

Each function writes a few images under a directory and returns them with a specification that has their number,
factor sizes and checksums. `register` puts the specification in the place of the real one:

    tiny = tiny_files.shapes3d(tmp_path)
    tiny_files.register(tiny, monkeypatch, tmp_path / "cache")
    path = datasets.prepare("shapes3d", tiny.source)
    dataset = datasets.open_dataset("shapes3d", path)

This holds within one process: others, Ray's say, know the real specifications only.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from larvae import datasets
from larvae.datasets import celeba as real_celeba
from larvae.datasets import dsprites as real_dsprites
from larvae.datasets import isaac3d as real_isaac3d
from larvae.datasets import shapes3d as real_shapes3d
from larvae.datasets.factors import FactorGrid
from larvae.datasets.specification import Specification

SHAPES3D_SIZES = (2, 2, 2, 2, 2, 3)
ISAAC3D_SIZES = (2, 2, 2, 2, 2, 2, 2, 2, 2)
DSPRITES_SIZES = (3, 2, 3, 2, 2)
CELEBA_IMAGES = 20


class Tiny(NamedTuple):
    """A few images as they are published, and what is known of them."""

    source: Path
    """The published file or folder: what --source and --data-file take."""
    specification: Specification
    images: NDArray[np.uint8]
    """In the order of the prepared file; (N, height, width) in {0, 1}, or (N, height, width, 3)."""


def register(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Put a tiny data set in the place of the real one of its name, and its prepared files into a cache of its own."""
    monkeypatch.setitem(datasets.SPECIFICATIONS, tiny.specification.name, tiny.specification)
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(cache))


def dsprites(directory: Path, suffix: str = ".npz", sizes: tuple[int, ...] = DSPRITES_SIZES) -> Tiny:
    """The published dSprites, `.npz` or `.hdf5`, of the first classes of each factor."""
    grid = shrunk(real_dsprites.GRID, sizes)
    classes = grid.classes(np.arange(grid.num_images))
    images = real_dsprites.render(classes)
    latents = np.pad(classes, ((0, 0), (1, 0)))  # colour, which is constant
    path = directory / f"dsprites{suffix}"
    if suffix == ".npz":
        metadata = np.array({"author": "someone"}, dtype=object)  # pickled, as published
        np.savez_compressed(path, imgs=images, latents_classes=latents, metadata=metadata)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("imgs", data=images, compression="gzip")
            file["latents/classes"] = latents
    checksums = {suffix: ("sha256", sha256(path))}
    return Tiny(path, tiny_specification(real_dsprites.SPECIFICATION, grid, checksums), images)


def shapes3d(directory: Path, sizes: tuple[int, ...] = SHAPES3D_SIZES) -> Tiny:
    """The published 3D Shapes, of the first classes of each factor."""
    grid = shrunk(real_shapes3d.GRID, sizes)
    classes = grid.classes(np.arange(grid.num_images))
    images = pictures(classes, grid.sizes, 64)
    units = [np.arange(10) / 10] * 3 + [np.linspace(0.75, 1.25, 8), np.arange(4.0), np.linspace(-30, 30, 15)]
    labels = np.stack([unit[column] for unit, column in zip(units, classes.T, strict=True)], axis=1)
    path = directory / "3dshapes.h5"
    write_shapes3d(path, images, labels)
    checksums = {".h5": ("sha256", sha256(path))}
    return Tiny(path, tiny_specification(real_shapes3d.SPECIFICATION, grid, checksums), images)


def write_shapes3d(path: Path, images: NDArray[np.generic], labels: NDArray[np.generic]) -> None:
    """The published layout, in chunks that span images and pixels."""
    with h5py.File(path, "w") as file:
        chunks = (min(30, len(images)), 16, 16, 1) if images.ndim == 4 else None
        file.create_dataset("images", data=images, compression="gzip", chunks=chunks)
        file.create_dataset("labels", data=labels)


def isaac3d(directory: Path, sizes: tuple[int, ...] = ISAAC3D_SIZES, shuffle: bool = False) -> Tiny:
    """The published Isaac3D, of fewer classes; in the order of the factor grid, or in any other."""
    grid = shrunk(real_isaac3d.GRID, sizes)
    classes = grid.classes(np.arange(grid.num_images))
    images = pictures(classes, grid.sizes, 128)
    order = np.random.default_rng(0).permutation(len(images)) if shuffle else np.arange(len(images))
    folder = directory / "Isaac3D_down128"
    (folder / "images").mkdir(parents=True)
    for number, index in enumerate(order):
        Image.fromarray(images[index]).save(folder / f"images/{number:06d}.png", compress_level=1)
    np.save(folder / "labels.npy", (classes / (np.array(grid.sizes) - 1))[order].astype(np.float32))
    return Tiny(folder, tiny_specification(real_isaac3d.SPECIFICATION, grid, {}), images)


def celeba(directory: Path, num_images: int = CELEBA_IMAGES, archive: bool = False) -> Tiny:
    """The published CelebA: photographs, as JPEG files in a folder or in an archive, and random attributes."""
    attributes = np.random.default_rng(1).integers(0, 2, (num_images, 40))
    images = pictures(attributes[:, :8], (2,) * 8, 218)[:, :, :178]
    folder = directory / "celeba"
    folder.mkdir(parents=True)
    files = {f"{index + 1:06d}.jpg": jpeg(image) for index, image in enumerate(images)}
    if archive:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as packed:
            for name, content in files.items():
                packed.writestr(f"img_align_celeba/{name}", content)
    else:
        (folder / "img_align_celeba").mkdir()
        for name, content in files.items():
            (folder / "img_align_celeba" / name).write_bytes(content)
    write_attributes(folder / "list_attr_celeba.txt", attributes)
    checksums = {path.name: ("sha256", sha256(path)) for path in folder.iterdir() if path.is_file()}
    specification = replace(real_celeba.SPECIFICATION, num_images=num_images, checksums=checksums)
    return Tiny(folder, specification, np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files.values()]))


PUBLISHED_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones "
    "Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline "
    "Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick "
    "Wearing_Necklace Wearing_Necktie Young"
)


def write_attributes(path: Path, attributes: NDArray[np.integer]) -> None:
    """The published layout: a count, the names, and values of ±1, aligned with runs of spaces but for the first."""
    rows = [
        f"{index + 1:06d}.jpg " + " ".join(f"{2 * value - 1:2d}" for value in row).lstrip()
        for index, row in enumerate(attributes)
    ]
    path.write_text("\n".join([str(len(rows)), PUBLISHED_ATTRIBUTES + " ", *rows]) + "\n", newline="\r\n")


def tiny_specification(real: Specification, grid: FactorGrid, checksums: dict[str, tuple[str, str]]) -> Specification:
    return replace(real, factors=grid, num_images=grid.num_images, checksums=checksums)


def shrunk(grid: FactorGrid, sizes: tuple[int, ...]) -> FactorGrid:
    """A grid of the first classes of each factor; none of them goes round."""
    values = {
        name: values[:size] for name, size in zip(grid.names, sizes, strict=True) if (values := grid.values.get(name))
    }
    return FactorGrid(grid.names, sizes, values)


def pictures(classes: NDArray[np.integer], sizes: Sequence[int], size: int) -> NDArray[np.uint8]:
    """Smooth colour images that show their classes (n, k) as waves, uint8 (n, size, size, 3)."""
    y, x = np.mgrid[:size, :size] / size
    factors = np.arange(classes.shape[1])
    waves = np.cos(2 * np.pi * (np.outer(factors % 3 + 1, x) + np.outer(factors // 3 + 1, y)))  # [factor, pixel]
    colours = np.random.default_rng(2).uniform(-1, 1, (len(factors), 3))
    amounts = (classes / np.maximum(np.array(sizes) - 1, 1)).astype(np.float32)
    basis = (waves[:, :, None] * colours[:, None, :]).reshape(len(factors), -1).astype(np.float32)
    values = 128 + 60 * (amounts @ basis)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(-1, size, size, 3)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=95)
    return content.getvalue()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
