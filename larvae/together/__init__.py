"""Several members trained at once, as they come and go; on a GPU in the same operations."""
