"""What audits ask models: a tower how pictures look to it, a LLaVA how it reads answers. Needs torch."""
