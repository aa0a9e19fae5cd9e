"""One trial of `benchmarks.rivals.syne_tune`, a process of its own: Syne Tune starts this file with the configuration as options."""

import argparse

from syne_tune import Reporter

from benchmarks.training import open_session

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--steps", type=int)
    given, _ = parser.parse_known_args()
    session, report = open_session(given.learning_rate), Reporter()
    for step in range(given.steps):
        report(step=step + 1, **{name: value for name, value in session.step().items() if name != "step"})
