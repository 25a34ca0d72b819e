"""Training: one flat step loop over a plan, for every stage."""
