"""Puts the question to every node at once, and waits for no one longer than a deadline."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from larvae.errors import InvalidInputError
from sweeps.preflight import nodes
from sweeps.preflight.nodes import DRIVERS_FILE, Clock, Facts, Question
from sweeps.resources.gpu_kinds import GpuNode
from sweeps.tracking.addresses import shown

ANSWER_SECONDS = 90.0
"""Seconds for the first question, which starts a process on each node; it takes 2 to 5 s where nothing is wrong, but on
a node that loads PyTorch from a cold network file system, or has many GPUs to wake, up to a minute."""
PATIENCE_SECONDS = 13.0
"""Seconds after which the user is told what is waited for."""
LOOK_SECONDS = 5.0
NEIGHBOURS = 8
"""Number of other nodes whose files each node looks for: in a ring, so that all are looked for."""


class Node(NamedTuple):
    """A node, as Ray knows it, and what it answered."""

    id: str
    address: str
    resources: Mapping[str, float]
    facts: Facts | None
    """None without an answer."""
    silence: str
    """Reason why there is no answer."""
    clock_offset: float
    """Seconds by which its clock is ahead of the driver's, at least; 0 where that cannot be told."""
    unseen: tuple[str, ...]
    """Addresses of nodes whose files it does not see."""

    @property
    def name(self) -> str:
        """The name that people know it by."""
        return f"{self.facts.host} ({self.address})" if self.facts else self.address


def gpu_nodes(nodes: Sequence[Node]) -> list[GpuNode]:
    """Those of some nodes that have told of their GPUs."""
    told = [(node.resources, node.facts.gpus) for node in nodes if node.facts and node.facts.gpus]
    smallest = [(resources, min(gpus, key=lambda gpu: gpu.memory)) for resources, gpus in told]
    return [GpuNode(resources, gpu.memory, gpu.name) for resources, gpu in smallest]


def ask_nodes(
    storage: Path, tracking_uri: str, prepared: tuple[str, ...], tell: Callable[[str], object]
) -> tuple[list[Node], Facts]:
    """Ask all nodes of the cluster that this process has joined; and what this process would answer.

    prepared: names of the prepared files that a sweep needs. tell: shows a line to the user.
    Raises InvalidInputError.
    """
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeManagerAddress"])
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in alive}
    with _rendezvous(storage) as (folder, token):
        remote = ray.remote(num_cpus=0, max_retries=0)(nodes.tell)
        question = Question(folder, token, shown(tracking_uri), prepared, wants_gpus=False)
        driver = nodes.tell(question._replace(tracking_uri=""), "of the driver's process")
        asked = {
            node["NodeID"]: _on(remote, node).remote(
                question._replace(wants_gpus=node["Resources"].get("GPU", 0) > 0), node["NodeID"]
            )
            for node in alive
        }
        answers = _answers(asked, _arrived(asked, addresses, tell))
        present = [name for name, answer in answers.items() if isinstance(answer, Facts) and not answer.storage]
        looks = _look(folder, [node for node in alive if node["NodeID"] in present])
    for name in set(present) - looks.keys():
        answers[name] = f"a first answer, but no second one within {LOOK_SECONDS:g} s"
    return [_node(node, answers[node["NodeID"]], looks.get(node["NodeID"]), addresses) for node in alive], driver


def _on(remote: Any, node: Mapping[str, Any]) -> Any:
    """A remote function that runs on a node, which must not hide its GPUs from it."""
    return remote.options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        runtime_env={"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}},
    )


def _arrived(asked: Mapping[str, Any], addresses: Mapping[str, str], tell: Callable[[str], object]) -> set[Any]:
    """Answers that have arrived in time; after a while, what is waited for is told."""
    ready, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=PATIENCE_SECONDS)
    if late:
        one = next(addresses[name] for name, reference in asked.items() if reference in late)
        tell(f"{len(late)} of {len(asked)} nodes have not answered yet, such as {one}: they have {ANSWER_SECONDS:g} s")
        more, late = ray.wait(late, num_returns=len(late), timeout=ANSWER_SECONDS - PATIENCE_SECONDS)
        for reference in late:
            ray.cancel(reference, force=True)
        ready += more
    return set(ready)


def _answers(asked: Mapping[str, Any], arrived: set[Any]) -> dict[str, Any]:
    """The answer of each node, or the reason why there is none."""
    answers: dict[str, Any] = {}
    for name, reference in asked.items():
        if reference not in arrived:
            answers[name] = f"no answer within {ANSWER_SECONDS:g} s"
            continue
        try:
            answers[name] = ray.get(reference)
        except (ray.exceptions.RayError, ImportError) as error:
            answers[name] = _last_line(error)
    return answers


def _last_line(error: Exception) -> str:
    """The message of a remote function's error, without the way that it took."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


class _Look(NamedTuple):
    clock: Clock
    sent: float
    received: float


def _look(folder: Path, present: Sequence[Mapping[str, Any]]) -> dict[str, _Look]:
    """Have each node look for its neighbours' files."""
    remote = ray.remote(num_cpus=0, max_retries=0)(nodes.look)
    names = [node["NodeID"] for node in present]
    ring = names + names
    sent: dict[Any, tuple[str, float]] = {}
    for position, node in enumerate(present):
        others = ring[position + 1 : position + 1 + min(NEIGHBOURS, len(names) - 1)]
        sent[_on(remote, node).remote(folder, others)] = (node["NodeID"], time.time())
    looks: dict[str, _Look] = {}
    waiting, deadline = list(sent), time.monotonic() + LOOK_SECONDS
    while waiting and time.monotonic() < deadline:  # one by one: the moment of arrival tells of the clock
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
        for reference in ready:
            received = time.time()
            name, began = sent[reference]
            with contextlib.suppress(ray.exceptions.RayError):
                looks[name] = _Look(ray.get(reference), began, received)
    for reference in waiting:
        ray.cancel(reference, force=True)
    return looks


def _node(node: Mapping[str, Any], answer: Any, look: _Look | None, addresses: Mapping[str, str]) -> Node:
    facts = answer if isinstance(answer, Facts) else None
    return Node(
        id=node["NodeID"],
        address=node["NodeManagerAddress"],
        resources=node["Resources"],
        facts=facts,
        silence="" if facts else str(answer),
        clock_offset=_offset(look) if look else 0.0,
        unseen=tuple(addresses[name] for name in look.clock.unseen) if look else (),
    )


def _offset(look: _Look) -> float:
    """The smallest offset with which an answer began after its question was sent and ended before it came."""
    least, most = look.clock.ended - look.received, look.clock.began - look.sent
    return 0.0 if least <= 0 <= most else min(least, most, key=abs)


@contextlib.contextmanager
def _rendezvous(storage: Path) -> Iterator[tuple[Path, str]]:
    """A folder below the shared storage with the driver's file in it, and what that holds; gone afterwards."""
    storage = storage.absolute()
    missing = [folder for folder in (storage, *storage.parents) if not folder.exists()]
    token = secrets.token_hex(8)
    folder = storage / f".preflight-{token}"
    try:
        folder.mkdir(parents=True)
        (folder / DRIVERS_FILE).write_text(token)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError(f"`storage_path` must be a writable folder, got `{storage}`: {reason}") from None
    try:
        yield folder, token
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody has put something there meanwhile
            for made in missing:
                made.rmdir()
