"""The command line of the data sets, and their contact sheets."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from larvae import datasets
from larvae.datasets import celeba, download
from larvae.datasets.__main__ import main
from larvae.datasets.contact_sheet import contact_sheet, sheet_rows
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """3D Shapes, in a cache that holds nothing else."""
    made = tiny_files.shapes3d(tmp_path)
    tiny_files.register(made, monkeypatch, tmp_path / "cache")
    return made


def standing(capture: Capture) -> dict[str, str]:
    """The table's rows by their first words."""
    assert main([]) == 0
    rows = [line.split(maxsplit=1) for line in capture.readouterr().out.splitlines()]
    return {row[0]: row[1] for row in rows[1:6]}


def test_table_lists_all_data_sets_and_the_commands_that_prepare_them(tiny: Tiny, capsys: Capture) -> None:
    rows = standing(capsys)
    assert list(rows) == list(datasets.SPECIFICATIONS)
    assert all("not prepared" in row for row in rows.values())
    facts = {"celeba": "202,599", "isaac3d": "your copy", "shapes3d": "267 MB download", "dsprites": "nothing"}
    assert all(fact in rows[name] for name, fact in facts.items())
    assert main([]) == 0
    output = capsys.readouterr().out
    for name in datasets.SPECIFICATIONS:
        assert f"{name}: `python -m larvae.datasets prepare {name}" in output


def test_table_follows_a_data_set_from_download_to_preparation(tiny: Tiny, capsys: Capture) -> None:
    partial, whole = download.partial_path(tiny.specification), download.downloaded_path(tiny.specification)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(10**6))
    assert standing(capsys)["shapes3d"].endswith("1 MB downloaded")
    partial.rename(whole)
    assert standing(capsys)["shapes3d"].endswith("downloaded, not converted")
    datasets.prepare("shapes3d", tiny.source)
    assert standing(capsys)["shapes3d"].endswith("prepared, 1 MB")


def test_prepared_file_is_checked_and_made_once(tiny: Tiny, capsys: Capture) -> None:
    path = datasets.cached_path("shapes3d")
    written = []
    for _ in range(2):
        assert main(["prepare", "shapes3d", "--source", str(tiny.source)]) == 0
        assert f"Checking {path}\nshapes3d is whole: 96 images, 1 MB\n" in capsys.readouterr().out
        written.append(path.stat().st_mtime_ns)
    assert written[0] == written[1]


