"""The same trials in the hands of others, each as its own documentation shows it. Run by `benchmarks.overhead` and others as a process.

    python -m benchmarks.rivals bare|ray_tune|optuna|syne_tune|ray_trivial|ray_reports ... FOLDER

A contender prints as its last line how many seconds it worked by its own clock; whoever started it has the wall time of the whole process.
"""

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.training import RATES, learning_rates, open_session, threads

AT_ONCE = 2
WARM_S = 600
EXPERIMENT = "example"


def bare(trials: int, steps: int, folder: Path) -> float:
    """A loop over the trainings in two processes that have imported everything and trained once; gives the time of the loops."""
    context = multiprocessing.get_context("spawn")
    warm, todo = context.Barrier(AT_ONCE + 1), context.Queue()
    for rate in learning_rates(trials):
        todo.put(rate)
    for _ in range(AT_ONCE):
        todo.put(None)
    workers = [context.Process(target=_loop, args=(warm, todo, steps)) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    warm.wait(WARM_S)
    begun_s = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun_s


def _loop(warm: Any, todo: Any, steps: int) -> None:
    open_session(RATES[0]).step()
    warm.wait()
    while (rate := todo.get()) is not None:
        session = open_session(rate)
        for _ in range(steps):
            session.step()


def epoch(folder: Path) -> float:
    """Seconds of an epoch with another training beside it, without what it takes to open a session."""
    longer = 5
    return max(bare(AT_ONCE * 2, 1 + longer, folder) - bare(AT_ONCE * 2, 1, folder), 0.02) / (2 * longer)


def ray_tune(trials: int, steps: int, folder: Path) -> float:
    """Ray Tune with a function as trainable and its MLflow callback (docs.ray.io, "Using MLflow with Tune")."""

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        session = open_session(config["learning_rate"])
        for _ in range(steps):
            tune.report(session.step())

    return _fit(train, {"learning_rate": learning_rates(trials)}, threads(), folder)


def ray_trivial(trials: int, steps: int, folder: Path) -> float:
    """Ray Tune likewise, over a function that does nothing and reports once."""

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        for step in range(steps):
            tune.report({"l2_hole": config["learning_rate"], "loss": 1.0, "step": step})

    return _fit(train, {"learning_rate": learning_rates(trials)}, threads(), folder)


def ray_reports(trials: int, steps: int, folder: Path, store: str | None = None, *, log: bool = True) -> float:
    """Ray Tune over a function that does nothing and reports often, with its MLflow callback or without."""

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        for step in range(steps):
            tune.report({"l2_hole": config["learning_rate"], "loss": 1.0 / (step + 1), "epoch": step})

    return _fit(train, {"learning_rate": learning_rates(trials)}, threads(), folder, store, log=log)


def _fit(train: Any, space: dict[str, list[float]], cpus: int, folder: Path, store: str | None = None, *, log: bool = True) -> float:
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    begun_s = time.perf_counter()
    ray.init(address="local")  # what Tune does by itself, but never on a cluster that another program has left its address of
    uri = store or f"sqlite:///{folder / 'mlflow.db'}"
    callbacks = [MLflowLoggerCallback(tracking_uri=uri, experiment_name=EXPERIMENT, save_artifact=False)] if log else []
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": cpus}),
        param_space={name: tune.grid_search(values) for name, values in space.items()},
        tune_config=tune.TuneConfig(max_concurrent_trials=AT_ONCE),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder / "ray"), callbacks=callbacks, verbose=0),
    )
    results = tuner.fit()
    assert results.num_errors == 0, results.errors
    return time.perf_counter() - begun_s


def optuna(trials: int, steps: int, folder: Path) -> float:
    """Optuna's `study.optimize` in two processes on one SQLite file, with MLflow (optuna.readthedocs.io, "Easy Parallelization")."""
    import mlflow
    import optuna as library

    begun_s = time.perf_counter()
    storage, store = f"sqlite:///{folder / 'optuna.db'}", f"sqlite:///{folder / 'mlflow.db'}"
    study = library.create_study(study_name=EXPERIMENT, storage=storage)
    for rate in learning_rates(trials):
        study.enqueue_trial({"learning_rate": rate})
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment(EXPERIMENT)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_optimize, args=(storage, store, trials, steps, share)) for share in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    return time.perf_counter() - begun_s


def _optimize(storage: str, store: str, trials: int, steps: int, share: int) -> None:
    import mlflow
    import optuna as library

    mlflow.set_tracking_uri(store)
    mlflow.set_experiment(EXPERIMENT)

    def objective(trial: Any) -> float:
        session = open_session(trial.suggest_float("learning_rate", *RATES))
        with mlflow.start_run(run_name=str(trial.number)):
            mlflow.log_params(trial.params)
            for step in range(steps):
                result = session.step()
                mlflow.log_metrics(result, step=step)
                trial.report(result["l2_hole"], step)
        return float(result["l2_hole"])

    study = library.load_study(study_name=EXPERIMENT, storage=storage, sampler=library.samplers.RandomSampler(seed=share))
    study.optimize(objective, n_trials=trials // AT_ONCE + (share < trials % AT_ONCE))


def syne_tune(trials: int, steps: int, folder: Path) -> float:
    """Syne Tune's local backend: a process a trial that starts this module again (syne-tune.readthedocs.io, "Getting Started")."""
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import loguniform
    from syne_tune.optimizer.schedulers.searchers.random_searcher import RandomSearcher
    from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

    begun_s = time.perf_counter()
    space = {"learning_rate": loguniform(*RATES), "steps": steps}
    points = [{"learning_rate": rate} for rate in learning_rates(trials)]
    scheduler = SingleFidelityScheduler(
        space, metrics=["l2_hole"], do_minimize=True, searcher=RandomSearcher(space, points_to_evaluate=points), random_seed=0
    )
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_tune_trial.py"))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_finished=trials),
        n_workers=AT_ONCE,
        sleep_time=0.5,
    )
    tuner.run()
    return time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("bare", "epoch", "ray_tune", "ray_trivial", "ray_reports", "optuna", "syne_tune"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--store")
    parser.add_argument("--without-log", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "epoch":
        took_s = epoch(given.folder)
    elif given.what == "ray_reports":
        took_s = ray_reports(given.trials, given.steps, given.folder, given.store, log=not given.without_log)
    else:
        took_s = getattr(sys.modules[__name__], given.what)(given.trials, given.steps, given.folder)
    print(json.dumps({"took_s": took_s}))


if __name__ == "__main__":
    main()
