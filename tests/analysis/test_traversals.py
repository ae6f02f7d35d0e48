"""The traversal figure's script: which pair is shown, and from a study, checkpoints or runs to the files."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Param

from analysis import traversals
from larvae import datasets
from larvae.advice import Advice
from larvae.checkpoint import previous
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.errors import InvalidInputError
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from larvae.regularisers import REGULARISERS
from sweeps.analysis import load, style
from sweeps.analysis.figures.traversal_figures import TraversalComparison
from sweeps.analysis.traversal_models import PAPERS_NAMES, choose_pair, compare, named_checkpoints, titles
from sweeps.tracking import mlflow_names
from tests.analysis.invented import Member, frame, grid, make_experiment, with_ends
from tests.analysis.outcome import Script
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

# Which pair


def chosen(members: list[Member] | pd.DataFrame, dataset: str | None = None) -> list[tuple[float, str, float, int]]:
    """Baseline and LaRVAE: τ, regulariser, label rate and seed."""
    rows = frame(members) if isinstance(members, list) else members
    pair = choose_pair(rows, "my-study", dataset)
    return [(float(m.tau), m.regulariser, float(m.label_rate), int(m.seed)) for m in pair.itertuples()]


def test_the_pair_is_beta_tcvaes_lowest_label_rate_and_seed_with_tau_next_to_1_in_any_order() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        taus = [0, *random.choice([0.1, 0.5, 1, 1.4, 3, 10], 3, replace=False).tolist()]
        rates = random.choice([0.002, 0.01, 0.05], 2, replace=False).tolist()
        seeds = random.choice(9, 2, replace=False).tolist()
        others = grid((0, 1), (0.001,), (0,), regulariser="factor_vae")
        lonely = [*grid((0,), (0.001,), (0,), z_dim=3), *grid((1,), (0.001,), (0,), z_dim=4)]  # differ not in τ alone
        unfinished = [m._replace(status="FAILED") for m in grid((0, 1), (0.001,), (0,))]
        members = frame([*others, *lonely, *unfinished, *grid(taus, rates, seeds)]).sample(frac=1, random_state=random)
        common = ("beta_tcvae", min(rates), min(seeds))
        nearest = min(taus[1:], key=lambda tau: abs(tau - 1))
        assert chosen(members) == [(0, *common), (nearest, *common)]
    assert chosen(others) == [(0, "factor_vae", 0.001, 0), (1, "factor_vae", 0.001, 0)]


def test_of_several_data_sets_one_is_chosen_and_without_a_pair_one_line_says_so() -> None:
    several = [*grid((0, 1), (0.01,), (0,)), *grid((0, 2), (0.01,), (0,), dataset="shapes3d")]
    for dataset, tau in (("dsprites", 1), ("shapes3d", 2)):
        assert [member[0] for member in chosen(several, dataset)] == [0, tau]
    with pytest.raises(InvalidInputError, match=r"^`dataset` must be given: my-study has dsprites, shapes3d$"):
        chosen(several)
    with pytest.raises(InvalidInputError, match=r"^`dataset` must be one of dsprites, shapes3d, got celeba$"):
        chosen(several, "celeba")
    for members in (
        grid((1, 2), (0.01,), (0,)),
        grid((0,), (0.01,), (0, 1)),
        [*grid((0,), (0.01,), (0,)), *grid((1,), (0.01,), (1,))],
        with_ends(grid((0, 1), (0.01,), (0,)), {(1, 0.01, 0): ("RUNNING", "")}),
    ):
        with pytest.raises(
            InvalidInputError, match=r"^`study` must have finished members that differ in τ alone, 0 and"
        ):
            chosen(members)


def test_a_parameter_of_another_version_breaks_nothing() -> None:
    """NaN where others have it, no such column at all, or one that is unknown here."""
    members = frame(grid((0, 1, 3), (0.01,), (0,)))
    assert [member[0] for member in chosen(members.assign(capacity=[1.0, 2.0, 1.0]))] == [0, 3]
    assert [member[0] for member in chosen(members.assign(warm_up=["0", "100", "5"]))] == [0, 1]
    for name in MemberConfig().to_dict():
        if name not in ("dataset", "tau", "regulariser", "label_rate", "seed"):
            for other in (members.assign(**{name: float("nan")}), members.drop(columns=name)):
                assert [member[0] for member in chosen(other)] == [0, 1]


# From members to files


SHORT = Schedule(
    iterations=4, log_every=4, evaluate_every=4, evaluation_size=8, final_metrics=("l2",), checkpoint_seconds=1e9
)
CONFIG = MemberConfig(batch_size=4, label_rate=0.2, z_dim=2, seed=3)
TINY_IMAGES = 72
MEMBERS = {
    "baseline": dataclasses.replace(CONFIG, tau=0.0),
    "larvae": CONFIG,
    "unsupervised": dataclasses.replace(CONFIG, tau=0.0, alpha=0.0, regulariser="beta_vae"),
    "some": dataclasses.replace(CONFIG, observed_factors=("scale", "position_x"), z_dim=5),
    "others": dataclasses.replace(CONFIG, observed_factors=("shape",), z_dim=5),
    "colour": dataclasses.replace(CONFIG, dataset="shapes3d"),
}


class Models(NamedTuple):
    """Members of tiny data sets, on disk and in MLflow."""

    tracking_uri: str
    root: Path
    source: Path
    """The published dSprites."""
    runs: dict[str, str]
    """Ids by what a member is called here, and by `study`."""

    def checkpoint(self, name: str) -> str:
        return str(MemberDirectory(self.root / name).checkpoint)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Models]:
    """MEMBERS, of which MLflow knows a pair, its baseline and its LaRVAE, and a member whose checkpoint is gone."""
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        tiny = {"dsprites": tiny_files.dsprites(root), "shapes3d": tiny_files.shapes3d(root)}
        opened = {name: prepared(made, patch, root / "cache") for name, made in tiny.items()}
        for name, config in MEMBERS.items():
            list(train_member(config, SHORT, opened[config.dataset], MemberDirectory(root / name)))
        shutil.copy(empty_database, root / "mlflow.db")
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        runs = log_members(client, "newer", root, {"gone": dataclasses.replace(CONFIG, seed=9)})
        runs |= log_members(client, "pair", root, {name: MEMBERS[name] for name in ("baseline", "larvae")})
        yield Models(f"sqlite:///{root}/mlflow.db", root, tiny["dsprites"].source, runs)


def prepared(tiny: Tiny, patch: pytest.MonkeyPatch, cache: Path) -> datasets.Dataset:
    tiny_files.register(tiny, patch, cache)
    name = tiny.specification.name
    return datasets.open_dataset(name, datasets.prepare(name, tiny.source))


def log_members(client: MlflowClient, study: str, root: Path, members: dict[str, MemberConfig]) -> dict[str, str]:
    """Tag finished members as sweeps/tracking/tracker.py tags them; ids of the study's run and of theirs."""
    experiment = make_experiment(client, study)
    runs = {"study": client.create_run(experiment, tags={"larvae.role": "study"}).info.run_id}
    for name, config in members.items():
        tags = {
            mlflow_names.FORMAT: str(FORMAT),
            "larvae.role": "member",
            "larvae.member": config.content_hash,
            "larvae.iterations": str(SHORT.iterations),
            "larvae.directory": str(root / name),
        }
        runs[name] = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        texts = {k: " ".join(v) if isinstance(v, list) else str(v) for k, v in config.to_dict().items()}
        client.log_batch(runs[name], params=[Param(key, text) for key, text in texts.items()])
        client.update_run(runs[name], status="FINISHED")
    return runs


