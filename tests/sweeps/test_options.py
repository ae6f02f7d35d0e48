"""The command line: presets, every option, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from larvae.config import METRICS
from larvae.datasets import SPECIFICATIONS
from larvae.errors import InvalidInputError
from larvae.files import save_json
from sweeps import options, runner, tau_sweep
from sweeps.tau_sweep import PRESETS, TauSweepOptions

OTHER_VALUES: dict[str, tuple[list[str], object]] = {
    "preset": (["laptop"], "laptop"),
    "study": (["another one"], "another one"),
    "seeds": (["7"], 7),
    "iterations": (["123"], 123),
    "log_every": (["25"], 25),
    "evaluate_every": (["1500"], 1500),
    "evaluation_size": (["99"], 99),
    "dataset": (["shapes3d"], "shapes3d"),
    "data_file": (["some/file.npz"], Path("some/file.npz")),
    "observed_factors": (["shape", "scale"], ("shape", "scale")),
    "regulariser": (["beta_vae"], "beta_vae"),
    "density_estimator": (["minibatch_stratified"], "minibatch_stratified"),
    "likelihood": (["bernoulli"], "bernoulli"),
    "pixel_mean": (["sigmoid"], "sigmoid"),
    "pixel_variance": (["0.1"], 0.1),
    "replacement_likelihood": (["gaussian"], "gaussian"),
    "metrics": (["mig"], ("mig",)),
    "final_metrics": (["l2", "sap"], ("l2", "sap")),
    "z_dim": (["0"], 0),
    "gamma_tc": (["0.5"], 0.5),
    "alpha": (["1e3"], 1000.0),
    "learning_rate": (["3e-4"], 3e-4),
    "batch_size": (["8"], 8),
    "address": (["127.0.0.1:6379"], "127.0.0.1:6379"),
    "tracking_uri": (["http://127.0.0.1:5000"], "http://127.0.0.1:5000"),
    "storage_path": (["/mnt/shared"], Path("/mnt/shared")),
    "cpus_per_trial": (["2"], 2),
    "gpus_per_trial": (["0.25"], 0.25),
    "members_per_trial": (["3"], 3),
    "taus": (["0", "2.5", "1e2"], (0.0, 2.5, 100.0)),
    "label_rates": (["0.5", "1"], (0.5, 1.0)),
    "price": (["2.5"], 2.5),
}
"""A value other than the quick preset's for each option, as typed and as parsed; FLAGS are switches."""

FLAGS = {"compile", "instance_norm", "plan", "preflight"}


def no_preset(address: str | None) -> str:
    raise AssertionError("the preset was given: it must not be looked for")


def parse(*arguments: str) -> TauSweepOptions:
    return options.parse(arguments, PRESETS, no_preset, "A sweep.")


