"""The tables of an ablation study: mean and spread over seeds, relative gains, and the section of a page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from ablation_study import Results, Study

from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.metrics.registry import score_infos

SCORES = (
    "psnr",
    "psnr_mouth",
    "ssim",
    "lpips",
    "fid",
    "lmd",
    "aue_geometry_lower",
    "lip_correlation",
    "miou",
    "torso_jitter",
    "torso_jitter_error",
    "torso_flicker",
)
"""Scores that the tables show."""

PAPER = {"psnr": 10.15, "lpips": 12.12, "fid": 0.77, "lmd": 1.09, "aue_geometry_lower": 14.20}
"""Relative gains in % of Wang et al. 2025 (doi 10.11896/jsjkx.240300030, abstract) over their best baseline."""


class Spread(NamedTuple):
    """Mean and sample standard deviation (NaN of a single value)."""

    mean: float
    std: float
    count: int


def spread(values: list[float]) -> Spread:
    """Of at least one value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, math.nan, 1)
    return Spread(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)), len(values))


class Gain(NamedTuple):
    """How much better one is than the other, in % of the other's mean, and the spread of that over seeds."""

    percent: float
    spread: float

    @property
    def real(self) -> bool | None:
        """Whether it is larger than the spread; None where one seed says nothing of the spread."""
        return None if math.isnan(self.spread) else abs(self.percent) > self.spread


def gain(differences: list[float], baseline: Spread, higher_is_better: bool) -> Gain:
    """The gain of a score over the baseline's, from its differences to the baseline's runs of the same seeds."""
    scale = 100 / abs(baseline.mean) if baseline.mean else math.nan
    found = spread(differences)
    return Gain((found.mean if higher_is_better else -found.mean) * scale, found.std * scale)


def score_title(name: str) -> str:
    """Name, unit and better way of a score, at the head of a column."""
    info = score_infos()[name]
    return f"{info.title} {info.arrow}".rstrip()


def write_gain(value: Gain) -> str:
    """As a cell."""
    if value.real is None:
        return f"{value.percent:+.2f} % (one seed, spread unknown)"
    verdict = "" if value.real else ", **no gain: within the spread**" if value.percent >= 0 else ", within the spread"
    return f"{value.percent:+.2f} % (spread {value.spread:.2f} %{verdict})"


def cell(values: list[float], shape: str) -> str:
    """Mean ± spread; a dash for nothing."""
    if not values:
        return "–"
    found = spread(values)
    return format(found.mean, shape) + ("" if math.isnan(found.std) else f" ± {found.std:{shape}}")


def difference_cell(values: list[float], shape: str) -> str:
    """Mean ± spread of differences, marked n.s. (not significant) where it is within the spread; a dash for nothing."""
    if not values:
        return "–"
    found = spread(values)
    text = format(found.mean, "+" + shape)
    if math.isnan(found.std):
        return text
    text += f" ± {found.std:{shape}}"
    return text if abs(found.mean) > found.std else f"{text} (n.s.)"


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def group_table(results: Results, clip: str, names: tuple[str, ...]) -> list[str]:
    """Variants by scores on a clip, the ground truth's own values first where it has some."""
    infos = score_infos()
    shown = [key for key in SCORES if any(results.values(name, clip, key) for name in names)]
    lines = [
        row("", *(score_title(key) for key in shown), "parameters (M)", "training, wall / CPU (min)", "runs"),
        row(*["---", *["---:"] * (len(shown) + 3)]),
    ]
    gt = [[x for name in names for x in results.values(name, clip, f"gt_{key}")] for key in shown]
    if any(gt):
        own = [infos[key].format(spread(values).mean) if values else "" for key, values in zip(shown, gt)]
        lines.append(row("*ground truth*", *own, "", "", ""))
    for name in names:
        cells = [cell(results.values(name, clip, key), infos[key].number_format) for key in shown]
        parameters = results.values(name, clip, "parameters")
        minutes = [[x / 60 for x in results.values(name, clip, key)] for key in ("train_seconds", "train_cpu_seconds")]
        time = " / ".join(cell(values, ".1f") for values in minutes)
        lines.append(
            row(name, *cells, cell(parameters[:1] and [parameters[0] / 1e6], ".2f"), time, str(len(minutes[0])))
        )
    return lines


