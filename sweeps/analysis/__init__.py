"""Results to figures: what is read, what is estimated from it, how it is drawn. The scripts of analysis/ call it."""

import os

os.environ["MPLBACKEND"] = "agg"  # files are drawn, windows never; a notebook's backend is not there for scripts
