#!/usr/bin/env bash
# Builds the Debian package into target/deb, and prints its name.
#
#   packaging/build-deb.sh [PROFILE]
#
# PROFILE is Cargo's: `release`, unless a test wants something sooner.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-release}
target=${CARGO_TARGET_DIR:-target}
built=$target/$profile
if [ "$profile" = dev ]; then built=$target/debug; fi
out=$target/deb
stage=$out/respgres

die() { printf 'build-deb: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
packed=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
[ "${packed%-*}" = "$version" ] || die "packaging/debian/changelog has $packed, and Cargo.toml $version: add an entry"

cargo build --quiet --locked --bin respgres --profile "$profile" >&2

rm -rf "$out"
mkdir -p "$stage"
cp -R packaging/debian "$stage"
cp README.md ARCHITECTURE.md CHANGELOG.md "$stage"
install -m 755 "$built/respgres" "$stage/respgres"

# The unit for processes that take over from each other is the other one, but for this.
sed -e 's/^\(Description=.*\)$/\1 (%i)/' \
    -e 's/^Environment=DATA_DIR=.*$/&\n# One process listens beside the other until that has drained, which is what SIGQUIT asks for.\nEnvironment=REUSE_PORT=on\nKillSignal=SIGQUIT/' \
    packaging/debian/respgres.service >"$stage/debian/respgres@.service"

# The configuration is .env.example, where the package has things.
{
    cat <<'END'
# The configuration of the service respgres. Take the # away in front of what you change, then:
# systemctl restart respgres
# Or reload, which keeps the connections: the log says what needs a restart all the same.
#
# Readable by root and the service alone. An empty value counts as none. A value is taken as it is; spaces at its ends, and a
# quote at its start, need ' and ' around it. In a password within a URL, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25.
END
    sed -e '1,/^$/{/^$/!d}' -e '/^# For docker compose/,$d' -e 's|^#DATA_DIR=.*|#DATA_DIR=/var/lib/respgres|' .env.example
} | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$stage/respgres.env"

# What is linked in, with its licences.
{
    printf 'Libraries linked into respgres %s, and their licences\n\n' "$version"
    cargo tree --locked --edges normal --prefix none --format '{p} {l}' | sed -e 1d -e 's/ (\*)$//' -e 's/ (proc-macro)//' | sort -u
    printf '\nSQLite (in libsqlite3-sys): public domain\nSwagger UI (in utoipa-swagger-ui-vendored): Apache-2.0\n'
    printf '\njemalloc (in tikv-jemalloc-sys):\n\n'
    jemalloc=$(cargo metadata --locked --format-version 1 | grep -o '"[^"]*/tikv-jemalloc-sys-[^"/]*/Cargo.toml"' | head -n 1 | tr -d '"')
    cat "$(dirname "$jemalloc")/jemalloc/COPYING"
} >"$stage/third-party.txt"

# Manual and completions, as the program writes them.
mkdir "$stage/man"
"$stage/respgres" man --dir "$stage/man"
for shell in bash/respgres zsh/_respgres fish/respgres.fish; do
    mkdir "$stage/${shell%/*}"
    "$stage/respgres" completions "${shell%/*}" >"$stage/$shell"
done
(cd "$stage" && printf '%s\n' man/*.1 >debian/respgres.manpages)

(cd "$stage" && dpkg-buildpackage --build=binary --unsigned-changes >../build.log 2>&1) ||
    { cat "$out/build.log" >&2; die "dpkg-buildpackage failed"; }
ls "$out"/*.deb
