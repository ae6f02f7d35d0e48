"""CelebA (Liu et al., 2015): reads the published aligned photographs and their 40 binary attributes.

A source is a folder or an archive that holds `list_attr_celeba.txt`, or Kaggle's `.csv`, and the photographs or
`img_align_celeba.zip`, whatever folders are around them. The files need not be the published ones byte for byte: few
copies are. Names, attributes and each photograph are checked. `list_eval_partition.txt` may be there; nothing here
needs it, since the labelled images are drawn from all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import attribute_table, checksums, damage, listing, photographs, writing
from larvae.datasets.factors import Factors
from larvae.datasets.listing import Files, Read
from larvae.datasets.specification import Crop, Specification
from larvae.errors import InvalidInputError

ATTRIBUTES = (
    "5_o_clock_shadow",
    "arched_eyebrows",
    "attractive",
    "bags_under_eyes",
    "bald",
    "bangs",
    "big_lips",
    "big_nose",
    "black_hair",
    "blond_hair",
    "blurry",
    "brown_hair",
    "bushy_eyebrows",
    "chubby",
    "double_chin",
    "eyeglasses",
    "goatee",
    "gray_hair",
    "heavy_makeup",
    "high_cheekbones",
    "male",
    "mouth_slightly_open",
    "mustache",
    "narrow_eyes",
    "no_beard",
    "oval_face",
    "pale_skin",
    "pointy_nose",
    "receding_hairline",
    "rosy_cheeks",
    "sideburns",
    "smiling",
    "straight_hair",
    "wavy_hair",
    "wearing_earrings",
    "wearing_hat",
    "wearing_lipstick",
    "wearing_necklace",
    "wearing_necktie",
    "young",
)
"""The published names in their order, in lower case like all factors here."""

FACTORS = Factors(names=ATTRIBUTES, sizes=(2,) * len(ATTRIBUTES), values=dict.fromkeys(ATTRIBUTES, ("no", "yes")))

CROP = Crop(size=128, x=89, y=121)
"""The face without its background, as the StyleGAN line of work cuts it out."""

SPECIFICATION = Specification(
    name="celeba",
    label="CelebA",
    title="photographs of faces (Liu et al., 2015), cropped and brought to 64×64",
    factors=FACTORS,
    num_images=202_599,
    channels=3,
    takes="list_attr_celeba.txt and img_align_celeba.zip (1.4 GB, unpacked or not) in one folder, or Kaggle's copy",
    home="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    checksums={
        "list_attr_celeba.txt": ("md5", "75e246fa4810816ffd6ee81facbd244c"),
        "img_align_celeba.zip": ("md5", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    },
    crop=CROP,
)

_IMAGES = "img_align_celeba"
_TABLES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_IMAGE_SIZE = (178, 218)


class Copy(NamedTuple):
    """A copy of the data set that somebody has."""

    table: str
    """Path of the table of attributes."""
    images: list[str]
    """Paths of the photographs, in the order of their numbers."""
    read: Read
    """Gives the content at a path."""


def verify(specification: Specification, path: Path) -> str:
    """Check that a folder or archive holds all photographs and attributes; return the digest of the attributes.

    Raises InvalidInputError when something is missing, too many or altered. The photographs are not looked at.
    """
    with _opened(specification, path) as copy:
        algorithm, published = _checksum(specification, _TABLES[0])
        digest = hashlib.new(algorithm, _content(copy)).hexdigest()
        if digest != published:  # in another form, perhaps
            read_attributes(specification, copy)
    return digest


def convert(specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
    """Write the photographs of a verified copy, cropped, and their attributes to the prepared file `target`.

    progress: also tells which files are not the published ones. Raises InvalidInputError where the crop leaves the
    photographs, attributes are missing or not −1 or 1, or a photograph is missing, broken or of another size,
    naming the first.
    """
    crop = specification.crop or CROP
    require_inside(crop)
    with _opened(specification, path) as copy:
        classes = read_attributes(specification, copy)
        for line in differences(specification, copy, classes) if progress else ():
            print(line, flush=True)
        writing.write_colour(
            target,
            specification,
            photographs.batches(copy.read, copy.images, _IMAGE_SIZE, crop),
            classes=classes,
            description="converting CelebA",
            progress=progress,
        )


def require_inside(crop: Crop) -> None:
    """InvalidInputError unless a crop lies within a photograph of 178×218 pixels."""
    left, top = crop.x - crop.size // 2, crop.y - crop.size // 2
    width, height = _IMAGE_SIZE
    if crop.size < 1 or left < 0 or top < 0 or left + crop.size > width or top + crop.size > height:
        raise InvalidInputError(
            f"`crop` must lie within {width}×{height} pixels, got size {crop.size} around ({crop.x}, {crop.y})"
        )


def read_attributes(specification: Specification, copy: Copy) -> NDArray[np.uint8]:
    """The attributes as classes, 0 for no and 1 for yes, uint8 (N, 40); InvalidInputError unless all are there."""
    return attribute_table.read(copy.table, _content(copy), _names(specification), specification.factors.names)


def differences(specification: Specification, copy: Copy, classes: NDArray[np.uint8]) -> Iterator[str]:
    """Tell, a line each, which files are not the published ones, and what is known of their content."""
    algorithm, published = _checksum(specification, _TABLES[0])
    if hashlib.new(algorithm, _content(copy)).hexdigest() != published:
        names = [name.title().replace("_O_", "_o_") for name in specification.factors.names]
        as_published = attribute_table.published(classes, _names(specification), names)
        if (digest := hashlib.new(algorithm, as_published).hexdigest()) == published:
            yield f"`{copy.table}` is not the published file, but has the published attributes in another form"
        else:
            yield (
                f"`{copy.table}` has all attributes, but they are not known to be the published ones: "
                f"in the published form, {algorithm} {digest}, not {published}"
            )
    archive = next((path for path in Path(copy.images[0]).parents if path.is_file()), None)
    algorithm, published = _checksum(specification, f"{_IMAGES}.zip")
    if archive and checksums.of_file(archive, algorithm) != published:
        yield f"`{archive}` is not the published archive, but has all photographs: each is checked as it is read"


def _checksum(specification: Specification, name: str) -> tuple[str, str]:
    """Algorithm and digest of a published file."""
    return specification.checksums.get(name, ("md5", ""))


def _names(specification: Specification) -> list[str]:
    return [f"{number:06d}.jpg" for number in range(1, specification.num_images + 1)]


@contextlib.contextmanager
def _opened(specification: Specification, path: Path) -> Iterator[Copy]:
    """The copy at a path, while its archives are open: those that hold what does not lie unpacked beside them."""
    path = path.absolute()
    files: Files = listing.of_folder(path) if path.is_dir() else {str(path): listing.read_file}
    with contextlib.ExitStack() as stack:
        tables, images, unpacked = _tables(files), _aligned(path, files), _photographs(files)
        if not (tables and images):
            packed: Files = {}
            published = f"/{_IMAGES}.zip" if tables and unpacked else ".zip"  # others are not needed then
            for archive in [file for file in files if file.lower().endswith(published)]:
                packed |= stack.enter_context(listing.of_archive(Path(archive)))
            tables = tables or _tables(packed)
            images = images or _aligned(path, packed) or unpacked or _photographs(packed)
            files |= packed
        if not tables:  # the source may be the photographs alone, the table beside or above them
            around = [folder / place for folder in path.parents[:2] for place in (".", "Anno")]
            tables = [str(folder / name) for folder in around for name in _TABLES if (folder / name).is_file()]
            files |= dict.fromkeys(tables, listing.read_file)
        for found, name in ((tables, _TABLES[0]), (images, f"{_IMAGES}.zip")):
            if not found:
                takes = specification.takes
                raise InvalidInputError(f"the source of CelebA must be {takes}, got `{path}` without {name}")
        yield Copy(tables[0], _in_order(specification, images), lambda file: files[file](file))


def _tables(files: Files) -> list[str]:
    """Paths of tables of attributes, the published form first."""
    return [file for name in _TABLES for file in files if file.lower().endswith(f"/{name}")]


def _photographs(files: Files) -> list[str]:
    return [file for file in files if file.lower().endswith(".jpg")]


def _aligned(source: Path, files: Files) -> list[str]:
    """Paths of the aligned photographs, which are in a folder or an archive of the published name: the publisher has
    others, of the same names and uncropped, beside it."""
    places = {_IMAGES, f"{_IMAGES}.zip"}
    return [file for file in _photographs(files) if places & {*file.removeprefix(f"{source}/").lower().split("/")}]


def _in_order(specification: Specification, images: list[str]) -> list[str]:
    """Paths of photographs in the order of their numbers; InvalidInputError unless they are all that there are."""
    names = _names(specification)
    paths = {file.rpartition("/")[2].lower(): file for file in images}
    missing = [name for name in names if name not in paths]
    if missing or len(images) != len(names):
        known = {paths[name] for name in names if name in paths}
        others = (file for file in images if file not in known)
        fault = f"without {missing[0]}" if missing else f"with `{next(others)}` as well"
        folder = os.path.commonpath([Path(file).parent for file in images])
        raise InvalidInputError(
            f"`{folder}` must hold {len(names)} photographs, {names[0]} to {names[-1]}, got {len(images)} {fault}"
        )
    return [paths[name] for name in names]


def _content(copy: Copy) -> bytes:
    with damage.told(f"`{copy.table}` must be readable"):
        return copy.read(copy.table)
