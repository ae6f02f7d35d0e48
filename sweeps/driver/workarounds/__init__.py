"""Workarounds for Ray, each in one file that says what Ray does otherwise than needed, and where it is discussed."""
