"""Grids over any fields: members, names, and settings that single regularisers have."""

from __future__ import annotations

import itertools

import pytest

from larvae.config import MemberConfig
from sweeps import grid, runner, tau_sweep
from sweeps.options import StudyOptions
from sweeps.study import Study


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Study, StudyOptions]]:
    """Studies that commands would have run."""
    studies: list[tuple[Study, StudyOptions]] = []
    monkeypatch.setattr(runner, "run_study", lambda *both: studies.append(both) or 0)
    return studies


def test_all_combinations_are_members_of_a_study_named_after_the_fields(ran: list[tuple[Study, StudyOptions]]) -> None:
    words = "--preset quick --grid tau=0,1,5 --grid observed-factors=shape,shape+scale --grid instance_norm=true,false"
    assert grid.run([*words.split(), "--seeds", "2", "--batch-size", "8"]) == 0
    [(study, options)] = ran
    assert study.name == "tau-observed-factors-instance-norm-grid-quick"
    assert options.figure_command == "analysis/sensitivity.py --parameter tau"
    expected = {
        MemberConfig(tau=tau, observed_factors=factors, instance_norm=norm, seed=seed, batch_size=8)
        for tau, factors, norm, seed in itertools.product(
            (0, 1, 5), (("shape",), ("shape", "scale")), (True, False), (0, 1)
        )
    }
    assert set(study.members) == expected
    assert len(study.members) == len({study.label(member) for member in study.members}) == 24
    assert study.label(study.members[0]) == "tau=0 observed_factors=['shape'] instance_norm=True seed=0"
    assert study.fixed["batch_size"] == 8
    assert study.fixed.keys().isdisjoint(study.varied)


def test_seeds_of_labels_and_models_are_crossed(ran: list[tuple[Study, StudyOptions]]) -> None:
    """Where both are the same it is the member that has no seed of labels: it is not trained again."""
    assert grid.run(["--preset", "quick", "--grid", "label_seed=0,1,2", "--seeds", "3"]) == 0
    [(study, _)] = ran
    crossed = {(m.seed if m.label_seed is None else m.label_seed, m.seed) for m in study.members}
    assert crossed == set(itertools.product(range(3), range(3)))
    assert {MemberConfig(seed=seed) for seed in range(3)} < set(study.members)


def test_a_recipe_takes_more_fields(ran: list[tuple[Study, StudyOptions]]) -> None:
    assert tau_sweep.run(["--preset", "quick", "--grid", "alpha=1,64"]) == 0
    [(study, options)] = ran
    assert study.name == "alpha-tau-sweep-quick"
    assert options.figure_command == "analysis/sensitivity.py --parameter tau"
    assert {(m.tau, m.alpha) for m in study.members} == set(itertools.product((0, 0.1, 0.5, 1, 5, 10), (1, 64)))


def test_a_setting_varies_where_a_regulariser_has_it(ran: list[tuple[Study, StudyOptions]]) -> None:
    words = "--preset quick --seeds 1 --grid regulariser=beta_vae,annealed_vae,dip_vae_i --grid capacity=5,25"
    assert grid.run(words.split()) == 0
    [(study, _)] = ran
    chosen = [(m.regulariser, m.gamma_tc, dict(m.regulariser_settings).get("capacity")) for m in study.members]
    assert sorted(chosen, key=str) == [
        ("annealed_vae", 1000, 25),
        ("annealed_vae", 1000, 5),
        ("beta_vae", 3, None),
        ("dip_vae_i", 10, None),
    ]
    assert len({study.label(member) for member in study.members}) == 4
