"""A study from its beginning to its report: begun or joined, worked off, chosen from, tested."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from dsa_agents.full_information import Fit
from dsa_agents.run_folder import describe_provenance, without_passwords
from dsa_env.bank import resolve_bank
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from dsa_env.progress import Bar, bar
from dsa_env.workers import one_thread_each
from dsa_tuning.config import TuneConfig
from dsa_tuning.crew import Crew
from dsa_tuning.final import candidates, measure_candidates
from dsa_tuning.front import choose
from dsa_tuning.potential import Potential, weight_potential
from dsa_tuning.report import write_study
from dsa_tuning.results import best_document
from dsa_tuning.storage import JOURNAL, connected, places, unfinished
from dsa_tuning.trials import REWARD, SETTINGS, Job, put_back_dead, quiet_optuna, work

STUDY, BEST = "study.json", "best.json"
IDENTITY, BANK, POTENTIAL = "identity", "bank_sha256", "potential"
"""Attributes of a study."""
DEFAULT_NAME = "dsa-tune"
MOST_WORKERS = 4
"""Default bound on workers: the more run at once, the less each trial can learn from the others."""


@dataclass(frozen=True)
class Tuned:
    """What a study has found so far.

    Attributes:
        folder: the study's folder.
        results: what ``results.json`` holds.
        report: the page.
        finished: whether all trials are done and the test split was looked at, if that was wanted.
    """

    folder: Path
    results: dict[str, Any]
    report: Path
    finished: bool


def tune(
    config: TuneConfig | None,
    out: str | Path,
    *,
    resume: bool = False,
    storage: str | None = None,
    name: str | None = None,
    workers: int | None = None,
    final: bool = True,
    resamples: int = 2000,
    fit: Fit | None = None,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Tuned:
    """Tune the weights of a reward on the validation split.

    Killed at any time, a study loses its running trials at most; `resume` goes on with it. Several
    machines that are given the same storage, name and configuration work on one study.

    Args:
        config: what to tune; None only with `resume`, for the folder's own.
        out: the study's folder on this machine; new or empty unless `resume`.
        resume: go on with the study in `out`; more trials than it was begun with may be asked for.
        storage: see `dsa_tuning.storage.open_storage`; None for a journal file in `out`.
        name: the study's name in the storage; None for ``"dsa-tune"``.
        workers: processes; None for one a core, at most four.
        final: whether to test the chosen weights, once all trials are done.
        resamples: of the bootstrap of that test.
        fit: how the full-information policies are fitted that say how much the weights can matter.
        progress: show progress on standard error.
        say: told in one line how much the weights can matter, before anything is trained.

    Returns:
        What was found.

    Raises:
        DSAError: anything wrong with configuration, bank, storage or folder, before any training.
        KeyboardInterrupt: after Ctrl-C, once a valid report is written.
    """
    folder = Path(out)
    with quiet_optuna(), ExitStack() as stack:
        config, url, name = _settled(config, folder, resume, storage, name)
        workers = _workers(workers, url)
        job = Job(config, folder, url, name)
        job.objective  # noqa: B018 - a bank or an objective that will not do is refused first
        opened = stack.enter_context(connected(url, folder))
        study = _begin_or_join(job, opened, resume)
        _describe(job, resume)
        potential = _potential(job, study, fit, progress)
        if say is not None:
            say(potential.sentence if potential else NO_POTENTIAL)
        put_back_dead(study)
        try:
            _work_off(job, study, workers, progress)
            tested = _test(job, study, workers, resamples, progress) if final else None
        except KeyboardInterrupt:
            _report(job, study, potential, None)
            print(
                f"Stopped; the report so far is in {folder}. Continue with: "
                f"dsa tune --out {folder} --resume",
                file=sys.stderr,
            )
            raise
        results, report = _report(job, study, potential, tested)
        done = not unfinished(places(study.get_trials(deepcopy=False)))
        return Tuned(folder, results, report, done and (tested is not None or not final))


NO_POTENTIAL = (
    "How much the weights can matter is not known: no share of alpha and beta is searched, or the "
    "bank says nothing of hallucination."
)


def read_config(folder: Path) -> TuneConfig:
    """What the study in a folder tunes; `DSAError` when there is none."""
    if not (folder / STUDY).is_file():
        raise DSAError(f"{folder} holds no study to resume; begin one without --resume.")
    return TuneConfig.from_json(read_json(folder / STUDY)["config"])


def _settled(
    config: TuneConfig | None, folder: Path, resume: bool, storage: str | None, name: str | None
) -> tuple[TuneConfig, str | None, str]:
    """The complete configuration, the storage's URL and the study's name."""
    if not resume:
        if config is None:
            raise DSAError("Give a configuration, or resume=True to go on with a study.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            cure = "add --resume to go on" if (folder / STUDY).is_file() else "empty it"
            raise DSAError(f"{folder} already exists; {cure}, or choose another --out.")
        return config.complete(), storage, name or DEFAULT_NAME
    begun = read_config(folder)
    stored = read_json(folder / STUDY)
    if config is None:
        config = begun
    config = config.complete()
    _same(config.identity(), begun.complete().identity(), str(folder))
    url = storage or stored["storage"]
    if url and storage is None and "***" in url:
        raise DSAError(f"{folder} does not keep its storage's password; give --storage again.")
    return config, url, name or stored["name"]


def _workers(workers: int | None, storage: str | None) -> int:
    if workers is None:
        workers = 1 if storage and storage.startswith("sqlite") else os.cpu_count() or 1
        return min(workers, MOST_WORKERS)
    if workers < 1:
        raise DSAError(f"--workers must be at least 1, got {workers}.")
    if workers > 1 and storage and storage.startswith("sqlite"):
        raise DSAError(
            "SQLite locks under several workers; leave --storage out (a journal file does not "
            "lock), use PostgreSQL or MySQL, or --workers 1."
        )
    return workers


def _begin_or_join(job: Job, storage: BaseStorage, resume: bool) -> Study:
    """The study in its storage: a new one, or one that was begun with the same configuration.

    Raises:
        DSAError: the storage holds a study of that name with another bank or configuration.
    """
    bank = resolve_bank(job.config.base.bank)
    directions = [StudyDirection[name.upper()] for name in job.objective.directions]
    study = optuna.create_study(
        study_name=job.study, storage=storage, directions=directions, load_if_exists=True
    )
    where = f"The study {job.study!r}"
    begun_with = study.user_attrs.get(BANK)
    if begun_with is None:
        study.set_user_attr(IDENTITY, job.config.identity())
        study.set_user_attr(BANK, bank.sha256)
        return study
    if begun_with != bank.sha256:
        raise DSAError(
            f"{where} was made with another bank (data hash {begun_with[:12]}, this one has "
            f"{bank.sha256[:12]}); give that bank, or choose another --study and --out."
        )
    _same(job.config.identity(), study.user_attrs[IDENTITY], where)
    if job.storage is None and not resume:
        raise DSAError(f"{job.folder / JOURNAL} holds a study already; add --resume.")
    return study


def _same(given: dict[str, Any], begun: dict[str, Any], where: str) -> None:
    """Refuse to mix trials of two configurations."""
    different = [name for name in given if given[name] != begun.get(name)]
    if different:
        raise DSAError(
            f"{where} was begun with another {', '.join(different)}; leave these options as they "
            "were, or choose another --study and --out."
        )


def _describe(job: Job, resume: bool) -> None:
    """Write what is tuned, with what; a resumed study keeps where it began."""
    path = job.folder / STUDY
    kept = read_json(path)["provenance"] if resume else None
    bank = resolve_bank(job.config.base.bank)
    provenance = kept or describe_provenance(bank, 1, sys.argv)
    provenance["versions"]["optuna"] = optuna.__version__
    document = {
        "config": job.config.to_json(),
        "storage": job.storage and without_passwords(job.storage),
        "name": job.study,
        "provenance": provenance,
    }
    write_json(path, document)


def _potential(job: Job, study: Study, fit: Fit | None, progress: bool) -> Potential | None:
    """How much the weights can matter: measured once a study."""
    hallucination = job.objective.hallucination
    if not job.space.has_share or hallucination is None:
        return None
    if POTENTIAL not in study.user_attrs:
        found = weight_potential(job.config, hallucination, fit=fit, progress=progress)
        study.set_user_attr(POTENTIAL, found.to_json())
        return found
    return Potential.from_json(study.user_attrs[POTENTIAL])


def _work_off(job: Job, study: Study, workers: int, progress: bool) -> None:
    """Run trials until all places are taken and this machine's trials are done."""
    shown = bar("trials", job.config.trials) if progress else nullcontext()
    with shown as progress_bar:
        counter = _Counter(job, study, progress_bar)
        if workers == 1:
            work(job, counter.update)
            return
        with one_thread_each():
            Crew(job, study, workers).run(counter.update)


