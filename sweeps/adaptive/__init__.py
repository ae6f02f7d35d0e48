"""Searches: what varies, who suggests, what is stopped, and how it is run again."""
