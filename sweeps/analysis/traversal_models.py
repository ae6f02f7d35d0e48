"""Models whose traversals are shown side by side: their checkpoints, what they decode, how they were trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from larvae import datasets
from larvae.checkpoint import previous, whole_checkpoint
from larvae.config import FIELDS, MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, require_known
from larvae.member_directory import MemberDirectory
from larvae.resuming import checkpoint_config, restore
from larvae.training import Trainer
from larvae.traversal import STEPS, reference_image, reference_index, traverse, traverse_data
from sweeps.analysis import load
from sweeps.analysis.figures.traversal_figures import Model, TraversalComparison
from sweeps.analysis.idle_fields import idle_at_zero, idle_of, shared
from sweeps.analysis.names import REGULARISER_NAMES
from sweeps.analysis.settings import described
from sweeps.study import StudyDirectory, differing
from sweeps.tracking.mlflow_names import FINISHED

_TOLD = ("dataset", "regulariser", "tau", "replacement", "graphical_model", "label_rate", "seed")
"""Fields that titles and notes tell."""
PAPERS_NAMES = {"celeba": {"glasses": "eyeglasses", "pale_face": "pale_skin"}}
"""Factors that the paper's figures call otherwise than their data set does: by data set, from its name to ours."""


def named_checkpoints(names: Sequence[str], tracking_uri: str) -> list[Path]:
    """Checkpoints that paths or runs' ids name. InvalidInputError where one cannot be found."""
    return [_checkpoint(name, tracking_uri) for name in names]


def checkpoints_of_study(study: str, dataset: str | None, tracking_uri: str) -> list[Path]:
    """Checkpoints of a baseline and a LaRVAE of a study. Raises InvalidInputError where one cannot be found."""
    pair = choose_pair(load.load_members(tracking_uri, study), study, dataset)
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
    finished = shared(members[(members["status"] == FINISHED) & (members["dataset"] == (dataset or names[0]))], ["tau"])
    idle = [name for name in idle_at_zero("tau") if name in members]
    others = [name for name in FIELDS if name in members and name not in ("tau", *idle)]
    preferred = finished.assign(
        other_regulariser=finished["regulariser"] != "beta_tcvae", distance=(finished["tau"] - 1).abs()
    ).sort_values(["other_regulariser", "label_rate", "seed", *idle, "distance"])  # the true label, z not detached
    for _, alike in preferred.groupby(others, sort=False, dropna=False):
        pair = pd.concat([alike[alike["tau"] == 0][:1], alike[alike["tau"] > 0][:1]])
        if len(pair) == 2:
            return pair
    raise InvalidInputError(f"`study` must have finished members that differ in τ alone, 0 and more, got {study}")


def compare(
    checkpoints: Sequence[Path],
    *,
    factors: tuple[str, ...] = (),
    reference: int | None = None,
    steps: int = STEPS,
    classes: bool = False,
    data_file: Path | None = None,
) -> TraversalComparison:
    """Decode the traversals of all models. InvalidInputError where they do not fit each other or the data.

    factors: to vary, by the data set's names or the paper's; none named means all that all models have labels of.
    reference: index of the image whose label is varied; None for one drawn from the first model's seed.
    steps, classes: as in `traversed_values`. data_file: the published file of the data set, where it is not rendered.
    """
    configs = [checkpoint_config(checkpoint) for checkpoint in checkpoints]
    names = sorted({config.dataset for config in configs})
    if len(names) > 1:
        raise InvalidInputError(f"models must be of one data set, got {' and '.join(names)}")
    dataset = datasets.open_dataset(names[0], datasets.prepare(names[0], data_file))
    index = _reference(reference, dataset, configs[0])
    factors = _factors(factors, configs)
    trainers = [restore(checkpoint, dataset) for checkpoint in checkpoints]
    training = [_training(trainer, checkpoint) for trainer, checkpoint in zip(trainers, checkpoints, strict=True)]
    shared = [fact for fact in training[0] if all(fact in facts for facts in training)]
    decoded = partial(traverse, reference=index, factors=factors, steps=steps, classes=classes)
    own_facts = [[fact for fact in facts if fact not in shared] for facts in training]
    models = [Model(t, decoded(trainer)) for t, trainer in zip(titles(configs, own_facts), trainers, strict=True)]
    if dataset.specification.has_independent_factors:
        title = "data" if classes else "data of the nearest classes"
        own = traverse_data(dataset, index, factors, steps, classes=classes)
        models.insert(0, Model(title, own))
    return TraversalComparison(
        dataset=dataset.specification.name,
        reference=index,
        reference_image=reference_image(dataset, index),
        models=models,
        training=", ".join(shared),
    )


def _factors(given: tuple[str, ...], configs: Sequence[MemberConfig]) -> tuple[str, ...]:
    """The factors to vary by the data set's names: the given ones, or those that all models have labels of."""
    papers_names = PAPERS_NAMES.get(configs[0].dataset, {})
    factors = given or tuple(n for n in configs[0].labels if all(n in c.labels for c in configs))
    if not factors:
        raise InvalidInputError(f"models must share a labelled factor, got {' and '.join(map(_labels, configs))}")
    return tuple(papers_names.get(name, name) for name in factors)


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
    """The checkpoint, or the one before where it is damaged."""
    if not path.is_file() and not previous(path).is_file():
        raise InvalidInputError(
            f"a model must be a checkpoint's file or an MLflow run's id, got `{path}`: no such file"
        )
    return whole_checkpoint(path)


def _labels(config: MemberConfig) -> str:
    return f"({', '.join(config.labels)})"


def _training(trainer: Trainer, checkpoint: Path) -> list[str]:
    """The training of a model, in words; its study where the checkpoint lies in one's folder."""
    config, folders = trainer.config, list(checkpoint.absolute().parents)
    facts = [f"{trainer.iteration:,} iterations", f"η = {100 * config.label_rate:g} %", f"seed {config.seed}"]
    is_of_study = len(folders) > 2 and StudyDirectory(folders[2]).read_record()  # STUDY/members/HASH/checkpoint.pt
    return [f"study {folders[2].name}", *facts] if is_of_study else facts


def titles(configs: Sequence[MemberConfig], facts: Sequence[Sequence[str]]) -> list[str]:
    """The paper's names of models, with what of their training is not that of all, and the settings that differ.

    facts: of their training. Settings without effect are left out.
    """
    of_models = [config.to_dict() for config in configs]
    known = dict.fromkeys(name for fields in of_models for name in fields if name not in _TOLD)
    names = differing(known, of_models)
    found = []
    for config, fields, own in zip(configs, of_models, facts, strict=True):
        own_names = [name for name in names if name in fields and name not in idle_of(fields)]
        values = {name: ", ".join(v) if isinstance(v := fields[name], list) else v for name in own_names}
        found.append(_title(config, [*own, *filter(None, [described(values, pd.Series(fields))])]))
    return found


def _title(config: MemberConfig, facts: Sequence[str]) -> str:
    """The paper's name of a model, with more facts."""
    regulariser = REGULARISER_NAMES[config.regulariser]
    if config.replaces_labels:
        name = "LaRVAE" if config.replacement == "given" else "inferred label"
        facts = [regulariser, f"τ = {config.tau:g}", *facts]
    elif config.is_conditional:
        name = f"conditional {regulariser}"
    else:
        name = f"SS-{regulariser}" if config.uses_labels else regulariser
    return f"{name} ({', '.join(facts)})" if facts else name
