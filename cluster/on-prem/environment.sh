# What the head's and the workers' `ray start` share. LARVAE_ENV: where cluster/install.sh has put the environment.
# shellcheck shell=bash disable=SC2034

export PATH="${LARVAE_ENV:-$HOME/larvae-env}/bin:$PATH" # also of what is submitted as a job
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
export RAY_TMPDIR=${RAY_TMPDIR:-/tmp/larvae-$(id -u)} # sockets, code and logs: nobody else's, unlike /tmp/ray
mkdir -p -m 700 "$RAY_TMPDIR"
[[ -O $RAY_TMPDIR ]] || {
    echo "error: $RAY_TMPDIR must be a folder of your own, for Ray's sockets and code: set RAY_TMPDIR to another" >&2
    exit 2
}
ulimit -n 65536 2>/dev/null || true # a socket or more for each worker of each node

# Fixed, for firewalls: the table of ports in cluster/README.md.
ports=(
    --node-manager-port 6380
    --object-manager-port 6381
    --runtime-env-agent-port 6382
    --dashboard-agent-grpc-port 6383
    --dashboard-agent-listen-port 6384
    --metrics-export-port 6385
    --min-worker-port 10002
    --max-worker-port 10999
)
