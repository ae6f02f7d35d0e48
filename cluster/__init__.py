"""Files that start and look after clusters, for each kind of cluster, and the preflight."""
