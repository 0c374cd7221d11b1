#!/usr/bin/env bash
# Runs a command in a throw-away virtual machine with virtual Bluetooth LE controllers and the real bluetoothd.
#
#   tests/ble/vm.sh [OPTIONS] [--] COMMAND [ARGUMENT...]
#
#   -n N         controllers, hci0 to hciN-1, 1 to 16 (2)
#   -s FOLDER    shared with the guest, read and write; COMMAND starts in it (.)
#   -t SECONDS   limit for the run of the machine, the building of the guest not counted (300)
#   -r SUITE     Debian release the guest is made of (trixie: BlueZ 5.82, kernel 6.12; bookworm: BlueZ 5.66, kernel 6.1)
#   -e CHANNELS  ATT channels of one link (1). More is EATT, 5.66's own default (3): a later write can overtake an earlier
#                one. 5.82's own default is 1; with more it pairs first, and without an agent that ends the link
#   -L           controllers speak LE only, else LE and classic Bluetooth as a laptop's do
#   -p PACKAGES  further Debian packages in the guest, "python3-dbus python3-gi"; their install scripts do not run
#   -l FOLDER    keep logs there: console, bluetoothd, radio (the controllers), dmesg
#   -v           with -l: bluetoothd logs all it does, and hci.snoop has every packet (read it with btmon -r)
#   -b           only build the cached guest
#
# Exit status: COMMAND's; 124 when the limit is over; 125 when the machine failed, with the end of its console.
# COMMAND's output, standard error too, comes out of standard output; its input is empty. A program built on the host
# runs in the guest if it needs no newer glibc and no library that is not there.
#
# Range. All controllers hear each other until COMMAND writes the file that $BLE_RANGE names, one pair of controller
# numbers a line: only those pairs hear each other from then on. A line of three nodes, then the first link cut:
#
#   printf '0 1\n1 2\n' > $BLE_RANGE;  ...;  echo 1 2 > $BLE_RANGE;  echo none > $BLE_RANGE;  rm $BLE_RANGE
#
# A change is seen within 0.2 s. Who left the range is neither found nor connected any more, and its links end at both
# ends with "connection timeout" (0x08), packets under way lost. An empty file changes nothing (a writer is between
# truncating and writing), a missing one means that all hear all. `kill -STOP $(pidof radio)` makes the whole air stall.
#
# Needs Debian on amd64, apt's package sources, cc with libc6-dev, and no root: nothing is installed. The guest is built
# once per change of what it is built from, into ${XDG_CACHE_HOME:-~/.cache}/fog-ble-vm (about 200 MB each).
set -Eeuo pipefail
work='' ctl=''
trap 'exit 125' ERR
trap 'rm -rf "$work" "$ctl"' EXIT
shopt -s nullglob

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "vm.sh: $*" >&2; }
fail() { say "$@"; exit 125; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 125; }

