"""Counts and times of a server, as Prometheus reads them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

COUNTERS = {
    "pumice_requests_total": "Calls that were answered, by route and status.",
    "pumice_aborted_total": "Requests that their clients left.",
    "pumice_prompt_tokens_total": "Tokens of prompts, with those that pictures fill.",
    "pumice_cached_tokens_total": "Tokens of prompts that were known from before.",
    "pumice_completion_tokens_total": "Tokens of answers.",
    "pumice_images_total": "Pictures that were decoded.",
}
GAUGES = {
    "pumice_requests_running": "Requests that are computed at this moment.",
    "pumice_requests_waiting": "Requests that wait for the engine.",
    "pumice_requests_open": "Calls that are worked on, reading and decoding included.",
    "pumice_tokens_reserved": "Places for keys and values.",
    "pumice_tokens_held": "Of these, places of answers that run.",
    "pumice_tokens_kept": "Of these, places kept for prompts that begin like earlier ones.",
    "pumice_picture_cache_bytes": "Embeddings of pictures kept for the next request that shows them.",
    "pumice_model_loaded": "1 where the model is in memory.",
}
TIMES = {
    "pumice_time_to_first_token_seconds": "From a request's submission to its first token.",
    "pumice_queue_seconds": "Waiting before a request's first computation.",
    "pumice_image_encode_seconds": "The vision tower's time for a request.",
    "pumice_request_seconds": "From the first byte of a call to the last of its answer.",
}

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All counters and histograms of one server. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], float] = {}
        self._times: dict[tuple[str, Labels], tuple[list[int], list[float]]] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Count; ``name`` is one of ``COUNTERS``."""
        assert name in COUNTERS
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + value

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Note a time; ``name`` is one of ``TIMES``."""
        assert name in TIMES
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            buckets, total = self._times.setdefault(key, ([0] * (len(SECONDS) + 1), [0.0]))
            buckets[bisect_left(SECONDS, seconds)] += 1
            total[0] += seconds

    def count(self, name: str, **labels: str) -> float:
        """What a counter says."""
        with self._lock:
            return self._counts.get((name, tuple(sorted(labels.items()))), 0)

    def text(self, gauges: Mapping[str, Iterable[tuple[Mapping[str, str], float]]]) -> str:
        """The page: counters, then ``gauges`` as given by name, then times."""
        lines: list[str] = []
        with self._lock:
            counts, times = dict(self._counts), {key: (list(b), t[0]) for key, (b, t) in self._times.items()}
        for name, help_text in COUNTERS.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} counter"]
            lines += [_line(key[1], name, value) for key, value in sorted(counts.items()) if key[0] == name]
        for name, help_text in GAUGES.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
            lines += [_line(tuple(labels.items()), name, value) for labels, value in gauges.get(name, ())]
        for name, help_text in TIMES.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} histogram"]
            for (timed, labels), (buckets, total) in sorted(times.items()):
                if timed == name:
                    lines += _histogram(name, labels, buckets, total)
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: Labels, buckets: list[int], total: float) -> list[str]:
    lines, so_far = [], 0
    for bound, number in zip((*map(str, SECONDS), "+Inf"), buckets, strict=True):
        so_far += number
        lines.append(_line((*labels, ("le", bound)), f"{name}_bucket", so_far))
    return [*lines, _line(labels, f"{name}_sum", total), _line(labels, f"{name}_count", so_far)]


def _line(labels: Labels, name: str, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(said)}"' for key, said in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
