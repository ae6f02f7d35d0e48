"""The question to every node of a real cluster, of one node, and what comes of it where it is slow or goes silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.preflight import gathering
from sweeps.preflight.gathering import ask_nodes


@pytest.mark.usefixtures("ray_session")
def test_a_node_that_is_slow_is_told_and_one_that_goes_silent_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gathering, "PATIENCE_SECONDS", 0.0)
    (node,), driver = ask_nodes(tmp_path / "shared", "sqlite:///m.db", ("d.h5",), said.append)
    assert said == [f"1 of 1 nodes have not answered yet, such as {node.address}: they have 90 s"]
    assert node.facts is not None
    assert (node.facts.code, node.silence, node.unseen) == (driver.code, "", ())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(gathering, "_look", lambda folder, present: {})
    (node,), _ = ask_nodes(tmp_path, "sqlite:///m.db", (), said.append)
    assert (node.facts, node.silence) == (None, "a first answer, but no second one within 5 s")
