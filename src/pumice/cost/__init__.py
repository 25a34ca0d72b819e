"""What a run will cost: arithmetic, memory and time, from shapes and counts alone; no torch."""
