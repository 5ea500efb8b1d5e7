# Speaks with the host over a serial port, a line a message. "run N" starts the script N.sh of the shared directory, whose
# output goes to N.out and N.err there; "done N CODE" is the answer. "kill N" ends the script and all of its session.
cd /run/image || exit 1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
echo 4 >/proc/sys/kernel/printk # of a boot that hangs all is wanted, of tests what is wrong
exec 3<>/dev/vport0p1
echo ready >&3
while read -r what n <&3; do
  case $what in
    run)
      (
        setsid --wait bash -c 'echo $$ >"$1.pid"; cd /; exec bash "/run/image/$1.sh"' run "$n" \
          </dev/null >"$n.out" 2>"$n.err" 3>&-
        echo "done $n $?" >&3
      ) &
      ;;
    kill)
      until [ -s "$n.pid" ]; do sleep 0.1; done # what is to be killed may not have begun
      pkill -KILL -s "$(cat "$n.pid")"
      ;;
  esac
done
