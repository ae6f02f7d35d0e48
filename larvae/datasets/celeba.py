"""CelebA (Liu et al., 2015): reads the published aligned photographs and their 40 binary attributes.

A source is a folder with the files under their published names: `list_attr_celeba.txt`, and `img_align_celeba` or
`img_align_celeba.zip`; or with the publisher's folders `Anno` and `Img` around them. `list_eval_partition.txt` may be
there; nothing here needs it, since the labelled images are drawn from all.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import photographs, writing
from larvae.datasets.checksums import require_checksum
from larvae.datasets.factors import Factors
from larvae.datasets.photographs import Read
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
    takes="list_attr_celeba.txt and img_align_celeba.zip (1.4 GB, unpacked or not) in one folder",
    home="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    checksums={
        "list_attr_celeba.txt": ("md5", "75e246fa4810816ffd6ee81facbd244c"),
        "img_align_celeba.zip": ("md5", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    },
    crop=CROP,
)

_IMAGES = "img_align_celeba"
_IMAGE_PLACES = (f"Img/{_IMAGES}", _IMAGES, f"Img/{_IMAGES}.zip", f"{_IMAGES}.zip")
_ATTRIBUTES_PLACES = ("list_attr_celeba.txt", "Anno/list_attr_celeba.txt")
_IMAGE_SIZE = (178, 218)


def verify(specification: Specification, path: Path) -> str:
    """Check that a folder holds the published files; return the digest of the attributes.

    Raises InvalidInputError when something is missing or altered. The photographs are not looked at.
    """
    _find(path, *_IMAGE_PLACES)
    return _checked(specification, _find(path, *_ATTRIBUTES_PLACES))


def convert(specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
    """Write the photographs of a verified folder, cropped, and their attributes to the prepared file `target`.

    Raises InvalidInputError where the crop leaves the photographs, the attributes are not the published ones,
    or a photograph is missing or broken, naming the first.
    """
    crop = specification.crop or CROP
    require_inside(crop)
    classes = read_attributes(specification, _find(path, *_ATTRIBUTES_PLACES))
    names = [_name(index) for index in range(specification.num_images)]
    with _photographs(specification, path) as read:
        writing.write_colour(
            target,
            specification,
            photographs.batches(read, names, _IMAGE_SIZE, crop),
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


def read_attributes(specification: Specification, path: Path) -> NDArray[np.uint8]:
    """The attributes as classes, 0 for no and 1 for yes, uint8 (N, 40).

    Raises InvalidInputError unless the file lists the known attributes of all photographs, −1 or 1 each.
    """
    num_images, names = specification.num_images, specification.factors.names
    count, header, *rows = [*path.read_text(errors="replace").splitlines(), "", ""]
    rows = [row for row in rows if row.strip()]
    if count.strip() != str(num_images) or len(rows) != num_images:
        raise InvalidInputError(
            f"`{path}` must list {num_images} photographs, got {len(rows)} with a count of '{count}'"
        )
    if tuple(header.lower().split()) != names:
        raise InvalidInputError(f"`{path}` must name the attributes {', '.join(names)}, got {header}")
    classes = np.empty((num_images, len(names)), np.uint8)
    for index, row in enumerate(rows):
        name, *values = row.split()
        if name != _name(index) or len(values) != len(names) or not {"-1", "1"}.issuperset(values):
            raise InvalidInputError(
                f"`{path}` must give {_name(index)} {len(names)} values of -1 or 1 in its row, got `{row[:40]}`"
            )
        classes[index] = [value == "1" for value in values]
    return classes


def _name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


@contextlib.contextmanager
def _photographs(specification: Specification, path: Path) -> Iterator[Read]:
    found = _find(path, *_IMAGE_PLACES)
    if found.is_dir():
        yield photographs.read_folder(found)
        return
    _checked(specification, found)
    try:
        archive = zipfile.ZipFile(found)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"`{found}` must be a whole archive, but: {error}") from None
    with archive:
        yield photographs.read_archive(archive, _IMAGES)


def _find(path: Path, *names: str) -> Path:
    """The first of some files that there is."""
    for name in names:
        if (path / name).exists():
            return path / name
    raise InvalidInputError(f"the source of CelebA must be {SPECIFICATION.takes}, got `{path}` without {names[-1]}")


def _checked(specification: Specification, path: Path) -> str:
    checksum = specification.checksums.get(path.name)
    return require_checksum("a CelebA file", path, checksum) if checksum else ""
