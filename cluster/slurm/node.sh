#!/usr/bin/env bash
# What each node of a Slurm job runs, started by sweep.sbatch: Ray, and on the first node the command given.
set -euo pipefail

unset RAY_ADDRESS # of the shell that submitted: `ray symmetric-run` would look there for this job's nodes
port=${LARVAE_HEAD##*:}
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID-$SLURM_NODEID # short, for the paths of sockets
watcher=

clean_up() {
    [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
    mkdir -p "$LARVAE_RUN/logs/$(hostname)"
    cp -rL "$RAY_TMPDIR"/ray/session_2*/logs/. "$LARVAE_RUN/logs/$(hostname)" 2>/dev/null || true
    rm -rf "$RAY_TMPDIR"
}
cancelled() { # the driver has been told, too: it has a moment for its last rows, then Ray goes, or it would stay
    local moments=0
    while ((SLURM_NODEID == 0 && moments++ < 40)) && kill -0 "$(<"$LARVAE_RUN/driver.pid")" 2>/dev/null; do
        sleep 0.25
    done
    ray stop --force >/dev/null 2>&1 || true
    exit 143
}
rm -rf "$RAY_TMPDIR"
(umask 077 && mkdir "$RAY_TMPDIR") # for Ray's sockets and code, nobody else's
trap clean_up EXIT
trap cancelled TERM

options=(
    --num-cpus "${SLURM_CPUS_ON_NODE:-$(nproc)}"
    --num-gpus "${SLURM_GPUS_ON_NODE:-0}"
    --temp-dir "$RAY_TMPDIR/ray"
    --dashboard-agent-listen-port "$((port + 2))"
    --disable-usage-stats
)
if ((${SLURM_GPUS_ON_NODE:-0} > 0)); then
    options+=(--resources "$(bash cluster/gpu_resources.sh)")
fi
if ((SLURM_NODEID == 0)); then
    options+=(--dashboard-port "$((port + 1))" --ray-client-server-port "$((port + 3))")
else # once the head has ended: Ray would take a minute to notice
    (until [[ -s $LARVAE_RUN/exit_code ]]; do sleep 2; done && ray stop >/dev/null 2>&1) &
    watcher=$!
fi

# The driver leaves its process id, so that it alone can be told to stop, and finds this cluster and no other.
# shellcheck disable=SC2016
driver='echo $$ >"$LARVAE_RUN/driver.pid"; export RAY_ADDRESS=$LARVAE_HEAD; exec "$@" --address "$LARVAE_HEAD"'
code=0
ray symmetric-run --address "$LARVAE_HEAD" --min-nodes "$SLURM_JOB_NUM_NODES" "${options[@]}" -- \
    bash -c "$driver" driver "$@" > >(grep --line-buffered --invert-match ' -- Send termination request to ') 2>&1 &
wait $! || code=$? # not in the foreground: signals are answered at once
if ((SLURM_NODEID == 0)) && [[ -s $LARVAE_RUN/driver.pid ]]; then
    echo "$code" >"$LARVAE_RUN/exit_code"
fi
exit "$code"
