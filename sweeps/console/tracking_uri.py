"""The flag of MLflow's address, whose default may be the environment's, with a password."""

from __future__ import annotations

from typing import Annotated

import tyro

from sweeps.tracking.addresses import shown

TrackingUri = Annotated[str, tyro.conf.arg(help_behavior_hint=lambda default: f"(default: {shown(default)})")]
