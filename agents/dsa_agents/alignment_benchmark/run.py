"""The benchmark from beginning to report: train, measure, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.alignment_benchmark.data import prepare
from dsa_agents.alignment_benchmark.plan import MAJORITY, VARIANTS, Plan
from dsa_agents.alignment_benchmark.results import document
from dsa_agents.alignment_benchmark.timing import response_times
from dsa_env.bank.feature_bank import resolve_bank
from dsa_env.files import read_json, write_json, write_npy
from dsa_env.vqa.folder import VQAData
from dsa_env.vqa.model import VQAModel
from dsa_env.vqa.training import predict, train_vqa

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

RESULTS, RUNS = "results.json", "runs"
Scores = dict[str, NDArray[np.float64]]


def run_benchmark(
    bank: str | FeatureBank,
    out: Path,
    plan: Plan | None = None,
    *,
    questions: Path | None = None,
    encoder: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every variant with every seed, judge them on the test split, write the results.

    Trainings that an interrupted call with the same data and settings finished are kept.

    Args:
        bank: a bank, its folder or "embedded".
        out: folder for questions, runs, results, plots and the page.
        plan: how large; the full one by default.
        questions: folder of CLEVR's or VQAv2's questions; None writes them about the scenes.
        encoder: text encoder's name; None takes the bank's.
        say: where to tell what is done.
        progress: show progress bars on standard error.

    Returns:
        What `results.json` holds.

    Raises:
        DSAError: when the bank or the questions cannot be used, naming what to do.
    """
    chosen, started = plan or Plan(), time.perf_counter()
    opened = resolve_bank(bank)
    data, about = prepare(opened, questions, encoder, chosen, Path(out))
    counts = ", ".join(f"{size:,} {split}" for split, size in about["questions"].items())
    say(f"Questions: {counts}; {len(VARIANTS)} variants, {len(chosen.seeds)} seeds.")
    scores: Scores = {MAJORITY: majority(data)[None]}
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    key = {"bank": opened.sha256, **about}
    for seed in chosen.seeds:
        for name in VARIANTS:
            found, report = _one(name, seed, data, chosen, Path(out) / RUNS, key, progress)
            scores[name] = np.vstack([scores[name], found]) if name in scores else found[None]
            reports[name].append(report)
            said = f"{name}, seed {seed}: test accuracy {found.mean():.3f}"
            say(f"{said}, {report['epochs']} epochs, {report['seconds']:.0f} s")
    models = {name: _model(name, data, chosen) for name in VARIANTS}
    times = response_times(models, data, rounds=chosen.rounds)
    results = document(data, scores, reports, times, chosen)
    results["data"], results["bank"] = about, opened.sha256
    results["latency_ms"] = _latency(opened)
    results["seconds"] = round(time.perf_counter() - started, 1)
    write_json(Path(out) / RESULTS, results)
    return results


def majority(data: VQAData) -> NDArray[np.float64]:
    """What the most frequent training answer of a question's family scores, [Q] of the test set."""
    count = len(data.vocabulary.answers)
    best = [
        int(np.bincount(own[own >= 0], minlength=count).argmax())
        for family in range(len(data.train.families))
        for own in [data.train.answer[data.train.family == family]]
    ]
    return data.test.scores(np.array(best)[data.test.family])


def _one(
    name: str,
    seed: int,
    data: VQAData,
    plan: Plan,
    folder: Path,
    key: dict[str, Any],
    progress: bool,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Scores [Q] on the test split and the report of one training, kept from before if there."""
    settings = plan.settings(name)
    key = {**key, "settings": asdict(settings), "plan_images": plan.images}
    file, array = folder / f"{name}-seed{seed}.json", folder / f"{name}-seed{seed}.npy"
    if file.is_file() and array.is_file():
        before = read_json(file)
        found = np.load(array, allow_pickle=False)
        if before.get("key") == key and found.shape == (len(data.test),):
            return found, before["report"]
    trained = train_vqa(
        VARIANTS[name].fusion, data, seed=seed, settings=settings, progress=progress
    )
    logits = predict(trained.model, data.pictures, data.test)
    scores = data.test.scores(logits.argmax(dim=1).numpy())
    report = {**trained.report, "seed": seed, "history": trained.history}
    write_npy(array, scores)
    write_json(file, {"key": key, "report": report})
    return scores, report


def _model(name: str, data: VQAData, plan: Plan) -> VQAModel:
    """A model of a variant's shape, for its response time."""
    model = VQAModel(
        VARIANTS[name].fusion,
        visual=data.pictures.width,
        text=data.train.texts.shape[1],
        steps=len(data.vocabulary.steps) + 2,
        answers=len(data.vocabulary.answers),
        granularity=plan.settings(name).granularity,
    )
    return model.eval()


def _latency(bank: FeatureBank) -> dict[str, float] | None:
    """What the frozen models took when the bank was built, a picture or text each."""
    provenance = bank.manifest.get("provenance")
    found = provenance.get("latency_ms") if isinstance(provenance, dict) else None
    return dict(found) if isinstance(found, dict) else None
