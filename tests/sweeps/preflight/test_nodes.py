"""A node's answer about itself, asked of this process."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sweeps.preflight import nodes
from sweeps.preflight.gathering import _Look, _offset
from sweeps.preflight.nodes import DRIVERS_FILE, NEEDED, Clock, Question, code_digest, has_code_for, look, tell
from tests.sweeps.processes import free_port, silent_server
from tests.test_architecture import imports, needed

ASKED = """
import sys
before = {name.partition(".")[0] for name in sys.modules}
from sweeps.preflight.nodes import code_digest
import json
foreign = {name.partition(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)
print(json.dumps([code_digest(), sorted(foreign)]))
"""


@pytest.fixture
def rendezvous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's folder; nodes are impatient."""
    monkeypatch.setattr(nodes, "SEEN_SECONDS", 0.3)
    monkeypatch.setattr(nodes, "ANSWER_SECONDS", 0.5)
    (tmp_path / DRIVERS_FILE).write_text("token")
    return tmp_path


def question(rendezvous: Path, token: str = "token") -> Question:
    return Question(rendezvous, token, "sqlite:///m.db", ("here.h5", "nowhere.h5"), wants_gpus=True)


def test_a_node_tells_what_it_has(rendezvous: Path, tmp_path: Path) -> None:
    (tmp_path / "here.h5").touch()
    facts = tell(question(rendezvous), "n1", cache=tmp_path)
    assert set(facts.packages) == set(NEEDED)
    assert (facts.storage, facts.cache, facts.tracking) == ("", "", "")
    assert facts.prepared == ("here.h5",)
    assert facts.free_bytes > 0
    assert (rendezvous / "n1").read_text() == "n1"
    (rendezvous / "file").touch()
    assert "cannot be written" in tell(question(rendezvous), "n", cache=rendezvous / "file" / "cache").cache


def test_a_folder_that_does_not_show_the_drivers_file_is_not_shared(rendezvous: Path) -> None:
    assert "does not show the file" in tell(question(rendezvous, "another"), "n1", cache=rendezvous).storage
    assert not (rendezvous / "n1").exists()
    assert "does not show" in tell(question(rendezvous / "elsewhere"), "n1", cache=rendezvous).storage


def test_files_that_come_late_are_seen_and_those_that_do_not_are_named(
    rendezvous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rendezvous / "a").write_text("a")
    assert look(rendezvous, ["a", "b"]).unseen == ("b",)
    monkeypatch.setattr(nodes, "SEEN_SECONDS", 60.0)
    threading.Timer(0.2, lambda: (rendezvous / "late").write_text("late")).start()
    clock = look(rendezvous, ["late"])
    assert clock.unseen == ()
    assert clock.began <= clock.ended <= time.time()


def test_files_are_waited_for_together(rendezvous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked waits for no one much longer than for one file."""
    (rendezvous / "last").write_text("last")
    slept: list[float] = []
    monkeypatch.setattr(nodes.time, "sleep", slept.append)
    monkeypatch.setattr(nodes.time, "monotonic", lambda: sum(slept))
    missing = [str(number) for number in range(20)]
    assert look(rendezvous, [*missing, "last"]).unseen == tuple(missing)
    assert nodes.SEEN_SECONDS <= sum(slept) < 2 * nodes.SEEN_SECONDS


def test_only_the_standard_library_is_needed_and_the_digest_is_of_the_code(tmp_path: Path) -> None:
    """Of Python and of what is compiled."""
    for name in ("larvae", "sweeps"):
        shutil.copytree(Path(nodes.__file__).parents[2] / name, tmp_path / name)

    def asked() -> tuple[str, list[str]]:
        told = subprocess.run([sys.executable, "-c", ASKED], cwd=tmp_path, capture_output=True, text=True, check=True)
        return tuple(json.loads(told.stdout))

    assert asked() == (code_digest(), ["sweeps"])
    digests = {code_digest()}
    for changed in ("sweeps/resources/shares.py", "larvae/native/norms.h", "larvae/native/blocks.cpp"):
        (tmp_path / changed).write_text("// changed")
        digests.add(asked()[0])
    assert len(digests) == 4


def test_all_that_a_trial_imports_directly_is_asked_for() -> None:
    """Of `larvae` all modules, as it loads some by their names: data sets, metrics and regularisers."""
    ours = [name for name in imports() if name.startswith("larvae.") and not name.endswith("__main__")]
    modules = itertools.chain(*map(needed, ["sweeps.trial.trainable", *ours]))
    tops, found = {name.partition(".")[0] for name in modules}, metadata.packages_distributions()
    imported = {name.lower() for top in tops & found.keys() for name in found[top]} - {"larvae-sweeps"}
    assert imported == set(NEEDED)


def test_servers_that_do_not_answer_are_told(rendezvous: Path) -> None:
    with silent_server() as port:
        for place in (f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", "nobody.invalid:1"):
            assert "no answer" in nodes.tracking_fault(f"http://{place}")
    assert nodes.tracking_fault("sqlite:///mlflow.db") == ""


def test_builds_of_torch_and_generations_of_gpus() -> None:
    runs = [
        (70, ["sm_70", "sm_75"]),
        (75, ["sm_70"]),  # machine code runs on later minor versions
        (90, ["sm_90a"]),
        (100, ["sm_80", "compute_90"]),
    ]
    runs_not = [(70, ["sm_75", "sm_80"]), (70, ["compute_75"]), (70, [])]  # the first: CUDA 13 on a V100
    assert all(has_code_for(*case) for case in runs)
    assert not any(has_code_for(*case) for case in runs_not)


def test_gpus_of_amd_are_what_its_build_runs_on(rendezvous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(name="AMD Instinct MI250X", total_memory=64 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.version, "hip", "6.2")
    for name, value in (
        ("get_arch_list", ["gfx906", "gfx90a"]),
        ("device_count", 2),
        ("get_device_properties", found),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *given, value=value: value)
    gpus = tell(question(rendezvous), "n1", cache=rendezvous).gpus
    assert [(gpu.name, gpu.memory, gpu.is_supported) for gpu in gpus] == [(found.name, found.total_memory, True)] * 2


def test_clocks_are_compared_without_counting_the_way() -> None:
    sent, began, ended, received = 100.0, 101.5, 102.0, 102.1
    for offset in (-30.0, -3.0, 0.0, 3.0, 30.0):
        told = _offset(_Look(Clock(began + offset, ended + offset, ()), sent, received))
        assert abs(told) <= abs(offset)
        assert abs(told - offset) <= 1.5 or offset == 0
        assert told == 0 or (told > 0) == (offset > 0)
