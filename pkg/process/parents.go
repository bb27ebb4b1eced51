package process

import "errors"

// MaxParents is how far up the ancestors are told.
const MaxParents = 16

// parents walks up from d. Each step is taken only if it is certain: the parent
// is opened first, must not have begun after its child, and must still be the
// child's parent once it is open. While it is, nobody else can have its pid. An
// error is a shortage, by which some may be missing.
func parents(proc string, d dir, child stat) (found []Parent, short error) {
	opened := make([]dir, 0, MaxParents)
	defer func() {
		for _, o := range opened {
			o.close()
		}
	}()
	for len(found) < MaxParents && child.ppid != 0 {
		up, st, err := openProcess(proc, child.ppid, func(s stat) bool { return s.start <= child.start })
		if err != nil {
			return found, shortage(err)
		}
		opened = append(opened, up)
		if now, err := d.status(); err != nil || now.ppid != child.ppid {
			return found, shortage(err)
		}
		p := Parent{PID: child.ppid}
		im, err := readImage(up)
		if err == nil {
			p.Exe = im.path
		}
		short = errors.Join(short, shortage(err))
		found = append(found, p)
		d, child = up, st
	}
	return found, short
}
