"""The page of clusters: all its commands are ones that exist. Its links are followed by tests/test_pages.py."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pytest
from ray.dashboard.modules.job.cli import job_cli_group
from ray.scripts.scripts import cli

from tests.cluster.files import CLUSTER, ROOT
from tests.commands import check_python

TEXT = (CLUSTER / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
TOOLS = {"aws", "docker", "export", "install", "kubectl", "prometheus", "scp", "ssh", "source"}
"""Not ours and not Ray's: what they are told is not checked here."""


def parse_click(group: Any, words: Sequence[str]) -> None:
    """Raise a click error unless one of Ray's commands takes these words."""
    name, *arguments = words
    group.commands[name].make_context(name, list(arguments), resilient_parsing=False)


def check(command: str) -> None:
    """Raise where a command is not one that exists."""
    program, *words = shlex.split(command.replace("...", "x"))
    if program == "sbatch":
        place = words.index("cluster/slurm/sweep.sbatch")
        script, *arguments = words[place + 1 :]
        check_python([f"sweeps/{script}.py", *arguments])
    elif program == "bash":
        assert (ROOT / words[0]).exists(), words[0]
    elif program == "python":
        check_python(words)
    elif program == "ray" and words[:2] == ["job", "submit"]:
        place = words.index("--")
        parse_click(job_cli_group, words[1:])
        check(shlex.join(words[place + 1 :]))
    elif program == "ray" and words[0] == "job":
        parse_click(job_cli_group, words[1:])
    elif program == "ray":
        parse_click(cli, words)
        assert [word for word in words if word.endswith(".yaml") and not (ROOT / word).exists()] == []
    else:
        assert program in TOOLS or program.endswith("/uv"), program


def test_there_are_commands_to_check() -> None:
    for start in ("ray up ", "ray job submit ", "sbatch ", "python sweeps/", "python -m cluster.preflight ", "bash "):
        assert any(command.startswith(start) for command in COMMANDS), start


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "ray upp cluster/launcher/aws-v100.yaml",
        "ray up cluster/launcher/azure.yaml",
        "ray up --no-such-option cluster/launcher/aws-v100.yaml",
        "python sweeps/tau_sweep.py --no-such-option 3",
        "python sweeps/no_such_sweep.py",
        "python -m cluster.preflight --no-such-option",
        "sbatch cluster/slurm/sweep.sbatch tau_sweep --no-such-option",
        "ray job submit --no-such-option -- python sweeps/tau_sweep.py",
        "ray job submit -- python sweeps/no_such_sweep.py",
        "bash cluster/no_such_script.sh",
        "no-such-program",
    ],
)
def test_what_does_not_exist_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check(command)


def test_every_file_is_mentioned() -> None:
    """Here, or in a file that is mentioned here."""
    paths = [path for path in CLUSTER.rglob("*") if path.suffix in (".yaml", ".sh", ".sbatch")]
    assert len(paths) >= 12
    others = "".join(path.read_text() for path in paths)
    assert [path.name for path in paths if path.name not in TEXT + others] == []
