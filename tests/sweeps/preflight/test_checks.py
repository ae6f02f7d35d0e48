"""Findings of a preflight with invented nodes."""

from __future__ import annotations

import pytest
from rich.console import Console

from larvae.errors import InvalidInputError
from sweeps.preflight import inspection
from sweeps.preflight.checks import CACHE_BYTES, CLOCK_SECONDS, Finding, examine, listed, together
from sweeps.preflight.findings_table import in_one_line
from sweeps.preflight.gathering import Node
from sweeps.preflight.inspection import Inspection
from sweeps.preflight.nodes import Gpu
from tests.sweeps.preflight.invented import DEMAND, FACTS, RTX_2080, V100_16, gpu_node, node

OLD = Gpu("NVIDIA Tesla V100", 16 * 2**30, "sm_70", is_supported=False)
WITHOUT_SCIPY = {name: version for name, version in FACTS.packages.items() if name != "scipy"}
WRONG = [
    (node(facts=None, silence="no answer within 13 s"), "host", "no answer within 13 s", True),
    (node(facts=FACTS._replace(python="3.12.1")), "python", "3.11.7, got 3.12.1", True),
    (node(facts=FACTS._replace(packages=FACTS.packages | {"torch": "2.1.0"})), "torch", "got 2.1.0", True),
    (node(facts=FACTS._replace(packages=FACTS.packages | {"numpy": "1.0"})), "packages", "got 1.0", True),
    (node(facts=FACTS._replace(packages=WITHOUT_SCIPY)), "packages", "scipy is missing", True),
    (node(facts=FACTS._replace(code="other")), "packages", "c0de, got other", True),
    (node(facts=FACTS._replace(storage="does not show it")), "storage", "does not show it", True),
    (node(unseen=("10.0.0.9",)), "storage", "not what 10.0.0.9 wrote", True),
    (node(facts=FACTS._replace(cache="`/c` cannot be written")), "data", "`/c` cannot", True),
    (node(facts=FACTS._replace(free_bytes=int(CACHE_BYTES) - 1)), "data", "1.5 GB left, got 1.5 GB", True),
    (node(facts=FACTS._replace(tracking="no answer: refused")), "MLflow", "refused", False),
    (node(resources={"CPU": 8.0, "GPU": 4.0}), "GPUs", "see the 4 GPUs that Ray counts, got 0", True),
    (gpu_node("10.0.0.1", OLD, 1), "GPUs", r"code for NVIDIA Tesla V100 (sm_70), but has none", True),
    (node(clock_offset=CLOCK_SECONDS + 1), "clock", "3.0 s ahead of", False),
    (node(clock_offset=-CLOCK_SECONDS - 1), "clock", "3.0 s behind", False),
]
"""A node with one fault: its column, words of the rule, and whether a sweep must not start."""


def shown(nodes: list[Node]) -> str:
    console = Console(record=True, width=200, soft_wrap=True)
    Inspection(DEMAND, nodes, examine(nodes, FACTS, DEMAND), 3.2).show(console)
    return console.export_text()


def test_each_fault_is_found_alone_on_its_node() -> None:
    for wrong, column, words, is_fatal in WRONG:
        (finding,) = examine([node("10.0.0.2"), wrong, node("10.0.0.3")], FACTS, DEMAND)
        assert (finding.column, finding.nodes, finding.is_fatal) == (column, ("10.0.0.1",), is_fatal)
        assert words in finding.rule
        assert finding.advice


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    builds = FACTS._replace(packages=FACTS.packages | {"torch": "2.0.0+cu126"})  # the head may have another build
    prepared = FACTS._replace(prepared=DEMAND.prepared, free_bytes=0)  # has what it needs: no room is wanted
    nodes = [node("a"), node("b", builds), node("c", prepared), gpu_node("d", V100_16, 4), gpu_node("e", RTX_2080, 2)]
    nodes.append(node("f", clock_offset=CLOCK_SECONDS / 2))
    assert examine(nodes, FACTS, DEMAND) == []
    without_gpus = [node("g", resources={"CPU": 8.0, "GPU": 4.0})]
    assert examine(without_gpus, FACTS, DEMAND._replace(gpus_may_be_missing=True)) == []  # no trial holds one


