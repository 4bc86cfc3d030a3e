#!/usr/bin/env bash
# Makes what infra/compose.yaml needs and is not there yet: secrets (readable by their owner and uid 10001), keys, .env.
#
#   DATA=/srv/plumbline/data   folder for data/ and data.dvc, which uid 10001 reads
#   KEYS=/srv/plumbline/keys   folder for the signing keys
#   DOCKER_SOCKET=...          the engine's, by default /var/run/docker.sock
set -eu -o pipefail
cd "$(dirname "$0")"
umask 077

data="${DATA:-/srv/plumbline/data}"
keys="${KEYS:-/srv/plumbline/keys}"
engine="${DOCKER_SOCKET:-/var/run/docker.sock}"
python="${PYTHON:-../../.venv/bin/python}"
[ -d "$data" ] || install -d -m 755 "$data"
mkdir -p secrets

secret() { [ -s "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"; }
random() { "$python" -c 'import secrets; print(secrets.token_hex(32), end="")'; }

secret postgres "$(random)"
secret airflow_api "$(random)"
secret airflow_jwt "$(random)"
secret mlflow_flask "$(random)"
secret airflow_fernet "$("$python" -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode(), end="")')"
password="$(cat secrets/postgres)"
secret airflow_database "postgresql+psycopg2://plumbline:$password@postgres/airflow"
secret mlflow_database "postgresql+psycopg2://plumbline:$password@postgres/mlflow"
for name in admin engineer reviewer auditor; do declare "$name=$(random | cut -c1-16)"; done
secret airflow_users "{\"admin\": \"$admin\", \"engineer\": \"$engineer\", \"reviewer\": \"$reviewer\", \"auditor\": \"$auditor\"}"
secret gateway_keys ""
[ -s mlflow.env ] || printf 'MLFLOW_TRACKING_USERNAME=plumbline\nMLFLOW_TRACKING_PASSWORD=%s\n' "$(random)" > mlflow.env
secret mlflow_auth "[mlflow]
default_permission = NO_PERMISSIONS
database_uri = postgresql+psycopg2://plumbline:$password@postgres/mlflow_auth
admin_username = plumbline
admin_password = $(sed -n 's/^MLFLOW_TRACKING_PASSWORD=//p' mlflow.env)
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"
"$python" -m components.keys "$keys" --owner 10001
chown -R 10001:0 secrets 2> /dev/null || echo "Run as root, or give secrets/ to uid 10001 yourself." >&2

[ -s .env ] || cat > .env << END
COMPOSE_PROJECT_NAME=plumbline
DATA=$data
KEYS=$keys
AIRFLOW_IMAGE=airflow:TAG
DATA_IMAGE=pipeline-data:TAG
TRAIN_IMAGE=pipeline-train:TAG
SERVE_IMAGE=pipeline-serve:TAG
DOCKER_SOCKET=$engine
DOCKER_GROUP=$(stat -c %g "$engine" 2> /dev/null || echo 0)
END
echo "Put the images that infra/images/build.sh printed into infra/compose/.env; passwords of Airflow's users: infra/compose/secrets/airflow_users."
