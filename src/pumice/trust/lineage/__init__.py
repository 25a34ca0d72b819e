"""From weights to the rows they saw, and back: tracing, proofs, erasure."""
