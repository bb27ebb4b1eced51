package netnstest

import (
	"os"
	"strconv"
)

// slowerVariable says how many times slower than usual this machine is: an
// emulated processor is.
const slowerVariable = "OUTWARDEN_SLOWER"

// Slower is by how much counts may be smaller, and patience must be longer, than
// on an ordinary machine: 1 unless the environment says otherwise. What a test
// asserts does not depend on it.
func Slower() int {
	n, _ := strconv.Atoi(os.Getenv(slowerVariable))
	return max(n, 1)
}
