"""Instruction data from captions and boxes, written by a model that never sees a picture."""
