#!/usr/bin/env bash
# Joins this host to a Ray cluster, and says what kind of GPU it has: worker.sh HEAD:6379 [OPTION OF ray start] ...
set -euo pipefail

# shellcheck source=cluster/on-prem/environment.sh
source "$(dirname "$0")/environment.sh"

head=${1:-}
if [[ $head != *:* ]]; then
    echo "error: the first argument must be the head's HOST:PORT, got '$head'" >&2
    exit 2
fi
python "$(dirname "$0")/../ray_token.py" --no-make
resources=$(bash "$(dirname "$0")/../gpu_resources.sh")
exec ray start --address "$head" --resources "$resources" "${options[@]}" "${@:2}"
