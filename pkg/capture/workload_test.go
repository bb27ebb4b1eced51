package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// run has a workload in a cgroup do its steps and gives what came of them.
func (w *world) run(cgroup string, steps ...step) []result {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	results, err := w.try(cgroup, exe, steps...)
	if err != nil {
		w.t.Fatal(err)
	}
	return results
}

// try is run with another executable, for other goroutines than the test's.
func (w *world) try(cgroup, exe string, steps ...step) ([]result, error) {
	cmd, out, err := w.start(cgroup, exe, nil, steps)
	if err != nil {
		return nil, err
	}
	var results []result
	for range steps {
		r, err := readResult(out)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("after %v: %w", results, err), cmd.Wait())
		}
		results = append(results, r)
	}
	return results, cmd.Wait()
}

// start starts a workload; its results come on the reader, one a step.
func (w *world) start(cgroup, exe string, in io.Reader, steps []step) (*exec.Cmd, *bufio.Reader, error) {
	program, err := json.Marshal(steps)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(program), "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewReader(out), w.host.Start(cmd, cgroup)
}

func readResult(from *bufio.Reader) (r result, err error) {
	line, err := from.ReadBytes('\n')
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}

// begin starts a workload that pauses until it is told to go on, or has no input any
// more. The caller closes goOn and waits for it.
func (w *world) begin(cgroup string, steps []step) (cmd *exec.Cmd, out *bufio.Reader, goOn *os.File) {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	in, goOn, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer in.Close()
	if cmd, out, err = w.start(cgroup, exe, in, steps); err != nil {
		goOn.Close()
		w.t.Fatal(err)
	}
	return cmd, out, goOn
}

// runAround runs a captured workload and calls f between the steps before and those after.
func (w *world) runAround(f func(), before, after []step) []result {
	w.t.Helper()
	return w.runIn(w.cgroup, f, before, after)
}

// runIn is runAround in any cgroup.
func (w *world) runIn(cgroup string, f func(), before, after []step) []result {
	w.t.Helper()
	steps := slices.Concat(before, []step{{Do: "pause"}}, after)
	cmd, out, goOn := w.begin(cgroup, steps)
	defer goOn.Close()
	var results []result
	for i := range steps {
		if i == len(before) {
			f()
			goOn.Write([]byte{'.'})
		}
		r, err := readResult(out)
		if err != nil {
			w.t.Fatal(err)
		}
		results = append(results, r)
	}
	if err := cmd.Wait(); err != nil {
		w.t.Fatal(err)
	}
	return results
}

// answer is what a workload reads first from a connection to addr, or the error.
func (w *world) answer(cgroup, addr string) string {
	w.t.Helper()
	results := w.run(cgroup, socketFor(addr), step{Do: "connect", Addr: addr}, step{Do: "read"})
	if results[1].Err != "" {
		return results[1].Err
	}
	if results[2].Err != "" {
		return results[2].Err
	}
	return results[2].Text
}

func socketFor(addr string) step {
	return step{Do: "socket", IPv6: strings.HasPrefix(addr, "[")}
}
