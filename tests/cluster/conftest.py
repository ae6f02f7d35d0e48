"""Fixtures that tests of clusters share with those of sweeps."""

from tests.sweeps.conftest import alone, folder, folder_with_database

__all__ = ["alone", "folder", "folder_with_database"]
