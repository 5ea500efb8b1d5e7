package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/credant/credant/deploy"
)

const (
	procdScript = "/etc/init.d/credant"
	procdConfig = "/etc/config/credant"
)

// procd is OpenWrt. One script starts an instance for each network that
// /etc/config/credant lists.
type procd struct {
	host Host
	runs bool
}

func (procd) Name() string                    { return "procd" }
func (procd) Unit(network string) string      { return "credant, instance " + network }
func (procd) StartLine(network string) string { return procdScript + " start" }
func (procd) LogLine(network string) string   { return "logread -e credant" }

// StateDir is on flash: /var is in memory there.
func (procd) StateDir() string         { return "/etc/credant/state" }
func (procd) Credential(string) string { return "" }

func (p procd) State(ctx context.Context, network string) State {
	state := State{Enabled: slices.Contains(p.Networks(), network)}
	if !p.runs {
		return state
	}
	out, err := p.host.command(ctx, "ubus", "call", "service", "list", `{"name":"credant"}`)
	if err != nil {
		return state
	}
	var services map[string]struct {
		Instances map[string]struct {
			Running bool `json:"running"`
		} `json:"instances"`
	}
	if json.Unmarshal([]byte(out), &services) == nil {
		state.Active = services["credant"].Instances[network].Running
	}
	return state
}

// Networks reads the lines that uci(1) and people write.
func (p procd) Networks() []string {
	text, _ := p.host.read(procdConfig) // not there: none
	var networks []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "list" && words[1] == "network" {
			networks = append(networks, strings.Trim(words[2], `'"`))
		}
	}
	return networks
}

func (p procd) Install(ctx context.Context, o Options) ([]Step, error) {
	steps, err := p.host.fileStep(procdScript, deploy.ProcdScript, 0o755)
	if err != nil {
		return nil, err
	}
	state := p.State(ctx, o.Network)
	changed := len(steps) > 0 || o.Restart
	if !state.Enabled {
		if !p.host.has(procdConfig) {
			steps = append(steps, Step{"write " + procdConfig, func(context.Context) error {
				return p.host.write(procdConfig, "", 0o644)
			}})
		}
		steps = append(steps,
			p.host.commandStep("list "+o.Network+" in "+procdConfig, "sh", "-c",
				fmt.Sprintf("uci set credant.main=credant && uci add_list credant.main.network=%s && uci commit credant", o.Network)),
			p.host.commandStep("enable credant", procdScript, "enable"))
	}
	switch {
	case o.NoStart || !p.runs || state.Active && !changed:
	case state.Active:
		steps = append(steps, p.host.commandStep("restart credant", procdScript, "restart"))
	default:
		steps = append(steps, p.host.commandStep("start credant", procdScript, "start"))
	}
	return steps, nil
}

func (p procd) Uninstall(ctx context.Context, network string) ([]Step, error) {
	state := p.State(ctx, network)
	var steps []Step
	if state.Active {
		steps = append(steps, Step{"stop " + p.Unit(network), func(ctx context.Context) error { return p.Stop(ctx, network) }})
	}
	if state.Enabled {
		steps = append(steps, p.host.commandStep("take "+network+" out of "+procdConfig, "sh", "-c",
			fmt.Sprintf("uci del_list credant.main.network=%s && uci commit credant", network)))
	}
	if others := slices.DeleteFunc(p.Networks(), func(n string) bool { return n == network }); len(others) == 0 {
		if state.Enabled {
			steps = append(steps, p.host.commandStep("disable credant", procdScript, "disable"))
		}
		script, err := p.host.removeStep(procdScript)
		if err != nil {
			return nil, err
		}
		steps = append(steps, script...)
	}
	return steps, nil
}

// Stop ends one instance, and procd does not start it again.
func (p procd) Stop(ctx context.Context, network string) error {
	_, err := p.host.command(ctx, "ubus", "call", "service", "delete", fmt.Sprintf(`{"name":"credant","instance":%q}`, network))
	return err
}