def test_a_trial_must_fit_on_one_node() -> None:
    nodes = [node("a"), gpu_node("b", V100_16, 2)]
    for cpus, gpus in ((8, 0), (9, 0), (8, 2)):
        assert examine(nodes, FACTS, DEMAND._replace(cpus=cpus, gpus=gpus)) == []
    for cpus, gpus in ((65, 0), (1, 2.5)):
        (finding,) = examine(nodes, FACTS, DEMAND._replace(cpus=cpus, gpus=gpus))
        assert (finding.nodes, finding.is_fatal) == ((), True)
        assert f"got {cpus} CPUs and {gpus:g} GPUs where nodes have at most 64 and 2" in finding.rule


def test_all_faults_are_told_what_stops_a_sweep_first_and_equal_ones_in_one_line() -> None:
    several = FACTS._replace(python="3.12.0", code="other", storage="is not shared", tracking="no answer")
    nodes = [node("a", clock_offset=9.0), node("b", several)]
    columns = [finding.column for finding in examine(nodes, FACTS, DEMAND)]
    assert sorted(columns[:3]) == ["packages", "python", "storage"]
    assert sorted(columns[3:]) == ["MLflow", "clock"]
    wrong = [node(f"10.0.0.{number}", FACTS._replace(code="other")) for number in range(1, 7)]
    (finding,) = together(examine(wrong, FACTS, DEMAND))
    assert len(finding.nodes) == 6
    assert in_one_line([finding]).startswith("on 10.0.0.1, 10.0.0.2, 10.0.0.3 and 3 more: ")
    assert listed(["a", "b"]) == "a, b"


def test_the_table_marks_what_is_wrong_and_advice_follows() -> None:
    nodes = [node("10.0.0.1"), node("10.0.0.2", FACTS._replace(python="3.12.0")), node("10.0.0.3", clock_offset=9.0)]
    text = shown(nodes)
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip().startswith("10.0.0.")}
    assert rows.keys() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert "✗ 3.12.0" in rows["10.0.0.2"]
    assert "! +9.0 s" in rows["10.0.0.3"]
    assert not {"✗", "!"} & set(rows["10.0.0.1"])
    assert "In common: ray 2.0.0, torch 2.0.0, packages same, storage shared, data 50 GB free, MLflow reached" in text
    assert "✗ on 10.0.0.2: Python must be the driver's 3.11.7, got 3.12.0: start Ray there" in text
    assert text.rstrip().endswith("Preflight: 3 nodes not ready (3 s)")
    silent = node("10.0.0.4", facts=None, silence="no answer")  # it hides nothing that others agree on
    assert "In common: python 3.11.7," in shown([nodes[0], silent])
    assert "In common" not in shown([silent])


def test_a_large_clusters_table_shows_faults_first() -> None:
    many = [*(node(f"10.0.1.{number}") for number in range(100)), node("10.9.9.9", FACTS._replace(code="other"))]
    text = shown(many)
    assert text.splitlines()[1].split()[0] == "10.9.9.9"
    assert f"and {101 - inspection.MOST_ROWS} more nodes" in text


def test_a_ready_cluster_may_have_warnings_and_an_unready_one_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warning = Finding("clock", ("a",), "rule", "advice", is_fatal=False)
    for findings in ([], [warning]):
        console = Console(record=True, width=200)
        monkeypatch.setattr(
            inspection, "inspect", lambda demand, _, f=findings: Inspection(demand, [node("a")], f, 1.0)
        )
        assert inspection.require_ready(DEMAND, console).is_ready
        text = console.export_text()
        assert "Preflight: 1 node ready (1 s)" in text
        assert ("! on a: rule: advice" in text) == bool(findings)
    fatal = [Finding("host", ("a",), "rule", "advice"), warning]
    monkeypatch.setattr(inspection, "inspect", lambda demand, _: Inspection(demand, [node("a")], fatal, 1.0))
    with pytest.raises(InvalidInputError, match=r"^the cluster must pass its preflight: on a: rule: advice$"):
        inspection.require_ready(DEMAND, Console(record=True))
