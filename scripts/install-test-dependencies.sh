#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, from Debian 12's packages:
# PostgreSQL 15's server, Redis 7 with its tools, curl, a C compiler (SQLite is built from source), hiredis, and Python
# with venv, into which the other client libraries are installed; promtool, of Prometheus; and Chromium.
# With --benchmarks also what the benchmarks need: pgbench, wrk, and twemproxy where it can be had.
# With --packages also what builds and judges the Debian package: debhelper, lintian, systemd-analyze, strace.
#
# The tests start their own servers. The packages must therefore start none, now or at the next boot:
# a Redis on 6379 would take the proxy's port.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
no_cluster=/etc/postgresql-common/createcluster.d/respgres-tests.conf

say() { printf 'install-test-dependencies: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

benchmarks=no
packages_too=no
while :; do
    case ${1-} in
        --benchmarks) benchmarks=yes ;;
        --packages) packages_too=yes ;;
        *) break ;;
    esac
    shift
done

# Its package has a server of 100 MB, with a service; only the program that checks is wanted.
promtool=/usr/local/bin/promtool
have_promtool() { have promtool || [ -x "$promtool" ]; }

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
    [ -e /usr/include/hiredis/hiredis.h ] || packages+=(libhiredis-dev)
    have chromium || packages+=(chromium)
    # The runner of the benchmarks is written for the Python of Debian 12.
    /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || packages+=(python3-venv)
    if [ "$benchmarks" = yes ]; then
        [ -x /usr/lib/postgresql/15/bin/pgbench ] || have pgbench || packages+=(postgresql-15)
        have wrk || packages+=(wrk)
    fi
    if [ "$packages_too" = yes ]; then
        { have dh && have dpkg-buildpackage; } || packages+=(debhelper dpkg-dev)
        have lintian || packages+=(lintian)
        { have systemd-analyze && have systemd-sysusers; } || packages+=(systemd)
        have strace || packages+=(strace)
        have pgrep || packages+=(procps)
    fi
    printf '%s\n' "${packages[@]}"
}

# Only a row of the benchmarks is missing without it.
missing_twemproxy() {
    [ "$benchmarks" = yes ] && ! have nutcracker && ! [ -x /usr/sbin/nutcracker ]
}

made_policy=no
# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    rm -f "$no_cluster"
    rmdir --ignore-fail-on-non-empty "${no_cluster%/*}" || true
    if [ "$made_policy" = yes ]; then rm -f "$policy"; fi
}

# As root: takes promtool out of its package, which is not installed.
extract_promtool() {
    local directory
    directory=$(mktemp -d)
    # Each step only after the one before: an empty program would be taken for installed.
    (
        cd "$directory" &&
            apt-get -o APT::Sandbox::User=root -q download prometheus &&
            dpkg-deb --extract prometheus_*.deb . &&
            install -m 755 -D usr/bin/promtool "$promtool"
    ) || say "promtool can't be had"
    rm -rf "$directory"
}

# As root: installs "$@" without letting a service start or a database cluster be made.
install_packages() {
    local service
    local -a new_services=()
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    have redis-server || new_services+=(redis-server)
    [ -e /etc/init.d/nutcracker ] || new_services+=(nutcracker)
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
    if [ $# -gt 0 ]; then "${apt[@]}" install -y --no-install-recommends "$@"; fi
    if ! have_promtool; then extract_promtool; fi
    if missing_twemproxy; then
        "${apt[@]}" install -y --no-install-recommends nutcracker || say "nutcracker (twemproxy) can't be installed; it will not be measured"
    fi

    for service in "${new_services[@]}"; do
        [ -e "/etc/init.d/$service" ] || continue
        if have systemctl; then systemctl disable --quiet "$service.service" || true; fi
        update-rc.d "$service" disable || true
    done
}

if [ "${1-}" = --as-root ]; then
    shift
    install_packages "$@"
    exit
fi

mapfile -t packages <<<"$(missing_packages)"
if [ -z "${packages[*]}" ]; then
    packages=()
    if have_promtool && ! missing_twemproxy; then exit 0; fi
fi
say "missing: ${packages[*]}$(if ! have_promtool; then echo ' promtool'; fi)$(if missing_twemproxy; then echo ' nutcracker'; fi)"
have apt-get || die "this machine has no apt-get. Install PostgreSQL 15 or newer (its server) and Redis 7 (redis-server, redis-cli) in PATH, curl, a C compiler, hiredis with its headers, promtool, chromium, and Python 3.11 or newer with venv as /usr/bin/python3 yourself"
as_root=(bash "$0")
if [ "$benchmarks" = yes ]; then as_root+=(--benchmarks); fi
if [ "$packages_too" = yes ]; then as_root+=(--packages); fi
if [ "$(id -u)" -ne 0 ]; then
    if have sudo; then
        as_root=(sudo "${as_root[@]}")
    elif [ ${#packages[@]} -gt 0 ] || ! have_promtool; then
        die "root is needed, and there is no sudo. As root: $0"
    else
        say "root is needed for nutcracker (twemproxy), and there is no sudo; it will not be measured"
        exit 0
    fi
fi
if ! "${as_root[@]}" --as-root "${packages[@]}"; then
    [ ${#packages[@]} -eq 0 ] || die "apt-get install ${packages[*]} failed"
fi

mapfile -t packages <<<"$(missing_packages)"
if [ -n "${packages[*]}" ]; then
    die "still missing after the installation: ${packages[*]}"
fi
have_promtool || die "promtool is still missing: apt-get has to reach Debian's package prometheus"
