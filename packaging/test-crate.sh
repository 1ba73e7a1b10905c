#!/usr/bin/env bash
# `cargo install --path .` into a scratch directory, and what `cargo package` would publish.
#
#   packaging/test-crate.sh [PROFILE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

die() { printf 'test-crate: %s\n' "$*" >&2; exit 1; }

cargo install --quiet --path . --locked --profile "${1:-dev}" --root "$scratch" --no-track
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
[ "$("$scratch/bin/respgres" --version)" = "respgres $version" ] || die "the installed program does not say that it is $version"
[ "$(ls "$scratch/bin")" = respgres ] || die "more than the program is installed: $(ls "$scratch/bin")"

cargo package --list --allow-dirty --offline >"$scratch/files" 2>"$scratch/messages" || { cat "$scratch/messages" >&2; exit 1; }
for file in Cargo.toml Cargo.lock .env.example README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE src/lib.rs src/bin/respgres/main.rs; do
    grep -qx "$file" "$scratch/files" || die "$file would not be published"
done
! grep -vE '^(src/.*\.(rs|lua|html|css|js)|Cargo\.(toml|toml\.orig|lock)|[A-Z]+\.md|LICENSE-[A-Z]+|\.env\.example|\.cargo_vcs_info\.json)$' \
    "$scratch/files" >&2 || die "these files would be published, and are not meant to"
printf 'test-crate: cargo install works, %s files would be published\n' "$(wc -l <"$scratch/files")" >&2
