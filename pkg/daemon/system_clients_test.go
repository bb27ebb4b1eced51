package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// A client prints the protocol and the status in its first line, then the body.
const (
	pythonURLLib = `import sys, urllib.request as u
a = u.urlopen(sys.argv[1], timeout=30); print("HTTP/%s.%s" % tuple(str(a.version)), a.status); print(a.read().decode())`
	pythonRequests = `import sys, requests
a = requests.get(sys.argv[1], timeout=30); print("HTTP/%s.%s" % tuple(str(a.raw.version)), a.status_code); print(a.text)`
	nodeFetch = `const a = await fetch(process.argv[1]); console.log("HTTP/1.1", a.status); console.log(await a.text())`
	nodeHTTP2 = `import h2 from "node:http2"
const u = new URL(process.argv[1]), s = h2.connect(u), r = s.request({":path": u.pathname}); let b = ""
r.on("response", h => console.log("HTTP/2.0", h[":status"])).on("data", d => b += d).on("end", () => { console.log(b); s.close() })`
	perlLWP = `my $a = LWP::UserAgent->new->get($ARGV[0]); print $a->protocol, " ", $a->code, "\n", $a->decoded_content, "\n"`
	rubyNet = `a = Net::HTTP.get_response(URI(ARGV[0])); puts "HTTP/#{a.http_version} #{a.code}", a.body`
	phpCurl = `$c = curl_init($argv[1]); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => 1, CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_2TLS]); $b = curl_exec($c);
echo "HTTP/", curl_getinfo($c, CURLINFO_HTTP_VERSION) == CURL_HTTP_VERSION_2_0 ? 2 : 1, " ", curl_getinfo($c, CURLINFO_RESPONSE_CODE), "\n$b\n";`
	phpStreams = `$b = file_get_contents($argv[1]); echo substr($http_response_header[0], 0, 12), "\n$b\n";`
	wget       = `wget -q -S -O - "$0" 2>&1 | sed 's/^ *\(HTTP.* 200\).*/\1/'`
	sClient    = `host=$(echo "$0" | cut -d/ -f3); printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$(echo "$0" | cut -d/ -f4-)" "$host" |
openssl s_client -quiet -verify_return_error -verify_hostname "$host" -connect "$host:443" 2>/dev/null | sed 's/^\(HTTP.* 200\).*/\1/'`
	javaClient = `import java.net.*; import java.net.http.*;
public class Get { public static void main(String[] a) throws Exception {
  var r = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).version(HttpClient.Version.valueOf(a[1])).build(),
    HttpResponse.BodyHandlers.ofString());
  System.out.println((r.version() == HttpClient.Version.HTTP_2 ? "HTTP/2.0 " : "HTTP/1.1 ") + r.statusCode()); System.out.println(r.body()); } }`
)

// client is one unmodified program in one version of HTTP.
type client struct {
	name, proto string
	argv        []string
	needs       []string // a command that fails where the client is not installed
}

func clients(w *world) []client {
	java := w.write("Get.java", javaClient)
	curl := []string{"curl", "-sS", "-w", `\nHTTP/%{http_version} %{http_code}`}
	return []client{
		{"static Go h2", "HTTP/2.0", []string{program("client"), "get", partnerURL}, nil},
		{"static Go h1", "HTTP/1.1", []string{"env", "GODEBUG=http2client=0", program("client"), "get", partnerURL}, nil},
		{"curl h2", "HTTP/2", append(slices.Clone(curl), "--http2", partnerURL), []string{"sh", "-c", "curl --version | grep -q HTTP2"}},
		{"curl h1", "HTTP/1.1", append(slices.Clone(curl), "--http1.1", partnerURL), []string{"curl", "--version"}},
		{"Python urllib", "HTTP/1.1", []string{"python3", "-c", pythonURLLib, partnerURL}, []string{"python3", "--version"}},
		{"Python requests", "HTTP/1.1", []string{"python3", "-c", pythonRequests, partnerURL}, []string{"python3", "-c", "import requests"}},
		{"Node fetch", "HTTP/1.1", []string{"node", "--input-type=module", "-e", nodeFetch, partnerURL}, []string{"node", "-e", "fetch"}},
		{"Node http2", "HTTP/2.0", []string{"node", "--input-type=module", "-e", nodeHTTP2, partnerURL}, []string{"node", "--version"}},
		{"Java HttpClient h2", "HTTP/2.0", []string{"java", "-XX:TieredStopAtLevel=1", java, partnerURL, "HTTP_2"}, []string{"javac", "-version"}},
		{"Java HttpClient h1", "HTTP/1.1", []string{"java", "-XX:TieredStopAtLevel=1", java, partnerURL, "HTTP_1_1"}, []string{"javac", "-version"}},
		{"wget", "HTTP/1.1", []string{"sh", "-c", wget, partnerURL}, []string{"wget", "--version"}},
		{"openssl s_client", "HTTP/1.1", []string{"sh", "-c", sClient, partnerURL}, []string{"openssl", "version"}},
		{"Perl LWP", "HTTP/1.1", []string{"perl", "-MLWP::UserAgent", "-e", perlLWP, partnerURL}, []string{"perl", "-MLWP::Protocol::https", "-e", "1"}},
		{"Ruby net/http", "HTTP/1.1", []string{"ruby", "-rnet/http", "-e", rubyNet, partnerURL}, []string{"ruby", "--version"}},
		{"PHP streams", "HTTP/1.1", []string{"php", "-r", phpStreams, partnerURL}, []string{"php", "--version"}},
		{"PHP curl h2", "HTTP/2", []string{"php", "-r", phpCurl, partnerURL}, []string{"php", "-r", "exit((int)!function_exists('curl_init'));"}},
	}
}

