"""Data one can answer for: what is in it, whether it should be, and whom it names."""
