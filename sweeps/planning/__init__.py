"""The cost of a study: measured or read from earlier members, then counted."""
