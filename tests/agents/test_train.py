"""Training: it learns, it is reproducible, it continues bit for bit, and it refuses wrong input."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsa_agents import train as train_module
from dsa_agents.run_folder import RunFolder, TrainConfig, read_run
from dsa_agents.train import complete, load_model, train
from dsa_agents.validation import validate
from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.controller import GranularityController
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.testing import synthetic_bank as make_bank

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 4},
    "a2c": {},
    "sac": {"batch_size": 32, "learning_starts": 64, "buffer_size": 160},
    "td3": {"batch_size": 32, "learning_starts": 64, "buffer_size": 160},
    "tqc": {"batch_size": 32, "learning_starts": 64, "buffer_size": 160},
}


def small(bank: Path, algorithm: str = "ppo", **changes: Any) -> TrainConfig:
    """A training of about a second."""
    config = TrainConfig(
        bank=str(bank),
        k=1,
        algorithm=algorithm,
        hyperparameters={"net_arch": [16, 8], **SMALL[algorithm]},
        timesteps=384,
        n_envs=16,
        validate_every=100,
    )
    return replace(config, **changes)


def weights(run: RunFolder, seed: int = 0) -> dict[str, torch.Tensor]:
    """Everything the trained model consists of, optimisers included."""
    flat: dict[str, torch.Tensor] = {}

    def collect(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(f"{name}/{key}", inner)
        elif isinstance(value, list):
            collect(name, dict(enumerate(value)))
        elif isinstance(value, torch.Tensor):
            flat[name] = value

    collect("", load_model(run, seed).get_parameters())
    return flat


def assert_same(one: RunFolder, other: RunFolder, seed: int = 0) -> None:
    """Same model, same best controller, same learning curve but for the seconds."""
    ours, theirs = weights(one, seed), weights(other, seed)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    best, also_best = one.controller(seed), other.controller(seed)
    assert best.config == also_best.config
    assert all(map(torch.equal, best.state_dict().values(), also_best.state_dict().values()))
    assert timeless(one, seed) == timeless(other, seed)


def timeless(run: RunFolder, seed: int) -> list[dict[str, float]]:
    return [{**entry, "seconds": 0.0} for entry in run.learning_curve(seed)]


def test_ppo_learns_what_detail_a_query_wants(tmp_path: Path) -> None:
    bank = make_bank(n_images=400, seed=1, path=tmp_path / "bank")
    config = TrainConfig(
        bank=str(tmp_path / "bank"),
        hyperparameters={"net_arch": [64], "batch_size": 256},
        n_envs=256,
        timesteps=60_000,
        validate_every=10_000,
    )
    run = train(config, tmp_path / "run", progress=False)
    core = RetrievalCore(bank, split="validation")
    learned = validate(run.controller(0), core)
    fixed = max(best_fixed(core))
    oracle = core.oracle()[0].mean()
    assert learned["reward"] > fixed + 0.6 * (oracle - fixed)
    kinds = np.array(bank.kinds)[core.retrieval.kind]
    g = run.controller(0).predict(core.observe(np.arange(core.n_queries)))
    assert g[kinds == "scene"].mean() < 0.35
    assert g[kinds == "object"].mean() > 0.65


def best_fixed(core: RetrievalCore) -> list[float]:
    every = np.arange(core.n_queries)
    return [
        float(core.evaluate(every, np.full(len(every), g))[0].mean()) for g in np.linspace(0, 1, 21)
    ]


@pytest.mark.parametrize("algorithm", SMALL)
def test_interrupted_and_resumed_equals_straight_through(
    algorithm: str,
    synthetic_bank_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small(synthetic_bank_path, algorithm, horizon=2 if algorithm in ("a2c", "td3") else 1)
    straight = train(config, tmp_path / "straight", progress=False)
    with interrupted_after(3, monkeypatch), pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "resumed", progress=False)
    assert f"dsa train --out {tmp_path / 'resumed'} --resume" in capsys.readouterr().err
    with pytest.raises(DSAError, match="is unfinished"):
        RunFolder.open(tmp_path / "resumed")
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    resumed = train(None, tmp_path / "resumed", resume=True, progress=False)
    assert_same(straight, resumed)


@contextmanager
def interrupted_after(validations: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C at a known moment: during the n-th validation."""
    calls = 0

    def validate_and_interrupt(*args: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == validations:
            signal.raise_signal(signal.SIGINT)
        return validate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "validate", validate_and_interrupt)
        yield


