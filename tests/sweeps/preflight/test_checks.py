"""What a preflight finds wrong with invented nodes."""

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
from tests.sweeps.preflight.invented import DEMAND, FACTS, RTX_2080, V100_16, V100_32, gpu_node, node

OLD = Gpu("NVIDIA Tesla V100", 16 * 2**30, "sm_70", is_supported=False)
WITHOUT_SCIPY = {name: version for name, version in FACTS.packages.items() if name != "scipy"}

WRONG = {
    "silent": (node(facts=None, silence="no answer within 13 s"), "host", "no answer within 13 s", True),
    "python": (node(facts=FACTS._replace(python="3.12.1")), "python", "3.11.7, got 3.12.1", True),
    "torch": (node(facts=FACTS._replace(packages=FACTS.packages | {"torch": "2.1.0"})), "torch", "got 2.1.0", True),
    "numpy": (node(facts=FACTS._replace(packages=FACTS.packages | {"numpy": "1.0"})), "packages", "got 1.0", True),
    "missing": (node(facts=FACTS._replace(packages=WITHOUT_SCIPY)), "packages", "scipy is missing", True),
    "code": (node(facts=FACTS._replace(code="other")), "packages", "c0de, got other", True),
    "unshared": (node(facts=FACTS._replace(storage="does not show it")), "storage", "does not show it", True),
    "unseen": (node(unseen=("10.0.0.9",)), "storage", "not what 10.0.0.9 wrote", True),
    "cache": (node(facts=FACTS._replace(cache="`/c` cannot be written")), "data", "`/c` cannot", True),
    "full": (node(facts=FACTS._replace(free_bytes=int(CACHE_BYTES) - 1)), "data", "1.5 GB left, got 1.5 GB", True),
    "server": (node(facts=FACTS._replace(tracking="no answer: refused")), "MLflow", "refused", False),
    "blind": (node(resources={"CPU": 8.0, "GPU": 4.0}), "GPUs", "see the 4 GPUs that Ray counts, got 0", True),
    "old": (gpu_node("10.0.0.1", OLD, 1), "GPUs", r"code for NVIDIA Tesla V100 (sm_70), but has none", True),
    "ahead": (node(clock_offset=CLOCK_SECONDS + 1), "clock", "3.0 s ahead of", False),
    "behind": (node(clock_offset=-CLOCK_SECONDS - 1), "clock", "3.0 s behind", False),
}


@pytest.mark.parametrize(("wrong", "column", "words", "is_fatal"), WRONG.values(), ids=WRONG)
def test_each_fault_is_found_alone_on_its_node(wrong: Node, column: str, words: str, is_fatal: bool) -> None:
    healthy = [node("10.0.0.2"), node("10.0.0.3")]
    (finding,) = examine([*healthy[:1], wrong, *healthy[1:]], FACTS, DEMAND)
    assert finding.column == column
    assert finding.nodes == ("10.0.0.1",)
    assert words in finding.rule
    assert finding.advice
    assert finding.is_fatal == is_fatal


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    builds = FACTS._replace(packages=FACTS.packages | {"torch": "2.0.0+cu126"})  # the head may have another build
    prepared = FACTS._replace(prepared=DEMAND.prepared, free_bytes=0)  # has what it needs: no room is wanted
    nodes = [node("a"), node("b", builds), node("c", prepared), gpu_node("d", V100_16, 4), gpu_node("e", RTX_2080, 2)]
    nodes.append(node("f", clock_offset=CLOCK_SECONDS / 2))
    assert examine(nodes, FACTS, DEMAND) == []


@pytest.mark.parametrize(
    ("cpus", "gpus", "fits"), [(8, 0, True), (9, 0, True), (65, 0, False), (8, 2, True), (1, 2.5, False)]
)
def test_a_trial_must_fit_on_one_node(cpus: int, gpus: float, fits: bool) -> None:
    nodes = [node("a"), gpu_node("b", V100_16, 2)]
    findings = examine(nodes, FACTS, DEMAND._replace(cpus=cpus, gpus=gpus))
    if fits:
        assert findings == []
    else:
        (finding,) = findings
        assert finding.nodes == ()
        assert finding.is_fatal
        assert f"got {cpus} CPUs and {gpus:g} GPUs where nodes have at most 64 and 2" in finding.rule


def test_what_stops_a_sweep_comes_first() -> None:
    nodes = [node("a", clock_offset=9.0), node("b", FACTS._replace(code="other"))]
    assert [finding.column for finding in examine(nodes, FACTS, DEMAND)] == ["packages", "clock"]