controllers=2 share=. limit=300 suite=trixie channels=1 mode=dual packages='' logs='' verbose='' build_only=''
while getopts n:s:t:r:e:Lp:l:vbh option; do
  case $option in
    n) controllers=$OPTARG ;; s) share=$OPTARG ;; t) limit=$OPTARG ;; r) suite=$OPTARG ;; e) channels=$OPTARG ;;
    p) packages=$OPTARG ;; l) logs=$OPTARG ;; L) mode=le ;; v) verbose=-d ;; b) build_only=1 ;; *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ -n "$build_only" ] || [ $# -gt 0 ] || usage
[[ $controllers =~ ^([1-9]|1[0-6])$ ]] || fail "-n takes 1 to 16, not '$controllers'"
[ -d "$share" ] || fail "no folder '$share'"
share=$(cd "$share" && pwd)
[ "$(dpkg --print-architecture)" = amd64 ] || fail "only written for amd64"

# ---- The guest: a kernel, an initramfs that is its whole system, and QEMU if the host has none ----------------------

# apt with lists of its own and no package installed, so that the answer to "what does it need" is everything.
choose_suite() {
  local label codename uri own=(-o "Dir::State=$work/apt" -o "Dir::Cache=$work/apt" -o "APT::Sandbox::User=$(id -un)")
  # shellcheck disable=SC2016 # apt's own variables
  local ask=(indextargets --format '$(LABEL)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages') known
  mkdir -p "$work"/apt/{lists/partial,archives/partial,none}
  known=$(apt-get "${ask[@]}")
  if [ -z "$known" ]; then # the host has sources but never fetched their lists
    apt-get -qq "${own[@]}" update >&2
    known=$(apt-get "${own[@]}" "${ask[@]}")
  fi
  while IFS='|' read -r label codename uri; do
    case $label:$codename in
      Debian:*-*) ;;
      Debian:*) printf '%s\n' "deb $uri $suite main" "deb-src $uri trixie main" ;;
      Debian-Security:*) printf '%s\n' "deb $uri $suite-security main" ;;
    esac
  done <<< "$known" | sort -u > "$work/apt/sources"
  [ -s "$work/apt/sources" ] || fail "apt knows no Debian archive"
  : > "$work/apt/status"
  apt=("${own[@]}" -o "Dir::State::status=$work/apt/status" -o "Dir::Etc::SourceList=$work/apt/sources"
    -o "Dir::Etc::SourceParts=$work/apt/none" -o Acquire::Languages=none -o Acquire::Retries=3 -o Debug::NoLocking=1)
  apt-get -qq "${apt[@]}" update >&2
}

# unpack FOLDER PACKAGE.deb...: as dpkg does with /bin a link to /usr/bin, less what only installations or readers need.
unpack() {
  local to=$1 name deb; shift
  mkdir -p "$to"/usr/{bin,sbin,lib,lib64}
  for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$to/$name"; done
  for deb; do
    case ${deb##*/} in perl-base_* | debconf_* | dpkg_* | passwd_* | systemd_* | udev_*) continue ;; esac
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$to" --keep-directory-symlink --no-same-owner \
      --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='*/gconv/*'
  done
}

# install_into FOLDER PACKAGE...: the packages and all they need.
install_into() {
  local to=$1; shift
  rm -f "$work"/apt/archives/*.deb
  apt-get -qq -y "${apt[@]}" --no-install-recommends --download-only install "$@" >&2
  unpack "$to" "$work"/apt/archives/*.deb
}

# change FILE TIMES REGEX REPLACEMENT: fails when the source is not what the change was written for.
change() {
  [ "$(grep -cE "$3" "$1")" = "$2" ] || fail "BlueZ's ${1##*/} differs: '$3' is not there $2 time(s)"
  sed -Ei "s/$3/$4/" "$1"
}

