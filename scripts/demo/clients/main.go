// Command main is the static Go client of the demo: it knows nothing of
// Outwarden. Its two lines are the protocol with the status, and the body.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if err := get(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.Proto, resp.StatusCode)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
