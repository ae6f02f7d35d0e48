"""From MLflow to the paper's figures: load, estimate, draw."""
