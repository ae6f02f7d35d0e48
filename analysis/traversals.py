"""Label traversals (Figs. 4, E.3 and E.4 of the paper): the baseline's images, LaRVAE's, and the data set's own.

python analysis/traversals.py                                             the newest study with τ = 0 and τ > 0
python analysis/traversals.py --study label-rate-sweep-quick --dataset dsprites --factors shape scale
python analysis/traversals.py --baseline RUN_ID --larvae results/STUDY/members/HASH/checkpoint.pt
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from larvae.errors import InvalidInputError
from larvae.traversal import STEPS
from sweeps.analysis import script
from sweeps.console.tracking_uri import TrackingUri
from sweeps.tracking.addresses import default_uri

MOST_STEPS = 1000
"""Columns of a figure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Vary one label of a reference image after another and show what each model decodes."""

    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the figure (PNG, PDF) is written to. Left out: figures/STUDY."""
    study: str | None = None
    """Study to take a baseline and a LaRVAE from: members that differ in τ alone, of the lowest label rate and seed,
    β-TCVAE where there is one. Left out: the newest study that has both."""
    dataset: str | None = None
    """Data set, where the study has several."""
    baseline: str | None = None
    """Row 2, in place of a study's: checkpoint, or id of an MLflow run."""
    larvae: str | None = None
    """Row 3, in place of a study's: checkpoint, or id of an MLflow run."""
    factors: tuple[str, ...] = ()
    """Factors to vary, by the data set's names or the paper's (pale_face). Left out: all that both models have labels
    of."""
    reference: int | None = None
    """Index of the image whose label is varied. Left out: one drawn from the model's seed."""
    steps: int = STEPS
    """Values of each factor, evenly spaced from its first class to its last, also between classes, as in the paper;
    once around where it goes round, as orientation does."""
    classes: bool = False
    """Show a factor's real classes only, at most --steps of them."""
    data_file: Path | None = None
    """Published file of the data set, as given to the sweep. Left out: rendered, or as prepared before."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise InvalidInputError(f"`steps` must be >= 2, got {self.steps}")
        if self.steps > MOST_STEPS:
            raise InvalidInputError(f"`steps` must be <= {MOST_STEPS}, got {self.steps}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Restore, decode, draw and write. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import load, style, traversal_models  # late: `--help` needs no PyTorch
    from sweeps.analysis.destination import Destination
    from sweeps.analysis.figures import traversal_figures

    given = tuple(name for name in (arguments.baseline, arguments.larvae) if name is not None)
    uri = arguments.tracking_uri
    if given:
        place = Destination("", arguments.output, None)
        checkpoints = traversal_models.named_checkpoints(given, uri)
    else:
        place = Destination(arguments.study or load.find_pair_study(uri), arguments.output, uri)
        checkpoints = traversal_models.checkpoints_of_study(place.study, arguments.dataset, uri)
    compared = traversal_models.compare(
        checkpoints,
        factors=arguments.factors,
        reference=arguments.reference,
        steps=arguments.steps,
        classes=arguments.classes,
        data_file=arguments.data_file,
    )
    figure = traversal_figures.draw_traversals(compared)
    contents = {f"traversals_{compared.dataset}.{kind}": style.figure_bytes(figure, kind) for kind in ("png", "pdf")}
    place.write(contents)
    place.tell(contents)


if __name__ == "__main__":
    sys.exit(main())
