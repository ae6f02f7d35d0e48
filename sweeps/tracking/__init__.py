"""The only writer to MLflow, and what it writes."""
