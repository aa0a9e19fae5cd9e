# shellcheck shell=bash source=/dev/null
# What every node of a cluster exports; sourced by the other scripts and by ~/.bashrc, never run.
# A value that setup.sh was given, or that is exported already, stands before the default written here.

if [ -f ~/.sweep_settings ]; then . ~/.sweep_settings; fi
if [ -z "${SWEEP_HEAD_IP:-}" ] && [ -f ~/.sweep_head_ip ]; then SWEEP_HEAD_IP=$(cat ~/.sweep_head_ip); fi

export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"            # the token is in ~/.ray/auth_token
export SWEEP_HOME="${SWEEP_HOME:-/mnt/sweeps}"            # sweeps, on storage that all nodes share
export SWEEP_DATA_DIR="${SWEEP_DATA_DIR:-$SWEEP_HOME/data}"
export SWEEP_STORAGE="${SWEEP_STORAGE:-mounted}"          # who provides SWEEP_HOME, see storage.sh
export SWEEP_MLFLOW_BACKEND="${SWEEP_MLFLOW_BACKEND:-sqlite}"             # where runs are kept, see mlflow_server.sh
export SWEEP_ARTIFACTS="${SWEEP_ARTIFACTS:-$SWEEP_HOME/mlartifacts}"      # pictures and checkpoints of the runs: a folder, s3:// or gs://
export SWEEP_PREPARE="${SWEEP_PREPARE:-quickstart}"       # the specs whose images are prepared when the cluster starts
export SWEEP_INSTALL="${SWEEP_INSTALL:-wheel}"            # how the project comes onto the node, see setup.sh
export SWEEP_ENV="${SWEEP_ENV:-$HOME/sweep-env}"          # the Python environment that setup.sh makes
if [ -n "${SWEEP_HEAD_IP:-}" ]; then
    export SWEEP_HEAD_IP
    export MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-http://$SWEEP_HEAD_IP:5000}"
fi
if [ -n "${SWEEP_NODE_CACHE:-}" ]; then
    export SWEEP_NODE_CACHE                               # a folder on the node's own disk, for copies of the prepared images
fi
if [ -d "$SWEEP_ENV/bin" ] && [[ :$PATH: != *":$SWEEP_ENV/bin:"* ]]; then
    export PATH="$SWEEP_ENV/bin:$PATH"
fi
