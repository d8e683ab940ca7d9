"""Measures sesrelay against other mail servers on the same machine."""
