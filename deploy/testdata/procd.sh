# Plays the parts of OpenWrt's rc.common and procd.sh that the script uses: they say what they are asked.
for call in open_instance set_param close_instance send_signal add_reload_trigger; do
  eval "procd_$call() { echo $call \"\$@\"; }"
done
config_load() { echo load "$@"; }
config_list_foreach() {
  [ "$1 $2" = 'main network' ] && "$3" home && "$3" my-barn
}
. ./procd/credant
[ -n "$USE_PROCD" ] && start() { start_service "$@"; }
running() { [ -n "$runs" ]; }

start
echo --
restart
echo --
runs=1
restart
