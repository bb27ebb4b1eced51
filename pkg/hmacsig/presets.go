package hmacsig

import "fmt"

// TemplatePreset returns the compiled template of that name: knoxcall, github,
// stripe, slack or standard-webhooks; ErrUnknownPreset otherwise. "knoxcall"
// signs as Preset's scheme does, byte for byte.
func TemplatePreset(name string) (TemplateScheme, error) {
	t, ok := PresetTemplate(name)
	if !ok {
		return TemplateScheme{}, fmt.Errorf("%w %q", ErrUnknownPreset, name)
	}
	return t.Compile()
}

// PresetTemplate returns the template of that name, and whether there is one.
func PresetTemplate(name string) (Template, bool) {
	t := Template{Name: name, Algorithm: "sha256", Encoding: "hex", Time: "s"}
	switch name {
	case "knoxcall":
		t.Text = "{method}\n{target}\ncontent-type:{header:content-type}\nx-timestamp:{timestamp}\n[[x-nonce:{nonce}\n]]{body:sha256:hex}"
		t.Fields = []FieldTemplate{{"X-Timestamp", "{timestamp}", ""}, {"X-Nonce", "{nonce}", ""}, {"X-Signature", "sha256={signature}", ""}}
	case "github":
		t.Text = "{body}"
		t.Fields = []FieldTemplate{{"X-Hub-Signature-256", "sha256={signature}", ""}}
	case "stripe":
		t.Text = "{timestamp}.{body}"
		t.Fields = []FieldTemplate{{"Stripe-Signature", "t={timestamp},v1={signature}", ","}}
	case "slack":
		t.Text = "v0:{timestamp}:{body}"
		t.Fields = []FieldTemplate{{"X-Slack-Request-Timestamp", "{timestamp}", ""}, {"X-Slack-Signature", "v0={signature}", ""}}
	case "standard-webhooks":
		t.Text, t.Encoding, t.Key, t.KeyPrefix = "{nonce}.{timestamp}.{body}", "base64", "base64", "whsec_"
		t.Fields = []FieldTemplate{
			{"webhook-id", "{nonce}", ""}, {"webhook-timestamp", "{timestamp}", ""}, {"webhook-signature", "v1,{signature}", " "},
		}
	default:
		return Template{}, false
	}
	return t, true
}