@pytest.fixture
def without_running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gets past the command line ends there; no study lies in the current folder."""
    monkeypatch.setattr(runner, "run_study", lambda study, options: pytest.fail(f"accepted: {options}"))
    monkeypatch.setattr(options, "default_preset", lambda address: "quick")


# Presets and options


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_is_its_numbers(preset: str) -> None:
    assert parse("--preset", preset) == PRESETS[preset]
    assert parse(f"--preset={preset}") == PRESETS[preset]
    assert PRESETS[preset].preset == preset


def test_presets_are_studies_of_their_own() -> None:
    assert len({preset.study for preset in PRESETS.values()}) == len(PRESETS) == 3


def test_every_option_is_tried_here() -> None:
    assert {field.name for field in dataclasses.fields(TauSweepOptions)} == OTHER_VALUES.keys() | FLAGS


@pytest.mark.parametrize("name", OTHER_VALUES.keys() - {"preset"})
def test_an_option_replaces_its_default_and_no_other(name: str) -> None:
    typed, value = OTHER_VALUES[name]
    assert getattr(PRESETS["quick"], name) != value
    parsed = parse("--preset", "quick", f"--{name.replace('_', '-')}", *typed)
    assert parsed == dataclasses.replace(PRESETS["quick"], **{name: value})


@pytest.mark.parametrize("gpus", [0, 0.0001, 0.3, 1, 2, 8])
def test_gpus_that_ray_can_reserve_are_taken(gpus: float) -> None:
    assert parse("--preset", "quick", "--gpus-per-trial", str(gpus)).gpus_per_trial == gpus


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_a_flag_switches_what_is_on_off_and_what_is_off_on(name: str) -> None:
    is_on = getattr(PRESETS["quick"], name)
    parsed = parse("--preset", "quick", f"--{'no-' * is_on}{name.replace('_', '-')}")
    assert parsed == dataclasses.replace(PRESETS["quick"], **{name: not is_on})


def test_options_reach_the_members_and_the_schedule() -> None:
    flags = ("--iterations", "30", "--log-every", "5", "--evaluate-every", "10", "--evaluation-size", "7")
    parsed = parse("--preset", "quick", "--z-dim", "3", "--batch-size", "8", "--alpha", "2", *flags)
    schedule = parsed.schedule
    assert (schedule.iterations, schedule.log_every, schedule.evaluate_every, schedule.evaluation_size) == (
        30,
        5,
        10,
        7,
    )
    assert {"z_dim": 3, "batch_size": 8, "alpha": 2.0}.items() <= parsed.shared_fields.items()


# Which preset


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("address", [None, "auto", "127.0.0.1:6379"])
@pytest.mark.parametrize("preset", PRESETS)
def test_without_preset_it_is_looked_for_where_the_study_will_run(preset: str, address: str | None) -> None:
    asked: list[str | None] = []

    def default_preset(given: str | None) -> str:
        asked.append(given)
        return preset

    arguments = [] if address is None else ["--address", address]
    parsed = options.parse([*arguments, "--z-dim", "3"], PRESETS, default_preset, "A sweep.")
    assert asked == [address]
    assert parsed == dataclasses.replace(PRESETS[preset], address=address, z_dim=3)


def begin(storage: Path, study: str, **record: object) -> None:
    """Leave a study's record as a command does that has begun it."""
    save_json(storage / study / "study.json", {"finished": False} | record)


def chosen_without_preset(default: str, *arguments: str) -> str:
    parsed = options.parse(arguments, PRESETS, lambda address: default, "A sweep.")
    assert dataclasses.replace(PRESETS[parsed.preset], study=parsed.study, storage_path=parsed.storage_path) == parsed
    return parsed.preset


