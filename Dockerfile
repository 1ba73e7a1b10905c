# syntax=docker/dockerfile:1

# What it is built with, and what it runs on: the same Debian, so that the C library fits.
FROM rust:1-bookworm AS builder
WORKDIR /build
COPY . .
# The caches keep the compiled dependencies between builds; they are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin respgres \
    && strip --strip-all -o /respgres target/release/respgres

FROM debian:bookworm-slim
# docker build --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) .
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="respgres" \
      org.opencontainers.image.description="A transparent sharding proxy: Redis protocol in front, PostgreSQL shards behind, a coherent Redis cache between" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN groupadd --system --gid 10001 respgres \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin respgres \
    && install --directory --owner=respgres --group=respgres --mode=0700 /var/lib/respgres
# The authorities that certificates of databases are checked against, if nobody names others.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /respgres /usr/local/bin/respgres
# By number, so that who runs it can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/respgres
# Inside a container the ports are published by the container's configuration; 127.0.0.1 could not be reached. As other
# machines may reach them, it does not start without a password, unless LISTEN_WITHOUT_AUTHENTICATION says that it shall.
ENV RESP_ADDR=0.0.0.0:6379 \
    HTTP_ADDR=0.0.0.0:8004 \
    DATA_DIR=/var/lib/respgres
# Nothing is written but to this directory, and to it only with embedded shards: `docker run --read-only` works.
VOLUME /var/lib/respgres
EXPOSE 6379 8004
# It answers what it has read, for SHUTDOWN_TIMEOUT_MS at most, which is as long as Docker waits by default: `docker stop --time 15`.
STOPSIGNAL SIGTERM
# Asks whichever port HTTP_ADDR or HTTP_TLS_ADDR names, as /ready tells it: also degraded it serves. It sees the container's
# variables, not the flags of `docker run`: give those two as variables.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["respgres", "check", "--ready"]
ENTRYPOINT ["respgres"]
