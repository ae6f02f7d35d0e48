"""One command's Ray: how it is reached, how trials are handed to Ray Tune, and what comes back."""
