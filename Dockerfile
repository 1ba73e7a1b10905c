# syntax=docker/dockerfile:1
FROM rust:1-bookworm AS builder
WORKDIR /build
COPY . .
# The caches keep the compiled dependencies between builds; they are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin respgres \
    && strip --strip-all -o /respgres target/release/respgres

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin respgres \
    && install --directory --owner=respgres /var/lib/respgres
COPY --from=builder /respgres /usr/local/bin/respgres
USER respgres
# Inside a container the ports are published by the container's configuration; 127.0.0.1 could not be reached. As other
# machines may reach them, it does not start without a password, unless LISTEN_WITHOUT_AUTHENTICATION says that it shall.
ENV RESP_ADDR=0.0.0.0:6379 \
    HTTP_ADDR=0.0.0.0:8004 \
    DATA_DIR=/var/lib/respgres
VOLUME /var/lib/respgres
EXPOSE 6379 8004
# Bash is there and opens TCP connections itself, so the image needs no curl.
# Ready is 200: healthy, or degraded and still serving.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8004 && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r status <&3 && [[ $status == 'HTTP/1.1 200 '* ]]"]
ENTRYPOINT ["respgres"]
