# Runs that must not differ, compared byte by byte. Sourced, not run; names are relative to the current folder.

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { echo "-- $*"; }

# What the law speaks of: predictions, metrics, tables and the last checkpoint of every fold.
checksums() {
  (cd "$1" && for f in fold-*; do
    sha256sum "$f/predictions.csv" "$f/metrics.json"
    newest="$(ls "$f"/checkpoint-*.ckpt | sort -V | tail -n 1)"
    sha256sum "$newest"
  done && sha256sum metrics.json table.csv table.md)
}

same() {
  checksums "$1" >"$1.sums"
  checksums "$2" >"$2.sums"
  [ "$(wc -l <"$1.sums")" -ge 12 ] || fail "$1 has only $(wc -l <"$1.sums") files to compare"
  diff "$1.sums" "$2.sums" || fail "$1 and $2 differ"
  say "$1 and $2: $(wc -l <"$1.sums") files with the same bytes, $(sha256sum <"$1.sums" | cut -c1-16)"
}

# Whether a process of this folder works on RUN; tests beside this one may have runs of the same name.
runs_here() { # RUN
  local pid
  for pid in $(pgrep -f -- "--run $1 "); do
    if [ "/proc/$pid/cwd" -ef . ]; then return 0; fi
  done
  return 1
}
