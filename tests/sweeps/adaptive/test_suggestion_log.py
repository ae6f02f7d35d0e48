"""What was suggested survives whatever happens to the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.suggestion_log import SuggestionLog

SUGGESTIONS = [Suggestion({"tau": 0.1 * n, "z_dim": n}, {"cma:generation": n}) for n in range(3)]


@pytest.fixture
def log(tmp_path: Path) -> SuggestionLog:
    log = SuggestionLog(tmp_path / "suggestions.jsonl")
    log.start(parallel=4)
    for number, suggestion in enumerate(SUGGESTIONS):
        log.append(number, suggestion)
    return log


def test_what_was_appended_is_read_in_order_by_another_process(log: SuggestionLog) -> None:
    assert SuggestionLog(log.path).read() == SUGGESTIONS
    assert SuggestionLog(log.path).parallel == 4


def test_nothing_is_there_before_the_start(tmp_path: Path) -> None:
    log = SuggestionLog(tmp_path / "none.jsonl")
    assert (log.read(), log.parallel) == ([], None)


def test_starting_again_keeps_all(log: SuggestionLog) -> None:
    log.start(parallel=8)
    assert (log.read(), log.parallel) == (SUGGESTIONS, 4)


def test_a_line_cut_short_by_a_kill_is_as_if_never_written(log: SuggestionLog) -> None:
    whole = log.path.read_bytes()
    start_of_last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start_of_last, len(whole)):
        log.path.write_bytes(whole[:end])
        assert log.read() == SUGGESTIONS[:2]
        log.append(2, SUGGESTIONS[2])
        assert log.read() == SUGGESTIONS
        assert log.path.read_bytes() == whole


def test_a_start_cut_short_is_started_again(tmp_path: Path) -> None:
    log = SuggestionLog(tmp_path / "suggestions.jsonl")
    log.path.write_text('{"paral')
    log.start(parallel=2)
    assert (log.parallel, log.read()) == (2, [])
