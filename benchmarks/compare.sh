#!/usr/bin/env bash
# Compares respgres with a direct Redis: the same redis-benchmark against each, in turns, within the same minutes.
#
#   benchmarks/compare.sh
#
# Starts everything itself on free ports, in a temporary directory, and stops it again: a Redis to compare with,
# respgres on three PostgreSQL databases of one server with a Redis as cache, and respgres embedded.
# ROUNDS (5), REQUESTS (100000) and CLIENTS (50) change how much is done; RESPGRES names a binary that is built already.
# The figures depend on the machine, which the load generator shares; the ratios travel better.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${ROUNDS:-5}
requests=${REQUESTS:-100000}
clients=${CLIENTS:-50}
shards=3

die() { printf 'compare: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

for program in redis-server redis-benchmark redis-cli; do
    have "$program" || die "$program is missing; scripts/install-test-dependencies.sh installs it"
done
if [ -x /usr/lib/postgresql/15/bin/initdb ]; then
    PATH=/usr/lib/postgresql/15/bin:$PATH
fi
for program in initdb postgres psql pg_isready; do
    have "$program" || die "$program is missing; scripts/install-test-dependencies.sh installs PostgreSQL"
done

if [ -z "${RESPGRES-}" ]; then
    cargo build --release --bin respgres >&2
    RESPGRES=${CARGO_TARGET_DIR:-target}/release/respgres
fi
RESPGRES=$(realpath "$RESPGRES")

dir=$(mktemp -d "${TMPDIR:-/tmp}/respgres-compare.XXXXXX")
chmod 755 "$dir"
pids=()
# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    local at
    trap - EXIT
    # What was started last ends first: the proxies before their databases. SIGINT is PostgreSQL's fast shutdown.
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        kill -INT "${pids[at]}" 2>/dev/null || true
        wait "${pids[at]}" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    fi
    exec "$@"
}

# A port that nobody listens on, and that was not handed out before. Between 20000 and 29999: the kernel's own choices
# for outgoing connections are above.
handed_out=' '
free_port() {
    while true; do
        port=$((20000 + RANDOM % 10000))
        [[ $handed_out == *" $port "* ]] && continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
        handed_out+="$port "
        return
    done
}

# start LOG COMMAND…: in the background, in a process group of its own, so that Ctrl-C reaches this script alone.
start() {
    local log=$dir/$1.log
    shift
    set -m
    ("$@") >"$log" 2>&1 </dev/null &
    pids+=($!)
    set +m
}

# await NAME COMMAND…: until the command succeeds.
await() {
    local name=$1 tries
    shift
    for ((tries = 0; tries < 150; tries++)); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$dir/$name.log" >&2
    die "$name did not start"
}

start_redis() {
    mkdir "$dir/$1"
    start "$1" exec_in "$dir/$1" redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no
    await "$1" answers "$port"
}
exec_in() { cd "$1"; shift; exec "$@"; }
answers() { [ "$(redis-cli -h 127.0.0.1 -p "$1" ping)" = PONG ]; }

start_postgres() {
    mkdir "$dir/postgres"
    if [ "$(id -u)" -eq 0 ]; then chown postgres: "$dir/postgres"; fi
    (cd / && as_postgres initdb -D "$dir/postgres/data" -U dbuser -A trust -E UTF8 --locale=C) >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; die "initdb failed"; }
    # All else as it comes: in particular fsync and synchronous_commit, so that a SET is durable.
    start postgres exec_postgres
    await postgres pg_isready -h 127.0.0.1 -p "$port" -U dbuser
    local shard
    for ((shard = 0; shard < shards; shard++)); do
        psql -q -h 127.0.0.1 -p "$port" -U dbuser -d postgres -c "create database appdb_shard_$shard"
    done
}
exec_postgres() {
    cd /
    as_postgres postgres -D "$dir/postgres/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
}

# start_proxy NAME VARIABLE=VALUE…: nothing but these comes from this script's environment.
start_proxy() {
    local name=$1 http_port
    shift
    free_port
    http_port=$port
    free_port
    mkdir "$dir/$name"
    start "$name" exec_in "$dir/$name" env -i PATH="$PATH" RUST_LOG=warn RESP_ADDR="127.0.0.1:$port" \
        HTTP_ADDR="127.0.0.1:$http_port" DATA_DIR="$dir/$name/data" "$@" "$RESPGRES"
    await "$name" answers "$port"
}

free_port
start_redis redis
redis_port=$port
free_port
start_redis cache
cache_port=$port
free_port
start_postgres
postgres_port=$port
urls=()
for ((shard = 0; shard < shards; shard++)); do
    urls+=("SHARD_${shard}_URL=postgresql://dbuser@127.0.0.1:$postgres_port/appdb_shard_$shard")
done
start_proxy respgres-postgresql "${urls[@]}" "REDIS_URL=redis://127.0.0.1:$cache_port"
postgresql_port=$port
start_proxy respgres-embedded
embedded_port=$port

names=("redis" "respgres, PostgreSQL + Redis" "respgres, embedded")
ports=("$redis_port" "$postgresql_port" "$embedded_port")
results=$dir/results # lines: target depth test requests-per-second

# An error reply stops redis-benchmark, with a message; a run without both figures does not count as one.
run() {
    local target=$1 depth=$2 csv
    csv=$(redis-benchmark -h 127.0.0.1 -p "${ports[target]}" -t set,get -n "$requests" -c "$clients" -P "$depth" --csv 2>&1) ||
        die "${names[target]}: redis-benchmark failed: $csv"
    awk -F '","' -v target="$target" -v depth="$depth" '
        { gsub(/^"/, "", $1) }
        $1 == "SET" || $1 == "GET" { print target, depth, $1, $2; found++ }
        END { exit found != 2 }' <<<"$csv" >>"$results" || die "${names[target]}: redis-benchmark said: $csv"
}

for ((round = 1; round <= rounds; round++)); do
    printf '\rround %d of %d' "$round" "$rounds" >&2
    for depth in 1 16; do
        for target in "${!names[@]}"; do run "$target" "$depth"; done
    done
done
printf '\r                    \r' >&2

median() {
    awk -v target="$1" -v depth="$2" -v test="$3" '$1 == target && $2 == depth && $3 == test { print $4 }' "$results" |
        sort -n | awk '{ all[NR] = $1 } END { print (NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2) }'
}

processor=$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
cat <<END
$(date -u +%Y-%m-%d), $(nproc) processors (${processor:-unknown}), Linux $(uname -r)
$("$RESPGRES" --version); $(postgres --version); Redis $(redis-server --version | grep -o 'v=[^ ]*' | cut -c3-); $(redis-benchmark --version)
redis-benchmark -t set,get -n $requests -c $clients, load and servers on the same machine; medians of $rounds rounds, requests a second

| server | pipeline | SET | of Redis | GET | of Redis |
|---|---:|---:|---:|---:|---:|
END
for depth in 1 16; do
    for target in "${!names[@]}"; do
        awk -v name="${names[target]}" -v depth="$depth" \
            -v set="$(median "$target" "$depth" SET)" -v set_redis="$(median 0 "$depth" SET)" \
            -v get="$(median "$target" "$depth" GET)" -v get_redis="$(median 0 "$depth" GET)" \
            'BEGIN { printf "| %s | %d | %.0f | %.2f | %.0f | %.2f |\n", name, depth, set, set / set_redis, get, get / get_redis }'
    done
done