class _Counter:
    """Moves the progress bar to the number of finished trials."""

    def __init__(self, job: Job, study: Study, progress_bar: Bar | None) -> None:
        self._job, self._study, self._bar = job, study, progress_bar
        self._shown = 0
        self.update()

    def update(self) -> None:
        if self._bar is None:
            return
        trials = places(self._study.get_trials(deepcopy=False))
        finished = len(trials) - len(unfinished(trials))
        if finished > self._shown:
            self._bar.advance(finished - self._shown)
            self._shown = finished
            chosen, _ = choose(self._study, self._job.objective)
            self._bar.describe(f"trials{_so_far(chosen, self._job)}")


def _so_far(chosen: FrozenTrial | None, job: Job) -> str:
    if chosen is None:
        return ""
    values = zip(job.objective.labels, chosen.values, strict=True)
    return ": " + ", ".join(f"{label} {value:.3f}" for label, value in values)


def _test(
    job: Job, study: Study, workers: int, resamples: int, progress: bool
) -> dict[str, Any] | None:
    """Test what was chosen, unless trials still run elsewhere or none was completed."""
    chosen, _ = choose(study, job.objective)
    if chosen is None or unfinished(places(study.get_trials(deepcopy=False))):
        return None
    given = chosen.user_attrs
    config = replace(job.config.base, reward_kwargs=given[REWARD], hyperparameters=given[SETTINGS])
    return measure_candidates(
        candidates(job.config, config),
        job.folder,
        workers=workers,
        resamples=resamples,
        progress=progress,
    )


def _report(
    job: Job, study: Study, potential: Potential | None, tested: dict[str, Any] | None
) -> tuple[dict[str, Any], Path]:
    """Write ``best.json``, ``results.json``, the plots and the page."""
    chosen, front = choose(study, job.objective)
    if chosen is not None:
        write_json(job.folder / BEST, best_document(job, study, chosen))
    return write_study(job, study, chosen, front, potential, tested)
