#!/usr/bin/env bash
# Makes a machine a worker, then starts Ray with the command it is given: start_worker.sh ray start ...
# The head's address is in RAY_HEAD_IP, which Ray sets.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
echo "${RAY_HEAD_IP:?the head\'s address must be in RAY_HEAD_IP; let ray up or the autoscaler start the worker, or set it}" > ~/.sweep_head_ip
unset SWEEP_HEAD_IP MLFLOW_TRACKING_URI
. "$here/environment.sh"

bash "$here/storage.sh" worker

ray stop
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -H -n)"
if [ -z "${RAY_OVERRIDE_LABELS:-}" ]; then # the autoscaler of a cloud sets it; elsewhere the type says what the machine has: cpu, gpu1, gpu4
    gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU' || true)
    set -- "$@" --labels "sweep/node-type=${SWEEP_NODE_TYPE:-$([ "$gpus" = 0 ] && echo cpu || echo "gpu$gpus")}"
fi
exec "$@"
