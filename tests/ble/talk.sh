#!/bin/sh
# Runs inside the virtual machine: real `fog` daemons talk over the real BlueZ. $1 is the scenario; the folder
# it starts in has `fog`. Each node is a daemon with a controller and a data folder of its own.
set -u
export FOG_KEYCHAIN=off LANG=C FOG_LOG="${FOG_LOG:-info,fog_ble=debug,fog_engine=debug}"

say() { echo "$(cut -d' ' -f1 /proc/uptime) $*"; }
die() {
  say "FAILED: $*"
  for log in /tmp/*.log; do echo "--- $log"; tail -n 25 "$log"; done
  exit 1
}
fog() { ./fog --data-dir "/tmp/$node" "$@"; }
on() { node=$1; shift; "$@"; }
# start NAME CONTROLLER
start() {
  node=$1
  ./fog --data-dir "/tmp/$1" daemon --ble --adapter "hci$2" >>"/tmp/$1.log" 2>&1 &
  eval "pid_$1=$!"
  within 60 fog status >/dev/null 2>&1 || die "$1 does not start"
  fog settings set "chat_nickname=$1" >/dev/null || die "settings of $1"
}
# within SECONDS COMMAND...: until it succeeds. The machine may have other things to do, so three times that is waited.
within() {
  end=$(($(cut -d. -f1 /proc/uptime) + 3 * $1)); shift
  until "$@"; do
    [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ] || return 1
    sleep 1
  done
}
here() { fog chat people 2>/dev/null | grep -E "^$1 " | grep -v away >/dev/null; }
linked() { fog chat people 2>/dev/null | grep -E "^$1 +bluetooth" >/dev/null; }
heard() { fog chat log "$@" 2>/dev/null | grep -F "$text" >/dev/null; }
# meet A B: both see each other
meet() {
  on "$1" within 120 here "$2" || die "$1 does not see $2"
  on "$2" within 120 here "$1" || die "$2 does not see $1"
  say "$1 and $2 see each other"
}
# room A B TEXT: A says it, B hears it
room() {
  node=$1; fog chat send "$3" || die "$1 cannot say '$3'"
  node=$2; text=$3; within 60 heard || die "$2 did not hear '$3' in the room"
  say "$2 heard $1 in the room"
}
# alone A B TEXT: A tells B, and hears that it arrived
alone() {
  node=$1; fog chat send --to "$2" --wait 90 "$3" || die "'$3' of $1 did not arrive at $2"
  node=$2; text=$3; heard --to "$1" || die "$2 does not have '$3' of $1"
  say "$1 told $2, and knows that it arrived"
}
# file A B: A gives B 100 kB, whole
give() {
  node=$1; fog chat send --to "$2" --wait "${3:-180}" --file /tmp/picture.png || die "the file of $1 did not arrive at $2"
  node=$2
  row=$(fog chat log --json --to "$1" --limit 1 | grep '"row"' | tr -dc 0-9)
  fog chat file "$row" -o "/tmp/copy-$2" || die "$2 has no file in $row"
  cmp /tmp/picture.png "/tmp/copy-$2" || die "the file is another"
  say "$2 has the file of $1, whole"
}
read_by() { fog chat log --json --to "$1" | grep -F '"state": "read"' >/dev/null; }

printf '\211PNG\r\n\032\n' >/tmp/picture.png
head -c 99992 /dev/urandom >>/tmp/picture.png

case $1 in
two)
  start anna 0; start ben 1
  meet anna ben
  on anna within 60 linked ben || die "no radio link"
  room anna ben "hello everybody near"
  room ben anna "hello to you too"
  long=$(head -c 255 /dev/zero | tr '\0' x)
  alone anna ben "$long"
  alone ben anna "and back"
  # Ben's log was shown, so Anna learns that he read it.
  node=ben; fog chat log --to anna >/dev/null
  on anna within 30 read_by ben || die "no read receipt"
  say "anna knows that ben read it"
  give anna ben
  give ben anna
  on ben fog shutdown
  node=anna; gone() { ! here ben; }
  within 30 gone || die "ben said goodbye and is here still"
  ;;
line)
  printf '0 1\n1 2\n' >"$BLE_RANGE"
  start anna 0; start ben 1; start cleo 2
  meet anna ben; meet ben cleo; meet anna cleo
  on anna linked cleo && die "anna and cleo are out of range and linked"
  room anna cleo "over ben"
  alone anna cleo "over ben, alone"
  alone cleo anna "and back"
  ;;
late)
  start anna 0; start ben 1
  meet anna ben
  for n in 1 2 3 4 5; do node=anna; fog chat send "message $n" || die "cannot say it"; done
  node=ben; text="message 5"; within 60 heard || die "ben did not hear"
  on anna fog shutdown
  start cleo 2
  meet ben cleo
  node=cleo
  for n in 1 2 3 4 5; do text="message $n"; within 90 heard || die "cleo did not catch up on message $n"; done
  say "cleo caught up on what was said before she came"
  ;;
cut)
  start anna 0; start ben 1
  meet anna ben
  alone anna ben "before"
  (sleep 4; echo none >"$BLE_RANGE"; echo "$(cut -d' ' -f1 /proc/uptime) the link is cut"; sleep 12; rm "$BLE_RANGE"; echo "$(cut -d' ' -f1 /proc/uptime) and there again") &
  give anna ben 300
  alone ben anna "after"
  ;;
killed)
  # A program that is killed says no goodbye, and BlueZ keeps its connections: they have to be found again in both roles.
  start anna 0; start ben 1
  meet anna ben
  alone anna ben "before"
  for who in ben anna; do
    other=anna; [ "$who" = ben ] || other=ben
    eval "kill -9 \$pid_$who"
    sleep 3
    start "$who" "$([ "$who" = anna ] && echo 0 || echo 1)"
    meet anna ben
    on "$other" within 150 linked "$who" || die "$other does not reach $who over the radio after it was killed"
    alone "$who" "$other" "after $who was killed"
    alone "$other" "$who" "and back after $who was killed"
    room "$other" "$who" "everybody hears $who again"
  done
  # Who stops ends its links: nothing is left that another could take for one.
  on ben fog shutdown
  left() { bluetoothctl devices Connected 2>/dev/null | grep -q Device; }
  gone() { ! left; }
  command -v bluetoothctl >/dev/null && { within 20 gone || die "links are left after ben has stopped"; }
  start ben 1
  meet anna ben
  alone anna ben "after he came back"
  ;;
speaker)
  # A second reading of the protocol description meets ours, in the role that $2 names.
  start anna 0
  sum=$(sha256sum /tmp/picture.png | cut -d' ' -f1)
  cat >/tmp/script <<END
wait-person anna 120
say hello from the other reading
tell anna in private, from the other reading
wait-delivered 60
wait-text hello to the other reading 120
wait-private in private, to the other reading 120
give anna /tmp/picture.png
wait-delivered 180
wait-file $sum 240
sleep 3
quit
END
  PYTHONPATH=./wheels:. python3 -m speaker --adapter hci1 --role "$2" --name peer --script /tmp/script >/tmp/peer.log 2>&1 &
  peer=$!
  node=anna
  within 150 here peer || die "anna does not see the other reading"
  text="hello from the other reading"; within 60 heard || die "its text did not come"
  text="in private, from the other reading"; within 60 heard --to peer || die "its private text did not come"
  fog chat send "hello to the other reading"
  fog chat send --to peer --wait 90 "in private, to the other reading" || die "a private text did not arrive"
  has_file() { fog chat log --to peer | grep -q 'image/png'; }
  within 200 has_file || die "its file did not come"
  fog chat send --to peer --wait 200 --file /tmp/picture.png || die "the file did not arrive"
  wait "$peer" || die "the other reading is not content"
  grep -E '"(warning|error)"' /tmp/peer.log | head -n 20
  ! grep -q '"warning"' /tmp/peer.log || die "the other reading has something to say about how we send"
  say "two readings of the description understand each other, the other one as $2"
  ;;
soak)
  start anna 0; start ben 1
  meet anna ben
  memory() { grep VmRSS "/proc/$1/status" | tr -dc 0-9; }
  alone anna ben "warm"; room ben anna "warm too"
  first_a=$(memory "$pid_anna") first_b=$(memory "$pid_ben") n=0
  end=$(($(cut -d. -f1 /proc/uptime) + ${2:-1800}))
  while [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; do
    n=$((n + 1))
    node=anna; fog chat send --to ben --wait 90 "to ben $n" 2>/dev/null || die "message $n did not arrive"
    node=ben; fog chat send --to anna --wait 90 "to anna $n" 2>/dev/null || die "message $n did not come back"
    [ $((n % 10)) -ne 0 ] || { node=anna; fog chat send "room $n" || die "room $n"; }
  done
  # Each was acknowledged, so each has to be there.
  fog_count() { fog chat log --json --to "$1" --limit 500 --search "to " | grep -c '"text": "to '; }
  kept=$n; [ "$kept" -le 500 ] || kept=500
  node=ben; found=$(fog_count anna); [ "$found" -ge "$kept" ] || die "$found of $n acknowledged messages are there"
  last_a=$(memory "$pid_anna") last_b=$(memory "$pid_ben")
  say "soak: $n messages each way, memory of anna $first_a to $last_a kB, of ben $first_b to $last_b kB"
  [ "$last_a" -lt $((first_a + 20000)) ] && [ "$last_b" -lt $((first_b + 20000)) ] || die "memory grows"
  ;;
*) die "there is no scenario $1" ;;
esac
say "passed: $1"
