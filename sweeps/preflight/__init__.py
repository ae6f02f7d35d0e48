"""Asks every node of a cluster whether a sweep can run there, before one starts."""
