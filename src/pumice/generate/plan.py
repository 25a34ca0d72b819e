"""Which jobs there are: kinds, scenes, languages, pairs of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pumice.generate.protocol import SceneText
from pumice.generate.spec import Spec
from pumice.generate.work import Job, numbered


@dataclass(frozen=True)
class Plan:
    """All jobs, by scene and in order.

    Attributes:
        scenes: what is known of each picture.
        kinds: what is written, in the order in which it is written.
        shares: by kind, the share of scenes it is written for.
        languages: each kind is written in each.
        seed: which scenes a share falls on.
    """

    scenes: Sequence[SceneText]
    kinds: tuple[Spec, ...]
    shares: Mapping[str, float]
    languages: tuple[str, ...] = ("en",)
    seed: int = 0

    def jobs(self) -> Iterator[Job]:
        """All jobs, those of a scene together, in the order of the scenes."""
        for group in self.groups():
            yield from group

    def groups(self) -> Iterator[list[Job]]:
        """The jobs of each scene; a pair's stand with its first picture."""
        partners = pairs(self.scenes) if any(spec.pictures == 2 for spec in self.kinds) else {}
        for place, scene in enumerate(self.scenes):
            yield [
                job
                for spec in self.kinds
                if self._chosen(scene, spec)
                for job in self._of(scene, partners.get(place), spec)
            ]

    def passed_over(self) -> dict[str, int]:
        """By kind, how many scenes have nothing of what it is made from."""
        return {spec.name: sum(not spec.fits(scene) for scene in self.scenes) for spec in self.kinds}

    def _of(self, scene: SceneText, partner: int | None, spec: Spec) -> Iterator[Job]:
        if not spec.fits(scene):
            return
        scenes: tuple[SceneText, ...] = (scene,)
        if spec.pictures == 2:
            if partner is None or not spec.fits(self.scenes[partner]):
                return
            scenes = (scene, self.scenes[partner])
        for language in self.languages:
            job = Job(spec, scenes, language, len(self.languages) > 1)
            if spec.form not in ("describe", "locate") or numbered(job):
                yield job

    def _chosen(self, scene: SceneText, spec: Spec) -> bool:
        share = self.shares[spec.name]
        if share >= 1:
            return True
        rng = np.random.default_rng([self.seed, *scene.id.encode(), *f"share of {spec.name}".encode()])
        return bool(rng.random() < share)


def pairs(scenes: Sequence[SceneText]) -> dict[int, int]:
    """For half of the scenes, another that shows the same kinds of things, by place; each is in one pair.

    Scenes are put into the order of what they show; neighbours are pairs, so a comparison has something to
    go by.
    """
    order = sorted(
        range(len(scenes)),
        key=lambda n: (sorted({one.category for one in scenes[n].instances}), scenes[n].captions[:1], n),
    )
    return {
        min(order[n], order[n + 1]): max(order[n], order[n + 1])
        for n in range(0, len(order) - 1, 2)
        if scenes[order[n]].image != scenes[order[n + 1]].image
    }
