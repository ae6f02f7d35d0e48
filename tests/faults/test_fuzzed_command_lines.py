"""Drawn command lines of every command, in this process: what is accepted is what was typed, all else is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.drawn_command_lines import Part
from tests.faults.fuzzing import Record, examples, fuzz
from tests.faults.in_process import any_line, in_process

HUGE, MANY = str(10**30), ",".join(map(str, range(21)))
FOUND = {
    # tracebacks
    "sweeps.label_rate_sweep --grid tau=0": "`grid` must name another field than tau",
    "sweeps.search --regulariser capacity": "`regulariser` must be one of ",
    "sweeps.tau_sweep --gamma 1 --lambda 1 --regulariser dip": "`regulariser` must be one of ",
    f"sweeps.tau_sweep --tracking-uri http://{'x' * 70}": "must be a running MLflow server, got http://xxx",
    f"analysis.controls --tracking-uri http://{'x' * 70}": "must name MLflow's data, got http://xxx",
    "analysis.sensitivity --kept folder --where tau=\udcff": "`where` must name one of ",
    "analysis.traversals --baseline .": "a model must be a checkpoint's file or an MLflow run's id, got `.`",
    f"analysis.traversals --steps {HUGE}": "`steps` must be <= 1000, got ",
    f"sweeps.kept_study --threads {HUGE}": "`threads` must be at most the ",
    # hangs
    f"sweeps.grid --seeds 10000 --grid tau={MANY}": "must have at most 200,000 members, got 210,000",
    # accepted, and refused or of no effect when it was too late
    "sweeps.tau_sweep --checkpoint-seconds nan": "`checkpoint_seconds` must be finite and >= 0, got nan",
    f"sweeps.tau_sweep --batch-size {HUGE}": "`batch_size` must be <= 1000000000, got ",
    f"sweeps.tau_sweep --evaluation-size {HUGE}": "`evaluation_size` must be <= 1000000000, got ",
    f"sweeps.tau_sweep --evaluation-samples {HUGE}": "`evaluation_samples` must be <= 1000000000, got ",
    f"sweeps.search --search-seed {HUGE}": "`search_seed` must be <= ",
    f"sweeps.search --configurations {HUGE}": "`configurations` must be <= 200000, got ",
    "sweeps.logs --lines -1": "`lines` must be > 0, got -1",
    "cluster.preflight --cpus-per-trial 0": "`cpus_per_trial` must be > 0, got 0",
    # the user's, but told as the machine's
    f"sweeps.tau_sweep --storage-path {'x' * 300}": "File name too long",
}  # fmt: skip
"""Lines that drawing has found, and how they are refused now."""


def test_what_was_found_is_refused(tmp_path: Path) -> None:
    with in_process(tmp_path) as check:
        for typed, message in FOUND.items():
            command, *words = typed.split(" ")
            ended = check((command, [Part(tuple(words), None, ("known",))]))
            assert ended is not None, typed
            assert (ended.code, message in ended.err) == (2, True), (typed, ended)


@pytest.mark.fault("a drawn command line", "accepted as typed and within its rules, help, or one line of error")
@examples(few=15, many=1500)
def test_what_is_accepted_is_what_was_typed_and_all_else_is_one_line(
    times: int, tmp_path: Path, record_property: Record
) -> None:
    with in_process(tmp_path, draws=times > 100) as check:
        record_property("times", fuzz(check, any_line(), times=times))
