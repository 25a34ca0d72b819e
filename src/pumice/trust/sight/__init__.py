"""What audits ask models: a tower, what pictures look like to it; a LLaVA, how it reads answers. Needs torch."""
