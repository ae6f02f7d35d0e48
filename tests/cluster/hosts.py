"""Simulated hosts, each with an address, a name, processes and a /tmp of its own, on one switched network.

A host is a set of Linux namespaces held by its first process, and so is the switch: nothing has a name on this
machine, two networks never meet, and the kernel takes all of it away with those processes, however the tests end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import larvae
from tests.sweeps.processes import running, wait_until

PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "hostname", "mount")
PROJECT = Path(larvae.__file__).parents[1]
HOST_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
KEPT_VARIABLES = ("PATH", "HOME", "LANG")
NEVER_ENDS = "while sleep 3600; do :; done"
"""A shell at this buries orphans, as a host's first process must."""

HEALTH_CHECKS = {
    # Ray's head asks each node every 3 s, waits 10 s for the answer and gives a node up after 5 failures: a minute
    # and more for one that has gone silent. Here it takes 15 s.
    "RAY_health_check_initial_delay_ms": "1000",  # 5000
    "RAY_health_check_period_ms": "1000",  # 3000
    "RAY_health_check_timeout_ms": "2000",  # 10000
    "RAY_health_check_failure_threshold": "5",  # 5
}
RAY = (str(Path(sys.executable).with_name("ray")),)
RAY_PORT = 6379
RAY_ATTEMPTS = 4
RAY_ENVIRONMENT = HEALTH_CHECKS | {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "token-of-the-hosts",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",  # several nodes start on one machine
}
OBJECT_STORE_BYTES = 700_000_000  # holds dSprites once


