"""Benchmarks that run both sides in turn: ours and what people would use otherwise."""
