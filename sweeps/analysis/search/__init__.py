"""The report of an adaptive search."""
