"""The model: a vision tower, a connector and a causal language model, built, saved and loaded."""
