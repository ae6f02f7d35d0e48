"""Label traversals (Figs. 4, E.3 and E.4 of the paper): the baseline's images, LaRVAE's, and the data set's own.

python analysis/traversals.py                                             the newest study with τ = 0 and τ > 0
python analysis/traversals.py --study label-rate-sweep-quick --dataset dsprites --factors shape scale
python analysis/traversals.py --baseline RUN_ID --larvae results/STUDY/members/HASH/checkpoint.pt
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import pandas as pd

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, require_known
from larvae.member_directory import MemberDirectory
from larvae.resuming import checkpoint_config, restore
from larvae.training import Trainer
from larvae.traversal import STEPS, reference_image, reference_index, traverse, traverse_data
from sweeps.analysis import load, script, style
from sweeps.analysis.figures import traversal_figures
from sweeps.analysis.figures.traversal_figures import Model, TraversalComparison
from sweeps.analysis.names import REGULARISER_NAMES
from sweeps.study import StudyDirectory
from sweeps.tracking.mlflow_names import FINISHED


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Vary one label of a reference image after another and show what each model decodes."""

    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that the figure (PNG, PDF) is written to."""
    study: str | None = None
    """Study to take a baseline and a LaRVAE from: members that differ in τ alone, of the lowest label rate and seed,
    β-TCVAE where there is one. Left out: the newest study that has both."""
    dataset: str | None = None
    """Data set, where the study has several."""
    baseline: str | None = None
    """In place of a study: checkpoint, or id of an MLflow run, of the upper row."""
    larvae: str | None = None
    """In place of a study: checkpoint, or id of an MLflow run, of the lower row."""
    factors: tuple[str, ...] = ()
    """Factors to vary. Left out: all that both models have labels of."""
    reference: int | None = None
    """Index of the image whose label is varied. Left out: one drawn from the model's seed."""
    steps: int = STEPS
    """Values of each factor, evenly spaced from its first class to its last, also between classes, as in the paper."""
    classes: bool = False
    """Show a factor's real classes only, at most --steps of them."""
    data_file: Path | None = None
    """Published file of the data set, as given to the sweep. Left out: rendered, or as prepared before."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Restore, decode, draw and write. Raises InvalidInputError before anything is written."""
    if arguments.steps < 2:
        raise InvalidInputError(f"`steps` must be >= 2, got {arguments.steps}")
    compared = compare(choose_checkpoints(arguments), arguments)
    figure = traversal_figures.draw_traversals(compared)
    contents = {f"traversals_{compared.dataset}.{kind}": style.figure_bytes(figure, kind) for kind in ("png", "pdf")}
    script.write_all(arguments.output, contents)
    for name in contents:
        print(arguments.output / name)


def choose_checkpoints(arguments: Arguments) -> list[Path]:
    """Checkpoints of the models to show, the baseline's first. InvalidInputError where one cannot be found."""
    given = [name for name in (arguments.baseline, arguments.larvae) if name is not None]
    if given:
        return [_checkpoint(name, arguments.tracking_uri) for name in given]
    study = arguments.study or load.find_pair_study(arguments.tracking_uri)
    pair = choose_pair(load.load_members(arguments.tracking_uri, study), study, arguments.dataset)
    return [_require_checkpoint(MemberDirectory(Path(directory)).checkpoint) for directory in pair["directory"]]


def choose_pair(members: pd.DataFrame, study: str, dataset: str | None) -> pd.DataFrame:
    """Two rows of `load_members`, a finished baseline and a finished LaRVAE that differ in τ alone.

    Of several pairs: β-TCVAE as in the paper's figures, then the lowest label rate and seed; τ next to 1.
    Raises InvalidInputError where there is none.
    """
    names = list(dict.fromkeys(members["dataset"]))
    if dataset is not None:
        require_known("dataset", dataset, names)
    elif len(names) > 1:
        raise InvalidInputError(f"`dataset` must be given: {study} has {', '.join(names)}")
    finished = members[(members["status"] == FINISHED) & (members["dataset"] == (dataset or names[0]))]
    others = [f.name for f in fields(MemberConfig) if f.name in members and f.name != "tau"]
    preferred = finished.assign(
        other_regulariser=finished["regulariser"] != "beta_tcvae", distance=(finished["tau"] - 1).abs()
    ).sort_values(["other_regulariser", "label_rate", "seed", "distance"])
    for _, alike in preferred.groupby(others, sort=False, dropna=False):
        pair = pd.concat([alike[alike["tau"] == 0][:1], alike[alike["tau"] > 0][:1]])
        if len(pair) == 2:
            return pair
    raise InvalidInputError(f"`study` must have finished members that differ in τ alone, 0 and more, got {study}")


