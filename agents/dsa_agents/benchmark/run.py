"""The benchmark from beginning to results: caption, judge, compare, time."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_agents.benchmark.controllers import open_controllers
from dsa_agents.benchmark.data import open_dataset
from dsa_agents.benchmark.one_model import Benchmark
from dsa_agents.benchmark.plan import EMBEDDED, NOT_TRAINED, Plan
from dsa_agents.benchmark.results import Findings, document
from dsa_env.errors import unknown
from dsa_env.files import write_json

if TYPE_CHECKING:
    from dsa_agents.full_information import Fit

RESULTS = "results.json"
NEEDED = ("sacrebleu", "statsmodels")


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
    say: Callable[[str], None] = lambda line: None,
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
        ModuleNotFoundError: without sacrebleu or statsmodels.
    """
    for name in NEEDED:  # what is missing is told before any work
        import_module(name)
    chosen, started = plan or Plan(), time.perf_counter()
    wanted = dict(models or {EMBEDDED: "embedded"})
    paths = dict(controllers or {})
    for name in paths:
        if name and name not in wanted:
            raise unknown("model of --controller", name, wanted)
    opened = {name: open_controllers(path, seeds) for name, path in paths.items()}
    bank = open_dataset(dataset, out, root, encoder, detector)
    where = dataset if dataset == "embedded" else str(bank.path)
    findings: dict[str, Findings] = {}
    benchmark = Benchmark(where, bank, out, chosen, fit, say, progress)
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
        "machine": _machine(benchmark.device),
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_json(out / RESULTS, results)
    return results


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
