"""The traversal figure's script: which pair is shown, and from a study, checkpoints or runs to the files."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Param

from analysis import traversals
from analysis.traversals import Arguments, choose_pair, compare
from larvae import datasets
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.errors import InvalidInputError
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from sweeps.analysis import load
from sweeps.tracking import mlflow_names
from tests.analysis.invented import Member, frame, grid, with_ends
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

# Which pair


def chosen(members: list[Member] | pd.DataFrame, dataset: str | None = None) -> pd.DataFrame:
    rows = frame(members) if isinstance(members, list) else members
    return choose_pair(rows, "my-study", dataset)


def taus(pair: pd.DataFrame) -> list[float]:
    return [float(tau) for tau in pair["tau"]]


def values(pair: pd.DataFrame, column: str) -> Any:
    """What both rows of a pair have in a column."""
    [value] = pair[column].unique()
    return value


def test_the_baseline_comes_first_and_tau_is_next_to_1() -> None:
    assert taus(chosen(grid((10, 1, 0.5, 0), (0.01,), (0,)))) == [0, 1]
    assert taus(chosen(grid((10, 0.5, 0, 1.4), (0.01,), (0,)))) == [0, 1.4]
    assert taus(chosen(grid((0, 30, 0.1), (0.01,), (0,)))) == [0, 0.1]


def test_beta_tcvae_is_preferred() -> None:
    others = [
        *grid((0, 1), (0.001,), (0,), regulariser="beta_vae"),
        *grid((0, 1), (0.001,), (0,), regulariser="factor_vae"),
    ]
    pair = chosen([*others, *grid((0, 1), (0.05,), (3,))])
    assert values(pair, "regulariser") == "beta_tcvae"
    assert values(chosen(others[:2]), "regulariser") == "beta_vae"


def test_of_label_rates_and_seeds_the_lowest_is_shown() -> None:
    pair = chosen(grid((0, 1), (0.05, 0.002, 0.01), (4, 2, 3)))
    assert (values(pair, "label_rate"), values(pair, "seed")) == (0.002, 2)


def test_the_order_of_members_does_not_matter() -> None:
    members = frame(grid((0, 0.5, 1, 2), (0.01, 0.02), (0, 1)))
    expected = list(chosen(members)["hash"])
    for seed in range(5):
        assert list(chosen(members.sample(frac=1, random_state=seed))["hash"]) == expected


def test_a_pair_differs_in_tau_alone() -> None:
    lonely = [*grid((0,), (0.01,), (0,), z_dim=3), *grid((1,), (0.01,), (0,), z_dim=4)]
    pair = chosen([*lonely, *grid((0, 5), (0.02,), (7,))])
    assert (taus(pair), values(pair, "seed"), values(pair, "z_dim")) == ([0, 5], 7, 5)


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING", "SCHEDULED"])
def test_unfinished_members_are_passed_over(status: str) -> None:
    members = with_ends(
        grid((0, 1, 2), (0.01, 0.02), (0, 1)),
        {(1, 0.01, 0): (status, ""), (0, 0.01, 1): (status, ""), (2, 0.02, 0): (status, "")},
    )
    pair = chosen(members)
    assert (taus(pair), values(pair, "label_rate"), values(pair, "seed")) == ([0, 2], 0.01, 0)
    pair = chosen([member for member in members if (member.config.label_rate, member.config.seed) != (0.01, 0)])
    assert (taus(pair), values(pair, "label_rate"), values(pair, "seed")) == ([0, 1], 0.02, 0)


def test_of_several_data_sets_one_is_chosen() -> None:
    several = [*grid((0, 1), (0.01,), (0,)), *grid((0, 2), (0.01,), (0,), dataset="shapes3d")]
    assert taus(chosen(several, "dsprites")) == [0, 1]
    assert taus(chosen(several, "shapes3d")) == [0, 2]
    with pytest.raises(InvalidInputError, match=r"^`dataset` must be given: my-study has dsprites, shapes3d$"):
        chosen(several)
    with pytest.raises(InvalidInputError, match=r"^`dataset` must be one of dsprites, shapes3d, got celeba$"):
        chosen(several, "celeba")
    assert taus(chosen(several[:2], "dsprites")) == [0, 1]


@pytest.mark.parametrize(
    "members",
    [
        grid((1, 2), (0.01,), (0,)),
        grid((0,), (0.01,), (0, 1)),
        [*grid((0,), (0.01,), (0,)), *grid((1,), (0.01,), (1,))],
        with_ends(grid((0, 1), (0.01,), (0,)), {(1, 0.01, 0): ("FAILED", "NaN")}),
        with_ends(grid((0,), (0.01,), (0,)), {(0, 0.01, 0): ("RUNNING", "")}),
    ],
)
def test_where_there_is_no_pair_one_line_says_so(members: list[Member]) -> None:
    rule = "^`study` must have finished members that differ in τ alone, 0 and more, got my-study$"
    with pytest.raises(InvalidInputError, match=rule):
        chosen(members)


OPTIONAL = [field.name for field in dataclasses.fields(MemberConfig) if field.name not in ("dataset", "tau")]
NEEDED = ["regulariser", "label_rate", "seed"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_parameter_that_was_not_logged_breaks_nothing(name: str) -> None:
    """As in a study of an earlier version: NaN where others have it, or no such column at all."""
    members = frame(grid((0, 1, 3), (0.01,), (0,)))
    assert taus(chosen(members.assign(**{name: float("nan")}))) == [0, 1]
    without = members.drop(columns=name, errors="ignore")
    mixed = pd.concat([without, frame(grid((0, 2), (0.02,), (5,)))], ignore_index=True)
    assert taus(chosen(mixed)) in ([0, 1], [0, 2])
    if name not in NEEDED:
        assert taus(chosen(without)) == [0, 1]


def test_parameters_of_other_versions_are_no_difference() -> None:
    members = frame(grid((0, 1), (0.01,), (0,))).assign(warm_up=["0", "100"])
    assert taus(chosen(members)) == [0, 1]


# From members to files


SHORT = Schedule(
    iterations=4, log_every=4, evaluate_every=4, evaluation_size=8, final_metrics=("l2",), checkpoint_seconds=1e9
)
CONFIG = MemberConfig(batch_size=4, label_rate=0.2, z_dim=2, seed=3)
TINY_IMAGES = 72


class Models(NamedTuple):
    """Members of tiny data sets, on disk and in MLflow."""

    tracking_uri: str
    root: Path
    source: Path
    """The published dSprites."""
    runs: dict[str, str]
    """Ids by what a member is called here."""
    study_run: str

    def checkpoint(self, name: str) -> str:
        return str(MemberDirectory(self.root / name).checkpoint)

    def arguments(self, output: Path, *more: str) -> list[str]:
        given = ["--tracking-uri", self.tracking_uri, "--output", str(output), "--data-file", str(self.source)]
        return [*given, *more]


MEMBERS = {
    "baseline": dataclasses.replace(CONFIG, tau=0.0),
    "larvae": CONFIG,
    "unsupervised": dataclasses.replace(CONFIG, tau=0.0, alpha=0.0, regulariser="beta_vae"),
    "some": dataclasses.replace(CONFIG, observed_factors=("scale", "position_x"), z_dim=5),
    "others": dataclasses.replace(CONFIG, observed_factors=("shape",), z_dim=5),
    "colour": dataclasses.replace(CONFIG, dataset="shapes3d"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """MEMBERS, of which MLflow knows a pair, its baseline and its LaRVAE, and a member whose checkpoint is gone."""
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        tiny = {"dsprites": tiny_files.dsprites(root), "shapes3d": tiny_files.shapes3d(root)}
        opened = {name: prepared(made, patch, root / "cache") for name, made in tiny.items()}
        for name, config in MEMBERS.items():
            for _ in train_member(config, SHORT, opened[config.dataset], MemberDirectory(root / name)):
                pass
        uri = f"sqlite:///{root}/mlflow.db"
        client = MlflowClient(uri)
        logged = {"baseline": MEMBERS["baseline"], "larvae": MEMBERS["larvae"]}
        _, runs = log_members(client, "newer", root, {"gone": dataclasses.replace(CONFIG, seed=9)})
        study_run, pair = log_members(client, "pair", root, logged)
        yield Models(uri, root, tiny["dsprites"].source, runs | pair, study_run)


def prepared(tiny: Tiny, patch: pytest.MonkeyPatch, cache: Path) -> datasets.Dataset:
    tiny_files.register(tiny, patch, cache)
    name = tiny.specification.name
    return datasets.open_dataset(name, datasets.prepare(name, tiny.source))


def log_members(
    client: MlflowClient, study: str, root: Path, members: dict[str, MemberConfig]
) -> tuple[str, dict[str, str]]:
    """Tag finished members as sweeps/tracking/tracker.py tags them; ids of the study's run and of theirs."""
    experiment = client.create_experiment(study, tags={mlflow_names.FORMAT: str(FORMAT)})
    parent = client.create_run(experiment, run_name=study, tags={"larvae.role": "study"}).info.run_id
    runs = {}
    for name, config in members.items():
        tags = {
            mlflow_names.FORMAT: str(FORMAT),
            "larvae.role": "member",
            "larvae.member": config.content_hash,
            "larvae.iterations": str(SHORT.iterations),
            "larvae.fingerprint": "0" * 64,
            "larvae.directory": str(root / name),
            "mlflow.parentRunId": parent,
        }
        runs[name] = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        texts = {k: " ".join(v) if isinstance(v, list) else str(v) for k, v in config.to_dict().items()}
        client.log_batch(runs[name], params=[Param(key, text) for key, text in texts.items()])
        client.update_run(runs[name], status="FINISHED")
    return parent, runs


