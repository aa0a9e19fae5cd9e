#!/usr/bin/env bash
# Sets a node up: keeps the settings it is given, and installs the project from the wheel and the lock that lie beside this script.
# Run again, it does only what has changed.
#
#   setup.sh [NAME=VALUE ...]     the names are those of environment.sh
#
# SWEEP_INSTALL says how the project comes onto the node:
#   wheel   (default) the newest *.whl here or in dist/, and requirements.lock, into SWEEP_ENV; needs Python 3.11 or newer
#   none    it is there already, with its commands on the PATH
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
uv_version=0.13.8

: > ~/.sweep_settings
for setting in "$@"; do
    [[ $setting =~ ^(SWEEP|RAY|MLFLOW)_[A-Za-z0-9_]+= ]] || {
        echo "a setting must be SWEEP_, RAY_ or MLFLOW_ something, '=' and a value, but got '$setting'; see environment.sh" >&2
        exit 1
    }
    printf 'export %s=%q\n' "${setting%%=*}" "${setting#*=}" >> ~/.sweep_settings
done
. "$here/environment.sh"

grep -qsF "$here/environment.sh" ~/.bashrc || echo ". $here/environment.sh" >> ~/.bashrc

if [ -f ~/.ray/auth_token ]; then chmod 600 ~/.ray/auth_token; fi

case $SWEEP_INSTALL in
    none)
        for command in ray sweep mlflow; do
            command -v "$command" > /dev/null || {
                echo "with SWEEP_INSTALL=none '$command' must be on the PATH, but is not; install the project there, or use 'wheel'" >&2
                exit 1
            }
        done
        ;;
    wheel)
        wheel=$(find "$here" -maxdepth 2 -name '*.whl' -printf '%T@ %p\n' 2> /dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
        [ -n "$wheel" ] || {
            echo "the project's wheel must be in $here/dist, but is not; type 'make wheel' before 'ray up'" >&2
            exit 1
        }
        want=$(cat "$here/requirements.lock" "$wheel" | sha256sum)
        if [ "$(cat "$SWEEP_ENV/.installed" 2> /dev/null)" != "$want" ]; then
            python3 -c 'import ensurepip, venv' 2> /dev/null || {
                sudo=$([ "$(id -u)" = 0 ] || echo sudo)
                $sudo apt-get -q -o DPkg::Lock::Timeout=300 update
                $sudo apt-get -q -o DPkg::Lock::Timeout=300 install --yes python3-venv
            }
            [ -x "$SWEEP_ENV/bin/python" ] || python3 -m venv "$SWEEP_ENV"
            "$SWEEP_ENV/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
            # compiled once here: Ray starts a Python for every worker, and each would compile everything again
            uv=("$SWEEP_ENV/bin/uv" pip install --quiet --python "$SWEEP_ENV/bin/python" --compile-bytecode)
            "${uv[@]}" --require-hashes --requirements "$here/requirements.lock"
            "${uv[@]}" --no-deps --reinstall "$wheel"
            echo "$want" > "$SWEEP_ENV/.installed"
        fi
        ;;
    *)
        echo "SWEEP_INSTALL must be 'wheel' or 'none', but got '$SWEEP_INSTALL'; leave it out for 'wheel'" >&2
        exit 1
        ;;
esac
