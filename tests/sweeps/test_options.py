"""The command line: groups, presets, every option, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from larvae import datasets
from larvae.errors import InvalidInputError
from larvae.files import save_json
from larvae.metrics import METRICS
from larvae.regularisers import REGULARISERS
from sweeps import grid, label_rate_sweep, options, runner, search, tau_sweep, z_dim_sweep
from sweeps.grid import GridOptions
from sweeps.options import StudyOptions
from sweeps.study import Study
from sweeps.tau_sweep import PRESETS
from tests.commands import ROOT
from tests.sweeps.commands import without_phases

PAPERS = ("beta_vae", "beta_tcvae", "factor_vae")
"""Regularisers of the paper."""
SWEEPS = (tau_sweep, z_dim_sweep, label_rate_sweep)
COMMANDS = (*SWEEPS, search)
WORDS = {
    "study": "another one",
    "iterations": "300",
    "log_every": "25",
    "evaluate_every": "1500",
    "dataset": "shapes3d",
    "observed_factors": "shape scale",
    "regulariser": "beta_vae",
    "density_estimator": "minibatch_stratified",
    "likelihood": "bernoulli",
    "pixel_mean": "sigmoid",
    "replacement_likelihood": "gaussian",
    "replacement": "inferred",
    "label_loss": "cross_entropy",
    "label_scaling": "unit",
    "metrics": "mig",
    "final_metrics": "l2 sap",
    "tau": "0 2.5 1e2",
    "label_rate": "0.5 1",
    "grid": "alpha=1,2",
}
"""Values other than the quick preset's, as typed, of options that do not take any word or number."""


