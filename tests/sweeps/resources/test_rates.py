"""Rates that a study keeps: as they were, and of their conditions only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from larvae.config import MemberConfig
from larvae.together.group import likeness
from sweeps.resources.rates import described, read_rates, save_rates
from tests.sweeps.resources.gpus_that_do_not_exist import h100, v100


def test_rates_come_back_as_they_were_and_others_stay_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "study" / "gpu_rates.json"
    assert read_rates(path) == []
    large, small = h100().search(44), v100().search(44)
    save_rates(path, [large])
    save_rates(path, [small])
    assert read_rates(path) == [large, small]
    faster = large._replace(rows=tuple(row._replace(rate=2 * row.rate) for row in large.rows))
    save_rates(path, [faster])
    assert read_rates(path) == [faster, small]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": -1, "gpus": []}', '{"format": 1, "gpus": [{}]}'])
def test_what_is_damaged_or_of_another_format_is_measured_anew(text: str, tmp_path: Path) -> None:
    path = tmp_path / "gpu_rates.json"
    path.write_text(text)
    assert read_rates(path) == []


def test_traits_have_the_same_words_in_every_process_and_others_for_another_structure() -> None:
    script = (
        "from larvae.config import MemberConfig; from larvae.together.group import likeness;"
        "from sweeps.resources.rates import described; print(described(likeness(MemberConfig())))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours = described(likeness(MemberConfig()))
    assert elsewhere.stdout.strip() == ours
    assert described(likeness(MemberConfig(seed=5, tau=2.0))) == ours
    assert len({ours, *(described(likeness(MemberConfig(**other))) for other in ({"z_dim": 2}, {"tau": 0.0}))}) == 3
