package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// screenshots is a folder in which the pictures of the reports that the tests make are kept, to be looked at.
const screenshots = "BENCHD_TEST_SCREENSHOTS"

// probe goes into the copy of a report that a browser is given: it tells the page around it how wide it came out. Reports hold no
// script of their own.
const probe = `<script>addEventListener("load", () => { const d = document.documentElement;
parent.postMessage([name, d.scrollWidth, innerWidth, document.querySelectorAll("figure svg path").length, getComputedStyle(document.body).backgroundColor].join("|"), "*"); });</script></body>`

// around shows reports in frames, for a window of a headless browser has a least width, and gathers what they tell.
const around = `<!DOCTYPE html><body><script>addEventListener("message", e => { const p = document.createElement("p"); p.textContent = "seen:" + e.data + ":"; document.body.append(p); });</script>`

var seen = regexp.MustCompile(`seen:([^|<]*)\|(\d+)\|(\d+)\|(\d+)\|([^:<]*):`)

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no chromium: hack/install-packages installs it")
	}
	t.Skip("there is no chromium to show the report in: as root, hack/install-packages installs it")
	return ""
}

// A browser shows the reports without a complaint, on a desktop and on a phone, in its dark colours too, and nothing sticks out of the page.
func TestReportsInABrowser(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	dir, frames := t.TempDir(), around
	pages := map[string][]byte{"run": htmlOf(t, bigAttempt(t, nil)), "hostile": htmlOf(t, hostileAttempt(t)), "sweep": sweepHTML(t)}
	for name, page := range pages {
		probed := bytes.Replace(page, []byte("default-src 'none'"), []byte("default-src 'none'; script-src 'unsafe-inline'"), 1)
		probed = bytes.Replace(probed, []byte("</body>"), []byte(probe), 1)
		keep(t, filepath.Join(dir, name+".html"), probed)
		for screen, width := range screens {
			frames += fmt.Sprintf(`<iframe name="%s on a %s" src="%s.html" style="border:0;width:%dpx;height:800px"></iframe>`, name, screen, name, width)
		}
	}
	keep(t, filepath.Join(dir, "frames.html"), []byte(frames))
	dom, errs := browse(t, browser, "--blink-settings=preferredColorScheme=0", "--virtual-time-budget=10000", "--dump-dom", "file://"+filepath.Join(dir, "frames.html"))
	for line := range strings.Lines(errs) {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the browser complains: %s", line)
		}
	}
	found := seen.FindAllStringSubmatch(dom, -1)
	if len(found) != len(pages)*len(screens) {
		t.Fatalf("%d pages were loaded: %.2000s", len(found), dom)
	}
	for _, m := range found {
		scroll, _ := strconv.Atoi(m[2])
		inner, _ := strconv.Atoi(m[3])
		if drawn, _ := strconv.Atoi(m[4]); scroll > inner || drawn == 0 || inner > 1280 {
			t.Errorf("%s: the page is %d wide in a window of %d, with %d lines drawn", m[1], scroll, inner, drawn)
		}
		if m[5] != "rgb(20, 24, 29)" {
			t.Errorf("%s: the page is %s in the dark", m[1], m[5])
		}
	}
	if folder := os.Getenv(screenshots); folder != "" {
		for name, page := range pages {
			keep(t, filepath.Join(folder, name+".html"), page)
			for screen, width := range screens {
				frame := filepath.Join(folder, "frame.html")
				keep(t, frame, fmt.Appendf(nil, `<!DOCTYPE html><body style="margin:0"><iframe src="%s.html" style="border:0;width:%dpx;height:14000px"></iframe>`, name, width))
				browse(t, browser, "--hide-scrollbars", fmt.Sprintf("--window-size=%d,14000", width), "--screenshot="+filepath.Join(folder, name+"-"+screen+".png"), "file://"+frame)
			}
		}
	}
}

// screens by their width in points.
var screens = map[string]int{"desktop": 1280, "phone": 390}

func keep(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// browse starts a browser with nobody before it, and gives what it prints and what it complains of.
func browse(t *testing.T, browser string, args ...string) (out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	flags := []string{"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir()}
	cmd := exec.CommandContext(ctx, browser, append(flags, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("start %s: %v\n%s", browser, err, stderr.String())
	}
	return stdout.String(), stderr.String()
}
