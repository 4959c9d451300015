#!/bin/bash
# Builds launch/apptainer.def and runs its %test: by Apptainer where it is installed; else (as root) what the file
# says is carried out step by step in two fresh Debian roots, which shows that its sections do what they should, not
# that Apptainer reads the file. Minutes, needs packages from a mirror: cmake --build BUILD --target apptainer
# usage: apptainer.sh SOURCE WORK
set -euo pipefail
source_dir="$1" work="$2"
definition="$source_dir/launch/apptainer.def"
mkdir -p "$work"
cd "$source_dir"
if command -v apptainer >/dev/null; then
  apptainer build --force "$work/cytofold.sif" "$definition"
  exec apptainer test "$work/cytofold.sif"
fi
echo "-- apptainer is not installed: its steps in fresh roots"
[ "$EUID" -eq 0 ] || { echo "chroot needs root" >&2; exit 1; }

# section STAGE HEADING: the lines of a section, with the values of %arguments in place
section() {
  awk -v stage="$1" -v wanted="%$2" '
    /^Bootstrap:/ { here = ""; inside = 0 }
    /^Stage:/ { here = $2 }
    here == stage && $0 ~ /^%/ { inside = ($0 == wanted); next }
    here == stage && inside' "$definition" | sed -f "$work/arguments.sed"
}
: >"$work/arguments.sed"
section final arguments | sed -nE 's/^ +([a-z]+)=(.*)$/s|{{ \1 }}|\2|g/p' >"$work/values.sed"
mv "$work/values.sed" "$work/arguments.sed"
[ "$(grep -c . "$work/arguments.sed")" -ge 3 ] || { echo "no arguments found in $definition" >&2; exit 1; }

base="$work/debian.tar"
if [ ! -f "$base" ]; then
  mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)"
  debootstrap --variant=minbase bookworm "$work/debian" "$mirror" >"$work/debootstrap.log"
  tar -C "$work/debian" -cf "$base" .
  rm -rf "$work/debian"
fi

cleanup() {
  local root
  for root in "$work/build" "$work/final"; do
    ! mountpoint -q "$root/proc" || umount "$root/proc" || exit 1 # never rm -rf below a mount
    rm -rf "$root"
  done
}
trap cleanup EXIT
cleanup
for stage in build final; do
  root="$work/$stage"
  mkdir -p "$root"
  tar -C "$root" -xf "$base"
  mount -t proc proc "$root/proc"
  apt-config dump | grep -E '^Acquire::https?::Proxy ' >"$root/etc/apt/apt.conf.d/80proxy" || true
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  from="" heading=files
  if [ "$stage" = final ]; then from="$work/build" heading="files from build"; fi
  section "$stage" "$heading" | while read -r file to; do
    [ -n "$file" ] || continue
    mkdir -p "$root$(dirname "$to")"
    cp -a "$from$file" "$root$to" # without a stage before: seen from the source folder
  done
  section "$stage" post >"$root/post.sh"
  [ -s "$root/post.sh" ] || { echo "no %post of stage $stage" >&2; exit 1; }
  echo "-- %post of stage $stage"
  chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /post.sh
done
section final test >"$work/final/test.sh"
section final environment | cat - "$work/final/test.sh" >"$work/final/all.sh"
echo "-- %test"
chroot "$work/final" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /all.sh
size="$(du -sm --exclude=proc "$work/final" | cut -f1)"
echo "-- every step of $definition was carried out; the final root has $size MB. Apptainer itself did not read the file."
