"""Checkpoints out: other layouts, and adapters merged; each reloaded and compared before it is done."""

from pumice.export.merge import Merged, merge
from pumice.export.run import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "Merged", "export", "merge"]
