"""Convolutions with their norms as this project's own code for a CPU, compiled where it runs."""
