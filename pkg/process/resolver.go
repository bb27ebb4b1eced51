package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
)

// Options of a Resolver. The zero value is what a daemon wants.
type Options struct {
	Proc       string    // proc file system; "" = /proc
	CgroupRoot string    // mount of cgroup2; "" = found by CgroupMount
	Boot       time.Time // when the machine booted; zero = by the clock, whenever it is asked
	Processes  int       // processes remembered; 0 = 16384
	MaxExeSize int64     // larger executables get no digest; 0 = 1 GiB
}

// Resolver finds the identity behind a flow and remembers it. It is safe for
// concurrent use.
type Resolver struct {
	proc    string
	boots   boots
	cache   *cache
	digests *digests
	users   *users
	cgroups *cgroups
}

const (
	maxDigests = 4096
	maxCgroups = 4096
)

// NewResolver never fails: without a cgroup2 mount the cgroup stays unknown.
func NewResolver(o Options) *Resolver {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.CgroupRoot == "" {
		o.CgroupRoot, _ = CgroupMount()
	}
	boot := bootedAt
	if !o.Boot.IsZero() {
		boot = o.Boot.UTC
	}
	if o.Processes == 0 {
		o.Processes = 16 << 10
	}
	if o.MaxExeSize == 0 {
		o.MaxExeSize = 1 << 30
	}
	return &Resolver{
		proc:    o.Proc,
		boots:   boots{read: boot},
		cache:   newCache(o.Processes),
		digests: newDigests(maxDigests, o.MaxExeSize),
		users:   newUsers(),
		cgroups: newCgroups(o.CgroupRoot, maxCgroups),
	}
}

// Resolve returns who made the flow. The identity is never nil: if the process
// left, or its pid was reused, it holds what the kernel gave, Gone is set and
// the error is flow.ReasonIdentityGone. Any other error is that we lack descriptors
// or memory to look, so that something is missing which the next call may tell. A
// repeated call for a known process does no system call and does not allocate.
func (r *Resolver) Resolve(f *flow.Flow) (*Identity, error) { return r.resolve(f, false) }

// Glance is Resolve for who cannot wait until a file is read that a workload has made
// as large as it may be: the digest is left out where it is not known soon.
func (r *Resolver) Glance(f *flow.Flow) (*Identity, error) { return r.resolve(f, true) }

func (r *Resolver) resolve(f *flow.Flow, hurry bool) (*Identity, error) {
	k := keyOf(f)
	if id := r.cache.get(f.Caller.PID, k); id != nil {
		return id, nil
	}
	id, nameless := r.given(f)
	d, st, err := openProcess(r.proc, f.Caller.PID, func(s stat) bool { return s.startedAt(f.Caller.Start) })
	if err != nil {
		r.recalled(id, f, hurry)
		short := errors.Join(shortage(err), r.place(id, f.Cgroup, ""))
		if id.Gone = shortage(err) == nil; id.Gone {
			return id, flow.ReasonIdentityGone
		}
		return id, incomplete(short)
	}
	defer d.close()
	complete, err := r.executable(id, f, d, hurry)
	var orphaned error
	id.Parents, orphaned = parents(r.proc, d, st)
	short := errors.Join(nameless, err, orphaned, r.place(id, f.Cgroup, ownCgroup(d)))
	if complete && short == nil {
		r.cache.put(f.Caller.PID, k, id)
	}
	return id, incomplete(short)
}

func incomplete(short error) error {
	if short == nil {
		return nil
	}
	return fmt.Errorf("look at a process: %w", short)
}

// Known returns the identity that Resolve would return without asking anybody; nil
// if it would have to.
func (r *Resolver) Known(f *flow.Flow) *Identity { return r.cache.get(f.Caller.PID, keyOf(f)) }

// given is what needs no process: the kernel's own word.
func (r *Resolver) given(f *flow.Flow) (*Identity, error) {
	start := f.Caller.Start.Truncate(tick)
	name, err := r.users.name(f.Caller.UID)
	return &Identity{
		PID:   f.Caller.PID,
		Start: r.boots.now().Add(start),
		UID:   f.Caller.UID,
		User:  name,
	}, err
}

