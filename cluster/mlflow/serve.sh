#!/usr/bin/env bash
# Runs the MLflow server, in the container of compose.yaml or on a plain host:
#
#     export MLFLOW_NAMES="mlflow 10.0.0.5" PGPASSWORD=...
#     bash cluster/mlflow/serve.sh postgresql+psycopg2://mlflow@localhost/mlflow /srv/mlflow-artifacts
#
# MLFLOW_NAMES: under which names or addresses clients call it; requests for others are refused. It listens on
# MLFLOW_HOST, by default this host alone. Artifacts go through the server: no client needs access to their folder
# (or s3://BUCKET). The database's password stays out of the command, which every user of the host can read.
set -euo pipefail

if (($# != 2)) || [[ -z ${MLFLOW_NAMES:-} ]]; then
    echo "error: a database's URI, a folder of artifacts and MLFLOW_NAMES must be given, got $# and '${MLFLOW_NAMES:-}'" >&2
    exit 2
fi
allowed='localhost:*,127.0.0.1:*'
origins='http://localhost:*,http://127.0.0.1:*'
for name in $MLFLOW_NAMES; do
    allowed+=",$name,$name:*"
    origins+=",http://$name,http://$name:*,https://$name,https://$name:*" # else its own page is refused under this name
done
# Of GenAI, which sweeps do not use: eight processes, and jobs that ask for no password.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false}
export MLFLOW_DISABLE_TELEMETRY=${MLFLOW_DISABLE_TELEMETRY:-true}
exec mlflow server --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-4}" \
    --backend-store-uri "$1" --artifacts-destination "$2" --allowed-hosts "$allowed" \
    --cors-allowed-origins "$origins"