# The radio is BlueZ's emulated controller (what btvirt runs) with a main function and a range of our own. It is trixie's
# for any guest: older ones advertise only once, at the start of a scan.
build_radio() (
  btdev=emulator/btdev.c
  mkdir "$work/bluez"
  cd "$work/bluez"
  apt-get -qq "${apt[@]}" source --download-only --tar-only bluez >&2
  tar -x --strip-components=1 -f bluez_*.orig.tar.*
  # Both ends of a link are told the handle of its first end, so it must be free at both, or a second link collides.
  change $btdev 1 'conn1 = conn_new\(dev, handle, type\);' 'handle = free_handle(dev, remote, handle);\n\t&'
  # Who connects may go on advertising.
  change $btdev 1 'queue_foreach\(btdev->le_ext_adv, ext_adv_term, conn\);' ';'
  # The report to the second listener had the type of the first one's scan response.
  change $btdev 1 'send_ext_adv\(btdev_list\[i\], btdev, ext_adv, report_type, false\);' \
    'report_type = get_ext_adv_type(ext_adv->type);\n\t\t&'
  # A packet that was on its way to the controller when its link was cut still occupied the host's only buffer.
  change $btdev 1 'send_acl\(btdev, data \+ 1, len - 1\);' 'complete_if_cut(btdev, data + 1);\n\t\t&'
  # A timer that was removed while its event waited in the same batch was called after it was freed; one at a time.
  change src/shared/mainloop.c 1 '(define MAX_EPOLL_EVENTS) 10' '\1 1'
  # An inquiry that ends by itself freed the timer that was running.
  change $btdev 1 '^[[:space:]]timeout_remove\(btdev->inquiry_id\);' '\tbtdev->inquiry_timeout_id = 0;\n&'
  # Advertisements, scans, inquiries; connections of LE (old, extended) and of classic Bluetooth.
  change $btdev 5 '(!btdev_list\[i\] \|\| )btdev_list\[i\] == (btdev|dev)\)' '\1!hears(btdev_list[i], \2))'
  change $btdev 2 '(remote) = find_btdev_by_bdaddr_type\(cmd->peer_addr, .*;' \
    '&\n\tif (remote \&\& !hears(dev, remote)) remote = NULL;'
  change $btdev 1 'if \(remote && (remote->scan_enable)' 'if (remote \&\& hears(dev, remote) \&\& \1'
  mkdir lib/bluetooth
  ln -s ../{bluetooth,hci,hci_lib}.h lib/bluetooth/
  cc -O1 -w -static -D_GNU_SOURCE -I. -Ilib -o "$root/usr/bin/radio" "$here/radio.c" emulator/vhci.c \
    src/shared/{crypto,mainloop,mainloop-notify,io-mainloop,timeout-mainloop,util,queue,ecc}.c lib/{bluetooth,hci}.c >&2
)

# The modules' folders whole: working out which ones are needed would take longer than carrying them.
add_modules() {
  local release=$1 from=$work/kernel/usr/lib/modules/$1/kernel to=$root/usr/lib/modules/$1/kernel name
  for name in crypto lib arch/x86/crypto fs/{9p,fscache,netfs} net/{9p,bluetooth,rfkill} drivers/{bluetooth,char,virtio}; do
    [ ! -d "$from/$name" ] || { mkdir -p "$to/$name" && cp -r "$from/$name/." "$to/$name"; }
  done
  install -D -m 644 -t "$to/drivers/hid" "$from"/drivers/hid/{hid,uhid}.ko*
  find "$to" -name '*.xz' -exec "$root/bin/busybox" unxz {} +
  cp "$work/kernel/usr/lib/modules/$release"/modules.{order,builtin} "$root/usr/lib/modules/$release"
  "$root/bin/busybox" depmod -b "$root" "$release"
}