def drawn(arguments: list[str], output: Path, capsys: pytest.CaptureFixture[str], name: str = "dsprites") -> None:
    """Run the script; assert that it wrote a figure of a data set, and said so."""
    assert traversals.main(arguments) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    files = [output / f"traversals_{name}.png", output / f"traversals_{name}.pdf"]
    assert printed.out.splitlines() == [str(file) for file in files]
    assert printed.err == ""
    assert sorted(output.iterdir()) == sorted(files)
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"%PDF")


def compared(models: Models, *names: str, **others: Any) -> Any:
    return compare([Path(models.checkpoint(name)) for name in names], Arguments(data_file=models.source, **others))


def test_the_newest_study_with_a_pair_is_drawn(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load.find_pair_study(models.tracking_uri) == "pair"
    drawn(models.arguments(tmp_path / "new"), tmp_path / "new", capsys)


def test_a_study_checkpoints_and_runs_give_the_same_figure(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {
        "study": ["--study", "pair", "--dataset", "dsprites"],
        "checkpoints": ["--baseline", models.checkpoint("baseline"), "--larvae", models.checkpoint("larvae")],
        "runs": ["--baseline", models.runs["baseline"], "--larvae", models.runs["larvae"]],
        "both": ["--larvae", models.checkpoint("larvae"), "--baseline", models.runs["baseline"]],
    }
    for way, given in ways.items():
        output = tmp_path / way
        drawn(models.arguments(output, *given, "--factors", "shape"), output, capsys)
        for kind in ("png", "pdf"):
            figures = [(tmp_path / name / f"traversals_dsprites.{kind}").read_bytes() for name in ("study", way)]
            assert figures[0] == figures[1], way


def test_only_one_model(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = models.arguments(tmp_path / "new", "--larvae", models.runs["larvae"], "--steps", "2")
    drawn(given, tmp_path / "new", capsys)


def test_checkpoints_need_no_mlflow(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new"
    given = ["--tracking-uri", f"sqlite:///{tmp_path}/none.db", "--larvae", models.checkpoint("larvae")]
    drawn([*models.arguments(output), *given, "--factors", "scale"], output, capsys)


def test_a_data_set_that_was_prepared_needs_no_file(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new"
    given = ["--larvae", models.checkpoint("colour"), "--output", str(output), "--factors", "shape", "wall_hue"]
    drawn(given, output, capsys, "shapes3d")


def test_rows_are_the_data_the_baseline_and_larvae(models: Models) -> None:
    shown = compared(models, "baseline", "larvae")
    titles = ["data of the nearest classes", "SS-β-TCVAE", "LaRVAE (β-TCVAE, τ = 1)"]
    assert [model.title for model in shown.models] == titles
    assert compared(models, "larvae", classes=True).models[0].title == "data"
    names = ["shape", "scale", "orientation", "position_x", "position_y"]
    for model in shown.models:
        assert [traversal.factor for traversal in model.traversals] == names
    assert shown.dataset == "dsprites"
    assert 0 <= shown.reference < TINY_IMAGES
    [unsupervised] = compared(models, "unsupervised").models[1:]
    assert unsupervised.title == "β-VAE"


def test_the_caption_says_how_models_were_trained(models: Models, tmp_path: Path) -> None:
    """What they share once, the rest with each; the study where a checkpoint lies in one's folder."""
    assert compared(models, "baseline", "larvae").training == "4 iterations, η = 20 %, seed 3"
    other = dataclasses.replace(CONFIG, seed=4)
    opened = datasets.open_dataset("dsprites", datasets.prepare("dsprites", models.source))
    directory = MemberDirectory(tmp_path / "mine/members" / other.content_hash)
    list(train_member(other, SHORT, opened, directory))
    (tmp_path / "mine/study.json").write_text('{"name": "mine"}')
    checkpoints = [Path(models.checkpoint("baseline")), directory.checkpoint]
    shown = compare(checkpoints, Arguments(data_file=models.source))
    assert shown.training == "4 iterations, η = 20 %"
    titles = ["SS-β-TCVAE (seed 3)", "LaRVAE (β-TCVAE, τ = 1, study mine, seed 4)"]
    assert [model.title for model in shown.models[1:]] == titles
    assert shown.training in shown.notes[1]


def test_factors_are_shown_in_the_order_given(models: Models) -> None:
    shown = compared(models, "baseline", "larvae", factors=("position_y", "shape"), steps=2)
    for model in shown.models:
        assert [(t.factor, len(t.images)) for t in model.traversals] == [("position_y", 2), ("shape", 2)]


def test_the_reference_is_the_seed_s_or_the_given_one(models: Models) -> None:
    assert compared(models, "larvae").reference == compared(models, "baseline", "larvae").reference
    opened = datasets.open_dataset("dsprites", datasets.prepare("dsprites", models.source))
    for reference in (0, TINY_IMAGES - 1):
        shown = compared(models, "larvae", reference=reference)
        assert shown.reference == reference
        assert (shown.reference_image == 255 * opened.images(pd.Series([reference]).to_numpy())[0]).all()
        data = shown.models[0].traversals[0]
        data = compared(models, "larvae", reference=reference, classes=True).models[0].traversals[0]
        assert any((image == shown.reference_image).all() for image in data.images)


def test_without_factors_those_that_both_have_labels_of_are_shown(models: Models) -> None:
    shown = compared(models, "baseline", "some")
    for model in shown.models:
        assert [traversal.factor for traversal in model.traversals] == ["scale", "position_x"]


def test_models_without_a_common_label_are_refused(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--baseline", models.checkpoint("some"), "--larvae", models.checkpoint("others")]
    line = refused(models.arguments(tmp_path / "new", *given), tmp_path / "new", capsys)
    assert "label" in line


# Bad input


def refused(arguments: list[str], output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the script; assert that it writes nothing and ends with 2 and one line, which is returned."""
    assert traversals.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert not output.exists()
    start, _, message = line.partition("error: ")
    assert start == ""
    return message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--study unknown", r"`study` must be one of newer, pair, got unknown"),
        ("--study newer", r"`study` must have finished members that differ in τ alone, 0 and more, got newer"),
        ("--study pair --dataset celeba", r"`dataset` must be one of dsprites, got celeba"),
        ("--study pair --dataset faces", r"`dataset` must be one of dsprites, got faces"),
        ("--study pair --factors colour", r"`factor` must be one of shape, scale, .*, got colour"),
        ("--study pair --factors shape colour", r"`factor` must be one of shape, scale, .*, got colour"),
        ("--larvae {some} --factors shape", r"`factor` must be one of scale, position_x, got shape"),
        ("--study pair --reference 72", r"`reference` must lie in \[0, 72\), got 72"),
        ("--study pair --reference -1", r"`reference` must lie in \[0, 72\), got -1"),
        ("--study pair --reference first", r".*--reference.*"),
        ("--study pair --steps 1", r"`steps` must be >= 2, got 1"),
        ("--study pair --steps 0", r"`steps` must be >= 2, got 0"),
        ("--study pair --steps many", r".*--steps.*"),
        ("--study pair --data-file {root}/none.npz", r".*none\.npz.*"),
        ("--study pair --data-file {root}/mlflow.db", r".*mlflow\.db.*"),
        ("--baseline {root}/none.pt --larvae {larvae}", r"a model must be .*none\.pt`: no such file"),
        ("--baseline {baseline} --larvae {root}/larvae", r"a model must be .*/larvae`: no such file"),
        ("--larvae pair", r"a model must be a checkpoint's file or an MLflow run's id, got `pair`: no such file"),
        ("--larvae {gone_run}", r"a model must be .*/gone/checkpoint\.pt`: no such file"),
        ("--larvae {study_run}", r"a run must be a member's, tagged `larvae\.directory`, got [0-9a-f]{32}"),
        ("--larvae 00000000000000000000000000000000", r".*00000000000000000000000000000000.*not found.*"),
        ("--larvae {root}/mlflow.db", r"`.*mlflow\.db` must be a whole checkpoint, but: .*"),
        ("--larvae {root}/larvae/result.json", r"`.*result\.json` must be a whole checkpoint, but: .*"),
        ("--baseline {baseline} --larvae {colour}", r"models must be of one data set, got dsprites and shapes3d"),
        ("--tracking-uri mlruns", r"`tracking_uri` must be sqlite:///FILE.*, got mlruns"),
        ("--unknown 1", r".*--unknown.*"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    names = {name: models.checkpoint(name) for name in MEMBERS}
    given = arguments.format(
        root=models.root, gone_run=models.runs["gone"], study_run=models.study_run, **names
    ).split()
    output = tmp_path / "new"
    line = refused(models.arguments(output, *given), output, capsys)
    assert re.fullmatch(message, line), line


def test_a_study_whose_members_are_gone_is_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(models.tracking_uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    client = MlflowClient(uri)
    client.set_tag(models.runs["larvae"], "larvae.directory", str(tmp_path / "moved"))
    output = tmp_path / "new"
    line = refused([*models.arguments(output), "--tracking-uri", uri], output, capsys)
    assert line.endswith("/moved/checkpoint.pt`: no such file")
    client.delete_tag(models.runs["larvae"], "larvae.directory")
    refused([*models.arguments(output), "--tracking-uri", uri], output, capsys)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"config": {"dataset": "dsprites", "depth": 3}},
        {"config": {"dataset": "moving-mnist"}},
        {"config": [1]},
        {"config": "dsprites"},
        {"config": CONFIG.to_dict()},
    ],
    ids=["empty", "unknown field", "unknown data set", "list", "text", "no parameters"],
)
def test_a_checkpoint_that_is_not_whole_is_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: dict[str, Any]
) -> None:
    path, output = tmp_path / "other.pt", tmp_path / "new"
    torch.save(state, path)
    refused(models.arguments(output, "--larvae", str(path)), output, capsys)


def test_a_half_written_checkpoint_is_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "half.pt", tmp_path / "new"
    content = Path(models.checkpoint("larvae")).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    line = refused(models.arguments(output, "--larvae", str(path)), output, capsys)
    assert line.startswith(f"`{path}` must be a whole checkpoint, but: ")


def test_an_output_that_is_a_file_is_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    given = models.arguments(tmp_path / "file", "--larvae", models.checkpoint("larvae"), "--factors", "shape")
    assert traversals.main(given) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: `output` must be a directory that can be written")
    assert (tmp_path / "file").read_text() == "mine"
