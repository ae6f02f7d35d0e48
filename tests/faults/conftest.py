"""The fixtures of the sweeps' tests, for faults of whole commands."""

from tests.sweeps.conftest import alone, folder, folder_with_database

__all__ = ["alone", "folder", "folder_with_database"]
