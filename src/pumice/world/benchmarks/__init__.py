"""The embedded benchmarks: generated pictures and true answers in the files of the published benchmarks."""

from pumice.world.benchmarks.write import BENCHMARKS, FORMAT, RECORD, write_benchmarks

__all__ = ["BENCHMARKS", "FORMAT", "RECORD", "write_benchmarks"]
