"""A process that trains members: the only bridge between larvae and Ray Tune."""
