package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
)

func newFlowCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "flow",
		Short:   "One flow in full",
		Example: "  outwarden flow show m2kq81xk3f0a",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFlowShowCmd(e))
	return cmd
}

func newFlowShowCmd(e *env) *cobra.Command {
	var where trailFlag
	cmd := &cobra.Command{
		Use:   "show FLOW|SEQ",
		Short: "Everything that the trail says of one flow, or of one record",
		Long: `Everything that the trail says of one flow, named by its id, or of one record, named
by its number. Both stand in flows -o wide and in -o json.`,
		Example: `  outwarden flow show m2kq81xk3f0a
  outwarden flow show 4711 -o json`,
		Args: oneArg("a flow's id or a record's number"),
		RunE: func(_ *cobra.Command, args []string) error {
			endBySignal()
			id := strings.TrimPrefix(args[0], "#")
			if id == "" {
				return usageError{errors.New("want a flow's id or a record's number"), "outwarden flows -o wide lists their ids"}
			}
			dir, err := where.dir(e)
			if err != nil {
				return err
			}
			records, err := findFlow(e, dir, id)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return hinted(fmt.Errorf("no flow or record %q", audit.Printable(args[0])), "outwarden flows -o wide lists their ids")
			}
			return showFlow(e, records)
		},
	}
	where.register(cmd.Flags())
	return cmd
}

// oneArg wants exactly one word.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return usageError{fmt.Errorf("want %s", what), "see: " + cmd.CommandPath() + " --help"}
	}
}

// seqDigits is how long a record's number can be; a flow's id is longer.
const seqDigits = 10

func findFlow(e *env, dir, id string) ([]audit.Record, error) {
	if seq, err := strconv.ParseUint(id, 10, 64); err == nil && len(id) <= seqDigits {
		return collect(e, dir, audit.Query{Seqs: []uint64{seq}})
	}
	return collect(e, dir, audit.Query{Flows: []string{id}})
}

func showFlow(e *env, records []audit.Record) error {
	if e.json() {
		for i := range records {
			if err := writeLine(e, &records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	s := sheet{w: e.stdout, paint: painter{e.colour()}}
	first := &records[0]
	s.title("flow "+first.Flow, first.Time.Local().Format("2006-01-02 15:04:05.000 MST"))
	if first.Guest == "" {
		s.identity(first.Process)
	}
	s.field("guest", first.Guest)
	if o := first.Original; o != nil {
		s.field("meant", endpoint(o.IP, o.Port))
	}
	s.field("SNI", first.SNI)
	for i := range records {
		if records[i].Kind == audit.KindCredential && len(records) > 1 {
			s.intent(&records[i])
			continue
		}
		s.record(&records[i])
	}
	return s.err
}

// record prints one record below the identity.
func (s *sheet) record(r *audit.Record) {
	s.gap()
	s.field("record", fmt.Sprintf("#%d %s at %s", r.Seq, kindText(r), r.Time.Local().Format("15:04:05.000")))
	s.field("request", requestText(r))
	s.field("decision", strings.TrimSpace(r.Decision+routeText(r)))
	s.painted("reason", r.Reason, reasonCell(r).colour)
	s.proof(r)
	if u := r.Upstream; u != nil {
		s.field("upstream", strings.TrimSpace(endpoint(u.IP, u.Port)+"  "+protocols(u)))
		s.digest("its certificate", u.CertSHA256)
		s.digest("our certificate", u.ClientCert)
	}
	s.field("egress IP", r.EgressIP)
	s.field("result", resultText(r))
	for _, c := range r.Scrubbed {
		s.painted("sent back", c.Name+", "+count(c.Count, "time"), red)
	}
	s.digest("hash", r.Hash)
}

// intent prints only that there was one: its result says the same and more.
func (s *sheet) intent(r *audit.Record) {
	s.gap()
	s.field("record", fmt.Sprintf("#%d %s at %s", r.Seq, kindText(r), r.Time.Local().Format("15:04:05.000")))
	s.digest("hash", r.Hash)
}

// proof prints what was put on a request.
func (s *sheet) proof(r *audit.Record) {
	for _, c := range r.Credentials {
		s.painted("credential", strings.TrimSpace(c.Name+" "+parenthesised(c.Form, versionText(c.Version))), green)
	}
	if sig := r.Signature; sig != nil {
		s.field("signature", signatureText(sig))
	}
}

func kindText(r *audit.Record) string {
	if r.Kind == audit.KindCredential {
		return "intent, written before the credential left,"
	}
	return r.Kind
}

func requestText(r *audit.Record) string {
	if r.Method == "" && r.Path == "" {
		return ""
	}
	return strings.TrimSpace(r.Method + " " + r.Host + r.Path)
}

func routeText(r *audit.Record) string {
	if r.Route == "" {
		return ""
	}
	return " by route " + r.Route
}

func versionText(v string) string {
	if v == "" {
		return ""
	}
	return "version " + v
}

// parenthesised joins what is not empty.
func parenthesised(parts ...string) string {
	var have []string
	for _, p := range parts {
		if p != "" {
			have = append(have, p)
		}
	}
	if len(have) == 0 {
		return ""
	}
	return "(" + strings.Join(have, ", ") + ")"
}

func signatureText(sig *audit.Signature) string {
	s := sig.Scheme
	if sig.KeyID != "" {
		s += ", key " + sig.KeyID
	}
	if sig.Timestamp != 0 {
		s += ", timestamp " + time.Unix(sig.Timestamp, 0).UTC().Format(time.RFC3339)
	}
	if sig.Nonce != "" {
		s += ", nonce " + sig.Nonce
	}
	return s
}

func resultText(r *audit.Record) string {
	var parts []string
	if r.Status != 0 {
		parts = append(parts, strconv.Itoa(r.Status))
	}
	if r.BytesIn+r.BytesOut > 0 {
		parts = append(parts, size(r.BytesOut)+" sent", size(r.BytesIn)+" received")
	}
	if d := duration(r.DurationMS); d != "" {
		parts = append(parts, d)
	}
	return strings.Join(parts, ", ")
}
