from __future__ import annotations

import sys
from pathlib import Path

import pytest

from larvae.errors import InvalidInputError
from sweeps import options, tau_sweep
from sweeps.study import grid
from sweeps.tau_sweep import PRESETS, TauSweepOptions


def parse(*arguments: str, preset: str = "quick") -> TauSweepOptions:
    return options.parse(arguments, PRESETS, lambda address: preset, "A sweep.")


def test_defaults_are_those_of_the_preset() -> None:
    assert parse("--preset", "laptop") == PRESETS["laptop"]
    assert parse(preset="paper") == PRESETS["paper"]


def test_every_kind_of_value_can_be_overridden() -> None:
    chosen = parse(
        *("--preset", "paper", "--seeds", "2", "--taus", "0", "0.3", "--gpus-per-trial", "0.25", "--no-compile"),
        *("--storage-path", "somewhere", "--data-file", "images.npz", "--learning-rate", "1e-3", "--address", "auto"),
    )
    assert (chosen.preset, chosen.seeds, chosen.taus, chosen.gpus_per_trial) == ("paper", 2, (0.0, 0.3), 0.25)
    assert (chosen.compile, chosen.storage_path, chosen.data_file) == (False, Path("somewhere"), Path("images.npz"))
    assert (chosen.learning_rate, chosen.address) == (1e-3, "auto")
    assert chosen.iterations == PRESETS["paper"].iterations


@pytest.mark.parametrize(
    ("arguments", "asked"), [((), [None]), (("--address", "auto"), ["auto"]), (("--preset", "quick"), [])]
)
def test_machine_is_asked_only_where_no_preset_is_named(arguments: tuple[str, ...], asked: list[str | None]) -> None:
    calls: list[str | None] = []

    def default_preset(address: str | None) -> str:
        calls.append(address)
        return "laptop"

    options.parse(arguments, PRESETS, default_preset, "")
    assert calls == asked


def test_help_shows_the_numbers_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        options.parse(("--preset", "paper", "--help"), PRESETS, lambda _: pytest.fail("asked the machine"), "")
    assert not stop.value.code
    assert "1000000" in capsys.readouterr().out


def test_paper_preset_is_figure_3a() -> None:
    paper = PRESETS["paper"]
    assert (paper.taus, paper.label_rates) == ((0, 0.1, 0.5, 1, 5, 10), (0.01, 0.02))
    assert (paper.seeds, paper.iterations, paper.z_dim, paper.learning_rate) == (6, 1_000_000, 5, 1e-4)


BAD_INPUT = [
    (("--taus", "-1"), "`tau` must be finite and >= 0, got -1"),
    (("--taus", "nan"), "`tau` must be finite and >= 0, got nan"),
    (("--taus",), "`tau` must have at least one value, got none"),
    (("--label-rates", "0"), "`label_rate` must lie in (0, 1], got 0"),
    (("--label-rates", "1.5"), "`label_rate` must lie in (0, 1], got 1.5"),
    (("--label-rates", "1e-9"), "`label_rate` must leave a labelled image"),
    (("--z-dim", "-1"), "`z_dim` must be >= 0, got -1"),
    (("--batch-size", "0"), "`batch_size` must be > 0, got 0"),
    (("--preset", "huge"), "`preset` must be one of quick, laptop, paper, got huge"),
    (("--dataset", "mnist"), "`dataset` must be one of dsprites, got mnist"),
    (("--regulariser", "l1"), "`regulariser` must be one of beta_tcvae, beta_vae, got l1"),
    (("--seeds", "0"), "`seeds` must be > 0, got 0"),
    (("--seeds", "abc"), "--seeds"),
    (("--sedes", "3"), "--sedes"),
    (("--iterations", "0"), "`iterations` must be > 0, got 0"),
    (("--evaluate-every", "75"), "`evaluate_every` must be a multiple of `log_every` (50), got 75"),
    (("--gpus-per-trial", "9"), "`gpus_per_trial` must lie in [0, 8], got 9"),
    (("--study", "a/b"), "`study` must be usable as a folder's name, got 'a/b'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT)
def test_bad_input_is_one_line_with_rule_and_value(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tau_sweep.py", *arguments])
    monkeypatch.setattr(tau_sweep.runner, "default_preset", lambda address: "quick")
    monkeypatch.setattr(tau_sweep.runner, "run_study", lambda *_: pytest.fail("bad input was run"))
    assert options.main(tau_sweep.run) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_grid_of_no_seed_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="`seed` must have at least one value"):
        grid("name", {}, {"seed": ()}, PRESETS["quick"].schedule)
