"""The sweep engine: what the user asked for, searched with Optuna, run under Ray Tune, recorded in MLflow."""
