#!/usr/bin/env bash
# Builds the images and checks them: `make images`, or scripts/images.sh operator (or trainer, or serving) for one.
# docker or podman where an engine answers; otherwise buildah without any daemon, on a base image made by debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CA="${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
readonly VERSION

say() { printf '[images] %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

engine() {
    local name
    for name in docker podman; do
        if "$name" info >/dev/null 2>&1; then echo "$name"; return; fi
    done
    echo buildah
}

dockerfile() {
    case "$1" in
        operator) echo operator/Dockerfile ;;
        trainer) echo trainer_image/Dockerfile ;;
        serving) echo serving_image/Dockerfile ;;
        *) die "no image named $1; there are: operator, trainer, serving" ;;
    esac
}

# buildah and debootstrap from Debian's packages, where they are missing.
install_buildah() {
    if command -v buildah >/dev/null && command -v debootstrap >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "no container engine answers, and buildah or debootstrap is missing: start docker or podman, or run 'apt-get install buildah debootstrap' as root"
    fi
    say "installing buildah and debootstrap"
    apt-get update -qq >/dev/null || say "apt-get update complained; trying all the same"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah debootstrap >/dev/null
}

# A Debian with Python under the very name that FROM uses: nothing is pulled.
make_base() {
    local name="$1" container root
    if buildah inspect --type image "$name" >/dev/null 2>&1; then return; fi
    say "making $name by debootstrap, about two minutes"
    container="$(buildah from scratch)"
    root="$(buildah mount "$container")"
    if ! debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$WORK/debootstrap.log" 2>&1; then
        tail -20 "$WORK/debootstrap.log" >&2
        buildah rm "$container" >/dev/null
        die "debootstrap failed"
    fi
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/log/*
    buildah umount "$container" >/dev/null
    buildah commit --quiet --rm "$container" "$name" >/dev/null
}

build() {
    local file="$1" tag="$2"
    local options=(--file "$file" --tag "$tag")
    if [ -r "$CA" ]; then options+=(--secret "id=ca,src=$CA"); fi
    say "building $tag with $ENGINE"
    case "$ENGINE" in
        docker) DOCKER_BUILDKIT=1 docker build "${options[@]}" . ;;
        podman) podman build "${options[@]}" . ;;
        buildah)
            make_base "$(sed -n 's/^FROM \([^ ]*\)$/\1/p' "$file")"
            buildah bud --pull-never "${options[@]}" .
            ;;
    esac
}

ENGINE="$(engine)"
readonly ENGINE
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
if [ "$ENGINE" = buildah ]; then
    [ "$(id -u)" = 0 ] || die "buildah without user namespaces needs root: run this as root, or start docker or podman"
    install_buildah
    export BUILDAH_ISOLATION=chroot
fi
[ $# -gt 0 ] || set -- operator trainer serving
for image in "$@"; do
    file="$(dockerfile "$image")"
    build "$file" "attune-$image:$VERSION"
done
say "checking: $*"
export ATTUNE_IMAGE_ENGINE="$ENGINE" ATTUNE_IMAGES="$*" ATTUNE_IMAGE_VERSION="$VERSION"
.venv/bin/pytest -m images tests/images
