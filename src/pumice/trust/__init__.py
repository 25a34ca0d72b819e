"""Data one can answer for: what is in it, and whether it should be."""
