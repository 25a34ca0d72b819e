"""Stand-ins for a hospital's pictures: phantoms in DICOM files, invented people, texts, questions."""

from pumice.world.phantoms.write import write_phantoms

__all__ = ["write_phantoms"]
