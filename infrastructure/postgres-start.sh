#!/bin/sh
# What a container of PostgreSQL runs (docker-compose.yml), as root: the key in the volume is root's alone, and the
# server wants one that is its own.
#
#     postgres-start.sh postgres [OPTIONS]   the server, by the image's entrypoint, which steps down from root
#     postgres-start.sh take                 the running server takes a renewed certificate; its sessions go on
set -eu

take() {
    install -o postgres -g postgres -m 600 /certificates/server.crt /certificates/server.key /run/certificates
}

if [ "$1" = take ]; then
    take
    kill -HUP 1
    exit
fi
if [ "$WAREHOUSE_SSLMODE" != disable ]; then
    take
    set -- "$@" -c ssl=on -c ssl_cert_file=/run/certificates/server.crt -c ssl_key_file=/run/certificates/server.key \
        -c hba_file=/etc/ecommerce-dw/pg_hba.conf
fi
exec docker-entrypoint.sh "$@"
