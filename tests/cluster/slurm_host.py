"""A Slurm whose nodes are namespaces of this machine: it sees no other processes, and nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import why_not
from tests.sweeps.processes import running, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "unshare", "nsenter", "setpriv")
NAMESPACES = ("--pid", "--mount", "--net", "--uts", "--ipc")
PATH = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
NETWORK = "10.77.0"
"""Within the nodes' own network."""

CONFIGURATION = """
ClusterName=test
SlurmctldHost=node1({network}.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
MpiDefault=none
KillWait=30
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# What holds the nodes together: a network, names, and the daemon that vouches for users. A shell stays in each
# namespace of processes as its first, which must bury those that no one waits for.
HUB = r"""
set -e
cd {folder}
mount --bind {folder}/hosts /etc/hosts
ip link set lo up
ip link add hub type bridge
ip link set hub up
munged --force --foreground --socket=munge.socket --key-file=munge.key --pid-file=munge.pid \
    --log-file=munge.log --seed-file=munge.seed &
until [ -S munge.socket ]; do sleep .1; done
for number in {numbers}; do
    unshare --pid --mount --net --uts --ipc --fork --kill-child --mount-proc bash node.sh $number &
    until [ -s node$number.ready ]; do sleep .1; done
    ip link add to$number type veth peer name eth0 netns $(pgrep -P $!)
    ip link set to$number master hub up
done
wait -n
"""
NODE = r"""
set -e
cd {folder}
hostname node$1
ip link set lo up
echo ready > node$1.ready
until ip link set eth0 up 2>/dev/null; do sleep .1; done
ip address add {network}.$1/24 dev eth0
if [ $1 = 1 ]; then slurmctld -D -f {folder}/slurm.conf & fi
slurmd -D -f {folder}/slurm.conf &
wait -n
"""


class SlurmHost:
    """Commands on the first node."""

    def __init__(self, folder: Path, inside: int) -> None:
        """inside: a process of the first node."""
        self.folder = folder
        self._enter = ["nsenter", "--target", str(inside), *NAMESPACES, "--"]

    def command(self, *words: str | Path, cwd: Path | None = None, **environment: str) -> str:
        """Run a command; its output. Raises AssertionError where it fails."""
        inherited = {"HOME": str(self.folder), "LANG": "C.UTF-8", "SLURM_CONF": str(self.folder / "slurm.conf")}
        ended = subprocess.run(
            [*self._enter, "env", f"--chdir={cwd or self.folder}", *map(str, words)],
            env=inherited | {"PATH": PATH} | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def job(self, number: str) -> dict[str, str]:
        """Fields that Slurm tells of a job."""
        fields = self.command("scontrol", "show", "job", "--oneliner", number).split()
        return dict(field.partition("=")[::2] for field in fields)

    def state(self, number: str) -> str:
        return self.job(number)["JobState"]


@contextlib.contextmanager
def slurm_host(folder: Path, nodes: int = 1) -> Iterator[SlurmHost]:
    """Start a Slurm of some nodes, two CPUs in all, with its files in a folder; nothing of it is left at the end."""
    if reason := why_not(PROGRAMS, PATH):
        pytest.skip(reason)
    hub = _write_files(folder, nodes)
    dying_with_us = ["setpriv", "--pdeathsig", "KILL", "--"]  # of the first process, and so all others do
    isolated = [*dying_with_us, "unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "bash", hub]
    with running(isolated, folder, folder / "host.log", PATH=PATH) as process:

        def is_ready() -> SlurmHost | None:
            assert process.poll() is None, (folder / "host.log").read_text()
            with contextlib.suppress(AssertionError, StopIteration, subprocess.TimeoutExpired):
                host = SlurmHost(folder, _first_node(folder, process.pid))
                states = host.command("sinfo", "--noheader", "--Node", "--format", "%T").split()
                return host if states == ["idle"] * nodes else None
            return None

        found = wait_until(is_ready, "idle nodes", seconds=120)
        assert found is not None
        yield found


def _write_files(folder: Path, nodes: int) -> Path:
    """Everything that the daemons read; the script that starts them."""
    numbers = range(1, nodes + 1)
    places = [f"NodeName=node{n} NodeAddr={NETWORK}.{n} CPUs={2 // nodes} RealMemory=2000" for n in numbers]
    (folder / "slurm.conf").write_text("\n".join([*places, CONFIGURATION.format(folder=folder, network=NETWORK)]))
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *(f"{NETWORK}.{n} node{n}" for n in numbers), ""]))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    words = {"folder": folder, "network": NETWORK, "numbers": " ".join(map(str, numbers))}
    (folder / "node.sh").write_text(NODE.format(**words))
    (folder / "hub.sh").write_text(HUB.format(**words))
    return folder / "hub.sh"


def _first_node(folder: Path, outermost: int) -> int:
    """The first node's daemon of jobs, as this machine counts processes; StopIteration where it does not run yet."""
    below = [outermost]
    for pid in below:
        with contextlib.suppress(OSError):
            below += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    daemons = (pid for pid in below if _command(pid).startswith(f"slurmctld\0-D\0-f\0{folder}"))
    return next(daemons)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
