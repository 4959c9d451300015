#!/bin/bash
# The module files of an installed program are loaded for real: the program and its manual pages are found, and
# unloading leaves the environment as it was. Exit 77 where the system is not installed.
# usage: module.sh lmod|environment-modules BUILD
set -uo pipefail
kind="$1" build="$2"
fail() { echo "FAILED: $*" >&2; exit 1; }

case "$kind" in # FILE of the module, NAME under MODULEPATH, places of the shell functions
  lmod) file=cytofold.lua name=.lua places=("${LMOD_PKG:-/no}/init/bash" /usr/share/lmod/lmod/init/bash) ;;
  environment-modules) file=cytofold.tcl name="" places=("${MODULESHOME:-/no}/init/bash" /usr/share/modules/init/bash) ;;
  *) fail "no module system '$kind'" ;;
esac
init=""
for place in "${places[@]}"; do
  # Each system names its folder for others too: look inside.
  if [ -z "$init" ] && [ -f "$place" ] && { [ "$kind" = lmod ] || grep -q modulecmd.tcl "$place"; }; then init="$place"; fi
done
[ -n "$init" ] || { echo "$kind is not installed"; exit 77; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
prefix="$work/a prefix" # a blank in it, as paths have
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || fail "$(cat "$work/install.log")"
version="$("$prefix/bin/cytofold" --version | cut -d' ' -f2)"
mkdir -p "$work/modules/cytofold"
cp "$prefix/share/cytofold/modulefiles/$file" "$work/modules/cytofold/$version$name"

export HOME="$work" LMOD_ALLOW_ROOT_USE=yes PATH=/usr/bin:/bin
unset MANPATH CYTOFOLD_SHARE MODULEPATH LOADEDMODULES _LMFILES_
set +u # the shell functions of both use what is not set
# shellcheck source=/dev/null
. "$init" || fail "$init"
module use "$work/modules" || fail "module use"
state() { env | grep -vE '^(_|LMOD_|_LMOD|_ModuleTable|_LMFILES_|LOADEDMODULES|__MODULES|__LMOD|MODULES_|SHLVL|BASH_FUNC)' | sort; }
before="$(state)" pages="$(manpath 2>/dev/null)"

module load cytofold || fail "module load"
[ "$(command -v cytofold)" = "$prefix/bin/cytofold" ] || fail "PATH is $PATH"
[ "$(cytofold --version)" = "cytofold $version" ] || fail "the program does not run"
[ "$CYTOFOLD_SHARE" = "$prefix/share/cytofold" ] || fail "CYTOFOLD_SHARE is '$CYTOFOLD_SHARE'"
module list 2>&1 | grep -q "cytofold/$version" || fail "module list: $(module list 2>&1)"
module help cytofold 2>&1 | grep -q "cytofold --help" || fail "module help: $(module help cytofold 2>&1)"
case "$MANPATH" in "$prefix/share/man:"*) ;; *) fail "MANPATH is '$MANPATH'" ;; esac
if [ -n "$pages" ]; then # the system's pages are still there
  case "$(manpath 2>/dev/null)" in *"$pages"*) ;; *) fail "manpath: '$(manpath 2>/dev/null)', before: '$pages'" ;; esac
fi
module unload cytofold || fail "module unload"
! command -v cytofold >/dev/null || fail "still there: $(command -v cytofold)"
diff <(echo "$before") <(state) || fail "unloading left traces"
echo "-- $kind: loaded and unloaded, $init"
