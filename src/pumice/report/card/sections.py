"""The sections of a model card: Markdown out of records and answers, blanks collected on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pumice.evaluate.dimensions import DIMENSIONS
from pumice.evaluate.results import TaskResult
from pumice.evaluate.scores import Scores, columns, variant_title
from pumice.evaluate.wording import points
from pumice.licences import read_licence
from pumice.markdown import plain, table
from pumice.recipes.values import PREFIXES
from pumice.report.card.answers import Answers, Blank, licence_blank
from pumice.report.card.energy import Energy, energy, number
from pumice.report.card.facts import Facts
from pumice.words import counted

_PATH = re.compile(r"(?<![^\s=])/(?:[^/\s]+/)*([^/\s]+)")
SHOWN = 16
"""Digits of a SHA-256 that a table shows."""


@dataclass
class Draft:
    """A card that is being written, and what it still lacks."""

    facts: Facts
    answers: Answers
    blanks: list[Blank] = field(default_factory=list)

    def lacks(self, what: str, how: str) -> None:
        """Note a blank."""
        self.blanks.append(Blank(what, how))

    def said(self, key: str, what: str) -> str:
        """An answer as a paragraph; a blank where there is none."""
        value = getattr(self.answers, key)
        if not value:
            self.lacks(what, f"say {key} in the answers")
            return ""
        return "\n\n".join(plain(part) for part in str(value).split("\n\n") if part.strip())


Section = Callable[[Draft], list[str]]


def summary(draft: Draft) -> list[str]:
    """What it is, and whether it may be used at all."""
    lines = [draft.said("summary", "what the model is")]
    for place, reason in draft.facts.quarantined:
        lines += ["", f"**Quarantined** ({plain(place)}): {plain(reason)}."]
    return lines


def model(draft: Draft) -> list[str]:
    """The parts, their licences and sizes, and how the model reads."""
    facts, recipe = draft.facts, draft.facts.recipe
    last = facts.run.stages[-1]
    sizes = {**last["frozen"], **last["trainable"]}
    lines = [f"{number(facts.training.parameters / 1e6)} million parameters.", ""]
    rows = []
    for part, told in facts.parts.items():
        own = told.get("licence") or ""
        said = own if read_licence(own).known else draft.answers.parts.get(part) or own or None
        blank = licence_blank(said, f"the licence of the {part} part ({name_of(told)})", f"parts.{part}")
        if blank is not None:
            draft.blanks.append(blank)
        licence = read_licence(said or "").label
        source = told["licence_from"] if said == own else "a person's word"
        digest = next(iter(told.get("sha256", {}).values()), "")
        rows.append(
            (
                part,
                plain(name_of(told)),
                f"{plain(licence)} ({plain(source)})" if said else "",
                f"`{digest[:SHOWN]}`" if digest else "",
            )
        )
    lines += table(("part", "what", "licence", "SHA-256 of its first file"), rows)
    lines += [
        "",
        *table(("of the model", "parameters"), ((k, f"{v:,}") for k, v in sizes.items()), right=[1]),
    ]
    built = recipe.model
    reads = [f"Connector: {plain(built.connector)}."] if built.connector else []
    reads += [f"Conversation template: `{built.template}`."] if built.template else []
    reads += [f"Pictures: {built.image.aspect}."] if built.image is not None else []
    return [*lines, "", " ".join(reads)] if reads else lines


def name_of(part: Mapping[str, Any]) -> str:
    """What a part is called: of a folder its name, since where it lay is nobody else's business."""
    name = str(part["name"])
    return name if name.startswith(PREFIXES) else str(part["folder"])


def use(draft: Draft) -> list[str]:
    """What it is for, and what it is not."""
    return [
        "### Intended use", "", draft.said("intended_use", "what the model is for"), "",
        "### Out of scope", "", draft.said("out_of_scope", "what the model must not be used for"), "",
        "### Contact", "", draft.said("contact", "who answers questions about it"),
    ]  # fmt: skip


def data(draft: Draft) -> list[str]:
    """The mixture of each stage, and what each source is."""
    rows = []
    for row in draft.facts.mixture:
        rows.append(
            (
                plain(row["stage"]),
                plain(row["source"]),
                f"{row['used']:,} of {row['rows']:,}",
                f"{row['samples']:,}",
                f"{row['images']:,}",
                f"{row['supervised_tokens']:,}",
                f"{row['share']:.1%}",
                f"{row['refused']:,}",
                f"`{row['sha256'][:SHOWN]}`",
            )
        )
    header = ("stage", "source", "rows used", "samples an epoch", "pictures", "tokens learnt", "share",
              "left out as bad", "SHA-256")  # fmt: skip
    lines = [*table(header, rows, right=range(2, 8)), ""]
    lines += [
        "The share is that of the tokens that carry a loss, and so the source's weight in training.",
        "",
    ]
    for source in draft.facts.sources:
        said = draft.answers.data.get(source)
        if said is None:
            draft.lacks(f"what the source {source!r} is", f"say data.{source} in the answers")
        lines.append(f"- **{plain(source)}**: {plain(said or '')}")
    return [*lines, "", *_erased(draft.facts)]


