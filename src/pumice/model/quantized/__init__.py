"""Weights in few bits, for answering: forms, the kernel, layers, and how they lie on disk."""
