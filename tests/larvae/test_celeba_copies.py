"""CelebA as people have it: other forms of the same content are taken, other content is refused in one line."""

from __future__ import annotations

import csv
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from larvae import datasets
from larvae.datasets import attribute_table, celeba
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

TABLE, CSV, IMAGES = "list_attr_celeba.txt", "list_attr_celeba.csv", "img_align_celeba"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_files.celeba(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def fingerprint(published: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of the published files."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_files.register(published, patch, tmp_path_factory.mktemp("cache"))
        return prepared(published.source)


@pytest.fixture
def source(published: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change."""
    tiny_files.register(published, monkeypatch, tmp_path / "cache")
    return Path(shutil.copytree(published.source, tmp_path / "celeba"))


def prepared(source: Path) -> str:
    datasets.verify("celeba", source)
    path = datasets.prepare("celeba", source, progress=True)
    return datasets.open_dataset("celeba", path).fingerprint


# Tables of attributes


def rows(source: Path) -> list[list[str]]:
    """The published table without its count, its names in a column of their own."""
    _, header, *lines = (source / TABLE).read_text().splitlines()
    return [["image_id", *header.split()], *(line.split() for line in lines)]


def as_csv(source: Path, **options: str | int) -> str:
    text = io.StringIO()
    csv.writer(text, **({"lineterminator": "\n"} | options)).writerows(rows(source))  # type: ignore[arg-type]
    return text.getvalue()


def columns_turned(source: Path) -> str:
    return "\n".join(",".join([name, *reversed(values)]) for name, *values in rows(source))


def rows_turned(source: Path) -> str:
    header, *others = as_csv(source).splitlines()
    return "\n".join([header, *reversed(others)])


def text(source: Path) -> str:
    return (source / TABLE).read_text()


TABLES: dict[str, tuple[str, Callable[[Path], str | bytes]]] = {
    "comma separated, no count": (CSV, as_csv),
    "lines end in CR LF": (CSV, lambda source: as_csv(source, lineterminator="\r\n").encode()),
    "tabs": (CSV, lambda source: as_csv(source, delimiter="\t")),
    "semicolons": (CSV, lambda source: as_csv(source, delimiter=";")),
    "quotation marks": (CSV, lambda source: as_csv(source, quoting=csv.QUOTE_ALL)),
    "a count above the header": (CSV, lambda source: "20" + "," * 40 + "\n" + as_csv(source)),
    "the images' column has no name": (CSV, lambda source: as_csv(source).removeprefix("image_id")),
    "images in capitals": (CSV, lambda source: as_csv(source).replace(".jpg", ".JPG")),
    "attributes in another order": (CSV, columns_turned),
    "images in another order": (CSV, rows_turned),
    "lines end in LF": (TABLE, lambda source: text(source).encode()),
    "several spaces in the header": (TABLE, lambda source: text(source).replace("Bald ", "  Bald   ")),
    "blank lines": (TABLE, lambda source: "\n" + text(source).replace("000007", "\n000007") + "\n  \n\n"),
    "a byte order mark": (TABLE, lambda source: text(source).encode("utf-8-sig")),
    "UTF-16": (TABLE, lambda source: text(source).encode("utf-16")),
    "no count": (TABLE, lambda source: text(source).removeprefix("20\n")),
    "a name in capitals": (TABLE.upper(), lambda source: text(source)),
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_in_another_form_gives_the_same_data_set(
    source: Path, fingerprint: str, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    name, make = TABLES[form]
    made = make(source)
    (source / TABLE).unlink()
    (source / name).write_bytes(made if isinstance(made, bytes) else made.encode())
    assert prepared(source) == fingerprint
    told = f"`{source / name}` is not the published file, but has the published attributes in another form"
    assert told in capsys.readouterr().out.splitlines()


REFUSED: dict[str, tuple[str, str, str]] = {
    "an attribute is missing": (",Bald,", ",", "must name 40 attributes, got 39 without bald"),
    "two are missing": ("Bald,Bangs,", "", "must name 40 attributes, got 38 without bald, bangs"),
    "another one": (",Bald,", ",Hairless,", "must name 40 attributes, got 40 without bald"),
    "one more": (",Bald,", ",Bald,Kept,", "must name 40 attributes, got 41 with kept as well"),
    "one twice": (",Bald,", ",Bald,Bald,", "must name 40 attributes, got 41 with bald as well"),
    "no header": ("image_id", "000000.jpg,-1\n", "must name 40 attributes, got 1 without 5_o_clock_shadow, [^\n]+"),
    "a row is missing": ("000007.jpg[^\n]+\n", "", "must list 20 images, got 19"),
    "a row more": ("(?=000007)", "000021.jpg,1\n", "must list 20 images, got 21"),
    "another count": ("^", "21\n", "must list 20 images, got 20 with a count of 21"),
    "a row twice": ("000007.jpg", "000008.jpg", "must list 000001.jpg to 000020.jpg once each, got 000008.jpg as well"),
    "unknown image": ("000007.jpg", "7.jpg", "must list 000001.jpg to 000020.jpg once each, got 7.jpg as well"),
    "another value": ("(000007.jpg,)-?1,", r"\g<1>0,", "must give 40 values of -1 or 1 for 000007.jpg, got 0"),
    "no value": ("(000007.jpg,)-?1,", r"\1,", "must give 40 values of -1 or 1 for 000007.jpg, got 39 values"),
    "nothing": (r"[\s\S]+", "", "must name 40 attributes, got 0 without 5_o_clock_shadow, [^\n]+"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_other_tables_are_refused_before_anything_is_converted(source: Path, fault: str) -> None:
    old, new, message = REFUSED[fault]
    changed = re.sub(old, new, as_csv(source), count=1)
    (source / TABLE).unlink()
    (source / CSV).write_text(changed)
    with pytest.raises(InvalidInputError, match=rf"^`{source / CSV}` {message}$"):
        datasets.verify("celeba", source)


def test_attributes_that_differ_from_the_published_ones_are_told(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = source / TABLE
    path.write_bytes(path.read_bytes().replace(b"-1", b" 1", 1))
    prepared(source)
    rule = rf"^`{path}` has all attributes, but they are not known to be the published ones: [^\n]+, not [^\n]+$"
    assert re.search(rule, capsys.readouterr().out, re.MULTILINE)


def test_the_published_form_is_reproduced_byte_for_byte(published: Tiny) -> None:
    images = [f"{number:06d}.jpg" for number in range(1, 21)]
    content = (published.source / TABLE).read_bytes()
    classes = attribute_table.read("", content, images, celeba.ATTRIBUTES)
    names = tiny_files.PUBLISHED_ATTRIBUTES.split()
    assert attribute_table.published(classes, images, names) == content
    # As CelebA's own begins, whose size is 26,721,026 bytes: 22,516 rows begin with 1, and are a byte shorter.
    first = attribute_table.published(np.eye(2, 40, dtype=np.uint8), images[:2], names)
    assert first.startswith(b"2\r\n5_o_Clock_Shadow Arched_Eyebrows ")
    assert first.endswith(b"000001.jpg 1" + b" -1" * 39 + b"\r\n000002.jpg -1  1" + b" -1" * 38 + b"\r\n")
    header = len(b"202599\r\n") + len(tiny_files.PUBLISHED_ATTRIBUTES + " \r\n")
    assert header + 202_599 * (10 + 40 * 3 + 2) - 22_516 == 26_721_026


# Folders and archives


def pack(source: Path, archive: Path, folder: str = "", separator: str = "/") -> None:
    """Pack all files, with a folder around them and what macOS adds to an archive; the source is then empty."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                name = str(folder / path.relative_to(source))
                packed.writestr(name.replace("/", separator), path.read_bytes())
                packed.writestr(f"__MACOSX/{Path(name).parent}/._{path.name}", b"Mac OS X")
    for path in source.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def kaggle(source: Path) -> Path:
    """Kaggle's folders: the photographs' holds one of its own name."""
    (source / CSV).write_text(as_csv(source))
    (source / TABLE).unlink()
    return another_folder(source, IMAGES)


def another_folder(source: Path, name: str = "faces") -> Path:
    (source / IMAGES).rename(source / "former")
    (source / IMAGES).mkdir()
    (source / "former").rename(source / IMAGES / name)
    return source


def renamed(source: Path) -> Path:
    (source / IMAGES).rename(source / "faces")
    return source


def capitals(source: Path) -> Path:
    for image in (source / IMAGES).iterdir():
        image.rename(image.with_suffix(".JPG"))
    return source


def split(source: Path) -> Path:
    """Photographs in folders of training and test images."""
    for number, image in enumerate(list((source / IMAGES).iterdir())):
        folder = source / IMAGES / ("train", "test")[number % 2]
        folder.mkdir(exist_ok=True)
        image.rename(folder / image.name)
    return source


def linked(source: Path) -> Path:
    """A link to another disk, and one that leads back."""
    (source / IMAGES).rename(source.parent / "disk")
    (source / IMAGES).symlink_to(source.parent / "disk")
    (source / "again").symlink_to(source)
    return source


def littered(source: Path) -> Path:
    """Beside photographs, what systems leave there; beside their folder, the uncropped ones of the same names."""
    for name in (".DS_Store", "._000001.jpg", "Thumbs.db"):
        (source / IMAGES / name).write_bytes(b"")
    shutil.copytree(source / IMAGES, source / "Img/img_celeba")
    return source


def photographs_alone(source: Path) -> Path:
    """The folder of photographs is given, the table lies in that around it."""
    return source / IMAGES


def photographs_within(source: Path) -> Path:
    """The table lies two folders above, among the publisher's annotations."""
    (source / "Anno").mkdir()
    (source / TABLE).rename(source / "Anno" / TABLE)
    return another_folder(source) / IMAGES / "faces"


def all_packed(source: Path) -> Path:
    """Kaggle's download, still packed."""
    archive = source.parent / "archive.zip"
    pack(kaggle(source), archive)
    return archive


def all_packed_in_a_folder(source: Path) -> Path:
    shutil.move(all_packed(source), source / "archive.zip")
    return source


def photographs_packed(source: Path, folder: str = "", separator: str = "/") -> Path:
    """Photographs packed anew, in folders of any depth."""
    table = (source / TABLE).read_bytes()
    (source / TABLE).unlink()
    pack(source / IMAGES, source / f"{IMAGES}.zip", folder, separator)
    (source / TABLE).write_bytes(table)
    return source


def packed_beside_uncropped(source: Path) -> Path:
    """The publisher's other photographs are unpacked, the aligned ones are not."""
    shutil.copytree(source / IMAGES, uncropped := source / "img_celeba")
    for image in uncropped.iterdir():
        image.write_bytes(b"of another size")
    return photographs_packed(source)


def renamed_beside_archives(source: Path) -> Path:
    """Of the same photographs, in a folder of another name, and one that is none."""
    shutil.make_archive(str(source / "photographs"), "zip", source / IMAGES)
    (source / "half.zip").write_bytes(b"half of one")
    return renamed(source)


def each_packed(source: Path) -> Path:
    """Kaggle packs tables too when they are downloaded alone."""
    table = (source / TABLE).read_bytes()
    with zipfile.ZipFile(photographs_packed(source) / f"{TABLE}.zip", "w") as packed:
        packed.writestr(TABLE, table)
    (source / TABLE).unlink()
    return source


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "Kaggle's folders": kaggle,
    "a folder within": another_folder,
    "another folder": renamed,
    "upper-case suffixes": capitals,
    "folders of training and test images": split,
    "links": linked,
    "litter": littered,
    "photographs, the table beside them": photographs_alone,
    "photographs, the table above them": photographs_within,
    "Kaggle's archive": all_packed,
    "Kaggle's archive in a folder": all_packed_in_a_folder,
    "an archive without folders": photographs_packed,
    "an archive with more folders": lambda source: photographs_packed(source, f"data/{IMAGES}/{IMAGES}"),
    "an archive from Windows": lambda source: photographs_packed(source, f"data/{IMAGES}", "\\"),
    "an archive, the table beside it": lambda source: photographs_packed(source) / f"{IMAGES}.zip",
    "archives of photographs and table": each_packed,
    "another folder, and what it was unpacked from": renamed_beside_archives,
    "an archive beside uncropped photographs": packed_beside_uncropped,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_layout_gives_the_same_data_set(
    source: Path, fingerprint: str, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    assert prepared(given := LAYOUTS[layout](source)) == fingerprint
    told = f"{IMAGES}.zip" if (source / f"{IMAGES}.zip").exists() else "archive.zip"
    lines = [line for line in capsys.readouterr().out.splitlines() if "not the published archive" in line]
    assert len(lines) == ("archive" in layout)
    assert all(line.startswith(f"`{source if given == source else given.parent}/{told}` is not the") for line in lines)


def test_nothing_is_told_of_published_files(
    source: Path, published: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = photographs_packed(source, IMAGES) / f"{IMAGES}.zip"
    checksums = {**published.specification.checksums, archive.name: ("sha256", tiny_files.sha256(archive))}
    monkeypatch.setitem(datasets.SPECIFICATIONS, "celeba", replace(published.specification, checksums=checksums))
    prepared(source)
    assert "published" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda images: (images / "000007.jpg").unlink(), "got 19 without 000007.jpg"),
        (lambda images: (images / "000007.jpg").rename(images / "7.jpg"), "got 20 without 000007.jpg"),
        (
            lambda images: shutil.copy(images / "000007.jpg", images / "000021.jpg"),
            "got 21 with `[^\n]+/000021.jpg` as well",
        ),
        (lambda images: shutil.copytree(images, images / "again"), "got 40 with `[^\n]+/000001.jpg` as well"),
    ],
)
def test_other_photographs_are_refused_before_anything_is_converted(
    source: Path, change: Callable[[Path], object], got: str
) -> None:
    images = source / IMAGES
    rule = f"`{images}` must hold 20 photographs, 000001.jpg to 000020.jpg, {got}"
    change(images)
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=f"^{rule}$"):
            datasets.verify("celeba", source)
        if images.exists():
            photographs_packed(source, IMAGES)
            rule = rule.replace(str(images), f"{images}.zip/{IMAGES}", 1)
            shutil.rmtree(images)


def test_archives_that_are_not_whole_are_refused(source: Path) -> None:
    archive = photographs_packed(source, IMAGES) / f"{IMAGES}.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with pytest.raises(InvalidInputError, match=rf"^`{archive}` must be a whole archive, but: [^\n]+$"):
        datasets.verify("celeba", source)
    for damage in (b"\0" * 100, b"\xff" * 2):  # other bytes, and no deflated ones at all
        start = whole.index(b"000005.jpg") + len("000005.jpg")
        archive.write_bytes(whole[:start] + damage + whole[start + len(damage) :])
        image = archive / IMAGES / "000005.jpg"
        with pytest.raises(InvalidInputError, match=rf"^the image `{image}` must be a whole one, but: [^\n]+$"):
            datasets.prepare("celeba", source)
