# A network as a service of OpenRC: started, restarted, killed, stopped, beside another one. One line a promise.
said() { # waits until the daemon has noted a line for the nth time
  for _ in $(seq 600); do
    [ "$(grep -c "$1" /said)" -ge "$2" ] && return
    sleep 0.1
  done
  echo "never said, $2 times: $1"
}
ln -s credant /etc/init.d/credant.home
rc-update -q add credant.home default || echo 'cannot be enabled'
rc-service -q credant.home start || echo 'does not start'
[ -S /run/credant/home.sock ] || echo 'is started and does not answer'
rc-service -q credant start || echo 'the network default does not start'
said 'default start' 1

rc-service -q credant.home restart || echo 'does not restart'
said 'home end SIGUSR1' 1
said 'home start' 2

kill -KILL "$(awk '$1 == "home" && $2 == "start" { pid = $3 } END { print pid }' /said)"
said 'home start' 3
rc-service -q credant.home status || echo 'was killed and is not started again'

rc-service -q credant.home stop || echo 'does not stop'
said 'home end SIGTERM' 1
rc-service -q credant.home status && echo 'is stopped and started'
rc-service -q credant status || echo 'another network ended with it'
[ "$(grep -c 'logged by home' /var/lib/credant/home/log)" = 3 ] || echo 'its log is not where people look'
[ "$(stat -c %a /var/lib/credant/home)" = 700 ] || echo 'its folder is open'
rc-service -q credant stop || echo 'the network default does not stop'
[ "$(grep -c 'home start' /said)" = 3 ] || { echo 'was started more often than that:' && cat /said; }
exit 0
