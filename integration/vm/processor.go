package vm

import "strconv"

// Processor is QEMU's arguments for processors that it emulates well: without repeated moves of single bytes, each of
// which costs as much as one of eight.
//
// The clock of a single one is what it has executed, 2 ns an instruction, and the host's while it waits for something.
// So however little of the host's time the guest gets, nothing in it is late. Several run by the host's clock, and each
// call from one to another waits until the host has run both: they do half as much with the same time of the host's.
func Processor(count int) []string {
	args := []string{"-cpu", "max,la57=off,erms=off", "-smp", strconv.Itoa(count)}
	if count > 1 {
		return append(args, "-accel", "tcg,thread=multi")
	}
	return append(args, "-accel", "tcg,thread=single", "-icount", "shift=1")
}

// Emulated are words for the kernel of an emulated machine. Nobody attacks it, and the checks cost much. Two processors'
// counters agree, as they are the host's, so that none needs to ask the emulator for the time, which costs a thousand
// times as much. A timer that is late at the start is no reason to stop: the host is busy.
const Emulated = "panic=-1 mitigations=off tsc=reliable no_timer_check"