def _erased(facts: Facts) -> list[str]:
    if facts.erased is None:
        told = "The run has no record of erased rows."
    else:
        told = f"{counted(facts.erased, 'row')} had been erased from these files before the run read them."
    if not facts.quarantined:
        return [told, "No part of this run is quarantined."]
    return [told, "Weights of this run saw rows that were erased since: they are quarantined (see above)."]


def licences(draft: Draft) -> list[str]:
    """Under which licences the rows are, and what the policy said."""
    facts = draft.facts
    if not facts.counted:
        draft.lacks(
            "the licences of the rows: the run's record does not count them",
            "an older program wrote it; train again, or resume the run with this one",
        )
        return []
    rows, unknown = [], []
    for label, counts in facts.licences().items():
        reading = read_licence(counts[0][1]["said"])
        for source, count in counts:
            rows.append((plain(label), plain(source), f"{count['rows']:,}", f"{count['attributed']:,}"))
            if not reading.known:
                unknown.append(f"{counted(count['rows'], 'row')} of {source}")
    lines = table(("licence", "source", "rows", "of these, with an author"), rows, right=[2, 3])
    block = facts.recipe.licences
    if block is None:
        lines += ["", "The recipe states no policy: no row was refused for its licence."]
    else:
        names = {key: ", ".join(getattr(block, key)) for key in ("allow", "forbid")}
        told = [f"purpose: {block.purpose}" if block.purpose else ""]
        told += [f"{key}: {text}" if text else "" for key, text in names.items()]
        told.append(f"rows without a known licence: {block.unknown}")
        lines += ["", f"The recipe's policy, which all rows passed: {plain('; '.join(filter(None, told)))}."]
    if unknown:
        said = draft.answers.unknown_licences
        if said is None:
            draft.lacks(
                f"why rows without a known licence are in it ({', '.join(unknown)})",
                "say their licence (data.NAME.licence in the recipe) and train again, or say "
                "unknown_licences in the answers",
            )
        lines += ["", f"Rows without a known licence: {plain('; '.join(unknown))}. {plain(said or '')}"]
    return [*lines, "", "`pumice data attribution` writes whom to name."]


def training(draft: Draft) -> list[str]:
    """Recipe, stages, machine, energy."""
    facts = draft.facts
    info, train = facts.run.info, facts.training
    lines = [f"Recipe {plain(info['recipe'])}, seed {info['seed']}: `{_command(str(info['command']))}`", ""]
    rows = [
        (
            plain(stage["name"]),
            plain(stage["kind"]),
            f"{stage['steps']:,}",
            f"{sum(stage['trainable'].values()):,}",
            number(stage["seconds"] / 3600),
        )
        for stage in facts.run.stages
    ]
    lines += table(("stage", "kind", "steps", "parameters that train", "hours"), rows, right=[2, 3, 4])
    revision = info.get("revision") or {}
    commit = f", commit `{revision['commit'][:12]}`" if revision.get("commit") else ""
    changed = " with changes of its own" if revision.get("changed") else ""
    lines += ["", f"{train.tokens:,} tokens, {train.supervised:,} of them learnt."]
    lines[-1] += f" {number(train.flops)} FLOP." if train.flops else ""
    lines.append(
        f"On {plain(info['machine'])}: {number(train.hours)} {train.device} hours"
        + (f" ({plain(train.caution)})." if train.caution else ".")
    )
    lines.append(
        f"Pumice {plain(info['pumice'])}{commit}{changed}, torch {plain(info['torch'])}, transformers "
        f"{plain(info['transformers'])}."
    )
    return [*lines, "", "### Energy", "", *_energy(draft)]


def _command(text: str) -> str:
    """A command as code, of whose absolute paths the last part alone is anybody else's business."""
    return _PATH.sub(r"\1", " ".join(text.split()).replace("`", "'"))


def found_energy(draft: Draft) -> Energy | None:
    """What training took; of a CPU the machine is the device."""
    train = draft.facts.training
    if train.device == "GPU":
        hours, device = train.hours, "GPU"
    else:
        hours, device = train.seconds / 3600, "machine"
    return energy(draft.facts.run.stages, hours, device, draft.answers.power_watts)


def _energy(draft: Draft) -> list[str]:
    found, grid = found_energy(draft), draft.answers.grid
    if found is None:
        draft.lacks(
            "the energy of training: no counter measured it",
            "say what one device draws: --power-watts W (or power_watts in the answers)",
        )
    if grid is None:
        draft.lacks(
            "the CO2 of the electricity where it was trained",
            "say grams of CO2-equivalent for each kWh: --grid G (or grid in the answers)",
        )
    if found is None or grid is None:
        return []
    grams = found.kwh * grid
    told = f"{number(grams / 1000)} kg" if grams >= 1000 else f"{number(grams)} g"
    return [
        f"{number(found.kwh)} kWh. {plain(found.how)}.",
        f"{told} of CO2-equivalent, estimated: that energy at {number(grid)} g/kWh, which a person stated.",
    ]


