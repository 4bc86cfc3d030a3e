#!/usr/bin/env bash
# What compose.yaml uses of the official image's entrypoint: user and password, authentication of hosts, scripts of the first start.
# As there, the server of the first start listens on no address of the network until its scripts are through.
set -eu -o pipefail
shopt -s nullglob
servers=(/usr/lib/postgresql/*/bin)
export PATH="${servers[0]}:$PATH"

if [ "$(id -u)" = 0 ]; then
  POSTGRES_PASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
  export POSTGRES_PASSWORD
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086  (words)
  initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -w start -o "-c listen_addresses="
  createdb --username="$POSTGRES_USER" "$POSTGRES_USER"
  for script in /docker-entrypoint-initdb.d/*.sql; do
    psql --username="$POSTGRES_USER" --set=ON_ERROR_STOP=1 --file="$script"
  done
  pg_ctl -m fast -w stop
fi
exec "$@"
