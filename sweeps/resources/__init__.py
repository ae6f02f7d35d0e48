"""Resources that a trial takes of a node: kinds of GPUs, a trial's share of one, and the probe that measures it."""