def test_a_node_with_several_faults_tells_all() -> None:
    several = FACTS._replace(python="3.12.0", code="other", storage="is not shared", tracking="no answer")
    columns = [finding.column for finding in examine([node("a", several)], FACTS, DEMAND)]
    assert sorted(columns) == sorted(["python", "packages", "storage", "MLflow"])


def test_equal_findings_are_told_in_one_line() -> None:
    wrong = [node(f"10.0.0.{number}", FACTS._replace(code="other")) for number in range(1, 7)]
    (finding,) = together(examine(wrong, FACTS, DEMAND))
    assert len(finding.nodes) == 6
    assert in_one_line([finding]).startswith("on 10.0.0.1, 10.0.0.2, 10.0.0.3 and 3 more: ")
    assert listed(["a", "b"]) == "a, b"


def test_the_table_marks_what_is_wrong_and_advice_follows() -> None:
    nodes = [node("10.0.0.1"), node("10.0.0.2", FACTS._replace(python="3.12.0")), node("10.0.0.3", clock_offset=9.0)]
    seen = Inspection(DEMAND, nodes, examine(nodes, FACTS, DEMAND), 3.2)
    assert not seen.is_ready
    text = _shown(seen)
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip().startswith("10.0.0.")}
    assert rows.keys() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert "✗ 3.12.0" in rows["10.0.0.2"]
    assert "! +9.0 s" in rows["10.0.0.3"]
    assert not {"✗", "!"} & set(rows["10.0.0.1"])
    assert "In common: ray 2.0.0, torch 2.0.0, packages same, storage shared, data 50 GB free, MLflow reached" in text
    assert "✗ on 10.0.0.2: Python must be the driver's 3.11.7, got 3.12.0: start Ray there" in text
    assert text.rstrip().endswith("Preflight: 3 nodes not ready (3 s)")


def test_a_table_fits_a_narrow_window_where_nodes_agree() -> None:
    nodes = [gpu_node(f"10.0.0.{number}", V100_32, 8) for number in range(3)]
    seen = Inspection(DEMAND, nodes, [], 1.0)
    assert _shown(seen, width=80).split() == _shown(seen).split()
    assert all(len(line) <= 80 for line in _shown(seen, width=80).splitlines()[:4])


def test_a_silent_node_hides_nothing_that_others_agree_on() -> None:
    nodes = [node("10.0.0.1"), node("10.0.0.2", facts=None, silence="no answer")]
    text = _shown(Inspection(DEMAND, nodes, examine(nodes, FACTS, DEMAND), 1.0))
    assert "In common: python 3.11.7," in text
    assert "✗ no answer" in text
    nobody = _shown(Inspection(DEMAND, nodes[1:], examine(nodes[1:], FACTS, DEMAND), 1.0))
    assert "In common" not in nobody


def test_a_large_cluster_shows_its_faults_first() -> None:
    nodes = [node(f"10.0.1.{number}") for number in range(100)]
    nodes.append(node("10.9.9.9", FACTS._replace(code="other")))
    text = _shown(Inspection(DEMAND, nodes, examine(nodes, FACTS, DEMAND), 5.0))
    assert text.splitlines()[1].split()[0] == "10.9.9.9"
    assert f"and {101 - inspection.MOST_ROWS} more nodes" in text


@pytest.mark.parametrize("findings", [[], [Finding("clock", ("a",), "rule", "advice", is_fatal=False)]])
def test_a_ready_cluster_may_have_warnings(findings: list[Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, width=200)
    monkeypatch.setattr(inspection, "inspect", lambda demand: Inspection(demand, [node("a")], findings, 1.0))
    assert inspection.require_ready(DEMAND, console).is_ready
    text = console.export_text()
    assert "Preflight: 1 node ready (1 s)" in text
    assert ("! on a: rule: advice" in text) == bool(findings)


def test_an_unready_cluster_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("host", ("a",), "rule", "advice"), Finding("clock", ("b",), "other", "more", is_fatal=False)]
    monkeypatch.setattr(inspection, "inspect", lambda demand: Inspection(demand, [node("a")], findings, 1.0))
    with pytest.raises(InvalidInputError, match=r"^the cluster must pass its preflight: on a: rule: advice$"):
        inspection.require_ready(DEMAND, Console(record=True))


def _shown(seen: Inspection, width: int = 200) -> str:
    console = Console(record=True, width=width, soft_wrap=True)
    seen.show(console)
    return console.export_text()