// executable fills path, digest and arguments if the process still runs what it
// ran at connect(), else what is remembered of that. If the kernel could not
// tell what it ran then, nothing is claimed. It reports whether a second try
// could not tell more; an error is a shortage.
func (r *Resolver) executable(id *Identity, f *flow.Flow, d dir, hurry bool) (complete bool, short error) {
	im, argv, err := readRunning(d)
	if err != nil || !runs(d, im, f.Caller.Exe) {
		r.recalled(id, f, hurry)
		return false, shortage(err)
	}
	r.show(id, im, argv)
	id.ExeSHA256, err = r.digests.of(im.id, func() (*os.File, error) { return openImage(&d, im) }, hurry)
	return err == nil || errors.Is(err, errNoDigest), shortage(err)
}

// runs reports whether im, which d runs now, is the executable exe.
func runs(d dir, im image, exe flow.ExeID) bool {
	return !exe.IsZero() && (im.id.ExeID == exe || kernelID(d) == exe)
}

// readRunning returns executable and arguments of one and the same exec.
func readRunning(d dir) (image, []string, error) {
	im, err := readImage(d)
	if err != nil {
		return image{}, nil, err
	}
	cmdline, err := d.read("cmdline", MaxArgBytes)
	if err != nil {
		return image{}, nil, err
	}
	if again, err := readImage(d); err != nil || again.id != im.id {
		return image{}, nil, errGone // exec while we read: the arguments may be the new ones
	}
	return im, parseCmdline(cmdline), nil
}

// recalled fills in what an exec event taught about the image at connect().
func (r *Resolver) recalled(id *Identity, f *flow.Flow, hurry bool) {
	if f.Caller.Exe.IsZero() {
		return
	}
	m, ok := r.cache.recall(f.Caller.PID, f.Caller.Start, f.Caller.Exe)
	if !ok {
		return
	}
	r.show(id, m.image, m.argv)
	id.ExeSHA256 = r.digests.lookup(m.image.id)
	if id.ExeSHA256 == "" && m.image.path != "" {
		id.ExeSHA256, _ = r.digests.of(m.image.id, func() (*os.File, error) { return openImage(nil, m.image) }, hurry)
	}
}

func (r *Resolver) show(id *Identity, im image, argv []string) {
	id.Exe, id.ExeInside, id.Argv = im.path, im.inside, argv
}

// place fills cgroup and what its path tells. hint is where the process is now. An
// error is a shortage.
func (r *Resolver) place(id *Identity, cgroup uint64, hint string) (short error) {
	if id.Cgroup, short = r.cgroups.path(cgroup, hint); id.Cgroup == "" {
		return short
	}
	p := PlaceOf(id.Cgroup)
	id.Unit, id.UserUnit, id.Container, id.Pod = p.Unit, p.UserUnit, p.Container, p.Pod
	return nil
}

func ownCgroup(d dir) string {
	const limit = 16 << 10 // a line for each of some dozen v1 hierarchies
	b, err := d.read("cgroup", limit)
	if err != nil {
		return ""
	}
	path, _ := parseCgroup(b)
	return path
}

// Exited forgets a process; capture calls it for each exit event.
func (r *Resolver) Exited(pid uint32, start time.Duration) { r.cache.forget(pid, start, true) }

// Executed takes note of an exec event: what was known of the process is stale,
// and what it runs now is remembered for connections it makes before another
// exec. Nothing is digested here: that waits for the first connection.
func (r *Resolver) Executed(pid uint32, start time.Duration) {
	r.cache.forget(pid, start, false)
	d, _, err := openProcess(r.proc, pid, func(s stat) bool { return s.startedAt(start) })
	if err != nil {
		return
	}
	defer d.close()
	im, argv, err := readRunning(d)
	if err != nil {
		return // it left, or the next exec event is on its way
	}
	r.cache.remember(pid, memory{start, im, argv})
}

// Caller describes a running process as the hook would have seen it calling
// connect() now, for commands that ask about a process without a flow. The
// start is known at tick grain only, which is all that Resolve compares.
func (r *Resolver) Caller(pid uint32) (*flow.Flow, error) {
	d, st, err := openProcess(r.proc, pid, func(stat) bool { return true })
	if err != nil {
		return nil, err
	}
	defer d.close()
	status, err := d.read("status", 16<<10)
	if err != nil {
		return nil, err
	}
	f := &flow.Flow{At: time.Now()}
	f.Caller = flow.Caller{PID: pid, Start: time.Duration(st.start) * tick}
	f.Caller.UID, f.Caller.GID = effective(status, "Uid:"), effective(status, "Gid:")
	if im, err := readImage(d); err == nil {
		f.Caller.Exe = im.id.ExeID
	}
	if path := ownCgroup(d); path != "" {
		f.Cgroup, _ = r.cgroups.id(path)
	}
	return f, nil
}
