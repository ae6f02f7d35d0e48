# What the head's and the workers' `ray start` share. LARVAE_ENV: where cluster/install.sh has put the environment.
# shellcheck shell=bash disable=SC2034

export PATH="${LARVAE_ENV:-$HOME/larvae-env}/bin:$PATH" # also of what is submitted as a job
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
ulimit -n 65536 2>/dev/null || true # a socket or more for each worker of each node

# Ports are fixed, for firewalls: the table of ports in cluster/README.md.
export AUTOSCALER_METRIC_PORT=6386 DASHBOARD_METRIC_PORT=6387
options=(
    --node-manager-port 6380
    --object-manager-port 6381
    --runtime-env-agent-port 6382
    --dashboard-agent-grpc-port 6383
    --dashboard-agent-listen-port 6384
    --metrics-export-port 6385
    --min-worker-port 10002
    --max-worker-port 10999
)

# For Ray's sockets, code and logs, which in /tmp/ray other users of the host could exchange.
if [[ -z ${RAY_TMPDIR:-} ]]; then
    export RAY_TMPDIR=/tmp/larvae-$UID
    (umask 077 && mkdir -p "$RAY_TMPDIR")
    if [[ -L $RAY_TMPDIR || ! -O $RAY_TMPDIR ]]; then
        echo "error: $RAY_TMPDIR must be a folder of your own, for Ray's sockets and code: have it removed" >&2
        exit 2
    fi
    chmod 700 "$RAY_TMPDIR"
fi
options+=(--temp-dir "$RAY_TMPDIR/ray") # a worker would take the path of the head's
