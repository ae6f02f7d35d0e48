#!/usr/bin/env bash
# Starts the head of a Ray cluster on this host, with a token, and says what kind of GPU it has. Arguments are options of
# `ray start`.
set -euo pipefail

# shellcheck source=cluster/on-prem/environment.sh
source "$(dirname "$0")/environment.sh"

python "$(dirname "$0")/../ray_token.py" # ~/.ray/auth_token, which every other node needs
resources=$(bash "$(dirname "$0")/../gpu_resources.sh")
exec ray start --head --port 6379 --dashboard-host 127.0.0.1 --dashboard-port 8265 --ray-client-server-port 10001 \
    --resources "$resources" "${options[@]}" "$@"
