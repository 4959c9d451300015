#!/bin/bash
# quickstart.sh in a fresh minimal Debian (debootstrap's minbase: no compiler, no git, no locale, no sudo).
# Needs root and debootstrap. usage: run.sh [--root FOLDER] [--as root|sudo|user] [--keep] [-- ARGUMENTS OF QUICKSTART]
#   --as root  as root without sudo (default)
#   --as sudo  as a user who may use sudo
#   --as user  as a user without sudo: must print the apt line and stop with exit code 1
set -euo pipefail
root=/tmp/cytofold-fresh who=root keep=no suite=bookworm
while [ $# -gt 0 ]; do
  case "$1" in
    --root) root="$2"; shift 2 ;;
    --as) who="$2"; shift 2 ;;
    --keep) keep=yes; shift ;;
    --) shift; break ;;
    *) echo "run.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
done
[ "$EUID" -eq 0 ] || { echo "run.sh: chroot needs root" >&2; exit 1; }
source_dir="$(cd "$(dirname "$0")/../.." && pwd)"
base="$root.base.tar" # the bare system, made once

if [ ! -f "$base" ]; then
  command -v debootstrap >/dev/null || { echo "run.sh: debootstrap is not installed" >&2; exit 1; }
  # The mirror that this machine's own apt uses.
  mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)"
  debootstrap --variant=minbase "$suite" "$root.base" "$mirror" >"$root.log"
  tar -C "$root.base" -cf "$base" .
  rm -rf "$root.base"
fi

cleanup() {
  local folder
  for folder in proc sys; do
    ! mountpoint -q "$root/$folder" || umount "$root/$folder" || exit 1 # never rm -rf below a mount
  done
  [ "$keep" = yes ] || rm -rf "$root"
}
trap cleanup EXIT
cleanup
mkdir -p "$root"
tar -C "$root" -xf "$base"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
apt-config dump | grep -E '^Acquire::https?::Proxy ' >"$root/etc/apt/apt.conf.d/80proxy" || true
cp /etc/resolv.conf "$root/etc/resolv.conf"

mkdir -p "$root/opt/cytofold"
tar -C "$source_dir" --exclude=./.git --exclude='./build*' --exclude='./run*' -cf - . | tar -C "$root/opt/cytofold" -xf -
inside() { chroot "$root" /usr/bin/env -i HOME="/root" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

expected=0
start=(bash)
if [ "$who" != root ]; then
  inside useradd -m someone
  start=(su someone)
  expected=1
fi
if [ "$who" = sudo ]; then
  inside sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends sudo >/dev/null'
  echo 'someone ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/someone"
  expected=0
fi
inside chown -R "$([ "$who" = root ] && echo root || echo someone)" /opt/cytofold

began=$SECONDS found=0
inside "${start[@]}" -c "cd /opt/cytofold && launch/quickstart.sh $*" || found=$?
echo "quickstart.sh as $who: exit $found after $((SECONDS - began)) s, packages included"
[ "$found" -eq "$expected" ] || { echo "run.sh: expected exit $expected" >&2; exit 1; }
