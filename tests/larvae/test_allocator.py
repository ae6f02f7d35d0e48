"""A process that begins anew with the allocator's variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from larvae.allocator import ENVIRONMENT

SCRIPT = """
import json, os, sys
from larvae import allocator
print("begins")
allocator.require_environment()
print(json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in allocator.ENVIRONMENT}]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the variables are GNU's C library's")
@pytest.mark.parametrize("own", [{}, dict.fromkeys(list(ENVIRONMENT)[:1], "1000000"), ENVIRONMENT])
def test_a_process_begins_anew_once_with_what_is_not_set(own: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT} | own
    told = subprocess.run(
        [sys.executable, script, "--flag", "two words"], capture_output=True, text=True, check=True, env=environment
    )
    *begins, last = told.stdout.splitlines()
    assert len(begins) == 1 + (own != ENVIRONMENT)
    assert json.loads(last) == [["--flag", "two words"], ENVIRONMENT | own]