def difference_table(results: Results, clip: str, names: tuple[str, ...]) -> list[str]:
    """Differences of each variant to the first, paired by seed; nothing to compare gives no lines."""
    infos = score_infos()
    first, *others = names
    shown = [key for key in SCORES if any(results.differences(name, first, clip, key) for name in others)]
    if not shown:
        return []
    head = f"difference to {first} (paired by seed)"
    lines = [row(head, *(score_title(key) for key in shown)), row(*["---", *["---:"] * len(shown)])]
    for name in others:
        differences = [results.differences(name, first, clip, key) for key in shown]
        formats = [infos[key].number_format for key in shown]
        lines.append(row(name, *(difference_cell(x, shape) for x, shape in zip(differences, formats))))
    return lines


def gains_table(results: Results, study: Study) -> list[str]:
    """Relative gains on each clip beside the paper's."""
    lines = [row("", "the paper", *study.clips), row("---", *["---:"] * (1 + len(study.clips)))]
    infos = score_infos()
    for key in SCORES:
        wanted = infos[key].higher_is_better
        if wanted is None:
            continue
        cells = []
        for clip in study.clips:
            differences = results.differences(study.ours, study.baseline, clip, key)
            baseline = results.values(study.baseline, clip, key)
            cells.append(write_gain(gain(differences, spread(baseline), wanted)) if differences else "not measured")
        lines.append(row(infos[key].title, f"+{PAPER[key]:.2f} %" if key in PAPER else "", *cells))
    return lines


def write_section(results: Results, study: Study) -> str:
    """All tables in Markdown."""
    count = len(results.records)
    total = len(study.clips) * len(study.seeds) * len(study.variants)
    lines = [
        "## Methods and modules, compared",
        "",
        f"Written by `python scripts/benchmarks/ablate.py`: {count} of {total} runs. Every run has "
        f"{study.steps} steps of {study.rays} rays; seeds {', '.join(map(str, study.seeds))}. "
        "Scores are those of `ns-eval` on the held-out frames: mean ± standard deviation over seeds. Differences are "
        "paired by seed, so that what a seed does to both falls out; one within its spread is marked n.s. (not "
        "significant).",
        "",
    ]
    machines = sorted({record["machine"] for record in results.records.values()})
    versions = sorted({record["versions"] for record in results.records.values()})
    lines += [f"Machine: {'; '.join(machines)}. Versions: {'; '.join(versions)}.", ""] if machines else []
    for clip in study.clips:
        sizes = {tuple(record["settings"]["size"]) for (_, at, _), record in results.records.items() if at == clip}
        size = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        shown: set[str] = set()
        for title, names in study.groups.items():
            done = tuple(name for name in names if results.values(name, clip, "train_seconds"))
            if not shown.issuperset(done):  # else it says nothing new
                shown.update(done)
                lines += [f"### {title}: {clip} ({size})", "", *group_table(results, clip, done), ""]
                differences = difference_table(results, clip, done)
                lines += [*differences, ""] if differences else []
    lines += [
        f"### Gain of {study.ours} over {study.baseline}",
        "",
        "Paired by seed, relative to the baseline's mean, and the spread over seeds. Beside it the gains of "
        "Wang et al. over their best baseline, on other clips, at full size, action units by OpenFace.",
        "",
        *gains_table(results, study),
        "",
    ]
    reasons = {
        f"{name}: {reason}"
        for record in results.records.values()
        for name, reason in record["left_out"].items()
        if name in SCORES
    }
    if reasons:
        lines += ["Left out of some runs: " + "; ".join(sorted(reasons)) + ".", ""]
    return "\n".join(lines)


def replace_section(page: str, name: str, text: str) -> str:
    """The page with the section between its markers replaced, or appended where there is none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    head, found, rest = page.partition(begin)
    if found and end in rest:
        return head + section + rest.partition(end)[2]
    return (page.rstrip() + "\n\n" if page.strip() else "# Benchmarks\n\n") + section + "\n"


def update_page(path: Path, name: str, text: str) -> None:
    """Replace a section of a file, atomically; the others stay."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write(replace_section(page, name, text).encode("utf-8"))
