"""What starts clusters and looks after them: files for each kind of cluster, and the preflight."""
