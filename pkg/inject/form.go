package inject

// setForm writes a parameter of application/x-www-form-urlencoded, and takes the
// workload's of that name out. Every other byte stays.
func setForm(content []byte, name string, value []byte) []byte {
	b := stripPairs(nil, string(content), []string{name})
	if len(b) > 0 {
		b = append(b, '&')
	}
	b = append(escape(b, []byte(name)), '=')
	return escape(b, value)
}
