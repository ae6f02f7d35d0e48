"""Data sets: what members train on, whatever file the images come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from larvae import files, streams
from larvae.datasets import celeba, dsprites, dsprites_published, integrity, isaac3d, layouts, shapes3d, store
from larvae.datasets.download import fetch
from larvae.datasets.factors import FactorGrid, Factors
from larvae.datasets.layouts import ImageStore
from larvae.datasets.specification import Crop, Specification
from larvae.errors import InvalidInputError, require_known
from larvae.streams import Stream


class Reader(Protocol):
    """The common interface of this package's modules that read published files."""

    def verify(self, specification: Specification, path: Path) -> str:
        """Return a digest of what is at a path; InvalidInputError unless it is what was published."""

    def convert(self, specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
        """Write the prepared file `target`; InvalidInputError where what was verified cannot be read."""


class Renderer(Protocol):
    """The common interface of this package's modules that draw images."""

    def write_rendered(self, specification: Specification, path: Path, *, progress: bool = False) -> None:
        """Write the prepared file `path`."""


class Source(NamedTuple):
    """A data set, and what its images come from: one of both modules at least."""

    specification: Specification
    reader: Reader | None = None
    renderer: Renderer | None = None


SOURCES = {
    source.specification.name: source
    for source in (
        Source(dsprites.SPECIFICATION, reader=dsprites_published, renderer=dsprites),
        Source(shapes3d.SPECIFICATION, reader=shapes3d),
        Source(shapes3d.RENDERED_SPECIFICATION, renderer=shapes3d),
        Source(isaac3d.SPECIFICATION, reader=isaac3d),
        Source(celeba.SPECIFICATION, reader=celeba),
    )
}
"""All data sets by name, in the paper's order."""
SPECIFICATIONS = {name: source.specification for name, source in SOURCES.items()}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and their factors."""

    specification: Specification
    store: ImageStore

    @property
    def factors(self) -> Factors:
        return self.specification.factors

    @property
    def grid(self) -> FactorGrid:
        """The factors where all combinations of them have an image; InvalidInputError where not all have."""
        if not isinstance(self.factors, FactorGrid):
            name = self.specification.name
            raise InvalidInputError(f"only a data set with all combinations of factors has them, got {name}")
        return self.factors

    @property
    def num_images(self) -> int:
        return self.specification.num_images

    @property
    def channels(self) -> int:
        return self.specification.channels

    @property
    def maximum(self) -> int:
        """The value of a white pixel."""
        return self.specification.maximum

    @property
    def fingerprint(self) -> str:
        """sha256 of the images: equal for equal images, whatever file they came from."""
        return self.store.fingerprint

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, channels, 64, 64) at the given indices."""
        return self.store.images(indices)

    def pictures(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The same, 0 to 255 whatever white is."""
        return self.images(indices) * np.uint8(255 // self.maximum)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class indices (n, k) of the images at the given indices."""
        if isinstance(self.factors, FactorGrid):
            return self.factors.classes(indices)
        return self.store.classes(indices)


def specification(name: str) -> Specification:
    """The specification of a data set. InvalidInputError, naming all, where there is none of the name."""
    require_known("dataset", name, SPECIFICATIONS)
    return SPECIFICATIONS[name]


def verify(name: str, data_file: Path | None = None) -> str | None:
    """Raise InvalidInputError unless the data set is known and can be prepared from what is given.

    data_file: a published file or folder, or a file that `prepare` made, on whatever machine. Without one,
    the data set must be rendered, or have been prepared before.
    Returns the digest of a given file.
    """
    known = specification(name)
    if data_file is None:
        if not known.is_rendered and not cached_path(name).exists():
            raise InvalidInputError(f"{name} is not prepared: run {how_to_prepare(known)}, or give --data-file")
        return None
    if integrity.is_prepared(data_file):
        return fingerprint(name, data_file)
    reader = SOURCES[name].reader
    if reader is None:
        raise InvalidInputError(f"`data_file` must be left out with {name}, which is rendered, got `{data_file}`")
    return reader.verify(known, data_file)


def prepare(
    name: str,
    data_file: Path | None = None,
    *,
    progress: bool = False,
    download: bool = False,
    url: str = "",
    crop: Crop | None = None,
) -> Path:
    """Make the prepared file of a data set in this node's cache, unless it is there; return its path.

    data_file: a published file or folder to convert, or a prepared file, which is used where it is. Without one
    the images are rendered; or, with `download`, downloaded from `url` or where their publisher keeps them.
    crop: what to cut out of photographs, where it is not to be the usual.
    Raises InvalidInputError where nothing tells where images are to come from, or what is there is not whole.
    """
    known, reader, renderer = _cropped(specification(name), crop), SOURCES[name].reader, SOURCES[name].renderer
    path = _cached(known) if download and data_file is None else place(name, data_file, crop)
    if path == data_file:
        return path
    can_be_made = data_file is not None or renderer is not None or known.url
    if path.exists() and not can_be_made:
        integrity.require_whole(path, known, _remedy(known))
        return path

    def make() -> None:
        if data_file is None and renderer is not None:
            renderer.write_rendered(known, path, progress=progress)
            return
        source = data_file or fetch(known, url, progress=progress)
        assert reader is not None, "verified above"
        reader.convert(known, source, path, progress=progress)

    return integrity.made_once(path, known, make)


def place(name: str, data_file: Path | None = None, crop: Crop | None = None) -> Path:
    """The path of the file that `prepare` makes, or finds there; InvalidInputError as of `verify`."""
    digest = verify(name, data_file)
    if data_file is not None and integrity.is_prepared(data_file):
        return data_file
    return _cached(_cropped(specification(name), crop), digest)


def fingerprint(name: str, path: Path) -> str:
    """The fingerprint of a prepared file's images; InvalidInputError, with a remedy, unless they are whole."""
    known = specification(name)
    integrity.require_whole(path, known, _remedy(known))
    return layouts.open_images(path, known).fingerprint


def _remedy(known: Specification) -> str:
    if known.is_rendered:
        return "the same command with the published file, or without --data-file, makes it anew"
    return f"bring another copy, or run {how_to_prepare(known)}"


def how_to_prepare(known: Specification) -> str:
    """The command that prepares a data set, and what it takes."""
    command = f"python -m larvae.datasets prepare {known.name}"
    if known.is_rendered:
        return f"`{command}`"
    if known.url:
        return f"`{command}` (downloads {known.download_megabytes} MB)"
    return f"`{command} --source FOLDER`, with {known.takes}, from {known.home}"


def cached_path(name: str) -> Path:
    """The path of a prepared data set in the cache."""
    return _cached(specification(name))


def _cached(known: Specification, digest: str | None = None) -> Path:
    """digest: of the published file that was converted; it matters only where images can be rendered too."""
    parts = [known.name]
    if known.is_rendered and known.takes:  # rendered images and published ones stand side by side
        parts.append(f"rendered-{store.FORMAT}" if digest is None else digest[:12])
    if known.crop != specification(known.name).crop:
        parts += [str(number) for number in known.crop or ()]
    return store.cache_directory() / f"{'-'.join(parts)}.h5"


def _cropped(known: Specification, crop: Crop | None) -> Specification:
    if crop is None:
        return known
    if known.crop is None:
        cropped = ", ".join(other.name for other in SPECIFICATIONS.values() if other.crop is not None)
        raise InvalidInputError(f"`crop` must be left out except with {cropped}, got it with {known.name}")
    return replace(known, crop=crop)


def install(name: str, fingerprint: str, fetch: Callable[[], NDArray[np.uint8]]) -> Path:
    """Put a data set's prepared file from elsewhere into this node's cache, unless it is there whole; return the path.

    fingerprint: of its images. fetch: gives the file's bytes, uint8 (size of the file,), where they are needed.
    """
    path = store.cache_directory() / f"{name}-{fingerprint[:12]}.h5"

    def write() -> None:
        content = fetch()
        with store.advised(path), files.appearing(path) as partial:
            content.tofile(partial)

    return integrity.made_once(path, specification(name), write)


def open_dataset(name: str, path: Path) -> Dataset:
    """Open a file that `prepare` made; InvalidInputError unless it is a whole one of this data set."""
    known = specification(name)
    return Dataset(known, layouts.open_images(path, known))


def labelled_indices(num_images: int, label_rate: float, seed: int) -> NDArray[np.int64]:
    """The images whose labels are known: the first η·N of a permutation drawn from the seed.

    So all members of a seed share it, and a larger label rate keeps the smaller one's images.
    Raises InvalidInputError when no image is left.
    """
    count = round(label_rate * num_images)
    if count == 0:
        raise InvalidInputError(
            f"`label_rate` must leave a labelled image: at least {1 / num_images:.2g}, got {label_rate}"
        )
    return streams.generator(seed, Stream.LABELLED_SET).permutation(num_images)[:count]


def hold_out(labelled: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split labelled images into those to train on and those held out, round(share·n) of n.

    Held out are the first ones, so that a larger label rate holds out the smaller one's and more.
    Raises InvalidInputError where all would be held out, or fewer than two, which no metric can compare.
    """
    count = round(share * len(labelled))
    if share and not 1 < count < len(labelled):
        raise InvalidInputError(
            f"`held_out` must hold out two or more of {len(labelled)} labelled images and leave some, got {share}"
        )
    return labelled[count:], labelled[:count]
