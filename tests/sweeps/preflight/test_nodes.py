"""What a node tells of itself, asked of this process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.preflight import nodes
from sweeps.preflight.gathering import _Look, _offset
from sweeps.preflight.nodes import DRIVERS_FILE, NEEDED, Clock, Question, code_digest, has_code_for, look, tell
from tests.sweeps.processes import free_port, silent_server

IMPORTS = """
import sys
from sweeps.preflight import nodes
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(*sorted(name for name in foreign if not name.startswith(("_", "sitecustomize"))))
"""
TRIAL = """
import sys
from importlib import metadata
import sweeps.trainable
names = metadata.packages_distributions()
print(*{name for module in set(sys.modules) if module in names for name in names[module]})
"""


@pytest.fixture
def rendezvous(tmp_path: Path) -> Path:
    (tmp_path / DRIVERS_FILE).write_text("token")
    return tmp_path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SEEN_SECONDS", 0.3)
    monkeypatch.setattr(nodes, "ANSWER_SECONDS", 0.5)


def question(rendezvous: Path, token: str = "token", uri: str = "sqlite:///m.db") -> Question:
    return Question(rendezvous, token, uri, ("here.h5", "nowhere.h5"), wants_gpus=True)


def test_a_node_tells_what_it_has(rendezvous: Path, tmp_path: Path) -> None:
    (tmp_path / "here.h5").touch()
    facts = tell(question(rendezvous), "n1", cache=tmp_path)
    assert set(facts.packages) == set(NEEDED)
    assert (facts.storage, facts.cache, facts.tracking) == ("", "", "")
    assert facts.prepared == ("here.h5",)
    assert facts.free_bytes > 0
    assert (rendezvous / "n1").read_text() == "n1"


def test_only_the_standard_library_is_needed() -> None:
    asked = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert set(asked.stdout.split()) <= {"sweeps", "sitecustomize", "distutils"} | _of_the_environment()


def _of_the_environment() -> set[str]:
    """What this Python imports by itself, such as hooks of editable installs."""
    command = [sys.executable, "-c", "import sys; print(*{name.partition('.')[0] for name in sys.modules})"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_all_that_a_trial_imports_directly_is_asked_for() -> None:
    asked = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True, check=True)
    ours = {"torch", "ray", "numpy", "h5py", "scipy", "scikit-learn", "pillow", "filelock", "pooch", "platformdirs"}
    assert ours <= set(NEEDED)
    imported = {name.lower() for name in asked.stdout.split()}
    assert {"torch", "ray", "numpy", "h5py", "filelock"} <= imported


@pytest.mark.parametrize("token", ["another", ""])
def test_a_folder_that_does_not_show_the_drivers_file_is_not_shared(rendezvous: Path, token: str) -> None:
    facts = tell(question(rendezvous, token or "x"), "n1", cache=rendezvous)
    assert "does not show the file" in facts.storage
    assert not (rendezvous / "n1").exists()
    assert "does not show" in tell(question(rendezvous / "elsewhere"), "n1", cache=rendezvous).storage


def test_files_that_come_late_are_seen(rendezvous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SEEN_SECONDS", 5.0)
    subprocess.Popen(["sh", "-c", f"sleep 0.3; printf late > {rendezvous}/late"])
    clock = look(rendezvous, ["late"])
    assert clock.unseen == ()
    assert clock.began <= clock.ended <= time.time()


def test_files_that_do_not_come_are_named(rendezvous: Path) -> None:
    (rendezvous / "a").write_text("a")
    assert look(rendezvous, ["a", "b"]).unseen == ("b",)


def test_a_cache_that_cannot_be_is_told(rendezvous: Path) -> None:
    (rendezvous / "file").touch()
    assert "cannot be written" in tell(question(rendezvous), "n", cache=rendezvous / "file" / "cache").cache


def test_servers_that_do_not_answer_are_told_in_time() -> None:
    started = time.monotonic()
    assert "no answer" in nodes.tracking_fault(f"http://127.0.0.1:{free_port()}")
    with silent_server() as port:
        assert "no answer" in nodes.tracking_fault(f"http://127.0.0.1:{port}")
    assert "no answer" in nodes.tracking_fault("http://nobody.invalid:1")
    assert nodes.tracking_fault("sqlite:///mlflow.db") == ""
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        (70, ["sm_70", "sm_75"], True),
        (75, ["sm_70"], True),  # machine code runs on later minor versions
        (70, ["sm_75", "sm_80"], False),  # CUDA 13 on a V100
        (90, ["sm_90a"], True),
        (100, ["sm_80", "compute_90"], True),
        (70, ["compute_75"], False),
        (70, [], False),
    ],
)
def test_builds_of_torch_and_generations_of_gpus(capability: int, built_for: list[str], runs: bool) -> None:
    assert has_code_for(capability, built_for) == runs


@pytest.mark.parametrize("changed", ["sweeps/resources/shares.py", "larvae/native/norms.h", "larvae/native/blocks.cpp"])
def test_the_digest_is_of_the_code(changed: str, tmp_path: Path) -> None:
    command = "from sweeps.preflight.nodes import code_digest; print(code_digest())"
    for name in ("larvae", "sweeps"):
        shutil.copytree(Path(nodes.__file__).parents[2] / name, tmp_path / name)

    def digest() -> str:
        asked = subprocess.run(
            [sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return asked.stdout.strip()

    assert digest() == code_digest()
    (tmp_path / changed).write_text("// changed")
    assert digest() != code_digest()


@pytest.mark.parametrize("offset", [-30.0, -3.0, 0.0, 3.0, 30.0])
def test_clocks_are_compared_without_counting_the_way(offset: float) -> None:
    sent, began, ended, received = 100.0, 101.5, 102.0, 102.1
    told = _offset(_Look(Clock(began + offset, ended + offset, ()), sent, received))
    assert abs(told) <= abs(offset)
    assert abs(told - offset) <= 1.5 or offset == 0
    assert told == 0 or (told > 0) == (offset > 0)
