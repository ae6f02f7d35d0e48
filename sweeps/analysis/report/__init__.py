"""The report of any study: one HTML page that needs no network."""