def test_killed_at_a_random_moment_and_resumed_equals_straight_through(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = small(synthetic_bank_path, timesteps=6_000, validate_every=2_000, seeds=(3,))
    straight = train(config, tmp_path / "straight", progress=False)
    program = f"""
import json, os, random, signal, threading
from dsa_agents.adapter import CoreVecEnv
from dsa_agents.run_folder import TrainConfig
from dsa_agents.train import train

steps_left = random.randint(20, 300)
step = CoreVecEnv.step_wait

def step_and_die_soon(env):
    global steps_left
    steps_left -= 1
    if steps_left == 0:
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
        threading.Timer(random.uniform(0, 0.1), kill).start()
    return step(env)

CoreVecEnv.step_wait = step_and_die_soon
config = TrainConfig.from_json(json.loads({json.dumps(config.to_json())!r}))
train(config, {str(tmp_path / "killed")!r}, progress=False, checkpoint_seconds=0.0)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "seed-3" / "last" / "checkpoint.pt").is_file()
    resumed = train(config, tmp_path / "killed", resume=True, progress=False)
    assert_same(straight, resumed, seed=3)


def test_killed_before_its_first_checkpoint_starts_again(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = small(synthetic_bank_path)
    straight = train(config, tmp_path / "straight", progress=False)
    for name in ("config.json", "provenance.json"):
        (tmp_path / "killed").mkdir(exist_ok=True)
        (tmp_path / "killed" / name).write_text((tmp_path / "straight" / name).read_text())
    assert_same(straight, train(None, tmp_path / "killed", resume=True, progress=False))


def test_seeds_differ_and_do_not_depend_on_each_other(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    both = train(small(synthetic_bank_path, seeds=(4, 0)), tmp_path / "both", progress=False)
    alone = train(small(synthetic_bank_path), tmp_path / "alone", progress=False)
    assert_same(both, alone)
    assert not torch.equal(both.controller(0).net[0].weight, both.controller(4).net[0].weight)


def test_the_best_controller_is_the_best_validation(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    run = train(small(synthetic_bank_path, timesteps=1_000), tmp_path / "run", progress=False)
    curve, summary = run.learning_curve(0), run.summary(0)
    assert [entry["steps"] for entry in curve] == sorted({entry["steps"] for entry in curve})
    assert curve[0]["steps"] == 0
    assert curve[-1]["steps"] == summary["timesteps"] >= 1_000
    best = max(curve, key=lambda entry: entry["reward"])
    assert summary["best_validation_reward"] == best["reward"]
    assert summary["best_step"] == best["steps"]
    means = validate(run.controller(0), RetrievalCore(run.bank, split="validation", k=1))
    assert means == {name: best[name] for name in means}
    assert run.controller(0).metadata["steps"] == best["steps"]


def test_training_leaves_the_callers_generators_and_threads_alone(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        expected = (torch.rand(1).item(), np.random.rand(), random.random())
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        run = train(small(synthetic_bank_path), tmp_path / "run", progress=False)
        assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
        assert torch.get_num_threads() == 2
        assert run.provenance["torch_threads"] == 1
    finally:
        torch.set_num_threads(threads)


def test_tensorboard_holds_validation_and_training_figures(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(small(synthetic_bank_path), tmp_path / "run", progress=False)
    events = EventAccumulator(str(tmp_path / "run" / "seed-0" / "tensorboard")).Reload()
    names = events.Tags()["scalars"]
    assert {"validation/reward", "rollout/reward", "train/std", "train/approx_kl"} <= set(names)


def test_a_custom_reward_and_its_arguments_are_used(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = small(
        synthetic_bank_path,
        reward="tests.agents.test_train:coarse_only",
        reward_kwargs={"price": 2.0},
        timesteps=64 * 90,
        validate_every=64 * 90,
    )
    run = train(config, tmp_path / "run", progress=False)
    last = run.learning_curve(0)[-1]
    assert last["reward"] == pytest.approx(-2.0 * last["granularity"], abs=1e-5)
    assert last["granularity"] < 0.3


def coarse_only(outcome: Any, price: float) -> tuple[Any, dict[str, Any]]:
    return -price * outcome.granularity, {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": 0}, "timesteps must be a whole number of at least 1"),
        ({"n_envs": -1}, "n_envs must be"),
        ({"algorithm": "pppo"}, "Did you mean 'ppo'"),
        ({"direction": "text_to_imag"}, "Did you mean 'text_to_image'"),
        ({"hyperparameters": {"lr": 1}}, "Unknown hyperparameter"),
        ({"seeds": ()}, "Seeds must be"),
        ({"seeds": (1, 1)}, "Seeds must be"),
        ({"reward": "clippd"}, "Did you mean 'clipped'"),
        ({"reward": "terms"}, "scalar reward"),
        ({"reward": coarse_only}, "given by name"),
        ({"reward_kwargs": {"alpha": float("inf")}}, "reward_kwargs must be plain"),
        ({"k": 0}, "k must be"),
        ({"bank": "/no/such/bank"}, "/no/such/bank"),
    ],
)
def test_wrong_configurations_name_the_cure_and_leave_nothing_behind(
    changes: dict[str, Any], message: str, synthetic_bank_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(DSAError, match=message):
        train(replace(small(synthetic_bank_path), **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_a_bank_without_a_split_names_it(missing: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept = "validation" if missing == "train" else "train"
    FeatureBank.from_arrays(
        rng.standard_normal((20, 4)),
        rng.standard_normal((20, 4)),
        rng.standard_normal((20, 4)),
        splits=[kept, "test"] * 10,
        path=tmp_path / "bank",
    )
    with pytest.raises(DSAError, match=f"no '{missing}' images"):
        train(small(tmp_path / "bank"), tmp_path / "run", progress=False)


def test_a_folder_in_use_is_not_touched(synthetic_bank_path: Path, tmp_path: Path) -> None:
    config = small(synthetic_bank_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DSAError, match=r"already exists; empty it, or choose another --out"):
        train(config, tmp_path / "mine", progress=False)
    run = train(config, tmp_path / "run", progress=False)
    with pytest.raises(DSAError, match="add --resume to continue it"):
        train(config, tmp_path / "run", progress=False)
    before = os.stat(tmp_path / "run" / "seed-0" / "summary.json").st_mtime_ns
    assert train(config, tmp_path / "run", resume=True, progress=False).config == run.config
    assert os.stat(tmp_path / "run" / "seed-0" / "summary.json").st_mtime_ns == before


def test_resuming_refuses_another_configuration(synthetic_bank_path: Path, tmp_path: Path) -> None:
    train(small(synthetic_bank_path), tmp_path / "run", progress=False)
    other = small(synthetic_bank_path, timesteps=999, k=5)
    with pytest.raises(DSAError, match="started with another k, timesteps; resume without"):
        train(other, tmp_path / "run", resume=True, progress=False)
    with pytest.raises(DSAError, match="is no run: it does not exist"):
        train(None, tmp_path / "nothing", resume=True, progress=False)
    with pytest.raises(DSAError, match="Give a configuration"):
        train(None, tmp_path / "nothing", progress=False)


def test_a_damaged_checkpoint_says_how_to_go_on(
    synthetic_bank_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_after(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        train(small(synthetic_bank_path), tmp_path / "run", progress=False)
    checkpoint = tmp_path / "run" / "seed-0" / "last" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DSAError, match="delete it to train this seed again"):
        train(None, tmp_path / "run", resume=True, progress=False)


def test_a_checkpoint_never_runs_code(
    synthetic_bank_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted_after(2, monkeypatch), pytest.raises(KeyboardInterrupt):
        train(small(synthetic_bank_path), tmp_path / "run", progress=False)

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save({"version": 1, "modules": Bomb()}, tmp_path / "run/seed-0/last/checkpoint.pt")
    with pytest.raises(DSAError, match="cannot be resumed from"):
        train(None, tmp_path / "run", resume=True, progress=False)
    assert not (tmp_path / "exploded").exists()


def test_complete_writes_every_default_out(synthetic_bank_path: Path) -> None:
    config = complete(TrainConfig(bank=str(synthetic_bank_path)))
    assert config == complete(config)
    assert config.timesteps == 600_000
    assert config.validate_every == 15_000
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_controller_says_where_it_comes_from(synthetic_bank_path: Path, tmp_path: Path) -> None:
    train(small(synthetic_bank_path, seeds=(2,)), tmp_path / "run", progress=False)
    controller = GranularityController.from_pretrained(tmp_path / "run" / "seed-2" / "best")
    config, provenance = read_run(tmp_path / "run")
    assert controller.metadata["seed"] == 2
    assert controller.metadata["direction"] == config.direction
    assert controller.metadata["bank_sha256"] == provenance["bank_sha256"]


def test_candidates_by_faiss_are_part_of_a_run(
    synthetic_bank_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    out = tmp_path / "run"
    words = ["train", "--bank", str(synthetic_bank_path), "--timesteps", "2000", "--out", str(out)]
    assert cli.main([*words, "--shortlist", "0"]) == 2
    assert "shortlist must be at least" in capsys.readouterr().err
    assert cli.main([*words, "--shortlist", "20", "--faiss"]) == 0
    assert cli.main(["evaluate", str(out), "--bootstrap", "0"]) == 0
    run = RunFolder.open(out)
    assert (run.config.shortlist, run.config.faiss) == (20, True)
    assert run.config.core(run.bank, "test").retrieval.candidates.shape[1] == 20


def test_every_finished_seed_is_shown_and_what_is_raised_there_ends_the_training(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def show(run: RunFolder, seed: int) -> None:
        assert run.controller(seed).metadata["seed"] == seed
        seen.append(seed)
        if seed == 1:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        train(small(synthetic_bank_path, seeds=(0, 1, 2)), tmp_path / "run", on_seed=show)
    assert seen == [0, 1]
    assert not (tmp_path / "run" / "seed-2").exists()


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_rollouts_of_numbers_train_the_same_agent_as_rollouts_of_features(
    algorithm: str, synthetic_bank_path: Path, tmp_path: Path
) -> None:
    dense = train(small(synthetic_bank_path, algorithm), tmp_path / "dense")
    config = small(synthetic_bank_path, algorithm, observation="index")
    indexed = train(config, tmp_path / "index")
    assert_same(dense, indexed)


def test_a_query_that_changes_within_an_episode_is_no_number(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = small(synthetic_bank_path, observation="index", horizon=2)
    with pytest.raises(DSAError, match="needs a horizon of 1"):
        train(config, tmp_path / "run")
    with pytest.raises(DSAError, match="Did you mean 'index'"):
        train(small(synthetic_bank_path, observation="indx"), tmp_path / "run")


def test_an_agent_can_see_how_ambiguous_a_query_is(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    run = train(small(synthetic_bank_path, ambiguity=True), tmp_path / "run")
    assert list(run.controller(0).inputs) == ["text", "image", "ambiguity"]
    evaluated = run.config.core(run.bank, "test").observe(np.arange(2))
    assert run.controller(0).predict(evaluated).shape == (2,)