def fields(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Places of all options within their groups, and their values."""
    groups = value if isinstance(value, dict) else {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
    for name, within in groups.items():
        if dataclasses.is_dataclass(within) or isinstance(within, dict):
            yield from fields(within, (*path, name))
        elif name not in ("preset", "figure_command"):
            yield (*path, name), within


def flag_of(path: tuple[str, ...]) -> str:
    """The flag of an option by its place: several values of a field have the field's name in the plural."""
    if path == ("share",):
        return "--lambda"
    return "--" + path[-1].replace("_", "-") + "s" * (path[0] == "values")


def no_preset(address: str | None) -> str:
    raise AssertionError("the preset was given: it must not be looked for")


def parse(*arguments: str) -> GridOptions:
    return options.parse(arguments, PRESETS, no_preset, "A sweep.")


def study_of(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *flags: str) -> Study:
    """The study that a command line would run."""
    studies: list[Study] = []

    def run_study(study: Study, options: StudyOptions) -> int:
        assert all(path.is_absolute() for path in options.data_files.values())  # trials have folders of their own
        studies.append(study)
        return 0

    monkeypatch.setattr(runner, "run_study", run_study)
    assert script.run(["--preset", "quick", *flags]) == 0
    return studies[0]


# Presets and options


def test_an_option_is_flat_replaces_its_default_and_no_other_whatever_its_group() -> None:
    quick = dict(fields(parse("--preset", "quick")))
    assert len(set(map(flag_of, quick))) == len(quick)  # no two groups have a name in common
    for path, value in quick.items():
        flag = flag_of(path)
        default = "text/of/any/kind" if isinstance(value, str | Path) or flag in ("--data-file", "--address") else "7"
        typed = WORDS.get(path[-1], default)
        flags = (
            [flag.replace("--", "--no-") if value else flag]
            if isinstance(value, bool)
            else [flag, *(typed.split() if isinstance(value, tuple) else [typed])]
        )
        parsed = dict(fields(parse("--preset", "quick", *flags)))
        changed = [other for other in parsed if parsed[other] != quick[other]]
        assert changed == [path] or (path[-1], changed[1:]) == ("regulariser", [("model", "gamma_tc")])
        if not isinstance(value, bool | tuple):
            assert str(parsed[path]) in (typed, f"{typed}.0")


def test_presets_are_studies_of_their_own_that_every_command_names_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({preset.study for script in COMMANDS for preset in script.PRESETS.values()}) == 3 * len(COMMANDS)
    for script in COMMANDS:
        assert list(script.PRESETS) == ["quick", "laptop", "paper"]
        for name, preset in script.PRESETS.items():
            assert preset.preset == name
            parsed = options.parse([f"--preset={name}"], script.PRESETS, no_preset, "")
            assert dataclasses.replace(parsed, model=preset.model) == preset
            assert parsed.model.items() >= preset.model.items()
            assert (ROOT / shlex.split(preset.figure_command)[0]).is_file()
            assert ("dci" in preset.schedule.final_metrics) == (name != "quick") or script is search
            if script is not search:
                study = study_of(script, monkeypatch, "--preset", name)
                assert len({member.content_hash for member in study.members}) == len(study.members) > 1
                assert len({study.label(member) for member in study.members}) == len(study.members)


def test_paper_presets_are_the_papers_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    z_dims = study_of(z_dim_sweep, monkeypatch, "--preset", "paper").members
    assert {(m.z_dim, m.label_rate) for m in z_dims} == {(z, rate) for z in (0, 1, 5, 10, 50) for rate in (0.01, 0.02)}
    assert len(z_dims) == 5 * 2 * 6
    rates = study_of(label_rate_sweep, monkeypatch, "--preset", "paper").members
    assert {m.dataset for m in rates} == {"dsprites", "shapes3d", "isaac3d"}
    assert {m.label_rate for m in rates} == {0.01, 0.015, 0.02, 0.025}
    assert {(m.regulariser, m.tau) for m in rates} == {(r, tau) for r in PAPERS for tau in (0, 1)}
    assert len(rates) == 3 * 4 * 3 * 2 * 6


def test_options_reach_the_members_and_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--iterations", "30", "--log-every", "5", "--evaluate-every", "10", "--z-dim", "3", "--batch-size", "8")
    study = study_of(tau_sweep, monkeypatch, *flags, "--alpha", "2")
    assert (study.schedule.iterations, study.schedule.log_every, study.schedule.evaluate_every) == (30, 5, 10)
    assert {(m.z_dim, m.batch_size, m.alpha) for m in study.members} == {(3, 8, 2.0)}
    gammas = {(m.regulariser, m.gamma_tc) for m in study_of(label_rate_sweep, monkeypatch).members}
    assert gammas == {(name, REGULARISERS[name].default_weight) for name in PAPERS}
    for regulariser, gamma_tc in gammas:
        for more, expected in (((), gamma_tc), (("--gamma-tc", "0"), 0)):
            members = study_of(tau_sweep, monkeypatch, "--regulariser", regulariser, *more).members
            assert {member.gamma_tc for member in members} == {expected}


# Which preset


@pytest.mark.usefixtures("folder")
def test_without_preset_it_is_looked_for_where_the_study_will_run() -> None:
    for preset in PRESETS:
        for address in (None, "auto"):
            asked: list[str | None] = []
            arguments = ["--z-dim", "3", *(["--address", address] if address else [])]
            parsed = options.parse(arguments, PRESETS, lambda given, a=asked, p=preset: a.append(given) or p, "")
            assert (asked, parsed.where.address, parsed.model["z_dim"], parsed.preset) == (
                [address],
                address,
                3,
                preset,
            )
            assert parsed.schedule == PRESETS[preset].schedule


def begin(storage: Path, study: str, **record: object) -> None:
    """Leave a study's record as a command does that has begun it."""
    save_json(storage / study / "study.json", {"finished": False} | record)


def test_what_only_the_preset_that_is_meant_allows_is_no_error_over_another() -> None:
    """Every 1,000 iterations a row is too seldom for the quick preset's evaluations alone."""
    arguments = ["--log-every", "1000"]
    assert options.parse(arguments, PRESETS, lambda address: "paper", "").schedule.log_every == 1000
    with pytest.raises(InvalidInputError, match="must be a multiple"):
        options.parse(arguments, PRESETS, lambda address: "quick", "")
    with pytest.raises(InvalidInputError, match="`seeds` must be in"):
        options.parse(["--seeds", "0"], PRESETS, no_preset, "")  # whatever is meant: nothing slow is asked


def test_a_data_file_may_have_an_equals_sign_in_its_path() -> None:
    for given in ("/data/run=3/dsprites.npz", "dsprites=/data/run=3/dsprites.npz"):
        assert parse("--preset", "quick", "--data-file", given).data_files == {
            "dsprites": Path("/data/run=3/dsprites.npz")
        }


def test_the_graphical_model_decides_the_usual_weight_however_it_is_typed() -> None:
    for flag in ("--graphical-model", "--graphical_model"):
        assert parse("--preset", "quick", flag, "conditional").model.get("gamma_tc") is None
    with pytest.raises(InvalidInputError, match="graphical-model"):
        parse("--preset", "quick", "--graphical-model")


def chosen_without_preset(default: str, *arguments: str) -> str:
    return options.parse(arguments, PRESETS, lambda address: default, "A sweep.").preset


@pytest.mark.parametrize(("default", "other"), [("quick", "paper"), ("paper", "quick")])
def test_without_preset_the_other_ones_unfinished_study_goes_on(
    default: str, other: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for storage, flags in (("results", ()), ("else where", ("--storage-path", "else where"))):
        place = folder / storage
        begin(place, PRESETS[other].study, finished=True)
        begin(place, PRESETS["laptop"].study)
        assert chosen_without_preset(default, *flags) == default
        assert capsys.readouterr().out == ""
        begin(place, PRESETS[other].study)
        assert chosen_without_preset(default, *flags) == other
        line = rf"Going on with `.*{PRESETS[other].study}`, of preset {other}; .* of preset {default}\n"
        assert re.fullmatch(line, capsys.readouterr().out)
        begin(place, PRESETS[default].study, finished=True)  # a look at it, before or after
        assert chosen_without_preset(default, *flags) == other
        begin(place, PRESETS[default].study)
        assert chosen_without_preset(default, *flags) == default
        capsys.readouterr()


def test_a_named_study_keeps_its_preset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen_without_preset("quick", "--study", "mine") == "quick"
    begin(folder / "results", "mine")  # by an earlier version, which did not say
    assert chosen_without_preset("quick", "--study", "mine") == "quick"
    for preset in PRESETS:
        assert capsys.readouterr().out == ""
        begin(folder / "results", "mine", preset=preset)
        assert chosen_without_preset("quick", "--study", "mine") == preset
        assert len(capsys.readouterr().out.splitlines()) == (preset != "quick")
        capsys.readouterr()


def test_preset_where_there_are_gpus(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.default_preset("auto") == "paper"  # the session's two GPUs
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 64.0})
    assert options.default_preset("auto") == "quick"
    monkeypatch.setattr(options, "GPU_DEVICES", ("null",))
    for available, preset in ((True, "paper"), (False, "quick")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=available: there)
        assert options.default_preset(None) == preset
    monkeypatch.setattr(options, "GPU_DEVICES", ("no such device",))
    monkeypatch.setattr("torch.cuda.is_available", lambda: pytest.fail("PyTorch is asked"))
    assert options.default_preset(None) == "quick"


def test_help_shows_all_options_and_the_numbers_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    for preset in PRESETS:
        with pytest.raises(SystemExit) as stopped:
            parse("--preset", preset, "--help")
        assert stopped.value.code in (0, None)
        printed = capsys.readouterr()
        assert printed.err == ""
        text = " ".join(printed.out.replace("│", " ").split())
        assert "A sweep." in text
        for path, value in fields(parse("--preset", preset)):
            flag = flag_of(path)
            assert flag in text
            if isinstance(value, int) and not isinstance(value, bool):
                default = re.search(rf"{flag} INT .*?\(default: (.*?)\)", text)
                assert (default or [""] * 2)[1] == str(value), flag


# Bad input

GPUS = "`gpus_per_trial` must be 0, in [0.0001, 1], or a whole number up to 8"
NAME = "`study` must be usable as a folder's name, of 100 bytes at most"
FOLDER = "`storage_path` must be a folder, on a cluster one that all nodes share"
BROKEN: dict[str, str] = {
    "--taus 0 nan": "`tau` must be finite and >= 0, got nan",
    "--taus": "`tau` must have at least one value, got none",
    "--label-rates 0.01 1.5": "`label_rate` must lie in (0, 1], got 1.5",
    "--label-rates 1e-9": "`label_rate` must leave a labelled image: at least 1.4e-06, got 1e-09",
    "--batch-size 0": "`batch_size` must be > 0, got 0",
    "--regulariser dip": f"`regulariser` must be one of {', '.join(REGULARISERS)}, got dip",
    "--dataset mnist": f"`dataset` must be one of {', '.join(datasets.SPECIFICATIONS)}, got mnist",
    "--observed-factors shape colour": "`observed_factors` must be one of shape, scale, orientation, position_x, "
    "position_y, got colour",
    "--replacement-likelihood bernoulli": "`pixel_mean` must be sigmoid with one likelihood in the ELBO and another in "
    "L_rep, got linear",
    "--metrics fid": f"`metrics` must be one of {', '.join(METRICS)}, got fid",
    "--evaluate-every 70": "`evaluate_every` must be a multiple of `log_every` (50), got 70",
    "--seeds 0": "`seeds` must be in [1, 10,000], got 0",
    "--seeds 99999999999999999999": "`seeds` must be in [1, 10,000], got 99999999999999999999",
    "--iterations 1000000001": "`iterations` must be <= 1000000000, got 1000000001",
    "--z-dim 1001": "`z_dim` must be in [0, 1000], got 1001",
    "--cpus-per-trial 0": "`cpus_per_trial` must be > 0, got 0",
    "--members-per-trial 0": "`members_per_trial` must be > 0, got 0",
    "--probe-minutes 0.2": "`probe_minutes` must be in [1, 60], got 0.2",
    "--price -1": "`price` must be finite and >= 0, got -1.0",
    **{f"--gpus-per-trial {gpus}": f"{GPUS}, got {gpus}" for gpus in ("9", "-0.5", "nan", "1.5", "1e-05")},
    "--storage-path s3://bucket/larvae": f"{FOLDER}, got s3://bucket/larvae",
    "--study a/b": f"{NAME}, got 'a/b'",
    "--study ''": f"{NAME}, got ''",
    "--study ..": f"{NAME}, got '..'",
    f"--study {'a' * 101}": f"{NAME}, got '{'a' * 100}'",
    "--study 'a	b'": f"{NAME}, got 'a\\tb'",
    "--iteratons 50": "Unrecognized options: --iteratons, 50; perhaps you meant --iterations",
    "--preset huge": "`preset` must be one of quick, laptop, paper, got huge",
}
BROKEN_ELSEWHERE = [
    (z_dim_sweep, "--z-dims -1", "`z_dim` must be in [0, 1000], got -1"),
    (label_rate_sweep, "--tau 0", "`tau` must be > 0, to be compared with τ = 0, got 0"),
    (label_rate_sweep, "--data-file mnist=x.h5", "`data_file` must be one of dsprites, got mnist"),
    (
        label_rate_sweep,
        "--datasets dsprites celeba --data-file x.h5",
        "`data_file` must be one of dsprites, celeba, got",
    ),
    (grid, "", "`grid` must name a field and its values, as in --grid tau=0,1,5"),
    (grid, "--grid tau", "`grid` must be NAME=A,B,C, got tau"),
    (grid, "--grid taux=1", "`grid` must be one of dataset, regulariser, tau,"),
    (grid, "--grid seed=1,2", "`grid` must be one of dataset, regulariser, tau,"),
    (grid, "--grid tau=1,x", "`tau` must be of numbers, got x"),
    (grid, "--grid z_dim=1.5", "`z_dim` must be of whole numbers, got 1.5"),
    (grid, "--grid instance_norm=maybe", "`instance_norm` must be one of true, false, got maybe"),
    (grid, "--grid tau=", "`tau` must have at least one value, got none"),
    (grid, "--grid tau=0,1 --grid tau=5", "`grid` must name each field once, got tau twice"),
    (grid, "--grid capacity=1,2", "`capacity` must be left out with the regulariser beta_tcvae"),
    (grid, "--grid tau=0,1 --tau 3", "Unrecognized options: --tau"),
    (grid, "--regulariser annealed_vae --grid tau=0,1 --capacity -1", "`capacity` must be finite and >= 0, got -1.0"),
    (tau_sweep, "--grid tau=0,1", "`grid` must name another field than tau, which --taus varies"),
    (search, "--space tau=10:0.1:log", "`tau` must have low < high, got low 10 and high 0.1"),
    (search, "--space alpha=1:10 --alpha 3", "`alpha` must be searched or fixed, not both"),
    (search, "--space label_rate=1e-7,0.01", "`label_rate` must leave a labelled image"),
    (search, "--space-file missing.toml", "`space_file` must be a TOML file, got `missing.toml`: No such file"),
    (search, "--sampler grid", "`sampler` must be one of tpe, gp, cmaes, sobol, random, got grid"),
    (search, "--stopper hyperband", "`stopper` must be one of asha, none, got hyperband"),
    (
        search,
        "--objectives mig l2 --stopper asha",
        "`stopper` asha ranks by one objective, got mig and l2: give --stopper none, or one of --objectives",
    ),
    (search, "--sampler gp --stopper asha", "`stopper` asha must go with tpe, sobol, random, got gp"),
    (search, "--configurations 0", "`configurations` must be > 0, got 0"),
    (search, "--first-seeds 4", "`first_seeds` must be <= seeds (3), got 4"),
    (search, "--held-out 0", "`held_out` must be > 0"),
    (search, "--reduction 1", "`reduction` must be >= 2, got 1"),
    (search, "--parallel 0", "`parallel` must be > 0, got 0"),
]
UNREADABLE = ("--seeds abc", "--taus 0 much", "--iterations 1e3", "--tau 1", "--nonsense 1", "--preset", "--address")
"""Words that the parser itself refuses: the message names the flag."""


def test_bad_input_ends_the_command_with_one_line_that_states_rule_and_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        runner, "run_study", lambda study, options: pytest.fail(f"accepted: {options}, {options.data_files}")
    )
    monkeypatch.setattr(options, "default_preset", lambda address: "quick")
    cases = [(tau_sweep, words, f"error: {message}\n") for words, message in BROKEN.items()]
    cases += [(script, words, f"error: {message}") for script, words, message in BROKEN_ELSEWHERE]
    cases += [(tau_sweep, words, words.split()[0]) for words in UNREADABLE]
    for script, words, message in cases:
        monkeypatch.setattr(sys, "argv", [script.__name__, *shlex.split(words)])
        assert options.main(script.run) == 2, words
        printed = capsys.readouterr()
        assert (without_phases(printed.out), printed.err.count("\n")) == ("", 1)
        assert printed.err.startswith("error: ")
        assert message in printed.err
    assert list(folder.iterdir()) == []


def test_exit_codes_are_the_sweeps_own_and_an_interruption_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tau_sweep.py", "--seeds", "3"])
    for code in (0, 1, 130):
        received: list[object] = []
        assert options.main(lambda arguments, r=received, c=code: r.append(list(arguments)) or c) == code  # type: ignore[misc]
        assert received == [["--seeds", "3"]]

    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    assert options.main(interrupted) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1
