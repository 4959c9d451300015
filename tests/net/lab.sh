#!/bin/bash
# Hosts out of network namespaces: each has an address, a host name and a link of its own to one bridge, and
# nothing else. To be sourced; needs root, iproute2 and util-linux. Nothing is changed outside of them.
#
#   lab_missing          why there can be no lab, or nothing
#   lab_up N             hosts 0..N-1; LAB_FOLDER must be a folder of the caller's
#   lab_on HOST CMD...   runs a command on that host
#   lab_address HOST     its address
#   lab_slow HOST RATE   both directions of its link get RATE (as tc writes it: 20mbit); "" takes it off
#   lab_cut HOST, lab_mend HOST; 1 where the host cannot be reached again within 30 s
#   lab_processes        ids of all processes on any host
#   $LAB_FOLDER/agent    starts mpirun's daemons on the hosts, in the place of ssh
#   lab_down             ends them and takes everything away

LAB_PREFIX="cytofold-$$-"
lab_name() { echo "$LAB_PREFIX$1"; }
lab_address() { echo "10.77.0.$(($1 + 1))"; }

lab_missing() {
  local tool
  [ "$(id -u)" = 0 ] || { echo "network namespaces need root"; return; }
  for tool in ip tc unshare mpirun; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed"; return; }
  done
  ip netns add "$(lab_name try)" 2>/dev/null || { echo "network namespaces are not allowed here"; return; }
  ip -n "$(lab_name try)" link add bridge type bridge 2>/dev/null || echo "bridges are not allowed here"
  tc -n "$(lab_name try)" qdisc add dev lo root tbf rate 1mbit burst 32k latency 50ms 2>/dev/null ||
    echo "this kernel cannot slow a link (tbf)"
  ip netns del "$(lab_name try)"
}

lab_up() {
  local hub host k
  LAB_HOSTS="$1"
  hub="$(lab_name hub)"
  ip netns add "$hub"
  ip -n "$hub" link add bridge type bridge
  ip -n "$hub" link set bridge up
  for ((k = 0; k < LAB_HOSTS; k++)); do
    host="$(lab_name "$k")"
    ip netns add "$host"
    ip -n "$hub" link add "port$k" type veth peer name eth0 netns "$host"
    ip -n "$hub" link set "port$k" master bridge up
    ip -n "$host" address add "$(lab_address "$k")/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$host" link set lo up
    # How often TCP sends again before it calls a connection lost: 3 is 3 s. Linux's default of 15 is a quarter of
    # an hour, for which mpirun and its daemons wait after the ranks of a lost host have long been named and ended.
    ip netns exec "$host" sysctl -q -w net.ipv4.tcp_retries2="${LAB_RETRIES:-3}"
  done
  # What mpirun takes for ssh: AGENT ADDRESS COMMAND...
  {
    echo '#!/bin/bash'
    declare -f lab_on
    echo "LAB_PREFIX='$LAB_PREFIX' address=\"\$1\""
    echo 'shift'
    echo 'lab_on $((${address##*.} - 1)) bash -c "$*"'
  } >"$LAB_FOLDER/agent"
  chmod +x "$LAB_FOLDER/agent"
}

# A host name of its own needs a namespace of its own (UTS).
lab_on() {
  local host="$1"
  shift
  ip netns exec "$LAB_PREFIX$host" unshare --uts bash -c 'hostname "$0"; exec "$@"' "node$host" "$@"
}

lab_slow() {
  local direction
  for direction in "$(lab_name "$1") eth0" "$(lab_name hub) port$1"; do
    # shellcheck disable=SC2086 # two words
    set -- "$1" "$2" $direction
    tc -n "$3" qdisc del dev "$4" root 2>/dev/null || true
    [ -z "$2" ] || tc -n "$3" qdisc add dev "$4" root tbf rate "$2" burst 256k latency 500ms
  done
}

lab_cut() { ip -n "$(lab_name hub)" link set "port$1" down; }
lab_mend() {
  local k deadline=$((SECONDS + 30))
  ip -n "$(lab_name hub)" link set "port$1" up
  # The bridge takes up to a second, and hosts that asked for each other in vain answer "no route" a while longer.
  for ((k = 0; k < LAB_HOSTS; k++)); do
    until [ "$k" = "$1" ] || { lab_reaches "$1" "$k" && lab_reaches "$k" "$1"; }; do
      [ "$SECONDS" -lt "$deadline" ] || return 1
    done
  done
}

# FROM TO: a port where nobody listens refuses at once.
lab_reaches() {
  local said
  said="$(ip netns exec "$(lab_name "$1")" timeout 1 bash -c ": </dev/tcp/$(lab_address "$2")/9" 2>&1)" || true
  [[ $said == *refused* ]]
}

lab_processes() {
  local k
  for ((k = 0; k < LAB_HOSTS; k++)); do ip netns pids "$(lab_name "$k")"; done
}

lab_down() {
  local pids k
  pids="$(lab_processes)"
  # shellcheck disable=SC2086 # a list
  [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
  for ((k = 0; k < LAB_HOSTS; k++)); do ip netns del "$(lab_name "$k")"; done
  ip netns del "$(lab_name hub)"
}
