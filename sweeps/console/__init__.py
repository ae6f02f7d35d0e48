"""The command line and the terminal: flags, the paper's own weights, lines, progress, and what to type next."""
