"""Metrics by themselves: what Prometheus would stumble over."""

from __future__ import annotations

import pytest

from pumice.serve.metrics import SECONDS, Metrics


def test_buckets_count_up_and_end_with_all() -> None:
    metrics = Metrics()
    for seconds in (0.01, 0.02, 1.0, 1000.0):
        metrics.time("pumice_queue_seconds", seconds, model="a")
    lines = [line for line in metrics.text({}).splitlines() if line.startswith("pumice_queue_seconds_bucket")]
    counts = [int(line.rpartition(" ")[2]) for line in lines]
    assert len(counts) == len(SECONDS) + 1
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (1, 3, 4)  # a bound belongs to its bucket


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.add("pumice_images_total", model='a"b\\c\nd')
    assert 'pumice_images_total{model="a\\"b\\\\c\\nd"} 1' in metrics.text({}).splitlines()


def test_large_counts_keep_all_digits() -> None:
    metrics = Metrics()
    metrics.add("pumice_prompt_tokens_total", 123_456_789, model="a")
    assert 'pumice_prompt_tokens_total{model="a"} 123456789' in metrics.text({}).splitlines()


def test_unknown_names_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Metrics().add("pumice_nothing_total")
