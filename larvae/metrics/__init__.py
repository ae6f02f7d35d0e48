"""Metrics of disentanglement: one a file, arrays in, floats out."""
