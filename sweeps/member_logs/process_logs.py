"""Output of the processes that trained a member, from Ray's files on this machine or from a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import ray
from ray.util import state

from larvae.files import has_shape
from sweeps.driver import connection
from sweeps.driver.ray_folders import ray_folders
from sweeps.trial.member_log import Event


def process_logs(events: Sequence[Event], address: str | None, lines: int) -> Iterator[tuple[str, str]]:
    """The output of the processes that trained a member, each with a title; Ray keeps it while its session lasts."""
    if address:
        connection.connect(address)
    of_processes = [event for event in events if has_shape(event, worker=str, node=str, address=str, pid=int)]
    for event in {event["worker"]: event for event in of_processes}.values():
        for ending in ("out", "err"):
            text = _from_ray(event, ending, lines) if address else _from_disk(event, ending, lines)
            if text.strip():
                yield f"{ending} of process {event['pid']} on {event['host']}", text.rstrip()


def _from_disk(event: Event, ending: str, lines: int) -> str:
    places = [folder.glob(f"session_2*/logs/worker-{event['worker']}-*.{ending}") for folder in ray_folders()]
    found = sorted(itertools.chain(*places))
    return "\n".join(found[-1].read_text(errors="replace").splitlines()[-lines:]) if found else ""


def _from_ray(event: Event, ending: str, lines: int) -> str:
    place = {"address": ray.get_runtime_context().gcs_address, "node_id": event["node"]}
    try:
        files = state.list_logs(**place, glob_filter=f"worker-{event['worker']}-*.{ending}")
        names = [name for group in files.values() for name in group]
        return "".join(state.get_log(**place, filename=names[0], tail=lines)) if names else ""
    except (ray.exceptions.RayError, state.exception.RayStateApiException, OSError) as error:
        return f"not to be had from node {event['address']}: {str(error).splitlines()[0]}"
