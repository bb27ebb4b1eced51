package config

// document is a file as it is written. The json tags name the keys, for the
// decoder and for the schema alike; nothing here is checked beyond its shape.
type document struct {
	At        Position          `json:"-"`
	Capture   *captureSection   `json:"capture" jsonschema_description:"what the kernel hooks take"`
	Default   text              `json:"default" jsonschema:"enum=passthrough,enum=intercept,enum=deny" jsonschema_description:"what happens where no route matches"`
	StateDir  text              `json:"state_dir" jsonschema_description:"authority, audit and state; default /var/lib/outwarden"`
	RunDir    text              `json:"run_dir" jsonschema_description:"control socket; default /run/outwarden"`
	Drain     span              `json:"drain" jsonschema_description:"how long established connections may go on when the daemon stops or is replaced; default 30s"`
	Secrets   named[secretDoc]  `json:"secrets" jsonschema_description:"a name and where the secret comes from; secret:NAME refers to it"`
	Authority *authoritySection `json:"authority" jsonschema_description:"where the local CA keeps its key"`
	DNS       *dnsSection       `json:"dns" jsonschema_description:"how names of upstreams are resolved"`
	Audit     *auditSection     `json:"audit" jsonschema_description:"how records are kept"`
	Routes    list[routeDoc]    `json:"routes" jsonschema_description:"tried in order; the first that matches decides"`
}

type captureSection struct {
	At       Position        `json:"-"`
	Scope    list[targetDoc] `json:"scope" jsonschema_description:"workloads to capture; default the root cgroup"`
	Exclude  list[targetDoc] `json:"exclude" jsonschema_description:"workloads to leave alone"`
	Ports    list[number]    `json:"ports" jsonschema_description:"destination ports to redirect; default 80, 443 and those that routes name"`
	Backend  text            `json:"backend" jsonschema:"enum=rewrite,enum=nft,enum=tproxy" jsonschema_description:"how connections come to the interceptor; default rewrite"`
	Guests   list[guestDoc]  `json:"guests" jsonschema_description:"with backend tproxy: guests whose connections are routed through this host"`
	Fail     text            `json:"fail" jsonschema:"enum=closed,enum=open" jsonschema_description:"what happens to connections while the interceptor is dead"`
	PinDir   text            `json:"pin_dir" jsonschema_description:"where BPF objects are pinned; default /sys/fs/bpf/outwarden"`
	Raw      text            `json:"raw" jsonschema:"enum=refuse,enum=record" jsonschema_description:"packets of sockets that are neither TCP nor UDP, as of ping; default refuse"`
	Existing text            `json:"existing" jsonschema:"enum=record,enum=reset" jsonschema_description:"connections that stood before their process came into scope; default record"`
	Listen   list[number]    `json:"listen" jsonschema_description:"ports of the interceptor's listeners"`
	Mark     number          `json:"mark" jsonschema_description:"socket mark of the interceptor's own connections"`

	RedirectMark number `json:"redirect_mark" jsonschema_description:"with backends nft and tproxy: the bit of the mark by which connections are known that are redirected; default 0x80"`
}

type guestDoc struct {
	At        Position `json:"-"`
	CIDR      text     `json:"cidr" jsonschema_description:"addresses of the guests"`
	Interface text     `json:"interface" jsonschema_description:"name of the interface by which their packets come"`
}

type targetDoc struct {
	At     Position `json:"-"`
	Cgroup text     `json:"cgroup" jsonschema_description:"a cgroup and all below it"`
	Unit   text     `json:"unit" jsonschema_description:"a systemd unit"`
	Pod    later    `json:"pod"`
}

type secretDoc struct {
	At      Position `json:"-"`
	File    text     `json:"file" jsonschema_description:"path of a file that holds the secret"`
	Systemd text     `json:"systemd" jsonschema_description:"name of a systemd credential"`

	SPIFFE *spiffeDoc `json:"spiffe" jsonschema_description:"an identity of ours from a SPIFFE Workload API"`
}

