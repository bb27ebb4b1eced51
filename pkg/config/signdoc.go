package config

// signDoc is `sign:` of a route as it is written.
type signDoc struct {
	At            Position       `json:"-"`
	HMAC          *hmacDoc       `json:"hmac" jsonschema_description:"HMAC with a shared key"`
	HTTPSig       *httpsigDoc    `json:"httpsig" jsonschema_description:"HTTP message signature (RFC 9421)"`
	SigV4         list[sigv4Doc] `json:"sigv4" jsonschema_description:"AWS Signature Version 4"`
	RefuseReplays toggle         `json:"refuse_replays" jsonschema_description:"refuse a request whose own signature was seen before"`
}

type hmacDoc struct {
	At     Position   `json:"-"`
	Key    list[text] `json:"key" jsonschema:"required" jsonschema_description:"secret:NAME; several while a key is replaced, where the API takes a list of signatures"`
	Preset text       `json:"preset" jsonschema:"enum=knoxcall,enum=github,enum=stripe,enum=slack,enum=standard-webhooks"`
	Nonce  toggle     `json:"nonce" jsonschema_description:"sign and send a nonce"`
	KeyID  text       `json:"key_id" jsonschema_description:"name of the key in the audit trail"`

	Template    list[text]           `json:"template" jsonschema_description:"in place of preset: what is signed, a line each, with {method} {host} {target} {path} {query} {query.sorted} {header:NAME} {timestamp} {nonce} {body} {body:sha256:hex}; what stands in [[ ]] is left out where a variable in it is empty"`
	Headers     list[templateHeader] `json:"headers" jsonschema_description:"of template: the headers that carry {signature}, {timestamp} and {nonce}"`
	Algorithm   text                 `json:"algorithm" jsonschema:"enum=sha1,enum=sha256,enum=sha384,enum=sha512" jsonschema_description:"of template; default sha256"`
	Encoding    text                 `json:"encoding" jsonschema:"enum=hex,enum=base64,enum=base64url" jsonschema_description:"of template: how the signature is written; default hex"`
	Time        text                 `json:"time" jsonschema:"enum=s,enum=ms,enum=rfc3339" jsonschema_description:"of template: how {timestamp} is written; default s"`
	KeyEncoding text                 `json:"key_encoding" jsonschema:"enum=raw,enum=hex,enum=base64" jsonschema_description:"of template: how the secret becomes key bytes; default raw"`
}

type templateHeader struct {
	At        Position `json:"-"`
	Name      text     `json:"name" jsonschema:"required"`
	Value     text     `json:"value" jsonschema:"required" jsonschema_description:"text with one of {signature}, {timestamp} and {nonce}"`
	Separator text     `json:"separator" jsonschema_description:"the value is a list with it between the elements, one variable each"`
}

type httpsigDoc struct {
	At         Position   `json:"-"`
	Key        text       `json:"key" jsonschema:"required" jsonschema_description:"secret:NAME: a private key in PEM, or a shared key"`
	Algorithm  text       `json:"algorithm" jsonschema:"required,enum=hmac-sha256,enum=ed25519,enum=ecdsa-p256-sha256,enum=ecdsa-p384-sha384,enum=rsa-pss-sha512,enum=rsa-v1_5-sha256"`
	KeyID      text       `json:"key_id" jsonschema_description:"keyid that is signed; default the secret's name, or of web-bot-auth the key's thumbprint"`
	Preset     text       `json:"preset" jsonschema:"enum=web-bot-auth"`
	Agent      text       `json:"agent" jsonschema_description:"of web-bot-auth: URL for the Signature-Agent header"`
	Label      text       `json:"label" jsonschema_description:"default sig1"`
	Components list[text] `json:"components" jsonschema_description:"what is covered, as @method or content-type or \"@query-param\";name=\"id\"; with ? behind it where the request has it; default @method, @target-uri, content-digest, content-type?"`
	Digest     list[text] `json:"digest" jsonschema_description:"sha-256 or sha-512 of the content, for content-digest; default sha-256"`
	Tag        text       `json:"tag"`
	Expires    text       `json:"expires" jsonschema_description:"how long after created, as 60s or 5m; default no expires"`
}

type sigv4Doc struct {
	At           Position   `json:"-"`
	AccessKey    text       `json:"access_key" jsonschema:"required" jsonschema_description:"access key id, or secret:NAME"`
	SecretKey    text       `json:"secret_key" jsonschema:"required" jsonschema_description:"secret:NAME"`
	SessionToken text       `json:"session_token" jsonschema_description:"secret:NAME"`
	Placeholder  text       `json:"placeholder" jsonschema_description:"access key id that workloads sign with to ask for this credential; default any"`
	Region       list[text] `json:"region" jsonschema:"required" jsonschema_description:"regions that it may sign for; the first where the workload does not say"`
	Service      list[text] `json:"service" jsonschema:"required" jsonschema_description:"services that it may sign for, as s3; the first where the workload does not say"`
}
