"""Suggestions survive whatever happens to the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from larvae.errors import InvalidInputError
from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.suggestion_log import SuggestionLog

SUGGESTIONS = [Suggestion({"tau": 0.1 * n, "z_dim": n}, {"cma:generation": n}) for n in range(3)]


def test_what_was_appended_is_read_in_order_and_a_line_cut_short_is_as_if_never_written(tmp_path: Path) -> None:
    log = SuggestionLog(tmp_path / "suggestions.jsonl")
    assert (log.read(), log.parallel) == ([], None)
    log.path.write_text('{"paral')
    log.start(parallel=4)
    for number, suggestion in enumerate(SUGGESTIONS):
        log.append(number, suggestion)
    log.start(parallel=8)  # again: all is kept
    assert (SuggestionLog(log.path).read(), log.parallel) == (SUGGESTIONS, 4)
    whole = log.path.read_bytes()
    for end in range(whole.rindex(b"\n", 0, -1) + 1, len(whole)):
        log.path.write_bytes(whole[:end])
        assert log.read() == SUGGESTIONS[:2]
        log.append(2, SUGGESTIONS[2])
        assert log.read() == SUGGESTIONS


def test_a_damaged_line_is_refused_and_renumbers_nothing(tmp_path: Path) -> None:
    log = SuggestionLog(tmp_path / "suggestions.jsonl")
    log.start(parallel=4)
    for number, suggestion in enumerate(SUGGESTIONS):
        log.append(number, suggestion)
    log.path.write_bytes(log.path.read_bytes().replace(b'number": 1', b"number: 1"))
    with pytest.raises(InvalidInputError, match="must have all suggestions in their order"):
        log.read()
