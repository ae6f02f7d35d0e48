"""What Ray does otherwise than a sweep needs, each in one file that says what, and where it is discussed."""