@pytest.mark.parametrize("storage", ["results", "else where"])
@pytest.mark.parametrize(("default", "other"), [("quick", "paper"), ("paper", "quick")])
def test_without_preset_the_other_ones_unfinished_study_goes_on(
    default: str, other: str, storage: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder / storage
    flags = [] if storage == "results" else ["--storage-path", storage]
    begin(place, PRESETS[other].study)
    assert chosen_without_preset(default, *flags) == other
    printed = capsys.readouterr().out
    assert re.fullmatch(
        rf"Going on with `.*{PRESETS[other].study}`, of preset {other}; .* of preset {default}\n", printed
    )
    begin(place, PRESETS[default].study, finished=True)  # a look at it, before or after
    assert chosen_without_preset(default, *flags) == other
    begin(place, PRESETS[default].study)
    assert chosen_without_preset(default, *flags) == default
    assert parse("--preset", default, *flags).preset == default


@pytest.mark.parametrize(("preset", "finished"), [("paper", True), ("laptop", False)])
def test_studies_that_no_command_without_preset_left_unfinished_do_not_go_on(
    preset: str, finished: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(folder / "results", PRESETS[preset].study, finished=finished)
    assert chosen_without_preset("quick") == "quick"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("preset", PRESETS)
def test_a_named_study_keeps_its_preset(preset: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen_without_preset("quick", "--study", "mine") == "quick"
    begin(folder / "results", "mine")  # by an earlier version, which did not say
    assert chosen_without_preset("quick", "--study", "mine") == "quick"
    assert capsys.readouterr().out == ""
    begin(folder / "results", "mine", preset=preset)
    assert chosen_without_preset("quick", "--study", "mine") == preset
    assert len(capsys.readouterr().out.splitlines()) == (preset != "quick")


def test_preset_where_ray_has_gpus(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.default_preset("auto") == "paper"  # the session's two GPUs
    monkeypatch.setattr(runner.ray, "cluster_resources", lambda: {"CPU": 64.0})
    assert options.default_preset("auto") == "quick"


@pytest.mark.parametrize(("available", "preset"), [(True, "paper"), (False, "quick")])
def test_preset_on_this_machine(available: bool, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: available)
    assert options.default_preset(None) == preset


# Help


def help_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed, in one line without the box around it."""
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code in (0, None)
    printed = capsys.readouterr()
    assert printed.err == ""
    return " ".join(printed.out.replace("│", " ").split())


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_looks_for_nothing(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys, flag)
    assert "A sweep." in text
    for field in dataclasses.fields(TauSweepOptions):
        assert f"--{field.name.replace('_', '-')}" in text


@pytest.mark.parametrize("preset", PRESETS)
def test_help_shows_the_numbers_of_the_preset(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys, "--preset", preset, "--help")
    defaults = dict(re.findall(r"(--[a-z-]+) [A-Z].*?\(default: (.*?)\)", text))
    expected = PRESETS[preset]
    for name in ("study", "seeds", "iterations", "log_every", "evaluate_every"):
        assert defaults[f"--{name.replace('_', '-')}"] == str(getattr(expected, name))
    assert text.count(f"(default: {' '.join(map(str, expected.label_rates))})") == 1


# Bad input

GPUS = "`gpus_per_trial` must be 0, in [0.0001, 1], or a whole number up to 8"
FOLDER = "`storage_path` must be a folder, on a cluster one that all nodes share"
BAD_INPUT = [
    (["--taus", "-1"], "`tau` must be finite and >= 0, got -1.0"),
    (["--taus", "0", "nan"], "`tau` must be finite and >= 0, got nan"),
    (["--taus", "inf"], "`tau` must be finite and >= 0, got inf"),
    (["--taus"], "`tau` must have at least one value, got none"),
    (["--label-rates"], "`label_rate` must have at least one value, got none"),
    (["--label-rates", "0"], "`label_rate` must lie in (0, 1], got 0.0"),
    (["--label-rates", "0.01", "1.5"], "`label_rate` must lie in (0, 1], got 1.5"),
    (["--label-rates", "1e-9"], "`label_rate` must leave a labelled image: at least 1.4e-06, got 1e-09"),
    (["--z-dim", "-1"], "`z_dim` must be >= 0, got -1"),
    (["--batch-size", "0"], "`batch_size` must be > 0, got 0"),
    (["--gamma-tc", "-1"], "`gamma_tc` must be finite and >= 0, got -1.0"),
    (["--learning-rate", "0"], "`learning_rate` must be finite and > 0, got 0.0"),
    (["--regulariser", "dip"], "`regulariser` must be one of beta_vae, beta_tcvae, factor_vae, got dip"),
    (["--dataset", "mnist"], f"`dataset` must be one of {', '.join(SPECIFICATIONS)}, got mnist"),
    (
        ["--observed-factors", "shape", "colour"],
        "`observed_factors` must be one of shape, scale, orientation, position_x, position_y, got colour",
    ),
    (
        ["--density-estimator", "exact"],
        "`density_estimator` must be one of minibatch_weighted, minibatch_stratified, got exact",
    ),
    (["--likelihood", "poisson"], "`likelihood` must be one of gaussian, bernoulli, got poisson"),
    (
        ["--replacement-likelihood", "poisson"],
        "`replacement_likelihood` must be one of gaussian, bernoulli, got poisson",
    ),
    (
        ["--replacement-likelihood", "bernoulli"],
        "`pixel_mean` must be sigmoid with one likelihood in the ELBO and another in L_rep, got linear",
    ),
    (["--pixel-mean", "tanh"], "`pixel_mean` must be one of linear, sigmoid, got tanh"),
    (["--pixel-variance", "0"], "`pixel_variance` must be finite and > 0, got 0.0"),
    (["--pixel-variance", "-1"], "`pixel_variance` must be finite and > 0, got -1.0"),
    (["--metrics", "fid"], f"`metrics` must be one of {', '.join(METRICS)}, got fid"),
    (["--final-metrics", "fid"], f"`final_metrics` must be one of {', '.join(METRICS)}, got fid"),
    (["--iterations", "0"], "`iterations` must be > 0, got 0"),
    (["--log-every", "0"], "`log_every` must be > 0, got 0"),
    (["--evaluate-every", "70"], "`evaluate_every` must be a multiple of `log_every` (50), got 70"),
    (["--evaluation-size", "0"], "`evaluation_size` must be > 1, got 0"),
    (["--seeds", "0"], "`seeds` must be > 0, got 0"),
    (["--cpus-per-trial", "0"], "`cpus_per_trial` must be > 0, got 0"),
    (["--members-per-trial", "0"], "`members_per_trial` must be > 0, got 0"),
    *((["--gpus-per-trial", gpus], f"{GPUS}, got {gpus}") for gpus in ("9", "-0.5", "nan", "-inf", "1.5", "1e-05")),
    (["--storage-path", "s3://bucket/larvae"], f"{FOLDER}, got s3://bucket/larvae"),
    (["--storage-path", "gs://bucket"], f"{FOLDER}, got gs://bucket"),
    (["--study", "a/b"], "`study` must be usable as a folder's name, got 'a/b'"),
    (["--study", ""], "`study` must be usable as a folder's name, got ''"),
    (["--study", ".."], "`study` must be usable as a folder's name, got '..'"),
    (["--study", "a/" + 200 * "b"], f"`study` must be usable as a folder's name, got 'a/{200 * 'b'}'"),
    (["--preset", "huge"], "`preset` must be one of quick, laptop, paper, got huge"),
]
"""Arguments, and rule and value as they must be stated."""

UNREADABLE = [
    (["--seeds", "abc"], ("--seeds", "abc")),
    (["--taus", "0", "much"], ("--taus", "much")),
    (["--iterations", "1e3"], ("--iterations", "1e3")),
    (["--tau", "1"], ("--tau",)),
    (["--nonsense", "1"], ("--nonsense",)),
    (["--preset"], ("--preset", "expected one argument")),
    (["--address"], ("--address", "expected one argument")),
]
"""Arguments that the parser itself refuses, and what the message must name."""


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda value: " ".join(value)[:40])
def test_broken_rule_is_stated_with_the_value(arguments: list[str], message: str, without_running: None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tau_sweep.run(arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(("arguments", "named"), UNREADABLE, ids=lambda value: " ".join(value))
def test_what_cannot_be_parsed_is_named(arguments: list[str], named: tuple[str, ...], without_running: None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tau_sweep.run(arguments)
    assert "\n" not in str(caught.value)
    assert [part for part in named if part not in str(caught.value)] == []


@pytest.mark.parametrize("arguments", [BAD_INPUT[0][0], UNREADABLE[0][0]], ids=" ".join)
def test_bad_input_ends_the_command_with_one_line(
    arguments: list[str],
    without_running: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tau_sweep.py", *arguments])
    assert options.main(tau_sweep.run) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"error: .+\n", printed.err)


def test_interruption_before_training_ends_the_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["tau_sweep.py"])
    assert options.main(interrupted) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("code", [0, 1, 130])
def test_exit_code_is_the_sweeps_own(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []
    monkeypatch.setattr(sys, "argv", ["tau_sweep.py", "--seeds", "3"])
    assert options.main(lambda arguments: received.append(list(arguments)) or code) == code
    assert received == [["--seeds", "3"]]
