#!/usr/bin/env bash
# Makes what gcp.yaml names in a Google Cloud project: a network of its own, closed but for SSH from your address, and a bucket.
#
#   bash clusters/gcp_project.sh                  from this machine's address, as the internet sees it
#   bash clusters/gcp_project.sh 203.0.113.0/28   from this network
#   bash clusters/gcp_project.sh --remove         takes the network away again; the bucket stays
#
# Run again, it changes only what differs. The project is the one in gcp.yaml.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=inpaint-sweeps
region=us-central1
project=$(sed -n 's/^ *project_id: *\([^ #]*\).*/\1/p' "$here/gcp.yaml")
[ "$project" != my-project ] || {
    echo "project_id in clusters/gcp.yaml must be your project's id, but is still 'my-project'; write yours there" >&2
    exit 1
}
export CLOUDSDK_CORE_PROJECT=$project

there() {
    gcloud "$@" > /dev/null 2>&1
}

if [ "${1:-}" = --remove ]; then
    for rule in ssh nodes; do
        if there compute firewall-rules describe "$name-$rule"; then gcloud --quiet compute firewall-rules delete "$name-$rule"; fi
    done
    if there compute networks subnets describe "$name" --region "$region"; then
        gcloud --quiet compute networks subnets delete "$name" --region "$region"
    fi
    if there compute networks describe "$name"; then gcloud --quiet compute networks delete "$name"; fi
    echo "gs://$project-$name stays; 'gcloud storage rm --recursive gs://$project-$name' takes it away with all that is in it"
    exit 0
fi

from=${1:-$(curl -sf https://checkip.amazonaws.com)/32} || {
    echo "this machine's public address must be known, but checkip.amazonaws.com does not answer; give your address" >&2
    exit 1
}
[[ $from =~ ^[0-9.]+/(1[6-9]|2[0-9]|3[0-2])$ ]] || {
    echo "the network must be one of your own, /16 or smaller, but got '$from'; write it like 203.0.113.7/32" >&2
    exit 1
}
there compute networks describe "$name" || gcloud compute networks create "$name" --subnet-mode custom
there compute networks subnets describe "$name" --region "$region" ||
    gcloud compute networks subnets create "$name" --network "$name" --region "$region" --range 10.77.0.0/20
there compute firewall-rules describe "$name-nodes" ||
    gcloud compute firewall-rules create "$name-nodes" --network "$name" --allow all --source-ranges 10.77.0.0/20
if there compute firewall-rules describe "$name-ssh"; then
    gcloud compute firewall-rules update "$name-ssh" --source-ranges "$from"
else
    gcloud compute firewall-rules create "$name-ssh" --network "$name" --allow tcp:22 --source-ranges "$from"
fi
there storage buckets describe "gs://$project-$name" ||
    gcloud storage buckets create "gs://$project-$name" --location "$region" --uniform-bucket-level-access --public-access-prevention
echo "network $name: SSH from $from, everything among the nodes, nothing else; bucket gs://$project-$name"
