// Command testreport runs `go test -json` with the arguments after `--` and
// tells what came of it: a line per package, the output of what failed, every
// skipped test with its reason, and as its last line
//
//	N passed, N failed, N skipped
//
// A test with subtests is counted by its subtests. With -strict a skipped test
// is a failure of the run, so that a gate cannot go green by skipping.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	strict := flag.Bool("strict", false, "fail if a test was skipped")
	counts := flag.String("counts", "", "also write the last line to this `file`")
	flag.Parse()
	ok, err := run(flag.Args(), *strict, *counts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports whether everything passed; err is a failure of this program.
func run(args []string, strict bool, counts string) (bool, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	r := newReport(os.Stdout)
	if err := read(out, r); err != nil {
		return false, fmt.Errorf("read go test: %w", err)
	}
	clean := cmd.Wait() == nil
	total := r.finish()
	if counts != "" {
		if err := os.WriteFile(counts, []byte(total.String()+"\n"), 0o644); err != nil {
			return false, err
		}
	}
	return clean && total.failed == 0 && (!strict || total.skipped == 0), nil
}

// read hands every event to r. A line that is no event is printed as it is.
func read(in io.Reader, r *report) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.out, "%s", line)
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
