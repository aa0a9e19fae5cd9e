#!/usr/bin/env bash
# Makes SWEEP_HOME the same folder on every node: storage.sh head | storage.sh worker.
#
# SWEEP_STORAGE says who provides it:
#   mounted       (default) it is there already: a folder that you have mounted on every machine
#   head          it is on the head's disk, and the head exports it to the workers by NFS
#   SERVER:/PATH  an NFS server: Amazon EFS, Google Filestore, a NAS
set -euo pipefail
role=${1:?head or worker must be named}
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
sudo=$([ "$(id -u)" = 0 ] || echo sudo)

install_package() {
    dpkg -s "$1" > /dev/null 2>&1 && return
    $sudo apt-get -q -o DPkg::Lock::Timeout=300 update
    $sudo apt-get -q -o DPkg::Lock::Timeout=300 install --yes "$1"
}

# $1: SERVER:/PATH. What is mounted stays, unless it comes from elsewhere: a head that was stopped and started has a new address.
mount_from() {
    local now
    now=$(findmnt --noheadings --output SOURCE --mountpoint "$SWEEP_HOME" || true)
    [ "$now" = "$1" ] && return
    [ -z "$now" ] || $sudo umount --lazy "$SWEEP_HOME"
    install_package nfs-common
    $sudo mkdir -p "$SWEEP_HOME"
    $sudo mount -t nfs4 -o hard,noatime,nosuid,nodev "$1" "$SWEEP_HOME"
}

case $SWEEP_STORAGE in
    mounted) ;;
    head)
        if [ "$role" = head ]; then
            install_package nfs-kernel-server
            $sudo mkdir -p "$SWEEP_HOME"
            $sudo chown "$(id -u):$(id -g)" "$SWEEP_HOME"
            # private networks alone; whatever stands around the cluster (security group, firewall) lets its nodes alone in
            for network in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do
                echo "$SWEEP_HOME $network(rw,sync,no_subtree_check,root_squash)"
            done | $sudo tee /etc/exports.d/sweeps.exports > /dev/null
            $sudo service nfs-kernel-server start
            $sudo exportfs -ra
        else
            mount_from "${SWEEP_HEAD_IP:?the head must be known; start_worker.sh writes it down}:$SWEEP_HOME"
        fi
        ;;
    *:/*)
        mount_from "$SWEEP_STORAGE"
        [ -w "$SWEEP_HOME" ] || $sudo chown "$(id -u):$(id -g)" "$SWEEP_HOME"
        ;;
    *)
        echo "SWEEP_STORAGE must be 'mounted', 'head' or SERVER:/PATH, but got '$SWEEP_STORAGE'; see storage.sh" >&2
        exit 1
        ;;
esac

[ -w "$SWEEP_HOME" ] || {
    echo "SWEEP_HOME must be a folder that $(id -un) can write, but $SWEEP_HOME is not; mount it on every node, or set SWEEP_STORAGE" >&2
    exit 1
}
mkdir -p "$SWEEP_DATA_DIR"
[ -z "${SWEEP_NODE_CACHE:-}" ] || mkdir -p "$SWEEP_NODE_CACHE" 2> /dev/null || {
    $sudo mkdir -p "$SWEEP_NODE_CACHE"
    $sudo chown "$(id -u):$(id -g)" "$SWEEP_NODE_CACHE"
}
