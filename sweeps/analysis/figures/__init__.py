"""Figures of the paper, drawn from estimates."""
