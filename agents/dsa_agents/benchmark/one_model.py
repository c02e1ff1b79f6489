"""Everything about one model: its captions in every row, judged, and what its controller costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dsa_agents.benchmark.best_fixed import choose_fixed
from dsa_agents.benchmark.ceilings import ceilings
from dsa_agents.benchmark.controllers import Controllers, beside, why_not
from dsa_agents.benchmark.data import Queries, make_queries
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
from dsa_agents.benchmark.plan import MAX_NEW_TOKENS, Plan
from dsa_agents.benchmark.properties import query_properties
from dsa_agents.benchmark.results import Findings
from dsa_agents.benchmark.scores import Columns, reward_of, text_columns
from dsa_agents.benchmark.writing import Written, write_captions
from dsa_env.errors import DSAError
from dsa_env.retrieval.severity import detector_folder

if TYPE_CHECKING:
    from dsa_agents.full_information import Fit
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.captioner import Captioner
    from dsa_env.captioning.judge import Judge

CAPTIONS = "captions"
FEW = 500
"""Validation pictures on which the best fixed g is chosen, where no run left captions of all."""
Say = Callable[[str], None]


class Benchmark:
    """What all models of a benchmark share; `model` makes one's findings."""

    def __init__(
        self,
        name: str,
        bank: FeatureBank,
        out: Path,
        plan: Plan,
        fit: Fit | None,
        say: Say,
        progress: bool,
    ) -> None:
        from dsa_env.captioning.judge import Judge

        self.name, self.bank, self.out, self.plan, self.fit = name, bank, out, plan, fit
        self.say, self.progress = say, progress
        self.device = plan.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.judge: Judge = Judge(bank, plan.split, self.device)

    def model(self, name: str, path: str, given: Controllers | None) -> Findings:
        """Everything about one model."""
        from dsa_env.captioning.captioner import Captioner
        from dsa_env.captioning.families import own_dtype

        plan = self.plan
        dtype = plan.dtype or ("float32" if self.device == "cpu" else own_dtype(path))
        captioner = Captioner.load(path, device=self.device, dtype=dtype)
        notes: list[str] = []
        if given is None:
            notes.append(
                "native only: no controller was given; train one with dsa train --direction "
                f"captioning --model {path} --bank {self.name}, and give its run to --controller."
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
            "dtype": dtype,
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
            device=self.device,
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
        if plan.max_new_tokens != MAX_NEW_TOKENS:
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