build() {
  local root=$work/root image applet
  choose_suite
  # shellcheck disable=SC2086 # a list
  install_into "$root" dbus bluez busybox-static $packages
  # The -cloud- kernel has no Bluetooth.
  image=$(apt-cache "${apt[@]}" show linux-image-amd64 | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | sed -n 1p)
  (cd "$work" && apt-get -qq "${apt[@]}" download "$image" >&2)
  unpack "$work/kernel" "$work"/linux-image-*.deb
  if ! command -v qemu-system-x86_64 > /dev/null; then
    install_into "$work/out/qemu" qemu-system-x86
    rm "$work"/out/qemu/usr/bin/qemu-system-{i386,x86_64-microvm}
  fi
  add_modules "${image#linux-image-}"
  build_radio
  for applet in $("$root/bin/busybox" --list); do
    [ -e "$root/bin/$applet" ] || [ -e "$root/sbin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  mkdir -p "$root"/{proc,sys,dev,run,tmp,root,share,ctl,etc/bluetooth,var/lib/bluetooth}
  printf '%s\n' root:x:0:0::/root:/bin/sh messagebus:x:100:100::/run/dbus:/bin/false > "$root/etc/passwd"
  printf '%s\n' root:x:0: messagebus:x:100: bluetooth:x:101: > "$root/etc/group"
  printf '%032d\n' 1 > "$root/etc/machine-id"
  install -m 755 "$here/init" "$root/init"
  (cd "$root" && find . | ./bin/busybox cpio -o -H newc -R 0:0 2> /dev/null) > "$work/out/initramfs"
  cp "$work/kernel/boot/vmlinuz-${image#linux-image-}" "$work/out/vmlinuz"
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fog-ble-vm
mkdir -p "$cache"
hash() { sha256sum | cut -c1-8; }
variant=$suite-$(hash <<< "$packages")
guest=$cache/$variant-$({ sed -n '/^# ---- The guest/,/^# ---- The run/p' "${BASH_SOURCE[0]}"
  cat "$here"/{init,radio.c}; command -v qemu-system-x86_64 || :; } | hash)
exec 9> "$cache/lock"
flock 9 # two runs at once build once
if [ ! -d "$guest" ]; then
  rm -rf "$cache"/building.* # of a build that was killed
  work=$(mktemp -d "$cache/building.XXXXXX")
  mkdir "$work/out"
  say "building the guest ($suite${packages:+ with $packages})"
  build
  rm -rf "$cache/$variant"-*
  mv "$work/out" "$guest"
  say "built in $SECONDS s: $(du -sm "$guest" | cut -f1) MB, $(du -m "$guest/initramfs" | cut -f1) of them the system"
fi
exec 9>&-
[ -z "$build_only" ] || exit 0

# ---- The run ---------------------------------------------------------------------------------------------------------

ctl=$(mktemp -d)
printf '[General]\nControllerMode=%s\n[Policy]\nAutoEnable=true\n[GATT]\nCache=no\nChannels=%s\n' \
  "$mode" "$channels" > "$ctl/main.conf"
quoted=("${@//\'/\'\\\'\'}")
{ printf 'exec'; printf " '%s'" "${quoted[@]}"; } > "$ctl/command"
printf 'N=%s VERBOSE=%s\n' "$controllers" "$verbose" > "$ctl/settings"
mkdir "$ctl/logs"
qemu=(qemu-system-x86_64)
if [ -d "$guest/qemu" ]; then # with its own loader and libraries, so that the host's release does not matter
  lib=$guest/qemu/usr/lib/x86_64-linux-gnu
  export QEMU_MODULE_DIR=$lib/qemu
  qemu=("$guest/qemu/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$guest/qemu/usr/bin/qemu-system-x86_64"
    -L "$guest/qemu/usr/share/qemu" -L "$guest/qemu/usr/share/seabios")
fi
# /dev/kvm without the processor's flag is a KVM made in software, which this kernel does not boot on.
machine=(-accel tcg -cpu max)
if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ]; then machine=(-accel kvm -cpu host); fi
for tag in ctl share; do
  machine+=(-virtfs "local,path=${!tag//,/,,},mount_tag=$tag,security_model=none,multidevs=remap")
done
timeout --foreground --kill-after=5 "$limit" "${qemu[@]}" "${machine[@]}" -M pc -smp 2 -m 768 -nodefaults -no-user-config \
  -display none -no-reboot -kernel "$guest/vmlinuz" -initrd "$guest/initramfs" \
  -append 'console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests' -serial "file:$ctl/logs/console" \
  -device virtio-serial-pci -chardev stdio,id=out,signal=off -device virtconsole,chardev=out < /dev/null && status=0 || status=$?
if [ -n "$logs" ]; then mkdir -p "$logs" && cp -r "$ctl/logs/." "$logs"; fi
[ ! -s "$ctl/times" ] || say "$(paste -sd' ' "$ctl/times"), $SECONDS s in all"
[ "$status" != 124 ] || { say "stopped: the limit of $limit s is over"; exit 124; }
if [ -s "$ctl/status" ]; then exit "$(cat "$ctl/status")"; fi
tail -n 40 "$ctl/logs/console" >&2 || :
fail "the machine ended without a result (QEMU: $status); above is the end of its console"
