package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// Nobody waits for who reads the log. What was lost for that is told to him who reads on.
func TestUnreadLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := &env{stderr: w}
	log := newLog(e)
	line := strings.Repeat("x", 1<<10)
	const lines = 4 * mostUnread // the kernel's pipe holds 64 KiB
	for range lines {
		log.Info(line)
	}
	read := make(chan []byte)
	go func() { all, _ := io.ReadAll(r); read <- all }()
	for u := e.stderr.(*unread); u.lost.Load() > 0 || len(u.queue) > 0; {
		runtime.Gosched() // until all is told
	}
	fmt.Fprintln(e.stderr, "the end")
	e.flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := <-read
	lost := 0
	for _, told := range bytes.Split(all, []byte(`"lines":`))[1:] {
		var n int
		if _, err := fmt.Sscanf(string(told), "%d,", &n); err != nil {
			t.Fatalf("%v: %.200s", err, told)
		}
		lost += n
	}
	if got := bytes.Count(all, []byte(line)); got == lines || got+lost != lines {
		t.Errorf("%d lines came, %d were lost, of %d", got, lost, lines)
	}
	if !bytes.HasSuffix(all, []byte("the end\n")) {
		t.Errorf("the end is missing: %q", all[max(0, len(all)-200):])
	}
}