type spiffeDoc struct {
	At       Position `json:"-"`
	Socket   text     `json:"socket" jsonschema:"required" jsonschema_description:"path of the agent's unix socket"`
	Type     text     `json:"type" jsonschema:"required,enum=x509,enum=bundle,enum=jwt" jsonschema_description:"x509: chain and key, for cert and key of mtls alike; bundle: the roots, for ca; jwt: a token"`
	ID       text     `json:"id" jsonschema_description:"spiffe://..., where the agent gives several; default the first"`
	Audience text     `json:"audience" jsonschema_description:"of jwt: whom the token is for"`
}

type authoritySection struct {
	At  Position `json:"-"`
	TPM text     `json:"tpm" jsonschema_description:"TPM 2.0 that makes and keeps the key: a device such as /dev/tpmrm0, or unix:SOCKET of a simulator; default a file below state_dir"`
}

type dnsSection struct {
	At      Position   `json:"-"`
	Servers list[text] `json:"servers" jsonschema_description:"addresses of resolvers, with a port if it is not 53"`
}

type auditSection struct {
	At         Position `json:"-"`
	Durability text     `json:"durability" jsonschema:"enum=process,enum=synced" jsonschema_description:"what a record survives before the request goes on: the process's death, or the host's"`
	OnFailure  text     `json:"on_failure" jsonschema:"enum=block,enum=allow" jsonschema_description:"what happens to a request that cannot be recorded"`
}

type routeDoc struct {
	At        Position        `json:"-"`
	Name      text            `json:"name" jsonschema:"required"`
	From      *fromDoc        `json:"from" jsonschema_description:"which processes; all conditions must hold"`
	To        *toDoc          `json:"to" jsonschema_description:"which destinations and requests; all conditions must hold"`
	Action    text            `json:"action" jsonschema:"enum=intercept,enum=passthrough,enum=deny"`
	Mode      text            `json:"mode" jsonschema:"enum=enforce,enum=report,enum=observe"`
	Cleartext toggle          `json:"cleartext" jsonschema_description:"the workload may speak plain HTTP and still get the credential; upstream is TLS all the same"`
	Upstream  *upstreamDoc    `json:"upstream" jsonschema_description:"how the connection to the API is made"`
	Inject    list[injectDoc] `json:"inject" jsonschema_description:"credentials to put on each request"`
	Sign      *signDoc        `json:"sign" jsonschema_description:"signature to put on each request"`
	Scrub     text            `json:"scrub" jsonschema:"enum=on,enum=off,enum=alert" jsonschema_description:"whether the route's credentials are taken out of responses; default on. alert: what is found is recorded, and stays"`
	Limits    *limitsDoc      `json:"limits"`
	When      later           `json:"when"`
}

type fromDoc struct {
	At        Position     `json:"-"`
	Exe       list[text]   `json:"exe" jsonschema_description:"executables, as absolute paths without links, with * and **"`
	ExeSHA256 list[text]   `json:"exe_sha256" jsonschema_description:"SHA-256 of the executable in hex"`
	User      list[text]   `json:"user" jsonschema_description:"user names or numbers"`
	UID       list[number] `json:"uid" jsonschema_description:"user numbers"`
	Unit      list[text]   `json:"unit" jsonschema_description:"systemd units, with *"`
	Cgroup    list[text]   `json:"cgroup" jsonschema_description:"cgroup paths, with * and **"`
	Guest     list[text]   `json:"guest" jsonschema_description:"addresses or networks of guests (backend tproxy), in place of a process"`
	Pod       later        `json:"pod"`
	Container later        `json:"container"`
}

type toDoc struct {
	At      Position     `json:"-"`
	Host    list[text]   `json:"host" jsonschema_description:"names, *.names, addresses or networks"`
	Ports   list[number] `json:"ports" jsonschema_description:"destination ports; default every captured one"`
	Methods list[text]   `json:"methods"`
	Paths   list[text]   `json:"paths" jsonschema_description:"path patterns with * and **, without a query"`
}

