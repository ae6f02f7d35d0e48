"""The controls' recipe: its arms, and a tiny study from training to the comparison."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from analysis import controls
from larvae.config import MemberConfig
from sweeps import control_sweep
from tests.sweeps.commands import SCHEDULE, TINY, places, read_results, schedule_flags, tracking_uri


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_arms_are_trained_and_compared(folder_with_database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with_database
    handler = signal.getsignal(signal.SIGTERM)
    try:
        flags = [*TINY, *schedule_flags(SCHEDULE), *places(folder), "--seeds", "2", "--z-dims", "2"]
        assert control_sweep.run([*flags, "--detach-nuisances", "False"]) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    members = [MemberConfig.from_dict(result["config"]) for result in read_results(folder).values()]
    assert sorted((m.seed, m.tau, m.replacement) for m in members) == [
        (seed, *arm) for seed in (0, 1) for arm in ((0.0, "given"), (1.0, "inferred"), (1.0, "given"))
    ]
    assert controls.main(["--tracking-uri", tracking_uri(folder), "--output", str(folder / "figures")]) == 0
    assert "inferred label, τ = 1" in capsys.readouterr().out
