"""The project's own results: which they are, and how they are trained bit by bit."""
