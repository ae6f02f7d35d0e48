"""What a study will cost: measured or read from earlier members, then counted."""
