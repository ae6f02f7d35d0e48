"""What is run, on Ray Tune: studies of many members, scheduled, tracked and resumed."""
