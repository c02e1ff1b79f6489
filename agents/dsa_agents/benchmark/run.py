"""The benchmark from beginning to results: caption, judge, compare, time."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_agents.benchmark.best_fixed import choose_fixed
from dsa_agents.benchmark.ceilings import ceilings
from dsa_agents.benchmark.controllers import Controllers, beside, open_controllers, why_not
from dsa_agents.benchmark.data import Queries, make_queries, open_dataset
from dsa_agents.benchmark.metrics import (
    DSA,
    FACTS,
    FIXED,
    GRANULARITY,
    HALLUCINATION,
    NATIVE,
    REWARD,
    SEVERITY,
)
from dsa_agents.benchmark.overhead import measure_overhead, measure_speed
from dsa_agents.benchmark.plan import EMBEDDED, MAX_NEW_TOKENS, NOT_TRAINED, Plan
from dsa_agents.benchmark.properties import query_properties
from dsa_agents.benchmark.results import Findings, document
from dsa_agents.benchmark.scores import Columns, reward_of, text_columns
from dsa_agents.benchmark.writing import Written, write_captions
from dsa_env.errors import DSAError, unknown
from dsa_env.files import write_json
from dsa_env.retrieval.severity import detector_folder

if TYPE_CHECKING:
    from dsa_agents.full_information import Fit
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.captioner import Captioner
    from dsa_env.captioning.judge import Judge

RESULTS, CAPTIONS = "results.json", "captions"
FEW = 500
"""Validation pictures on which the best fixed g is chosen, where no run left captions of all."""
Say = Callable[[str], None]


def run_benchmark(
    dataset: str,
    out: Path,
    plan: Plan | None = None,
    *,
    models: Mapping[str, str] | None = None,
    controllers: Mapping[str, str] | None = None,
    seeds: tuple[int, ...] | None = None,
    root: Path | None = None,
    encoder: str | None = None,
    detector: str | None = None,
    fit: Fit | None = None,
    say: Say = lambda line: None,
    progress: bool = True,
) -> dict[str, Any]:
    """Caption a split's pictures with every model, natively and with its controller attached.

    Captions that an interrupted call with the same settings wrote are used again.

    Args:
        dataset: ``"embedded"``, a bank's folder, or a dataset's name, whose bank is built in `out`.
        out: folder for captions, results, charts and the page.
        plan: how large, and with which settings.
        models: name -> hub name or folder; None takes the embedded LLaVA.
        controllers: model name -> a run's or a controller's folder; the name ``""`` stands for
            every model that it fits.
        seeds: which controllers of a run; None takes the best on validation.
        root: folder of the dataset.
        encoder: frozen model for its bank; None takes the embedded one.
        detector: object detector for its bank, likewise.
        fit: how full information is fitted.
        say: where to tell what is done.
        progress: show progress bars on standard error.

    Returns:
        What `results.json` holds: that of `document`, with ``dataset``, ``plan``, ``machine`` and
        ``seconds``.

    Raises:
        DSAError: when the dataset, a model or a controller cannot be used, naming what to do.
    """
    chosen, started = plan or Plan(), time.perf_counter()
    wanted = dict(models or {EMBEDDED: "embedded"})
    paths = dict(controllers or {})
    for name in paths:
        if name and name not in wanted:
            raise unknown("model of --controller", name, wanted)
    opened = {name: open_controllers(path, seeds) for name, path in paths.items()}
    bank = open_dataset(dataset, out, root, encoder, detector)
    findings: dict[str, Findings] = {}
    benchmark = _Benchmark(bank, out, chosen, fit, say, progress)
    for name, path in wanted.items():
        say(f"{name}: {path}")
        findings[name] = benchmark.model(name, path, opened.get(name, opened.get("")))
    if models is None:
        findings |= {
            name: Findings({"path": None, "notes": [why]}) for name, why in NOT_TRAINED.items()
        }
    results = document(
        findings, recall=f"recall@{chosen.k}", resamples=chosen.resamples, seed=chosen.seed
    )
    results |= {
        "dataset": {
            "name": dataset,
            "bank": str(bank.path),
            "sha256": bank.sha256,
            "pictures": max((len(np.unique(one.cluster)) for one in findings.values()), default=0),
        },
        "plan": chosen.to_json(),
        "machine": _machine(chosen.device),
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_json(out / RESULTS, results)
    return results


class _Benchmark:
    """What all models of a benchmark share."""

    def __init__(
        self,
        bank: FeatureBank,
        out: Path,
        plan: Plan,
        fit: Fit | None,
        say: Say,
        progress: bool,
    ) -> None:
        from dsa_env.captioning.judge import Judge

        self.bank, self.out, self.plan, self.fit = bank, out, plan, fit
        self.say, self.progress = say, progress
        self.judge: Judge = Judge(bank, plan.split, plan.device)

    def model(self, name: str, path: str, given: Controllers | None) -> Findings:
        """Everything about one model."""
        from dsa_env.captioning.captioner import Captioner

        plan = self.plan
        captioner = Captioner.load(path, device=plan.device, dtype=plan.dtype, coarse=plan.coarse)
        notes: list[str] = []
        if given is None:
            notes.append(
                "native only: no controller was given; train one with dsa train --direction "
                f"captioning --model {path}, and give it with --controller."
            )
        elif (reason := why_not(given, captioner)) is not None:
            notes.append(f"native only: {reason}.")
            given = None
        prompts = plan.prompts or (given and given.config.prompts) or captioner.prompts
        queries = make_queries(self.bank, plan.split, prompts, plan.pictures, plan.seed)
        rows = {NATIVE: self._row(name, captioner, queries, None, "native", given)}
        about: dict[str, Any] = {
            "path": path,
            "class": type(captioner.model).__name__,
            "parameters": sum(value.numel() for value in captioner.model.parameters()),
            "identity": captioner.identity,
            "prompts": list(dict.fromkeys(queries.prompts)),
            "controller": None,
            "notes": notes,
        }
        if given is not None:
            about["controller"] = given.to_json()
            found = self._fixed(name, path, prompts, given)
            about["fixed"] = found
            rows[FIXED] = self._row(name, captioner, queries, found["granularity"], "fixed", given)
            each = [
                self._row(name, captioner, queries, controller, f"dsa-{seed}", given)
                for seed, controller in zip(given.seeds, given.each, strict=True)
            ]
            rows[DSA] = {metric: np.stack([one[metric] for one in each]) for metric in each[0]}
            rows |= self._ceilings(path, captioner, queries, given)
        return Findings(
            about,
            rows,
            queries.images,
            query_properties(self.bank, queries.images, queries.prompts, plan.split),
            self._cost(captioner, queries, given),
        )

    def _fixed(
        self, name: str, path: str, prompts: Sequence[str], given: Controllers
    ) -> dict[str, Any]:
        """The best g for all, chosen on validation."""
        plan = self.plan
        pictures = plan.fixed_pictures
        if pictures is None and given.bank != self.bank.sha256:
            pictures = FEW
        found = choose_fixed(
            self.bank,
            path,
            prompts,
            given.config,
            grid=plan.grid,
            pictures=pictures or None,
            seed=plan.seed,
            device=plan.device,
        )
        self.say(f"{name}: best fixed g on validation {found['granularity']:g}")
        return found

    def _ceilings(
        self, path: str, captioner: Captioner, queries: Queries, given: Controllers
    ) -> dict[str, Columns]:
        """Full information and the oracle, where the run was trained on this bank and prompts."""
        plan, config = self.plan, given.config
        trained = tuple(config.prompts or captioner.prompts)
        if not plan.ceilings or given.bank != self.bank.sha256:
            return {}
        if trained != tuple(dict.fromkeys(queries.prompts)):
            return {}
        if (plan.max_new_tokens, plan.coarse) != (MAX_NEW_TOKENS, "pooled"):
            return {}
        own = replace(config, model=path)
        return ceilings(
            self.bank, own, queries, plan.split, plan.k, fit=self.fit, progress=self.progress
        )

    def _row(
        self,
        name: str,
        captioner: Captioner,
        queries: Queries,
        granularity: Any,
        row: str,
        given: Controllers | None,
    ) -> Columns:
        """Write a row's captions and judge them."""
        folder = self.out / CAPTIONS / _safe(name) / row
        written = write_captions(
            captioner,
            queries,
            granularity,
            folder,
            batch=self.plan.batch,
            max_new_tokens=self.plan.max_new_tokens,
            title=f"{name}, {row}",
            progress=self.progress,
        )
        columns = judged_columns(self.bank, self.judge, queries, written, self.plan.k, given)
        recall = f"recall@{self.plan.k}"
        self.say(f"{name}, {row}: {recall} {columns[recall].mean():.3f}")
        return columns

    def _cost(
        self, captioner: Captioner, queries: Queries, given: Controllers | None
    ) -> dict[str, Any] | None:
        """Speed and overhead on the first prompt's pictures."""
        plan = self.plan
        if plan.rounds == 0:
            return None
        prompt = queries.prompts[0]
        rows = [at for at, asked in enumerate(queries.prompts) if asked == prompt][: plan.timed]
        pictures = queries.pictures(rows)
        controller = None if given is None else beside(given.each[0], captioner.model)
        rounds, most, seed = plan.rounds, plan.max_new_tokens, plan.seed
        speed = measure_speed(
            captioner, controller, pictures, prompt, rounds=rounds, max_new_tokens=most, seed=seed
        )
        cost: dict[str, Any] = {"images_per_second": speed}
        if controller is not None:
            batches = [
                measure_overhead(
                    captioner,
                    controller,
                    pictures[:size],
                    prompt,
                    rounds=rounds,
                    max_new_tokens=most,
                    seed=seed,
                )
                for size in dict.fromkeys((1, len(pictures)))
            ]
            cost |= {**batches[-1], "batches": batches}
        return cost


