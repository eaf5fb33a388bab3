#!/usr/bin/env bash
# One host of the lab, run as the first process of its own namespaces: own home, /tmp, /dev/shm and name, and an sshd.
# Usage: host.sh FOLDER NAME ADDRESS GATEWAY KEEP…     (what is kept stays visible where a home or /tmp of its own hides it)
set -euo pipefail
folder=$1 name=$2 address=$3 gateway=$4; shift 4
home=$(getent passwd root | cut -d: -f6)

hostname "$name"
mount --make-rprivate /
mkdir -p "$folder/$name"/{home,tmp,shared} "$folder/shared"
mkdir -p "$folder/$name/home/shared"
mount --bind "$folder/$name/home" "$folder/$name/home"
mount --bind "$folder/shared" "$folder/$name/home/shared"
mount --bind "$folder/$name/tmp" "$folder/$name/tmp"
for path in "$@"; do
  case $path in
    /tmp/*) at=$folder/$name/tmp/${path#/tmp/} ;;
    "$home"/*) at=$folder/$name/home/${path#"$home"/} ;;
    *) continue ;;
  esac
  mkdir -p "$at" && mount --bind "$path" "$at"
done
mount --bind "$folder/hosts" /etc/hosts
mount -t tmpfs -o size=400m tmpfs /dev/shm
mount -t tmpfs tmpfs /run && mkdir -p /run/sshd
mkdir -p "$folder/$name/home/.ssh" && chmod 700 "$folder/$name/home/.ssh"
cp "$folder/key.pub" "$folder/$name/home/.ssh/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f /run/host_key
mount --rbind "$folder/$name/home" "$home"
mount --rbind "$folder/$name/tmp" /tmp

until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
"$(command -v sshd)" -e -o Port=22 -o ListenAddress="$address" -o HostKey=/run/host_key -o UsePAM=no -o StrictModes=no \
  -o PermitRootLogin=yes -o PasswordAuthentication=no -o PidFile=none -o MaxStartups=100 -f /dev/null
echo ready
# the first process of a tree inherits those whose parents died, and bash takes them in while it waits
while :; do sleep 3600 & wait $! || true; done
