# A stand-in for the image redis, for tests: Debian's server, the user and the folder it has there.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
