#!/usr/bin/env bash
# Runs the MLflow server on port 5000, in the foreground.
#
# SWEEP_MLFLOW_BACKEND says where runs are kept:
#   sqlite       (default) SWEEP_HOME/mlflow.db: enough for some ten trials at a time
#   postgresql   PostgreSQL on this machine, installed from Debian's or Ubuntu's packages if it is not there
#   a URI        postgresql://USER:PASSWORD@HOST/DATABASE, for a database elsewhere
# SWEEP_ARTIFACTS says where pictures and checkpoints lie: a folder, s3://BUCKET/... or gs://BUCKET/.... The server hands them on, so
# that the head alone needs the right to write there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Makes the database and a role that this user takes through the Unix socket: no password, and nothing that listens on the network.
own_postgresql() {
    local sudo as_postgres me
    me=$(id -un)
    if [ "$(id -u)" = 0 ]; then
        sudo=() as_postgres=(runuser -u postgres --)
    else
        sudo=(sudo) as_postgres=(sudo -u postgres)
    fi
    if ! command -v pg_ctlcluster > /dev/null; then
        "${sudo[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update
        "${sudo[@]}" apt-get -q -o DPkg::Lock::Timeout=300 install --yes postgresql
    fi
    "${sudo[@]}" service postgresql start
    for _ in {1..30}; do
        (cd / && "${as_postgres[@]}" pg_isready --quiet) && break
        sleep 1
    done
    cd /
    knows() { [ "$("${as_postgres[@]}" psql -tAc "SELECT 1 FROM $1")" = 1 ]; }
    knows "pg_roles WHERE rolname = '$me'" || "${as_postgres[@]}" createuser "$me"
    knows "pg_database WHERE datname = 'mlflow'" || "${as_postgres[@]}" createdb --owner "$me" mlflow
}

case $SWEEP_MLFLOW_BACKEND in
    sqlite) store="sqlite:///$SWEEP_HOME/mlflow.db" workers=1 ;;
    postgresql) own_postgresql 1>&2 && store="postgresql:///mlflow?host=/var/run/postgresql" workers=4 ;;
    *://*) store=$SWEEP_MLFLOW_BACKEND workers=4 ;;
    *)
        echo "SWEEP_MLFLOW_BACKEND must be 'sqlite', 'postgresql' or a URI, but got '$SWEEP_MLFLOW_BACKEND'; see mlflow_server.sh" >&2
        exit 1
        ;;
esac
# without the queue for background jobs, which nothing here uses, the server is a quarter of the size
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec mlflow server --host 0.0.0.0 --port 5000 --workers "$workers" --backend-store-uri "$store" --artifacts-destination "$SWEEP_ARTIFACTS"