@functools.cache
def why_not(programs: Sequence[str] = PROGRAMS, path: str | None = None) -> str | None:
    """Why there can be no hosts with some programs here, if so. path: where programs are looked for, if not on PATH."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if missing := [program for program in programs if not shutil.which(program, path=path)]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    trial = "mount -t tmpfs none /mnt && hostname trial && ip link add one type veth && ip link add two type bridge"
    made = subprocess.run(_isolated(HOST_NAMESPACES, trial), capture_output=True, text=True, check=False)
    return f"no namespaces here: {made.stderr.strip()}" if made.returncode else None


class Host:
    """A host that runs until it is killed or its network ends."""

    def __init__(self, name: str, address: str, folder: Path, shared: Path) -> None:
        self.name, self.address, self.folder, self.shared = name, address, folder, shared
        self.cache = folder / "cache"
        self.log = folder / "log.txt"
        self.ray_folder = folder / "ray"
        """Ray's logs, which outlive the host; there it is /tmp/ray, for paths of sockets must be short."""
        self.first_process = 0
        self._port: Sequence[str] = ()
        self._left = contextlib.ExitStack()
        self._ray = self._left.enter_context(contextlib.ExitStack())

    def command(self, *words: str | Path, **environment: str) -> list[str]:
        """The words that run a command on this host, in the shared folder, with few variables but those given."""
        variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        variables |= {"LARVAE_CACHE_DIR": str(self.cache)} | RAY_ENVIRONMENT | environment
        settings = [f"{name}={value}" for name, value in variables.items()]
        enter = ["nsenter", f"--target={self.first_process}", *HOST_NAMESPACES]
        return [*enter, "env", "-i", f"--chdir={self.shared}", *settings, *map(str, words)]

    def run(self, *words: str | Path, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this host to its end."""
        command = self.command(*words, **environment)
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    def start_ray(self, num_cpus: int, head: Host | None = None) -> None:
        """Have Ray started here, as a head or beside one; see `wait_for_ray`."""
        command = [*RAY, "start", "--block", f"--node-ip-address={self.address}"]
        command += [f"--num-cpus={num_cpus}", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        command += [f"--address={head.ray_address}"] if head else ["--head", f"--port={RAY_PORT}"]
        command += [] if head else ["--include-dashboard=false"]
        self._start_ray = functools.partial(running, self.command(*command), self.folder, self.log)
        self.ray = self._ray.enter_context(self._start_ray())

    def wait_for_ray(self) -> None:
        """Raises AssertionError where Ray does not start.

        A raylet waits 15 s for its agent's word and dies without, which `ray start` does not notice: too short where
        several hosts share two cores that are busy.
        """
        for _ in range(RAY_ATTEMPTS):
            wait_until(lambda: self._has("Ray runtime started") or self._has_failed(), "Ray", seconds=300)
            if not self._has_failed():
                return
            self._ray.close()
            self.run(*RAY, "stop", "--force")
            for session in self.ray_folder.glob("session_2*"):  # its logs are kept
                session.rename(self.ray_folder / f"failed_{session.name}")
            self.ray = self._ray.enter_context(self._start_ray())
        raise AssertionError(self.log.read_text())

    def _has(self, line: str) -> bool:
        return line in self.log.read_text()

    def _has_failed(self) -> bool:
        errors = [path.read_text() for path in self.ray_folder.glob("session_2*/logs/raylet.err")]
        return self.ray.poll() is not None or any("Check failed" in text for text in errors)

    @property
    def ray_address(self) -> str:
        return f"{self.address}:{RAY_PORT}"

    def cut_off(self) -> None:
        """Pull the plug out of the switch: nothing comes through in either direction, and no one is told."""
        subprocess.run([*self._port, "down"], check=True)

    def reconnect(self) -> None:
        subprocess.run([*self._port, "up"], check=True)

    def kill(self) -> None:
        """End all processes at once, as a power cut does."""
        self._left.close()

    def kill_after_ray(self) -> None:
        """End Ray here in good order, then all the rest: its head knows at once."""
        self.run(*RAY, "stop")
        self.kill()

    def _start(self, switch: int, hidden: Sequence[Path]) -> None:
        """hidden: folders that are empty here."""
        self.cache.mkdir(parents=True)
        self.ray_folder.mkdir()
        names = self.folder / "hosts"
        names.write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        private = [Path("/tmp"), Path("/dev/shm"), self.folder.parent]
        kept = [self.folder, self.shared, PROJECT, Path(sys.prefix), Path(sys.base_prefix)]
        script = ["set -e", f"hostname {self.name}", f"mount --bind {shlex.quote(str(names))} /etc/hosts"]
        script += [
            *mounts(private, kept),
            *(f"mount -t tmpfs none {shlex.quote(str(path))}" for path in hidden),  # of what is kept, too
            "mkdir /tmp/ray",
            f"mount --bind {shlex.quote(str(self.ray_folder))} /tmp/ray",
        ]
        script += ["echo ready", NEVER_ENDS]
        self.first_process = _hold(self._left, HOST_NAMESPACES, "\n".join(script), self.folder, self.log)
        self._plug_in(switch)

    def _plug_in(self, switch: int) -> None:
        """Lay a cable to the switch."""
        at_switch = ["nsenter", f"--target={switch}", "--net", "ip", "link"]
        here = ["nsenter", f"--target={self.first_process}", "--net", "ip"]
        self._port = [*at_switch, "set", self.name]
        ends = ["add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.first_process)]
        subprocess.run([*at_switch, *ends], check=True)
        subprocess.run([*self._port, "master", "switch", "up"], check=True)
        subprocess.run([*here, "address", "add", f"{self.address}/24", "dev", "eth0"], check=True)
        for device in ("lo", "eth0"):
            subprocess.run([*here, "link", "set", device, "up"], check=True)


class Network:
    """Hosts that reach each other and nothing else, and a folder that all of them share."""

    def __init__(self, folder: Path, switch: int, left: contextlib.ExitStack) -> None:
        self.shared = folder / "shared"
        self.shared.mkdir()
        self._folder, self._switch, self._left = folder, switch, left
        self._number = 0

    def host(self, name: str, *, hidden: Sequence[Path] = ()) -> Host:
        """Start a host of a new name of up to 15 characters. hidden: folders that are empty there."""
        self._number += 1
        host = Host(name, f"10.77.0.{self._number}", self._folder / name, self.shared)
        self._left.callback(host.kill)
        host._start(self._switch, hidden)
        return host


class CacheWatch:
    """Sees every file, half written ones included, that a host's cache ever holds within a `with` block."""

    def __init__(self, *hosts: Host) -> None:
        self.hosts = hosts
        self.files: dict[str, dict[str, set[int]]] = {host.name: defaultdict(set) for host in hosts}
        """Inodes by host and final name: one where a file was made once, for renaming keeps it."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> CacheWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            for host in self.hosts:
                for entry in os.scandir(host.cache):
                    if not entry.name.endswith(".lock"):
                        self.files[host.name][entry.name.partition(".partial")[0]].add(entry.inode())

    def assert_made_once(self, name: str) -> None:
        """Every host has had one file of this name, and has it now."""
        for host in self.hosts:
            assert self.files[host.name][name] == {(host.cache / name).stat().st_ino}


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network whose files lie in a folder. Whatever runs on its hosts is gone at the end."""
    with contextlib.ExitStack() as left:
        script = f"set -e\nip link add switch type bridge\nip link set switch up\necho ready\n{NEVER_ENDS}"
        switch = _hold(left, ("--net", "--pid", "--mount"), script, folder, folder / "switch.txt")
        yield Network(folder, switch, left)


def _isolated(namespaces: Sequence[str], script: str) -> list[str]:
    """A shell as the first process of namespaces, which ends with the process that starts it."""
    first = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--fork", "--kill-child", "--mount-proc"]
    return [*first, "sh", "-c", script]


def _hold(left: contextlib.ExitStack, namespaces: Sequence[str], script: str, folder: Path, log: Path) -> int:
    """Run a script that says `ready` and goes on for ever in namespaces of its own; the id of its process."""
    process = left.enter_context(running(_isolated(namespaces, script), folder, log))
    wait_until(lambda: "ready" in log.read_text() or process.poll() is not None, "namespaces", seconds=20)
    assert process.poll() is None, log.read_text()
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


def mounts(private: Sequence[Path], kept: Sequence[Path]) -> list[str]:
    """Shell commands that put empty folders of memory over some folders, below which others stay what they are."""
    below = [path for path in dict.fromkeys(kept) if any(path.is_relative_to(folder) for folder in private)]
    commands = ["mount -t tmpfs none /mnt"]  # where those that stay are held meanwhile
    for number, path in enumerate(below):
        commands += [f"mkdir /mnt/{number}", f"mount --bind {shlex.quote(str(path))} /mnt/{number}"]
    for path in private:
        commands += [f"mkdir -p {shlex.quote(str(path))}", f"mount -t tmpfs none {shlex.quote(str(path))}"]
    for number, path in enumerate(below):
        commands += [f"mkdir -p {shlex.quote(str(path))}", f"mount --move /mnt/{number} {shlex.quote(str(path))}"]
    return [*commands, "chmod 1777 /tmp", "umount /mnt"]
