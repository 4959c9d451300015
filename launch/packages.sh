# Distribution packages, for quickstart.sh and test.sh; sourced, not run. Needs bash, dpkg and apt only:
# it must work in a container that has nothing else.

packages_build="gcc libc6-dev ninja-build cmake pkgconf libopenmpi-dev openmpi-bin libdnnl-dev
  libprotobuf-c-dev protobuf-c-compiler libyaml-dev libjansson-dev libpng-dev libjpeg-dev libtiff-dev
  libxxhash-dev libcairo2-dev libvlfeat-dev"
packages_test="libcmocka-dev g++ python3 procps protobuf-compiler"

# packages_missing NAME...: prints those that are not installed.
packages_missing() {
  local name
  for name in "$@"; do
    case "$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null)" in
      *"ok installed") ;;
      *) echo "$name" ;;
    esac
  done
}

# packages_install NAME...: installs what is missing, in one apt line. Returns 1 where that is not possible,
# after printing the line for somebody who may run it.
packages_install() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "packages: no apt on this system; install the equivalents of: $*" >&2
    return 0 # the configuration step names what it does not find
  fi
  local missing as_root=()
  missing="$(packages_missing "$@" | tr '\n' ' ')"
  missing="${missing% }"
  if [ -z "$missing" ]; then
    echo "packages: all installed"
    return 0
  fi
  local line="apt-get install -y --no-install-recommends $missing"
  if [ "$EUID" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
      echo "packages: missing, and this user has no sudo. Ask somebody who may run:" >&2
      echo "  apt-get update && $line" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "packages: $line"
  # A fresh container has no package lists; a stale list names versions that are gone: update, retry.
  # shellcheck disable=SC2086
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C $line >/dev/null 2>&1 && return 0
  "${as_root[@]}" env LC_ALL=C apt-get update -qq || return 1
  # shellcheck disable=SC2086
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C $line -qq >/dev/null || return 1
}
