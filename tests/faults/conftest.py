"""The fixtures of the sweeps' tests, for faults of whole commands."""

from tests.sweeps.conftest import alone, empty_database, folder, folder_with_database

__all__ = ["alone", "empty_database", "folder", "folder_with_database"]