type upstreamDoc struct {
	At           Position `json:"-"`
	MTLS         *mtlsDoc `json:"mtls" jsonschema_description:"client certificate"`
	CA           text     `json:"ca" jsonschema_description:"roots to trust in place of the system's: a path or secret:NAME"`
	EgressIP     text     `json:"egress_ip" jsonschema_description:"source address of the connection"`
	AllowPrivate toggle   `json:"allow_private" jsonschema_description:"private addresses may be dialled"`
	Geo          later    `json:"geo"`
}

type mtlsDoc struct {
	At   Position `json:"-"`
	Cert text     `json:"cert" jsonschema:"required" jsonschema_description:"PEM: a path or secret:NAME"`
	Key  text     `json:"key" jsonschema:"required" jsonschema_description:"PEM: a path or secret:NAME"`
}

type injectDoc struct {
	At     Position   `json:"-"`
	Bearer text       `json:"bearer" jsonschema_description:"secret:NAME, sent as Authorization: Bearer"`
	Basic  *basicDoc  `json:"basic" jsonschema_description:"sent as Authorization: Basic"`
	Header *headerDoc `json:"header"`
	Query  *queryDoc  `json:"query"`

	Cookie      *queryDoc       `json:"cookie" jsonschema_description:"one cookie; the workload keeps its others"`
	Path        *pathDoc        `json:"path" jsonschema_description:"one segment of the path"`
	JSON        *jsonDoc        `json:"json" jsonschema_description:"a string in a JSON body; see limits.edited_body"`
	Form        *queryDoc       `json:"form" jsonschema_description:"a field of an urlencoded form, or a text part of a multipart one; see limits.edited_body"`
	Placeholder *placeholderDoc `json:"placeholder" jsonschema_description:"the credential stands where the workload wrote what outwarden secret placeholder prints"`
}

type pathDoc struct {
	At      Position `json:"-"`
	Segment number   `json:"segment" jsonschema:"required" jsonschema_description:"which, counted from 1"`
	Prefix  text     `json:"prefix" jsonschema_description:"stands before the secret, in its segment"`
	Value   text     `json:"value" jsonschema:"required" jsonschema_description:"secret:NAME"`
}

type jsonDoc struct {
	At      Position `json:"-"`
	Pointer text     `json:"pointer" jsonschema:"required" jsonschema_description:"where it stands, as in /auth/token (RFC 6901)"`
	Value   text     `json:"value" jsonschema:"required" jsonschema_description:"secret:NAME"`
}

type placeholderDoc struct {
	At     Position   `json:"-"`
	Value  text       `json:"value" jsonschema:"required" jsonschema_description:"secret:NAME"`
	In     list[text] `json:"in" jsonschema_description:"header, query, path, body; default header"`
	Shape  text       `json:"shape" jsonschema:"enum=opaque,enum=jwt,enum=aws" jsonschema_description:"what the program takes for a key; default opaque"`
	Prefix text       `json:"prefix" jsonschema_description:"of an opaque one, as in sk_live_"`
	Length number     `json:"length" jsonschema_description:"of an opaque one, with its prefix"`
}

type basicDoc struct {
	At       Position `json:"-"`
	Username text     `json:"username" jsonschema:"required"`
	Password text     `json:"password" jsonschema:"required" jsonschema_description:"secret:NAME"`
}

type headerDoc struct {
	At       Position `json:"-"`
	Name     text     `json:"name" jsonschema:"required"`
	Value    text     `json:"value" jsonschema_description:"secret:NAME"`
	Prefix   text     `json:"prefix" jsonschema_description:"stands before the secret"`
	Template text     `json:"template" jsonschema_description:"in place of value and prefix: text with {secret:NAME} in it"`
}

type queryDoc struct {
	At    Position `json:"-"`
	Name  text     `json:"name" jsonschema:"required"`
	Value text     `json:"value" jsonschema:"required" jsonschema_description:"secret:NAME"`
}

type limitsDoc struct {
	At                Position `json:"-"`
	SignedBody        size     `json:"signed_body" jsonschema_description:"largest body that a signer holds; default 16MiB"`
	EditedBody        size     `json:"edited_body" jsonschema_description:"largest body that a credential is written into, decoded; default 1MiB"`
	RequestsPerMinute later    `json:"requests_per_minute"`
	BytesOutPerDay    later    `json:"bytes_out_per_day"`
}
