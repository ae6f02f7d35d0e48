"""Command line of the data sets: `python -m larvae.datasets [prepare NAME | show NAME]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from larvae import command_line, datasets
from larvae.datasets import celeba, download, layouts, store
from larvae.datasets.contact_sheet import contact_sheet, sheet_rows
from larvae.datasets.specification import Crop, Specification
from larvae.errors import InvalidInputError, require_known


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """Render, download or convert a data set into one file of this machine's cache, and check that it is whole.

    A prepared one is only checked. A download that was broken off goes on.
    """

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Data set: `python -m larvae.datasets` lists them."""
    source: Annotated[Path | None, arg(metavar="PATH")] = None
    """Your copy of the published file or folder. Left out, the data set is downloaded or rendered where it can be."""
    url: Annotated[str, arg(metavar="URL")] = ""
    """Address to download the published file from, if not where its publisher keeps it; its checksum stays the same."""
    crop: Annotated[tuple[int, int, int], arg(metavar="SIZE X Y")] = celeba.CROP
    """Square to cut out of each photograph of celeba, its centre X pixels from the left and Y from the top.
    Another crop gets a file of its own, which --data-file of a sweep takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Show:
    """Draw a contact sheet of a prepared data set: one row a factor, from its first class to its last."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Data set: `python -m larvae.datasets` lists them."""
    output: Annotated[Path | None, arg(metavar="PICTURE")] = None
    """Picture to write, a .png or .jpg; left out, NAME.png."""
    data_file: Annotated[Path | None, arg(metavar="PATH")] = None
    """Prepared file to show, if not the one in the cache."""


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code: 0, 2 for bad input, 1 where the machine fails, 130 if interrupted."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

    def command() -> int:
        chosen = parse(arguments) if arguments else None
        if isinstance(chosen, Prepare):
            prepare(chosen, console)
        elif isinstance(chosen, Show):
            show(chosen, console)
        else:
            list_datasets(console)
        return 0

    stopped = "Stopped. The same command again goes on with a download and begins a conversion anew."
    return command_line.run(command, stopped, faults=(OSError, RuntimeError))  # HDF5 reports a full disk as either


def parse(arguments: Sequence[str]) -> Prepare | Show:
    """Parse a command line; InvalidInputError in place of the parser's own many lines."""
    commands: dict[str, Callable[..., Any]] = {"prepare": Prepare, "show": Show}
    if not arguments[0].startswith("-"):
        require_known("command", arguments[0], commands)
    return command_line.parse(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands,
            args=list(arguments),
            prog="python -m larvae.datasets",
            description="Data sets: without a command, lists them and where they stand.",
        )
    )


def list_datasets(console: Console) -> None:
    """Print all data sets, whether they are prepared, and the commands that prepare the others."""
    table = Table("name", "images", "factors", "needs", "stands", box=None, pad_edge=False)
    for known in datasets.SPECIFICATIONS.values():
        row = known.name, f"{known.num_images:,}", str(known.factors.num_factors), _needs(known), _standing(known)
        table.add_row(*row)
    console.print(table)
    console.print(f"\nPrepared files lie in {store.cache_directory()}")
    for known in datasets.SPECIFICATIONS.values():
        if not datasets.cached_path(known.name).exists():
            console.print(f"{known.name}: {datasets.how_to_prepare(known)}")


def prepare(options: Prepare, console: Console) -> None:
    """Prepare a data set, read the file from end to end, and tell where it is."""
    known = datasets.specification(options.name)
    if options.source and known.is_rendered and not known.takes:
        raise InvalidInputError(f"`source` must be left out with {known.name}, which is rendered, got {options.source}")
    if options.url and (options.source or not known.url):
        reason = "with --source" if options.source else f"with {known.name}, which is not downloaded"
        raise InvalidInputError(f"`url` must be left out {reason}, got {options.url}")
    crop = Crop(*options.crop) if options.crop != celeba.CROP else None
    path = datasets.prepare(options.name, options.source, progress=True, download=True, url=options.url, crop=crop)
    console.print(f"Checking {path}")
    layouts.require_digest(path, known)
    console.print(f"{known.name} is whole: {known.num_images:,} images, {_size(path)}")


def show(options: Show, console: Console) -> None:
    """Write a contact sheet."""
    output = options.output or Path(f"{options.name}.png")
    if output.suffix not in {".png", ".jpg"}:
        raise InvalidInputError(f"`output` must end in .png or .jpg, got `{output}`")
    path = datasets.prepare(options.name, options.data_file, progress=True)
    dataset = datasets.open_dataset(options.name, path)
    contact_sheet(dataset, sheet_rows(dataset, np.random.default_rng(0))).save(output)
    console.print(f"{options.name}: {output}")


def _needs(known: Specification) -> str:
    if known.is_rendered:
        return "nothing"
    return f"{known.download_megabytes} MB download" if known.url else "your copy"


def _standing(known: Specification) -> str:
    path = datasets.cached_path(known.name)
    if path.exists():
        return f"prepared, {_size(path)}"
    if known.url and download.downloaded_path(known).exists():
        return "downloaded, not converted"
    if known.url and download.partial_path(known).exists():
        return f"{_size(download.partial_path(known))} downloaded"
    return "not prepared"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
