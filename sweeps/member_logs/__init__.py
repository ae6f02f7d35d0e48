"""Stories of members: looked up by hash or values, told from their folders and from Ray's logs."""