def evaluation(draft: Draft) -> list[str]:
    """Figures with intervals, and what answers without sight get."""
    facts = draft.facts
    lines: list[str] = []
    if facts.run.scores is not None:
        lines += ["### Questions of the recipe", "", *_questions(facts.run.scores), ""]
    tasks = scored(facts, dimensions=False)
    if tasks:
        lines += ["### Benchmarks", "", *_results(tasks), ""]
    if not lines:
        said = draft.answers.no_evaluation
        if said is None:
            draft.lacks(
                "an evaluation: the run has none",
                f"measure it: pumice eval {facts.run.path} --tasks NAMES --out DIR, and name DIR with "
                "--eval; or say no_evaluation in the answers",
            )
        return [f"Nothing was measured. {plain(said or '')}"]
    return [*lines, "In brackets the 95% interval. Blind is the same model without the pictures."]


def scored(facts: Facts, *, dimensions: bool) -> list[TaskResult]:
    """The results of all evaluations: of benchmarks, or of dimensions; of one name the last."""
    names = {dimension.name for dimension in DIMENSIONS.values()}
    found = {
        name: result
        for one in facts.evaluations
        for name, result in one.scored.items()
        if (name in names) == dimensions
    }
    return list(found.values())


def _questions(scores: Scores) -> list[str]:
    main, others = columns(scores)
    variants = scores["variants"]
    first = variants[main]

    def cell(one: Mapping[str, Any] | None) -> str:
        if one is None:
            return ""
        return f"{100 * one['value']:.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"

    rows = [
        (
            "all",
            f"{first['overall']['n']:,}",
            cell(first["overall"]),
            *(cell(variants[name]["overall"]) for name in others),
            f"{100 * scores['floor_overall']:.1f}",
        )
    ]
    for kind, one in first["by_type"].items():
        floor = scores["floors"].get(kind)
        rows.append(
            (
                plain(kind),
                f"{one['n']:,}",
                cell(one),
                *(cell(variants[name]["by_type"].get(kind)) for name in others),
                "" if floor is None else f"{100 * floor['floor']:.1f}",
            )
        )
    header = (
        "per cent right",
        "n",
        main,
        *(variant_title(name) for name in others),
        "without sight, at best",
    )
    asked = f"{counted(scores['questions'], 'question')} about {counted(scores['pictures'], 'picture')}."
    return [asked, "", *table(header, rows, right=range(1, len(header)))]


def _results(results: Sequence[TaskResult]) -> list[str]:
    rows = []
    for one in results:
        figure, baselines = one["figure"], one["baselines"]
        chance, blind = baselines["chance"], baselines["blind"]
        rows.append(
            (
                plain(one["title"]),
                plain(figure),
                figure_text(one["scores"], figure),
                f"{one['scores']['n']:,}" + (f" of {one['total']:,}" if one["asked"] < one["total"] else ""),
                "" if chance is None else f"{figure_text(chance['scores'], figure)}: {plain(chance['how'])}",
                "" if blind is None else figure_text(blind["scores"], figure),
            )
        )
    return table(("task", "figure", "value", "n", "chance", "blind"), rows, right=[2, 3, 5])


def figure_text(scores: Mapping[str, Any], figure: str) -> str:
    """A figure with its interval."""
    value = scores["metrics"].get(figure)
    if value is None:
        return ""
    ends = scores["interval"].get(figure)
    return points(value) + (f" ({points(ends[0])} to {points(ends[1])})" if ends else "")


def robustness(draft: Draft) -> list[str]:
    """Dimensions that were measured."""
    found = scored(draft.facts, dimensions=True)
    if not found:
        return ["Not measured."]
    lines = _results(found)
    notes = [f"- {plain(one['title'])}: {plain(note)}" for one in found for note in one["notes"]]
    return [*lines, *(["", *notes] if notes else [])]


def limits(draft: Draft) -> list[str]:
    """What a person says, and what the records show."""
    lines = [draft.said("limits", "what the model does badly"), ""]
    lines += ["### Risks", "", draft.said("risks", "whom the model may harm"), ""]
    told = []
    for one in draft.facts.evaluations:
        told += [f"{name} was not measured: {state['problem']}" for name, state in one.waiting.items()]
    cut = sum(int(row["refused"]) for row in draft.facts.mixture)
    told += [f"{counted(cut, 'row')} of its data could not be used and were left out"] if cut else []
    for result in scored(draft.facts, dimensions=False):
        if "overlap" not in result:
            continue
        same = result["overlap"]["questions_with_picture"]
        told.append(
            f"{counted(same, 'question')} of {result['title']} stood in training data, asked of the same "
            "or a near picture"
        )
    if told:
        lines += ["### What the records show", "", *(f"- {plain(text)}." for text in told)]
    return lines


SECTIONS: Mapping[str, Section] = {
    "Summary": summary,
    "Model": model,
    "Use": use,
    "Data": data,
    "Licences of the data": licences,
    "Training": training,
    "Evaluation": evaluation,
    "Robustness": robustness,
    "Limits": limits,
}
"""By their headings, in the order in which they stand."""
