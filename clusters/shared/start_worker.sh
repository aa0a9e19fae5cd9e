#!/usr/bin/env bash
# Makes a machine a worker, then starts Ray with the command it is given: start_worker.sh ray start ...
# The head's address is in RAY_HEAD_IP, which Ray sets.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "${RAY_HEAD_IP:-}" ] || {
    echo "the head's address must be in RAY_HEAD_IP, but is not; let 'ray up' start the worker, or set it" >&2
    exit 1
}
echo "$RAY_HEAD_IP" > ~/.sweep_head_ip
unset SWEEP_HEAD_IP MLFLOW_TRACKING_URI
. "$here/environment.sh"

bash "$here/storage.sh" worker

ray stop
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -H -n)"
if [ -z "${RAY_OVERRIDE_LABELS:-}" ]; then # a cloud's autoscaler sets it; elsewhere the type says what the machine has: cpu, gpu1, gpu4
    gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU' || true)
    set -- "$@" --labels "sweep/node-type=${SWEEP_NODE_TYPE:-$([ "$gpus" = 0 ] && echo cpu || echo "gpu$gpus")}"
fi
# Ray gives a start half a minute, and its autoscaler never comes back to a machine of one's own whose start has failed once
for _ in 1 2 3; do
    "$@" && exit
    ray stop
done
exit 1
