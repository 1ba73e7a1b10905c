#!/usr/bin/env bash
# Builds the Debian package and judges it: lintian, systemd-analyze, and dpkg, which installs, upgrades and removes it below a
# scratch directory. The program from there then serves under strace, which holds it to what the unit allows.
#
#   packaging/test-deb.sh [PROFILE]
#
# PROFILE is Cargo's; `dev`, unless it is given: what is packed is the same but for its speed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# systemd-analyze's rating in tenths, from 0 (nothing may be done) to 100. The sockets and files that a proxy needs are some 13.
exposure_max=15

scratch=$(mktemp -d)
server=
# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

say() { printf 'test-deb: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" -eq 0 ] || die "root is needed: dpkg sets the files' owners"

deb=$(packaging/build-deb.sh "${1:-dev}")
say "built $deb"

lintian --fail-on error,warning "$deb"
say "lintian finds nothing"

# dpkg's own database, below the scratch directory. What the package depends on is not installed there.
root=$scratch/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/etc"
touch "$root/var/lib/dpkg/status" "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow" "$root/etc/gshadow"
scratch_dpkg() {
    dpkg --root="$root" --log="$scratch/dpkg.log" --force-depends --force-script-chrootless --force-confold "$@" \
        >"$scratch/dpkg.out" 2>&1 || { cat "$scratch/dpkg.out" >&2; die "dpkg $* failed"; }
}
mode_of() { stat -c '%a %U:%G' "$root/$1"; }
expect() { [ "$2" = "$3" ] || die "$1: $2, and not $3"; }

scratch_dpkg --install "$deb"
expect "mode of the program" "$(mode_of usr/bin/respgres)" "755 root:root"
group=$(sed -n 's/^respgres:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
settings_are() { expect "mode of the settings" "$(stat -c '%a %u:%g' "$root/etc/respgres/respgres.env")" "640 0:$1"; }
settings_are "$group"
expect "configuration files" "$(dpkg-query --admindir="$root/var/lib/dpkg" -f '${Conffiles}' -W respgres | awk 'NF { print $1 }')" \
    /etc/respgres/respgres.env
grep -q '^respgres:x:[0-9]*:[0-9]*:.*:/var/lib/respgres:/usr/sbin/nologin$' "$root/etc/passwd" || die "the user respgres is not made"
for file in usr/share/man/man1/respgres.1.gz usr/share/doc/respgres/{changelog.gz,changelog.Debian.gz,copyright,README.md.gz,README.Debian} \
    usr/share/{bash-completion/completions/respgres,zsh/vendor-completions/_respgres,fish/vendor_completions.d/respgres.fish} \
    lib/systemd/system/respgres.service; do
    [ -s "$root/$file" ] || die "$file is missing"
done
! ls "$root/etc/systemd/system/"*.wants/respgres.service >/dev/null 2>&1 || die "the service is enabled before it is configured"
gzip -dc "$root/usr/share/man/man1/respgres.1.gz" | man --warnings=all -l - >/dev/null 2>"$scratch/man.err" || die "man can't read its page"
[ ! -s "$scratch/man.err" ] || { cat "$scratch/man.err" >&2; die "man complains of its page"; }

# Each setting with its default is one that the program takes.
sed -n 's/^#\([A-Z_0-9]*=.*\)/\1/p' "$root/etc/respgres/respgres.env" >"$scratch/settings"
[ "$(wc -l <"$scratch/settings")" -gt 15 ] || die "there are too few settings in respgres.env"
! grep -q 'docker\|POSTGRES_PASSWORD' "$root/etc/respgres/respgres.env" || die "respgres.env speaks of docker"
say "installed"

echo 'MAX_CLIENTS=123' >>"$root/etc/respgres/respgres.env"
scratch_dpkg --install "$deb"
grep -q '^MAX_CLIENTS=123$' "$root/etc/respgres/respgres.env" || die "an upgrade overwrites the settings"
settings_are "$group"
say "installed again, the settings as they were"

# With the rest of the system below it, as the units name targets and programs of others.
for name in respgres respgres@; do
    unit=$scratch/${name}.service
    sed "s|^ExecStart=/usr|ExecStart=$root/usr|" "$root/lib/systemd/system/${name}.service" >"$unit"
    systemd-analyze verify --man=no "$unit" 2>"$scratch/verify.err" || { cat "$scratch/verify.err" >&2; die "systemd-analyze refuses $name"; }
    ! grep respgres "$scratch/verify.err" >&2 || die "systemd-analyze complains of $name"
    systemd-analyze security --offline=true --threshold=$exposure_max "$unit" >"$scratch/security" ||
        { cat "$scratch/security" >&2; die "$name allows more than it has to"; }
done
for line in Environment=REUSE_PORT=on KillSignal=SIGQUIT; do
    expect "lines with $line" "$(grep -cx "$line" "$unit")" 1
done
say "systemd-analyze accepts the units: $(tail -n 1 "$scratch/security" | sed 's/^[^A-Za-z]*//')"

# What it does from start to stop, with a client on each port, has to be what the unit's filter lets pass. Not as root, for
# which SQLite does more.
mkdir "$scratch/data"
chown nobody "$scratch/data"
chmod 755 "$scratch"
install -m 400 -o nobody "$root/etc/respgres/respgres.env" "$scratch/settings"
cd "$scratch/data"
env -i PATH="$PATH" RESP_ADDR=127.0.0.1:0 HTTP_ADDR=127.0.0.1:0 DATA_DIR="$scratch/data" \
    strace --user=nobody --follow-forks --quiet=all -o "$scratch/strace" \
    "$root/usr/bin/respgres" --env-file "$scratch/settings" >"$scratch/log" 2>&1 &
tracer=$!
address() { sed -n "s/.*$1 listening on \([0-9.:]*\).*/\1/p" "$scratch/log"; }
for _ in $(seq 600); do
    [ -z "$(address http)" ] || break
    kill -0 $tracer 2>/dev/null || { cat "$scratch/log" >&2; die "the program does not start"; }
    sleep 0.1
done
server=$(pgrep -P $tracer -x respgres) || die "the program is not there"
resp=$(address resp)
expect "SET" "$(redis-cli -p "${resp##*:}" set key value)" OK
expect "GET" "$(redis-cli -p "${resp##*:}" get key)" value
curl --silent --fail "http://$(address http)/read/key" | grep -q '"value":"value"' || die "HTTP does not read what was written"
expect "MAX_CLIENTS of the settings" "$(redis-cli -p "${resp##*:}" config get maxclients | tail -n 1)" 123
kill -TERM "$server"
wait $tracer || { cat "$scratch/log" >&2; die "the program ends with a failure"; }
server=
cd - >/dev/null

filter_of() { systemd-analyze syscall-filter "$1" | sed -n 's/^ \+\([a-z@][a-z0-9_-]*\)$/\1/p'; }
calls_of() { # a set, and the sets in it
    local call
    filter_of "$1" | while read -r call; do
        case $call in @*) calls_of "$call" ;; *) echo "$call" ;; esac
    done
}
comm -23 <(calls_of @system-service | sort -u) <({ calls_of @privileged; calls_of @resources; } | sort -u) >"$scratch/allowed"
sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$scratch/strace" | sort -u >"$scratch/called"
[ "$(wc -l <"$scratch/called")" -gt 20 ] || die "strace saw too little"
# That is systemd's own, before the filter.
refused=$(comm -23 "$scratch/called" "$scratch/allowed" | grep -vx execve || true)
[ -z "$refused" ] || die "the unit's SystemCallFilter refuses: $(echo "$refused" | tr '\n' ' ')"
! grep -E '(mmap|mprotect|pkey_mprotect)\(.*PROT_WRITE\|PROT_EXEC' "$scratch/strace" >&2 || die "MemoryDenyWriteExecute refuses this"
families=$(sed -n 's/^[0-9]* *socket\((AF_[A-Z0-9]*\).*/\1/p' "$scratch/strace" | tr -d '(' | sort -u)
allowed=$(sed -n 's/^RestrictAddressFamilies=//p' "$unit")
for family in $families; do
    case " $allowed " in *" $family "*) ;; *) die "RestrictAddressFamilies refuses $family" ;; esac
done
say "it does nothing that the unit refuses ($(wc -l <"$scratch/called") kinds of system calls)"

mkdir -p "$root/var/lib/respgres"
touch "$root/var/lib/respgres/shard_0.db"
scratch_dpkg --purge respgres
[ -e "$root/var/lib/respgres/shard_0.db" ] || die "a purge deletes the data"
left=$(find "$root/usr" "$root/lib" "$root/etc/respgres" -type f 2>/dev/null || true)
[ -z "$left" ] || die "a purge leaves: $left"
say "purged, the data being left"
