#!/usr/bin/env bash
# Dumps all shards as they were at one instant, while they are used.
#
#   SHARD_0_URL=postgresql://… SHARD_1_URL=… backup.sh DIRECTORY
#
# As for the proxy, SHARD_n_URL_FILE can name a file with the URL instead.
#
# Writes DIRECTORY/shard_0.dump, shard_1.dump, … (pg_dump's custom format). Needs psql and pg_dump of the servers' version,
# and the role that owns the tables.
#
# A lock on the table of every shard makes writers wait for some milliseconds, and waits itself until no transaction is
# half done: under it a snapshot is taken on each shard. Then the locks go, and the dumps read from their snapshots for
# as long as they like. With RESTORE_POINT=NAME (and a role that may call pg_create_restore_point) the same instant gets a
# name in the write-ahead log of every shard, for point-in-time recovery.
# Without DIRECTORY it only does that.
set -euo pipefail
umask 077
# A session that has ended is told by what it does not answer.
trap '' PIPE

# How long writers may be made to wait; proxies give up a statement after DB_QUERY_TIMEOUT_MS.
lock_timeout=${LOCK_TIMEOUT_MS:-3000}

die() { printf 'backup: %s\n' "$*" >&2; exit 1; }

if [ $# -eq 0 ] && [ -n "${RESTORE_POINT-}" ]; then
    directory=
elif [ $# -eq 1 ] && [ -n "$1" ]; then
    directory=$1
else
    die "give the directory to write to, or RESTORE_POINT"
fi
urls=()
for ((n = 0; ; n++)); do
    name=SHARD_${n}_URL file=SHARD_${n}_URL_FILE
    url=${!name-}
    if [ -n "${!file-}" ]; then
        [ -z "$url" ] || die "$file is given, and $name as well; take one of them away"
        url=$(cat -- "${!file}") || die "$file: ${!file} can't be read"
        url=${url%$'\r'}
        [ -n "$url" ] || die "$file: ${!file} is empty"
    fi
    [ -n "$url" ] || break
    urls+=("$url")
done
[ ${#urls[@]} -gt 0 ] || die "neither SHARD_0_URL nor SHARD_0_URL_FILE is set"
if [ -n "$directory" ]; then
    mkdir -p "$directory"
    for n in "${!urls[@]}"; do
        [ ! -e "$directory/shard_$n.dump" ] || die "$directory/shard_$n.dump is there already"
    done
fi

pipes=$(mktemp -d)
sessions=()
clean_up() {
    # A session whose input ends rolls back.
    for pid in "${sessions[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$pipes"
}
trap clean_up EXIT

declare -A to from
# Prints a text with each %XX as the byte that it stands for, and all else as it is.
decoded() {
    local rest=$1 text=
    while [[ $rest =~ ^([^%]*)%([0-9A-Fa-f]{2})(.*)$ ]]; do
        text+=${BASH_REMATCH[1]//\\/\\\\}\\x${BASH_REMATCH[2]} rest=${BASH_REMATCH[3]}
    done
    printf '%b' "$text${rest//\\/\\\\}"
}
# Runs a program with the URL of a shard. Its password goes by the environment: everybody can read arguments.
with_url() {
    local url=$1 query=() rest='' parameter
    shift
    # A port and a name, with an @ somewhere in what follows, are no password.
    if [[ $url =~ ^([a-z]+://[^:/@]*):([^@/]*|[0-9]*[^@/0-9,][^@]*)@(.*)$ ]]; then
        export PGPASSWORD
        PGPASSWORD=$(decoded "${BASH_REMATCH[2]}")
        url=${BASH_REMATCH[1]}@${BASH_REMATCH[3]}
    fi
    if [[ $url == *\?* ]]; then
        IFS='&' read -r -a query <<<"${url#*\?}"
        for parameter in "${query[@]}"; do
            # As in libpq, names may be encoded, and this one counts more than the one before the @.
            if [ "$(decoded "${parameter%%=*}")" = password ]; then
                export PGPASSWORD
                PGPASSWORD=$(decoded "${parameter#*=}")
            else
                rest+=${rest:+&}$parameter
            fi
        done
        url=${url%%\?*}${rest:+?$rest}
    fi
    exec "$@" --dbname="$url"
}
# Opens a session of psql under a name.
open_session() {
    local name=$1 url=$2 in out
    mkfifo "$pipes/$name.in" "$pipes/$name.out"
    with_url "$url" psql -X -q -A -t -v ON_ERROR_STOP=1 -v VERBOSITY=terse <"$pipes/$name.in" >"$pipes/$name.out" &
    sessions+=($!)
    exec {in}>"$pipes/$name.in" {out}<"$pipes/$name.out"
    to[$name]=$in from[$name]=$out
}
# Prints the one line that a statement answers with.
ask() {
    local name=$1 line
    printf '%s\n' "$2" 2>/dev/null 1>&"${to[$name]}" || true
    IFS= read -r line <&"${from[$name]}" || die "shard ${name##*_}: $3 (what the server said is above)"
    printf '%s\n' "$line"
}

for n in "${!urls[@]}"; do
    open_session "lock_$n" "${urls[n]}"
    open_session "snapshot_$n" "${urls[n]}"
done
for n in "${!urls[@]}"; do
    ask "lock_$n" "BEGIN; SET LOCAL lock_timeout = $lock_timeout; LOCK TABLE respgres_kv IN SHARE MODE; SELECT 'locked';" \
        "no lock on respgres_kv within LOCK_TIMEOUT_MS ($lock_timeout ms), or no connection: a long transaction holds it (pg_stat_activity), \
or one that was prepared (pg_prepared_xacts), which a proxy has to finish" >/dev/null
done
snapshots=()
for n in "${!urls[@]}"; do
    snapshots[n]=$(ask "snapshot_$n" "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();" \
        "no snapshot")
    if [ -n "${RESTORE_POINT-}" ]; then
        ask "lock_$n" "SELECT pg_create_restore_point('${RESTORE_POINT//\'/}');" \
            "no restore point; the role needs EXECUTE on pg_create_restore_point" >/dev/null
    fi
done
for n in "${!urls[@]}"; do
    ask "lock_$n" "ROLLBACK; SELECT 'released';" "the connection was lost before the lock was released: this backup may not be of one instant" >/dev/null
done
if [ -z "$directory" ]; then
    printf 'backup: restore point %s on %s shards\n' "$RESTORE_POINT" "${#urls[@]}"
    exit
fi

dumps=()
for n in "${!urls[@]}"; do
    with_url "${urls[n]}" pg_dump --format=custom --snapshot="${snapshots[n]}" --file="$directory/shard_$n.dump.part" &
    dumps+=($!)
done
for n in "${!dumps[@]}"; do
    wait "${dumps[n]}" || die "shard $n could not be dumped"
done
# Not before all are there: a part of a backup looks like none.
for n in "${!urls[@]}"; do
    mv "$directory/shard_$n.dump.part" "$directory/shard_$n.dump"
done
printf 'backup: %s shards in %s\n' "${#urls[@]}" "$directory"
