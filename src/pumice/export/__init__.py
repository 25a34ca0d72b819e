"""Checkpoints out: other layouts of a model, each reloaded and compared before it is called done."""

from pumice.export.run import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
