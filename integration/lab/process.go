package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Program is what Start starts.
type Program struct {
	Args   []string
	Env    []string // added to the caller's
	Stdin  io.Reader
	Output io.Writer // gets standard output and error as they come; nil: only recorded
}

// A Process is a program that was started in a node.
type Process struct {
	Name string

	cmd      *exec.Cmd
	stdout   recorder
	output   recorder // standard output and error as they came
	done     chan struct{}
	exitCode int
}

// Start starts a program in the node. It is killed when this process ends, however that ends, or the lab is closed.
func (n *Node) Start(p Program) (*Process, error) {
	if len(p.Args) == 0 {
		return nil, errors.New("start program: no command given")
	}
	proc := &Process{Name: n.Name + ": " + strings.Join(p.Args, " "), done: make(chan struct{})}
	proc.output.copy = p.Output
	started := make(chan error, 1)
	go func() {
		defer close(proc.done)
		// The child inherits this thread's namespaces, and Pdeathsig is sent when this thread ends: so it waits.
		runtime.LockOSThread()
		dir, err := os.Getwd()
		if err == nil {
			err = n.enter()
		}
		if err == nil {
			proc.cmd = exec.Command(p.Args[0], p.Args[1:]...)
			proc.cmd.Dir = dir // entering a mount namespace had changed it
			proc.cmd.Env = append(append(os.Environ(), p.Env...), ownerMark())
			proc.cmd.Stdin = p.Stdin
			proc.cmd.Stdout = io.MultiWriter(&proc.stdout, &proc.output)
			proc.cmd.Stderr = &proc.output
			proc.cmd.WaitDelay = time.Second // a program that went to the background may still hold the pipes
			proc.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
			err = proc.cmd.Start()
		}
		if err != nil {
			started <- fmt.Errorf("start %s: %w", proc.Name, err)
			return
		}
		started <- nil
		_ = proc.cmd.Wait()
		proc.exitCode = proc.cmd.ProcessState.ExitCode()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.processes = append(n.processes, proc)
	n.mu.Unlock()
	return proc, nil
}

// A Result is what a program that ended left.
type Result struct {
	Stdout string // standard output alone
	Output string // with standard error, as they came
	Code   int    // exit code, -1 after a signal
}

// Run runs a program in the node to its end, or kills it when the context ends, which is an error. An exit code
// other than 0 is none.
func (n *Node) Run(ctx context.Context, args ...string) (Result, error) {
	return n.RunProgram(ctx, Program{Args: args})
}

// RunProgram is Run for a program that needs more than arguments.
func (n *Node) RunProgram(ctx context.Context, program Program) (Result, error) {
	p, err := n.Start(program)
	if err != nil {
		return Result{}, err
	}
	defer n.forget(p)
	code, err := p.Wait(ctx)
	if err != nil {
		p.Kill()
	}
	return Result{Stdout: p.stdout.String(), Output: p.output.String(), Code: code}, err
}

func (n *Node) forget(p *Process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.processes {
		if n.processes[i] == p {
			n.processes = append(n.processes[:i], n.processes[i+1:]...)
			return
		}
	}
}

// PID is the program's own.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns all it has written so far, standard output and error.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns the exit code, -1 after a signal.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.exitCode, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for %s: %w; its output: %s", p.Name, context.Cause(ctx), p.Output())
	}
}

// Signal sends a signal; one that comes after the end is lost.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the program at once and waits for it.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// WaitOutput waits until the output contains the text.
func (p *Process) WaitOutput(ctx context.Context, text string) error {
	for {
		grown := p.output.grown()
		if strings.Contains(p.Output(), text) {
			return nil
		}
		select {
		case <-grown:
		case <-p.done:
			if strings.Contains(p.Output(), text) {
				return nil
			}
			return fmt.Errorf("wait for %q from %s: it ended with code %d; its output: %s", text, p.Name, p.exitCode, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("wait for %q from %s: %w; its output: %s", text, p.Name, context.Cause(ctx), p.Output())
		}
	}
}

// A recorder keeps the last of what is written to it.
type recorder struct {
	copy io.Writer

	mu     sync.Mutex
	buf    bytes.Buffer
	signal chan struct{} // closed at the next write
}

const recorderLimit = 8 << 20

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copy != nil {
		_, _ = r.copy.Write(b)
	}
	r.buf.Write(b)
	if r.buf.Len() > recorderLimit {
		r.buf.Next(recorderLimit / 2)
	}
	if r.signal != nil {
		close(r.signal)
		r.signal = nil
	}
	return len(b), nil
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

func (r *recorder) grown() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signal == nil {
		r.signal = make(chan struct{})
	}
	return r.signal
}