// One daemon for all of them, as on a host; `run` finds it.
func TestSystemClients(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	for _, c := range clients(w) {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			if len(c.needs) > 0 && exec.Command(c.needs[0], c.needs[1:]...).Run() != nil {
				netnstest.Skip(t, c.name+" is not installed")
			}
			r := w.run(c.argv...)
			if r.code != 0 || !hasLine(r.stdout, c.proto+" 200") {
				t.Fatalf("want %s 200: %v", c.proto, r)
			}
			a := accountIn(t, r.stdout)
			a.verified(t)
			if wants := strings.TrimSuffix(c.proto, ".0"); !strings.HasPrefix(a.Proto, wants) {
				t.Errorf("the partner was spoken to in %s, want %s mirrored", a.Proto, wants)
			}
		})
	}
	checkOrder(t, w)
}

func hasLine(out, line string) bool { return slices.Contains(strings.Split(out, "\n"), line) }

// checkOrder: each credential's intent stands before the request's result, both
// name the same process, and the chain verifies.
func checkOrder(t *testing.T, w *world) {
	t.Helper()
	intents := map[string]audit.Record{}
	results := 0
	for _, r := range w.records() {
		switch r.Kind {
		case audit.KindCredential:
			if r.Signature == nil || len(r.Credentials) == 0 || r.Status != 0 {
				t.Errorf("intent without what is about to leave: %s", r.Line())
			}
			intents[r.Flow] = r
		case audit.KindRequest:
			results++
			intent, ok := intents[r.Flow]
			switch {
			case !ok:
				t.Errorf("result without an intent before it: %s", r.Line())
			case r.Status != 200 || r.EgressIP != egressIP || r.Process == nil || r.Process.PID != intent.Process.PID:
				t.Errorf("result %s\nof intent %s", r.Line(), intent.Line())
			}
		}
	}
	if results == 0 || results != len(intents) {
		t.Errorf("%d results of %d intents", results, len(intents))
	}
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
	if r := w.outwarden("flows", "-o", "json"); r.code != 0 || strings.Count(r.stdout, `"kind":"request"`) != results {
		t.Errorf("flows shows %d of %d requests: %v", strings.Count(r.stdout, `"kind":"request"`), results, r)
	}
}

// The live process that just used the credentials holds none of them, and
// neither does anything that we print or write.
func TestSystemNoCredentialInWorkload(t *testing.T) {
	w := newWorld(t)
	needles := secretsOf(t, w)
	const python = `import sys, urllib.request as u
for line in sys.stdin:
    print(u.urlopen(line.strip(), timeout=30).read().decode()); print("done", flush=True)`
	for name, argv := range map[string][]string{"go": {program("client"), "steps"}, "python": {"python3", "-c", python}} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(argv[0]); err != nil {
				netnstest.Skip(t, argv[0]+" is not installed")
			}
			p := w.beginRun(argv...)
			for range 3 {
				said := strings.Count(p.stdout.String(), "done")
				p.say(partnerURL)
				w.await("an answer", func() bool { return strings.Count(p.stdout.String(), "done") > said })
			}
			accountIn(t, strings.Split(p.stdout.String(), "done")[0]).verified(t)
			pid := w.workloadPID()
			memory := memoryOf(t, pid)
			if !memory.holds([]byte("/v1/transfers")) {
				t.Error("the scan does not even find the URL that the client called")
			}
			for what, needle := range needles {
				if memory.holds(needle) {
					t.Errorf("the memory of the workload holds the %s", what)
				}
			}
			if code := p.end(); code != 0 {
				t.Errorf("exit %d: %s", code, &p.stderr)
			}
		})
	}
	status := w.outwarden("flows", "-o", "json").stdout + w.outwarden("trail", program("client")).stdout
	for what, needle := range needles {
		for name, text := range w.written() {
			if strings.Contains(text, string(needle)) {
				t.Errorf("%s holds the %s", name, what)
			}
		}
		if strings.Contains(status, string(needle)) {
			t.Errorf("our output holds the %s", what)
		}
	}
}

// written is what Outwarden wrote to files, but the configuration and the
// partner's own.
func (w *world) written() map[string]string {
	files := map[string]string{}
	for _, dir := range []string{"state", "run"} {
		err := filepath.WalkDir(w.path(dir), func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			files[path] = string(b)
			return err
		})
		must(w.t, err)
	}
	if len(files) < 5 {
		w.t.Errorf("only %d files found below state_dir and run_dir", len(files))
	}
	return files
}
