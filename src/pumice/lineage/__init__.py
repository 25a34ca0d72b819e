"""What travels with weights: where they come from, and whether they may be used. Files alone, no torch."""