def compare(checkpoints: Sequence[Path], arguments: Arguments) -> TraversalComparison:
    """Decode the traversals of all models. InvalidInputError where they do not fit each other or the data."""
    configs = [checkpoint_config(checkpoint) for checkpoint in checkpoints]
    names = sorted({config.dataset for config in configs})
    if len(names) > 1:
        raise InvalidInputError(f"models must be of one data set, got {' and '.join(names)}")
    dataset = datasets.open_dataset(names[0], datasets.prepare(names[0], arguments.data_file))
    reference = _reference(arguments.reference, dataset, configs[0])
    factors = arguments.factors or tuple(n for n in configs[0].labels if all(n in c.labels for c in configs))
    if not factors:
        raise InvalidInputError(f"models must share a labelled factor, got {' and '.join(map(_labels, configs))}")
    trainers = [restore(checkpoint, dataset) for checkpoint in checkpoints]
    training = [_training(trainer, checkpoint) for trainer, checkpoint in zip(trainers, checkpoints, strict=True)]
    shared = [fact for fact in training[0] if all(fact in facts for facts in training)]
    decoded = partial(traverse, reference=reference, factors=factors, steps=arguments.steps, classes=arguments.classes)
    models = [
        Model(_title(trainer.config, [fact for fact in facts if fact not in shared]), decoded(trainer))
        for trainer, facts in zip(trainers, training, strict=True)
    ]
    if dataset.specification.has_independent_factors:
        title = "data" if arguments.classes else "data of the nearest classes"
        own = traverse_data(dataset, reference, factors, arguments.steps, classes=arguments.classes)
        models.insert(0, Model(title, own))
    return TraversalComparison(
        dataset=dataset.specification.name,
        reference=reference,
        reference_image=reference_image(dataset, reference),
        models=models,
        training=", ".join(shared),
    )


def _reference(given: int | None, dataset: Dataset, config: MemberConfig) -> int:
    if given is None:
        return reference_index(dataset.num_images, config.seed)
    if not 0 <= given < dataset.num_images:
        raise InvalidInputError(f"`reference` must lie in [0, {dataset.num_images}), got {given}")
    return given


def _checkpoint(name: str, tracking_uri: str) -> Path:
    """The checkpoint that a path or a run's id names."""
    if re.fullmatch(r"[0-9a-f]{32}", name):
        return _require_checkpoint(MemberDirectory(Path(load.member_directory(tracking_uri, name))).checkpoint)
    return _require_checkpoint(Path(name))


def _require_checkpoint(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInputError(
            f"a model must be a checkpoint's file or an MLflow run's id, got `{path}`: no such file"
        )
    return path


def _labels(config: MemberConfig) -> str:
    return f"({', '.join(config.labels)})"


def _training(trainer: Trainer, checkpoint: Path) -> list[str]:
    """How a model was trained, in words; its study where the checkpoint lies in one's folder."""
    config, folders = trainer.config, list(checkpoint.absolute().parents)
    facts = [f"{trainer.iteration:,} iterations", f"η = {100 * config.label_rate:g} %", f"seed {config.seed}"]
    is_of_study = len(folders) > 2 and StudyDirectory(folders[2]).read_record()  # STUDY/members/HASH/checkpoint.pt
    return [f"study {folders[2].name}", *facts] if is_of_study else facts


def _title(config: MemberConfig, facts: Sequence[str]) -> str:
    """What the paper calls a model, with what of its training is not that of all."""
    regulariser = REGULARISER_NAMES[config.regulariser]
    if config.replaces_labels:
        name, facts = "LaRVAE", [regulariser, f"τ = {config.tau:g}", *facts]
    else:
        name = f"SS-{regulariser}" if config.uses_labels else regulariser
    return f"{name} ({', '.join(facts)})" if facts else name


if __name__ == "__main__":
    sys.exit(main())
