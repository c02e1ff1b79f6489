"""Tables, differences with intervals, and sentences from the scores of all trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.alignment_benchmark.plan import MAJORITY, ROWS, VARIANTS, Plan
from dsa_agents.statistics import Estimate, bootstrap_means, number
from dsa_agents.verdict import signed
from dsa_env.vqa.folder import VQAData

OVERALL = "overall"
Summary = dict[str, float | None]
PAIRS = (
    ("dynamic", "static"),
    ("dynamic", "attention"),
    ("dynamic", "question-only"),
    ("dynamic", "frozen"),
    ("dynamic", "one-way"),
    ("dynamic", "no-contrast"),
    ("dynamic", "no-blend"),
    ("dynamic", "no-stability"),
    ("no-contrast", "attention"),
)
STABILITY = ("dynamic", "no-stability")


def document(
    data: VQAData,
    scores: Mapping[str, NDArray[np.float64]],
    reports: Mapping[str, Sequence[Mapping[str, Any]]],
    times: Mapping[str, Mapping[str, float]],
    plan: Plan,
) -> dict[str, Any]:
    """Everything that was found, ready for JSON.

    Args:
        data: what was learnt and judged on.
        scores: variant -> scores [seeds, Q] of the test questions.
        reports: variant -> `Trained.report` with its history, a seed each.
        times: variant -> response times.
        plan: how it was done.

    Returns:
        {"plan", "split", "questions", "pictures", "families", "variants": {name: {"label", "short",
        "note", "accuracy": {family: summary}, "response_ms", "parameters", "learning",
        "train_seconds", "epochs", "stopped_early" (share of the seeds), "stability",
        "histories"}}, "differences", "sentences"}.
    """
    names = (OVERALL, *sorted(data.test.families))
    estimates = _estimates(data, scores, names, plan)
    variants = {}
    for name, row in ROWS.items():
        entry: dict[str, Any] = {
            "label": row.label,
            "short": row.short,
            "note": row.note,
            "accuracy": {family: estimates[name, family].summary() for family in names},
        }
        if name in VARIANTS:
            entry |= _costs(reports[name], times[name])
        variants[name] = entry
    differences = {
        f"{first}-{second}": {
            family: (estimates[first, family] - estimates[second, family]).summary()
            for family in names
        }
        for first, second in PAIRS
    }
    found: dict[str, Any] = {
        "plan": plan.to_json(),
        "split": "test",
        "questions": len(data.test),
        "pictures": len(np.unique(data.test.image)),
        "families": list(names[1:]),
        "variants": variants,
        "differences": differences,
    }
    found["sentences"] = sentences(found)
    return found


def _estimates(
    data: VQAData, scores: Mapping[str, NDArray[np.float64]], names: Sequence[str], plan: Plan
) -> dict[tuple[str, str], Estimate]:
    """The accuracy of every variant in every family, all on the same resamples."""
    columns: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, rows in scores.items():
        for family in names:
            own = np.ones(len(data.test), np.bool_)
            if family != OVERALL:
                own = data.test.family == data.test.families.index(family)
            columns[name, family] = np.where(own, rows, np.nan)
    return bootstrap_means(columns, data.test.image, resamples=plan.resamples)


def _costs(reports: Sequence[Mapping[str, Any]], times: Mapping[str, float]) -> dict[str, Any]:
    """What a variant takes, the mean of its seeds, and how steadily it learnt."""

    def mean(name: str) -> float:
        return float(np.mean([report[name] for report in reports]))

    return {
        "response_ms": {batch: round(value, 4) for batch, value in times.items()},
        "parameters": reports[0]["parameters"],
        "learning": reports[0]["learning"],
        "train_seconds": round(mean("seconds"), 2),
        "epochs": mean("epochs"),
        "stopped_early": mean("stopped_early"),
        "stability": _stability([report["stability"] for report in reports]),
        "histories": {str(report["seed"]): report["history"] for report in reports},
    }


def _stability(found: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the seeds; None where a variant has no such thing."""
    flat = [
        {
            "gradient_norm_mean": (one.get("gradient_norm") or {}).get("mean"),
            "gradient_norm_max": (one.get("gradient_norm") or {}).get("max"),
            **{
                name: value
                for name, value in one.items()
                if name not in ("clip", "steps") and isinstance(value, int | float | None)
            },
        }
        for one in found
    ]
    means: dict[str, float | None] = {}
    for name in flat[0]:
        values = [float(value) for one in flat if (value := one.get(name)) is not None]
        means[name] = number(float(np.mean(values))) if values else None
    return means


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What was found, in plain words, whichever way it came out."""
    difference, variants = results["differences"], results["variants"]
    accuracy = {name: one["accuracy"][OVERALL]["mean"] for name, one in variants.items()}
    found = [_main(accuracy, difference)]
    blind = difference["dynamic-question-only"][OVERALL]
    found.append(
        f"The picture counts for {signed(blind)}: without it the question alone answers "
        f"{accuracy['question-only']:.1%}, and the most frequent answer {accuracy[MAJORITY]:.1%}."
    )
    for name in ("frozen", "one-way", "no-contrast", "no-blend"):
        gain = difference[f"dynamic-{name}"][OVERALL]
        what = VARIANTS[name].label.removeprefix("without ")
        found.append(f"{what[0].upper()}{what[1:]} {_verb(gain)}: {signed(gain)} in accuracy.")
    found.append(_alike(difference["no-contrast-attention"][OVERALL]))
    found.append(_steady(variants, difference["dynamic-no-stability"][OVERALL]))
    quick, slow = (variants[name]["response_ms"]["batch 1"] for name in ("static", "dynamic"))
    attention = variants["attention"]["response_ms"]["batch 1"]
    found.append(
        f"One answer takes {slow:.2f} ms with the matrix, {attention:.2f} ms with attention and "
        f"{quick:.2f} ms static (from features; the frozen encoders are the same for all)."
    )
    return found + _unfinished(results)


def _unfinished(results: Mapping[str, Any]) -> list[str]:
    """Says so where most trainings were ended by the limit of epochs."""
    early = [one["stopped_early"] for name, one in results["variants"].items() if name in VARIANTS]
    limited = 1 - float(np.mean(early))
    if limited <= 0.5:
        return []
    return [
        f"{limited:.0%} of the trainings were ended by the limit of {results['plan']['epochs']} "
        "epochs, not by validation: a longer run can order the rows otherwise."
    ]


def _main(accuracy: Mapping[str, float], difference: Mapping[str, Any]) -> str:
    parts = []
    for name in ("static", "attention"):
        gain = difference[f"dynamic-{name}"][OVERALL]
        beats = {1: "beats", 0: "is not shown to differ from", -1: "is beaten by", None: "against"}
        parts.append(f"{beats[_sign(gain)]} {name} fusion ({signed(gain)})")
    return f"Dynamic alignment answers {accuracy['dynamic']:.1%}; it {' and '.join(parts)}."


def _alike(gain: Summary) -> str:
    beats = {1: "beats", 0: "is not shown to differ from", -1: "is beaten by", None: "against"}
    return (
        "Trained on the answers alone, as the baselines are, the matrix "
        f"{beats[_sign(gain)]} attention ({signed(gain)})."
    )


def _verb(gain: Summary, *, many: bool = False) -> str:
    one = {1: "helps", 0: "is not shown to matter", -1: "does harm", None: "was measured"}
    several = {1: "help", 0: "are not shown to matter", -1: "do harm", None: "were measured"}
    return (several if many else one)[_sign(gain)]


def _steady(variants: Mapping[str, Any], gain: Summary) -> str:
    with_them, without = (variants[name]["stability"] for name in STABILITY)
    told = []
    for key, words, form in (
        ("gradient_norm_max", "largest gradient", ".1f"),
        ("update_cosine", "cosine of successive updates of A", ".2f"),
        ("swing_share", "updates of A that swing back", ".1%"),
        ("straightness", "straightness of A's way", ".2f"),
    ):
        if with_them.get(key) is not None and without.get(key) is not None:
            told.append(f"{words} {with_them[key]:{form}} ({without[key]:{form}} without)")
    return (
        f"With clipping and the slow rate of A: {', '.join(told)}. Together the two "
        f"{_verb(gain, many=True)}: {signed(gain)} in accuracy."
    )


def _sign(summary: Summary) -> int | None:
    low, high = summary["low"], summary["high"]
    if low is None or high is None:
        return None
    return int(low > 0) - int(high < 0)