def test_damaged_file_is_found_by_preparing_again_and_converted_from_what_was_downloaded(
    tiny: Tiny, capsys: Capture
) -> None:
    path = datasets.prepare("shapes3d", tiny.source)
    whole = path.read_bytes()
    downloaded = download.downloaded_path(tiny.specification)
    downloaded.parent.mkdir()
    shutil.copy(tiny.source, downloaded)
    path.write_bytes(whole[: len(whole) // 2] + bytes(9) + whole[len(whole) // 2 + 9 :])
    assert main(["prepare", "shapes3d"]) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith(f"advice: `{path}` must ")
    assert told.endswith("it is made again")
    assert path.read_bytes() == whole


BAD_INPUT: tuple[tuple[str, str], ...] = (
    ("prepare mnist", "`dataset` must be one of dsprites, shapes3d, shapes3d-rendered, isaac3d, celeba, got"),
    ("download shapes3d", "`command` must be one of prepare, show, got download"),
    ("--verbose", "Unrecognized"),
    ("prepare", "Missing"),
    ("prepare celeba --crop 1 2", "Missing value for argument '--crop'. Expected 3 values."),
    ("prepare celeba --crop 1 2 x", "Error parsing --crop"),
    ("prepare shapes3d --crop 1 2 3", "`crop` must be left out except with celeba, got it with"),
    ("prepare shapes3d-rendered --source x.h5", "`source` must be left out with shapes3d-rendered"),
    ("prepare dsprites --url http://host/x", "`url` must be left out with dsprites, which is not downloaded"),
    ("prepare shapes3d --source x.h5 --url http://host/x", "`url` must be left out with --source"),
    ("prepare isaac3d", "isaac3d must be downloaded by hand, got no source: get the folder Isaac3D_down128"),
    ("prepare celeba --source nowhere", "the source of CelebA must be list_attr_celeba.txt and"),
    ("prepare shapes3d --source nowhere.h5", "a file of 3DShapes must be readable, got `nowhere.h5`"),
    ("show shapes3d", "shapes3d is not prepared: run `python -m larvae.datasets prepare shapes3d`"),
)


def test_bad_input_is_one_line_and_exit_code_2(tiny: Tiny, capsys: Capture) -> None:
    for arguments, message in BAD_INPUT:
        assert main(arguments.split()) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1
    datasets.prepare("shapes3d", tiny.source)
    assert main(["show", "shapes3d", "--output", "sheet.svg"]) == 2
    assert capsys.readouterr().err == "error: `output` must end in .png or .jpg, got `sheet.svg`\n"


def test_help_teaches(capsys: Capture) -> None:
    for arguments in (["--help"], ["prepare", "--help"], ["show", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert not stop.value.code
        assert len(capsys.readouterr().out.splitlines()) > 8


# Contact sheets


def test_row_goes_through_the_classes_of_one_factor(tiny: Tiny) -> None:
    dataset = datasets.open_dataset("shapes3d", datasets.prepare("shapes3d", tiny.source))
    rows = sheet_rows(dataset, np.random.default_rng(0))
    assert [row.factor for row in rows] == list(dataset.factors.names)
    for factor, row in enumerate(rows):
        classes = dataset.classes(row.indices)
        assert classes[:, factor].tolist() == list(range(dataset.factors.sizes[factor]))
        assert (np.delete(classes, factor, axis=1) == np.delete(classes[:1], factor, axis=1)).all()
    assert rows[4].values == "cube to cylinder"


def test_factor_of_many_classes_is_shown_from_first_to_last(dataset: datasets.Dataset) -> None:
    rows = sheet_rows(dataset, np.random.default_rng(0))
    classes = dataset.classes(rows[2].indices)[:, 2]
    assert (len(classes), classes[0], classes[-1]) == (10, 0, 39)
    assert np.all(np.diff(classes) > 0)
    assert contact_sheet(dataset, rows).getextrema() == ((0, 255),) * 3  # white is white, of binary images too


def test_attribute_is_shown_by_images_without_and_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    faces = tiny_files.celeba(tmp_path, num_images=40)
    tiny_files.register(faces, monkeypatch, tmp_path / "cache")
    assert main(["prepare", "celeba", "--source", str(faces.source), "--crop", "160", "89", "110"]) == 0
    assert "celeba-160-89-110.h5" in capsys.readouterr().out
    assert main(["prepare", "celeba", "--source", str(faces.source), "--crop", *map(str, celeba.CROP)]) == 0
    dataset = datasets.open_dataset("celeba", datasets.cached_path("celeba"))
    rows = sheet_rows(dataset, np.random.default_rng(0))
    assert len(rows) == 40
    for factor, row in enumerate(rows):
        assert dataset.classes(row.indices)[:, factor].tolist() == [0] * 5 + [1] * 5
    assert rows[0].values == "no to yes"


def test_sheet_shows_the_images(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    dataset = datasets.open_dataset("shapes3d", datasets.prepare("shapes3d", tiny.source))
    rows = sheet_rows(dataset, np.random.default_rng(0))
    sheet = np.asarray(contact_sheet(dataset, rows))
    last = sheet[5 * 66 : 5 * 66 + 64, -66 : -66 + 64]
    assert np.array_equal(last, tiny.images[rows[5].indices[-1]])
    assert main(["show", "shapes3d", "--output", str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as written:
        assert np.array_equal(np.asarray(written), sheet)