def compared(models: Models, *names: str, **others: Any) -> TraversalComparison:
    return compare([Path(models.checkpoint(name)) for name in names], data_file=models.source, **others)


@pytest.fixture
def traverse(models: Models, script: Script) -> Script:
    """The script, with the models' MLflow and published data."""
    return script.of(traversals.main, "--tracking-uri", models.tracking_uri, "--data-file", str(models.source))


def test_a_study_checkpoints_and_runs_give_the_same_figure(
    models: Models, traverse: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[TraversalComparison] = []
    monkeypatch.setattr("sweeps.analysis.figures.traversal_figures.draw_traversals", drawn.append)
    monkeypatch.setattr(style, "figure_bytes", lambda figure, kind, numbers="": b"")
    assert load.find_pair_study(models.tracking_uri) == "pair"
    baseline, larvae = (models.checkpoint(name) for name in ("baseline", "larvae"))
    for given in (
        "",
        "--study pair --dataset dsprites",
        f"--tracking-uri sqlite:///none.db --baseline {baseline} --larvae {larvae}",  # checkpoints need no MLflow
        f"--baseline {models.runs['baseline']} --larvae {models.runs['larvae']}",
        f"--larvae {larvae} --baseline {models.runs['baseline']}",
    ):
        traverse.succeed(given)
    first, *others = drawn
    assert len(others) == 4
    for other in others:
        assert (other.reference, other.notes) == (first.reference, first.notes)
        for one, model in zip(first.models, other.models, strict=True):
            pairs = zip(one.traversals, model.traversals, strict=True)
            assert all(np.array_equal(a.images, b.images) for a, b in pairs), model.title


def test_the_script_writes_pictures_also_of_one_model_and_of_data_prepared_before(
    models: Models, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 40)
    colour = script.of(traversals.main, "--larvae", models.checkpoint("colour"))
    colour.succeed("--factors shape wall_hue --steps 2")
    assert colour.names() == ["traversals_shapes3d.pdf", "traversals_shapes3d.png"]
    contents = [(script.folder / "figures" / name).read_bytes()[:4] for name in colour.names()]
    assert contents == [b"%PDF", b"\x89PNG"]


def test_rows_are_the_data_the_baseline_and_larvae_with_the_factors_that_all_have_labels_of(models: Models) -> None:
    shown = compared(models, "baseline", "larvae")
    titles = ["data of the nearest classes", "SS-β-TCVAE", "LaRVAE (β-TCVAE, τ = 1)"]
    assert [model.title for model in shown.models] == titles
    names = ["shape", "scale", "orientation", "position_x", "position_y"]
    assert all([traversal.factor for traversal in model.traversals] == names for model in shown.models)
    assert compared(models, "larvae", classes=True).models[0].title == "data"
    assert compared(models, "unsupervised").models[1].title == "β-VAE"
    for model in compared(models, "baseline", "some").models:
        assert [traversal.factor for traversal in model.traversals] == ["scale", "position_x"]
    for model in compared(models, "baseline", "larvae", factors=("position_y", "shape"), steps=2).models:
        assert [(t.factor, len(t.images)) for t in model.traversals] == [("position_y", 2), ("shape", 2)]


def test_a_factor_may_have_the_papers_name(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAPERS_NAMES, "dsprites", {"outline": "shape", "position": "position_y"})
    for model in compared(models, "baseline", "larvae", factors=("scale", "position", "outline"), steps=2).models:
        assert [traversal.factor for traversal in model.traversals] == ["scale", "position_y", "shape"]


def test_the_caption_says_how_models_were_trained(models: Models, tmp_path: Path) -> None:
    """Facts that they share are told once, the rest with each; the study where a checkpoint lies in one's folder."""
    assert compared(models, "baseline", "larvae").training == "4 iterations, η = 20 %, seed 3"
    other = dataclasses.replace(CONFIG, seed=4)
    opened = datasets.open_dataset("dsprites", datasets.prepare("dsprites", models.source))
    directory = MemberDirectory(tmp_path / "mine/members" / other.content_hash)
    list(train_member(other, SHORT, opened, directory))
    (tmp_path / "mine/study.json").write_text('{"name": "mine"}')
    shown = compare([Path(models.checkpoint("baseline")), directory.checkpoint], data_file=models.source)
    assert shown.training == "4 iterations, η = 20 %"
    titles = ["SS-β-TCVAE (seed 3)", "LaRVAE (β-TCVAE, τ = 1, study mine, seed 4)"]
    assert [model.title for model in shown.models[1:]] == titles
    assert shown.training in shown.notes[1]


def test_the_reference_is_the_seeds_or_the_given_one(models: Models) -> None:
    assert compared(models, "larvae").reference == compared(models, "baseline", "larvae").reference
    opened = datasets.open_dataset("dsprites", datasets.prepare("dsprites", models.source))
    for reference in (0, TINY_IMAGES - 1):
        shown = compared(models, "larvae", reference=reference, classes=True)
        assert shown.reference == reference
        assert (shown.reference_image == 255 * opened.images(np.array([reference]))[0]).all()
        assert any((image == shown.reference_image).all() for image in shown.models[0].traversals[0].images)


# Bad input


@pytest.mark.usefixtures("undrawn")
def test_bad_input_is_one_line_and_writes_nothing(models: Models, traverse: Script) -> None:
    at = {name: models.checkpoint(name) for name in MEMBERS}
    no_file = "`: no such file$"
    traverse.refuse(
        {
            "--study unknown": "`study` must be one of newer, pair, got unknown",
            "--study newer": "`study` must have finished members that differ in τ alone, 0 and more, got newer",
            "--study pair --dataset celeba": "`dataset` must be one of dsprites, got celeba",
            "--study pair --factors shape colour": "`factor` must be one of shape, scale, .*, got colour",
            f"--larvae {at['some']} --factors shape": "`factor` must be one of scale, position_x, got shape",
            f"--baseline {at['some']} --larvae {at['others']}": "must share a labelled factor",
            f"--baseline {at['baseline']} --larvae {at['colour']}": "of one data set, got dsprites and shapes3d",
            "--study pair --reference 72": r"`reference` must lie in \[0, 72\), got 72",
            "--study pair --reference -1": r"`reference` must lie in \[0, 72\), got -1",
            "--study pair --reference first": "--reference",
            "--study pair --steps 1": "`steps` must be >= 2, got 1",
            f"--study pair --data-file {models.root}/none.npz": r"none\.npz",
            f"--study pair --data-file {models.root}/mlflow.db": r"mlflow\.db",
            f"--baseline {models.root}/none.pt --larvae {at['larvae']}": rf"a model must be .*none\.pt{no_file}",
            "--larvae pair": f"a model must be a checkpoint's file or an MLflow run's id, got `pair{no_file}",
            f"--larvae {models.runs['gone']}": rf"a model must be .*/gone/checkpoint\.pt{no_file}",
            f"--larvae {models.runs['study']}": r"a run must be a member's, tagged `larvae\.directory`, got",
            f"--larvae {'0' * 32}": f"{'0' * 32}.*not found",
            f"--larvae {models.root}/larvae/result.json": r"result\.json` must be a whole checkpoint, but: ",
            "--tracking-uri mlruns": "`tracking_uri` must be sqlite:///FILE.*, got mlruns",
            "--unknown 1": "--unknown",
        }
    )
    traverse.refuse_files(f"--larvae {at['larvae']} --factors shape")


def test_a_study_whose_members_are_gone_is_one_line(models: Models, traverse: Script, tmp_path: Path) -> None:
    shutil.copy(models.root / "mlflow.db", tmp_path)
    given = f"--tracking-uri sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(given.split()[1])
    client.set_tag(models.runs["larvae"], "larvae.directory", str(tmp_path / "moved"))
    traverse.refuse({given: "/moved/checkpoint.pt`: no such file$"})
    client.delete_tag(models.runs["larvae"], "larvae.directory")
    traverse.refuse({given: "no such file$"})


def test_a_checkpoint_that_is_not_whole_is_one_line(models: Models, traverse: Script, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    configs = ({"dataset": "dsprites", "depth": 3}, {"dataset": "moving-mnist"}, [1], "dsprites", CONFIG.to_dict())
    for state in ({}, *({"config": config} for config in configs)):
        torch.save(state, path)
        traverse.refuse({f"--larvae {path}": ""})
    content = Path(models.checkpoint("larvae")).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    traverse.refuse({f"--larvae {path}": f"`{path}` must be a whole checkpoint, but: "})
    previous(path).write_bytes(content)
    with pytest.warns(Advice, match="the one before is used"):
        assert named_checkpoints([str(path)], "") == [previous(path)]


def test_models_are_told_apart_by_what_they_differ_in() -> None:
    """A control is no LaRVAE, and settings without effect are none."""
    configs = [
        MemberConfig(tau=0.0, alpha=64.0),
        MemberConfig(alpha=1.0, detach_nuisance=True),
        MemberConfig(alpha=1.0, replacement="inferred"),
        MemberConfig(regulariser="beta_vae", tau=0.0, gamma_tc=0.0, graphical_model="conditional"),
    ]
    assert titles(configs[:3], [[], ["seed 1"], []]) == [
        "SS-β-TCVAE (α = 64)",
        "LaRVAE (β-TCVAE, τ = 1, seed 1, α = 1, z detached)",
        "inferred label (β-TCVAE, τ = 1, α = 1, z not detached)",
    ]
    assert titles(configs[3:], [[]]) == ["conditional β-VAE"]
    for regulariser in REGULARISERS:  # each with settings of its own
        first, second = titles([MemberConfig(regulariser=regulariser, tau=0.0), MemberConfig(tau=0.0)], [[], []])
        assert (first == second) == (regulariser == "beta_tcvae")
    likelihoods = [MemberConfig(tau=0.0), MemberConfig(tau=0.0, likelihood="bernoulli", observed_factors=("shape",))]
    assert titles(likelihoods, [[], []])[1] == "SS-β-TCVAE (Bernoulli, observed_factors = shape)"
    pair = [MemberConfig(tau=tau) for tau in (0.0, 1.0)]
    assert titles(pair, [[], []]) == ["SS-β-TCVAE", "LaRVAE (β-TCVAE, τ = 1)"]
