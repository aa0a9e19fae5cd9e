#!/usr/bin/env bash
# Makes a machine the head, then starts Ray with the command it is given: start_head.sh ray start --head ...
# Storage, the MLflow server and the prepared images are there before Ray is; each of them stays if it is there already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hostname -I | awk '{print $1}' > ~/.sweep_head_ip
unset SWEEP_HEAD_IP MLFLOW_TRACKING_URI
. "$here/environment.sh"

mlflow_answers() {
    python -c 'from urllib.request import urlopen; urlopen("http://127.0.0.1:5000/health", timeout=5)' 2> /dev/null
}

bash "$here/storage.sh" head

server=
if ! mlflow_answers; then
    setsid nohup bash "$here/mlflow_server.sh" < /dev/null > ~/mlflow_server.log 2>&1 &
    server=$!
fi

read -ra specs <<< "$SWEEP_PREPARE"
[ ${#specs[@]} = 0 ] || bash "$here/prepare_data.sh" "${specs[@]}"

until mlflow_answers; do
    kill -0 "$server" 2> /dev/null || {
        echo "the MLflow server must start, but has ended; its last lines, from ~/mlflow_server.log:" >&2
        tail -n 20 ~/mlflow_server.log >&2
        exit 1
    }
    sleep 1
done

# a node that does not answer is given up after some eight seconds, not after a minute
export RAY_health_check_period_ms="${RAY_health_check_period_ms:-1000}"
export RAY_health_check_timeout_ms="${RAY_health_check_timeout_ms:-2000}"
export RAY_health_check_failure_threshold="${RAY_health_check_failure_threshold:-3}"
ray stop
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -H -n)"
# where the autoscaler has labels for the node (RAY_OVERRIDE_LABELS), they stand; elsewhere the node gets its label here
[ -n "${RAY_OVERRIDE_LABELS:-}" ] || set -- "$@" --labels "sweep/node-type=${SWEEP_NODE_TYPE:-head}"
exec "$@" --node-ip-address "$SWEEP_HEAD_IP"
