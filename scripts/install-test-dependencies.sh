#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, from Debian 12's packages:
# PostgreSQL 15's server, Redis 7 with its tools, curl, and a C compiler (SQLite is built from source).
#
# The tests start their own servers. The packages must therefore start none, now or at the next boot:
# a Redis on 6379 would take the proxy's port.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
no_cluster=/etc/postgresql-common/createcluster.d/respgres-tests.conf

say() { printf 'install-test-dependencies: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The tests look in Debian's directory first, too: it is not in PATH.
have_postgres() {
    local program
    for program in initdb postgres; do
        [ -x "/usr/lib/postgresql/15/bin/$program" ] || have "$program" || return 1
    done
}

missing_packages() {
    local -a packages=()
    have_postgres || packages+=(postgresql-15)
    have redis-server || packages+=(redis-server)
    { have redis-cli && have redis-benchmark; } || packages+=(redis-tools)
    have curl || packages+=(curl)
    # Any compiler that cc stands for will do; gcc alone comes without the C library's headers.
    { have cc && [ -e /usr/include/stdlib.h ]; } || packages+=(gcc libc6-dev)
    printf '%s\n' "${packages[@]}"
}

made_policy=no
# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    rm -f "$no_cluster"
    rmdir --ignore-fail-on-non-empty "${no_cluster%/*}" || true
    if [ "$made_policy" = yes ]; then rm -f "$policy"; fi
}

# As root: installs "$@" without letting a service start or a database cluster be made.
install_packages() {
    local redis_is_new=no
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    have redis-server || redis_is_new=yes
    if [ ! -e "$policy" ]; then
        made_policy=yes
        printf '#!/bin/sh\n# Temporary, while the test dependencies are installed: start nothing.\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    mkdir -p "${no_cluster%/*}"
    printf 'create_main_cluster = false\n' >"$no_cluster"

    export DEBIAN_FRONTEND=noninteractive
    local -a apt=(apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -q)
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends "$@"

    if [ "$redis_is_new" = yes ]; then
        if have systemctl; then systemctl disable --quiet redis-server.service || true; fi
        update-rc.d redis-server disable || true
    fi
}

if [ "${1-}" = --as-root ]; then
    shift
    install_packages "$@"
    exit
fi

mapfile -t packages <<<"$(missing_packages)"
if [ -z "${packages[*]}" ]; then
    exit 0
fi
say "missing: ${packages[*]}"
have apt-get || die "this machine has no apt-get. Install PostgreSQL 15 or newer (its server), Redis 7 (redis-server, redis-cli), curl and a C compiler yourself, all in PATH"
if [ "$(id -u)" -eq 0 ]; then
    bash "$0" --as-root "${packages[@]}"
elif have sudo; then
    sudo bash "$0" --as-root "${packages[@]}" || die "sudo apt-get install ${packages[*]} failed"
else
    die "root is needed, and there is no sudo. As root: apt-get install ${packages[*]}"
fi

mapfile -t packages <<<"$(missing_packages)"
if [ -n "${packages[*]}" ]; then
    die "still missing after the installation: ${packages[*]}"
fi
