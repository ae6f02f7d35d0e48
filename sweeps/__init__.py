"""Studies of many members on Ray Tune: scheduled, tracked and resumed."""

import os

# Ray reads these when it is imported, and no module of this package is imported before they are set.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # needs no internet
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # `uv run` would slow or break workers
os.environ["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE") or "token"  # Ray takes an empty one for `disabled`
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its boxes come even where Tune is told to be silent
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # ten lines that do not say whose; we say it in one
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # results and MLflow are written by this project
