"""The demonstration: train and evaluate both directions, and put them on one page."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from dsa_agents.evaluate import evaluate
from dsa_agents.report import REPORT, Section, write_evaluation, write_report
from dsa_agents.run_folder import CONFIG, SUMMARY, TrainConfig, read_run, seed_folder
from dsa_agents.train import complete, train
from dsa_env.bank import resolve_bank
from dsa_env.errors import DSAError
from dsa_env.files import read_json
from dsa_env.progress import bar
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.workers import heed_interrupts, one_thread_each, process_pool, stay_quiet

CHECKPOINT_SECONDS = 4.0
"""How often a training writes a checkpoint, from which the progress bars are fed too."""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Demo:
    """What a demonstration leaves behind.

    Attributes:
        report: the page with both directions.
        sections: one per direction.
        seconds: how long it took.
    """

    report: Path
    sections: tuple[Section, ...]
    seconds: float


def demo(
    out: str | Path,
    *,
    bank: str = "embedded",
    seeds: int = 3,
    timesteps: int | None = None,
    overwrite: bool = False,
    resamples: int = 2000,
) -> Demo:
    """Train and evaluate both directions of a bank, each in a process and on a core of its own.

    A demonstration that was interrupted continues where it stopped; a finished one is evaluated
    again. Writes ``OUT/text_to_image/``, ``OUT/image_to_text/`` (runs) and ``OUT/report.html``.

    Args:
        out: the folder.
        bank: folder of a bank, or ``"embedded"``, which is built on first use.
        seeds: how many seeds, counted from 0.
        timesteps: environment steps per seed; None for the algorithm's default.
        overwrite: throw away what an earlier demonstration left in `out`.
        resamples: of the bootstrap.

    Raises:
        DSAError: `out` holds something else or another demonstration, or the bank is unusable.
        KeyboardInterrupt: after Ctrl-C; both trainings wrote a checkpoint before.
    """
    started = time.monotonic()
    folder = Path(out)
    if seeds < 1:
        raise DSAError(f"A demonstration needs at least one seed, got {seeds}.")
    _check_folder(folder)
    resolve_bank(bank)
    common = TrainConfig(bank=bank, timesteps=timesteps, seeds=tuple(range(seeds)))
    configs = {
        direction: complete(replace(common, direction=direction)) for direction in DIRECTIONS
    }
    if overwrite:
        _empty(folder)
    for direction, config in configs.items():
        _check_same(folder / direction, config)
    sections = _together(configs, folder, resamples)
    report = write_report(
        folder / REPORT, "How much detail should a frozen vision-language model use?", sections
    )
    return Demo(report, sections, time.monotonic() - started)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is used for something else."""
    if folder.exists() and not folder.is_dir():
        raise DSAError(f"{folder} is a file; choose another --out.")
    strange = sorted({path.name for path in folder.glob("*")} - {*DIRECTIONS, REPORT})
    if strange:
        raise DSAError(
            f"{folder} holds {strange[0]!r}, which is no demonstration's; choose another --out."
        )


def _empty(folder: Path) -> None:
    """Remove what an earlier demonstration left."""
    for direction in DIRECTIONS:
        shutil.rmtree(folder / direction, ignore_errors=True)
    (folder / REPORT).unlink(missing_ok=True)


def _check_same(folder: Path, config: TrainConfig) -> None:
    """Refuse to go on with a run that was started with other settings."""
    if (folder / CONFIG).is_file() and read_run(folder)[0] != config:
        raise DSAError(
            f"{folder} is of a demonstration with other settings; add --overwrite to start anew, "
            "or choose another --out."
        )


def _together(configs: dict[str, TrainConfig], folder: Path, resamples: int) -> tuple[Section, ...]:
    """Work on all directions at once, as far as there are cores, with a progress bar each."""
    workers = min(len(configs), os.cpu_count() or 1)
    with (
        one_thread_each(),
        process_pool(workers, stay_quiet) as pool,
    ):
        futures = {
            direction: pool.submit(_direction, config, folder / direction, resamples)
            for direction, config in configs.items()
        }
        try:
            _watch(configs, futures, folder)
            return tuple(future.result() for future in futures.values())
        except BrokenProcessPool:
            raise DSAError(
                "A training process was killed, perhaps for want of memory; the same command "
                "continues where it stopped."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _direction(config: TrainConfig, folder: Path, resamples: int) -> Section:
    """Train (or finish) one direction, evaluate it and write its report; runs in a process."""
    resume = (folder / CONFIG).is_file()
    with heed_interrupts():
        run = train(
            config, folder, resume=resume, progress=False, checkpoint_seconds=CHECKPOINT_SECONDS
        )
        evaluation = evaluate(run, resamples=resamples, progress=False)
        return write_evaluation(evaluation, run, folder)


def _watch(
    configs: dict[str, TrainConfig], futures: dict[str, Future[Section]], folder: Path
) -> None:
    """Move the progress bars until all is done or something failed."""
    with ExitStack() as stack:
        bars = {
            direction: stack.enter_context(bar(_name(direction), _total(config)))
            for direction, config in configs.items()
        }
        shown = dict.fromkeys(configs, 0)
        while not all(future.done() for future in futures.values()):
            time.sleep(POLL_SECONDS)
            for direction, config in configs.items():
                steps, state = _state(config, folder / direction, futures[direction])
                bars[direction].advance(steps - shown[direction])
                bars[direction].describe(f"{_name(direction)}: {state}")
                shown[direction] = steps
            failed = [future for future in futures.values() if future.done()]
            if any(future.exception() is not None for future in failed):
                return


def _state(config: TrainConfig, folder: Path, future: Future[Section]) -> tuple[int, str]:
    """Environment steps done so far, from the checkpoints' summaries, and what is going on."""
    paths = (seed_folder(folder, seed) / SUMMARY for seed in config.seeds)
    summaries = [read_json(path) for path in paths if path.is_file()]
    steps = min(sum(summary["timesteps"] for summary in summaries), _total(config))
    finished = sum(summary["finished"] for summary in summaries)
    if future.done():
        return steps, "done"
    if finished == len(config.seeds):
        return steps, "evaluating"
    if not (folder / CONFIG).is_file():
        return steps, "preparing"
    return steps, f"training seed {finished + 1} of {len(config.seeds)}"


def _total(config: TrainConfig) -> int:
    """Environment steps of all seeds."""
    assert config.timesteps is not None
    return config.timesteps * len(config.seeds)


def _name(direction: str) -> str:
    return direction.replace("_", " ")