def judged_columns(
    bank: FeatureBank,
    judge: Judge,
    queries: Queries,
    written: Written,
    k: int,
    given: Controllers | None,
) -> Columns:
    """Every metric of captions, query by query [Q].

    Recall@k is self-retrieval; the hallucination rate is the true share of asserted facts that do
    not hold (NaN where the bank knows none); severity is the network's, in a bank that has one;
    the reward is the one that the controller was trained for.
    """
    judged = judge(written.captions, queries.images)
    columns = text_columns(written.captions, queries.references)
    columns |= {
        f"recall@{k}": (judged.rank <= k).astype(np.float64),
        HALLUCINATION: judged.unsupported.astype(np.float64),
        GRANULARITY: written.granularity.astype(np.float64),
        FACTS: judged.facts.astype(np.float64),
    }
    if detector_folder(bank) is not None:
        columns[SEVERITY] = judged.severity.astype(np.float64)
    if given is not None:
        values = reward_of(given.config, judged, written.granularity)
        if values.ndim == 1:
            columns[REWARD] = values
    return columns


def _safe(name: str) -> str:
    """A model's name as a folder's."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    if not safe.strip("."):
        raise DSAError(f"{name!r} is no name for a model; use letters and digits.")
    return safe


def _machine(device: str) -> dict[str, str]:
    """Where the times were measured."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
