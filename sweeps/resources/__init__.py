"""What of a node a trial takes: kinds of GPUs, a trial's share of one, and the probe that measures it."""
