package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/report"
)

// objectKey names an object in its namespace.
type objectKey struct{ namespace, name string }

func keyOf(obj api.Object) objectKey { return objectKey{obj.GetNamespace(), obj.GetName()} }

// topView is the picture of all that is under way: a function of what was seen last and of the window.
type topView struct {
	screen
	last  sighting
	rates map[string]*series // of a run, by its uid
	// cursor counts the lines that can be chosen, top is the first line of the body that is shown.
	cursor, top int
	// open is the run whose detail is shown; the zero key when none is.
	open   objectKey
	detail *runView
}

// topLine is a drawn line; one of an object can be chosen.
type topLine struct {
	text   string
	object api.Object
}

// take keeps what was seen. What a failed look does not tell stays as it was.
func (v *topView) take(g sighting) {
	if g.err != nil {
		v.last.err = g.err
		return
	}
	chosen := v.chosen()
	v.last = g
	v.choose(chosen)
	under := map[string]bool{}
	for _, run := range g.runs {
		uid := string(run.UID)
		under[uid] = true
		if v.rates[uid] == nil {
			v.rates[uid] = &series{}
		}
		v.rates[uid].add(run, g.at)
	}
	if v.detail != nil && g.open != nil && keyOf(g.open.run) == v.open {
		uid := string(g.open.run.UID)
		under[uid] = true
		if v.rates[uid] != nil {
			v.detail.rates = v.rates[uid]
		}
		v.detail.take(*g.open)
		v.detail.now = g.open.at
		v.rates[uid] = v.detail.rates
	}
	for uid := range v.rates {
		if !under[uid] {
			delete(v.rates, uid)
		}
	}
}

// objects are all that can be chosen, in the order of their lines.
func (v *topView) objects() []api.Object {
	var all []api.Object
	for _, s := range v.last.sweeps {
		all = append(all, s)
	}
	for _, a := range byPhase(v.last.allocations) {
		all = append(all, a)
	}
	for _, run := range v.last.runs {
		all = append(all, run)
	}
	return all
}

// chosen is the object under the cursor; nil where there is none.
func (v *topView) chosen() api.Object {
	if all := v.objects(); v.cursor < len(all) {
		return all[v.cursor]
	}
	return nil
}

// choose puts the cursor on an object, and leaves it near its place when that has gone.
func (v *topView) choose(obj api.Object) {
	all := v.objects()
	v.cursor = max(0, min(v.cursor, len(all)-1))
	if at := slices.IndexFunc(all, func(o api.Object) bool { return obj != nil && o.GetUID() == obj.GetUID() }); at >= 0 && v.cursor > 0 {
		v.cursor = at
	}
}

// press takes a key, and says whether something else is to be looked at.
func (v *topView) press(key string) bool {
	switch key {
	case "j", "down":
		v.move(1)
	case "k", "up":
		v.move(-1)
	case "pgdown", "space":
		v.move(max(1, v.room()-1))
	case "pgup":
		v.move(-max(1, v.room()-1))
	case "esc":
		v.open, v.detail, v.top = objectKey{}, nil, 0
	case "enter":
		return v.show(v.cursor - len(v.last.sweeps) - len(v.last.allocations))
	default:
		if n, err := strconv.Atoi(key); err == nil && n > 0 {
			return v.show(n - 1)
		}
	}
	return false
}

// move goes through what can be chosen; in the detail of a run, through its lines.
func (v *topView) move(by int) {
	if v.detail != nil {
		v.top = max(0, v.top+by)
		return
	}
	v.cursor = max(0, min(v.cursor+by, len(v.objects())-1))
}

// show opens the detail of a run by its index.
func (v *topView) show(at int) bool {
	if v.detail != nil || at < 0 || at >= len(v.last.runs) {
		return false
	}
	run := v.last.runs[at]
	v.cursor = len(v.last.sweeps) + len(v.last.allocations) + at
	v.open, v.top = keyOf(run), 0
	v.detail = &runView{whole: true, rates: v.rates[string(run.UID)], now: v.last.at}
	v.detail.take(runSight{at: v.last.at, run: run, allocation: v.allocationOf(run)})
	return true
}

func (v *topView) allocationOf(run *api.BenchmarkRun) *api.Allocation {
	for _, a := range v.last.allocations {
		if ref := run.Status.AllocationRef; ref != nil && a.Namespace == run.Namespace && a.Name == ref.Name {
			return a
		}
	}
	return nil
}

// lines are the whole picture, no higher than the window.
func (v *topView) lines() []string {
	head := v.head()
	if v.width == 0 {
		for _, line := range v.body() {
			head = append(head, line.text)
		}
		return head
	}
	var body []topLine
	help := "j/k move  enter or 1-9 open  q quit"
	if v.detail != nil {
		help = "j/k scroll  esc back  q quit"
		v.detail.screen = v.screen
		for _, line := range v.detail.lines() {
			body = append(body, topLine{text: line})
		}
	} else {
		body = v.body()
	}
	from, to := v.window(body)
	lines := head
	chosen := -1
	for i, line := range body[:to] {
		text := line.text
		if line.object != nil {
			if chosen++; chosen == v.cursor && v.detail == nil {
				text = atStyle.Render(pad(v.fit(text), v.width))
			}
		}
		if i >= from {
			lines = append(lines, text)
		}
	}
	if above, below := from, len(body)-to; above+below > 0 {
		help = fmt.Sprintf("↑%d ↓%d  ", above, below) + help
	}
	return append(lines, dimStyle.Render(help))
}

// room is how many lines of the body can be shown.
func (v *topView) room() int {
	return max(1, v.height-len(v.head())-1)
}

// window chooses what of the body is shown, so that the chosen line is.
func (v *topView) window(body []topLine) (from, to int) {
	room := v.room()
	if v.detail == nil {
		at, chosen := 0, -1
		for i, line := range body {
			if line.object != nil {
				if chosen++; chosen == v.cursor {
					at = i
				}
			}
		}
		if v.cursor == 0 {
			v.top = 0 // titles too
		}
		v.top = max(min(v.top, at), at-room+1)
	}
	v.top = max(0, min(v.top, len(body)-room))
	return v.top, min(len(body), v.top+room)
}

func (v *topView) head() []string {
	g := &v.last
	when := "looking"
	if !g.at.IsZero() {
		when = g.at.Format(time.TimeOnly)
	}
	lines := v.flow(0, headStyle.Render("benchd"), when, fmt.Sprintf("%d sweeps", len(g.sweeps)), fmt.Sprintf("%d Allocations", len(g.allocations)),
		fmt.Sprintf("%d runs under way", len(g.runs)), fmt.Sprintf("%d waiting", g.waiting))
	if g.err != nil {
		lines = append(lines, badStyle.Render(markWarn+" the control plane does not answer: "+clean(g.err.Error())))
	}
	if g.openErr != nil && v.detail != nil {
		lines = append(lines, badStyle.Render(markWarn+" "+clean(g.openErr.Error())))
	}
	return lines
}

func (v *topView) body() []topLine {
	lines := slices.Concat(v.sweeps(), v.allocations(), v.runs())
	if len(lines) == 0 && !v.last.at.IsZero() {
		return []topLine{{}, {text: dimStyle.Render("nothing is under way: benchd apply -f FILE")}}
	}
	return lines
}

// section puts a table's lines to their objects.
func section[T api.Object](v *topView, columns []column, objects []T, cells func(int, T) []string) []topLine {
	if len(objects) == 0 {
		return nil
	}
	var rows [][]string
	for i, obj := range objects {
		rows = append(rows, cells(i, obj))
	}
	lines := []topLine{{}}
	for i, text := range v.table(columns, rows) {
		line := topLine{text: text}
		if i > 0 {
			line.object = objects[i-1]
		}
		lines = append(lines, line)
	}
	return lines
}

func (v *topView) sweeps() []topLine {
	columns := []column{
		{title: "SWEEP", most: 24},
		{title: "PHASE", worth: 6},
		{title: "PROGRESS", worth: 5},
		{title: "ENDED", worth: 7, right: true},
		{title: "FAILED", worth: 4, right: true},
		{title: "NODE-H", worth: 2, right: true},
		{title: "MESSAGE", worth: 3},
	}
	return section(v, columns, v.last.sweeps, func(_ int, s *api.BenchmarkSweep) []string {
		st := &s.Status
		share := float64(st.Ended()) / float64(max(1, st.Total))
		return []string{
			clean(s.Name), string(st.Phase), barStyle.Render(bar(share, 14)), fmt.Sprintf("%d/%d", st.Ended(), st.Total),
			fmt.Sprint(st.Failed), report.Digits(st.NodeHours, 4), clean(st.Message),
		}
	})
}

func (v *topView) allocations() []topLine {
	columns := []column{
		{title: "ALLOCATION", most: 24},
		{title: "PHASE", worth: 7},
		{title: "JOB", worth: 4},
		{title: "STATE", worth: 2},
		{title: "NODES", worth: 6, right: true},
		{title: "SERVERS", worth: 5, right: true},
		{title: "MESSAGE", worth: 3},
	}
	return section(v, columns, byPhase(v.last.allocations), func(_ int, a *api.Allocation) []string {
		state := ""
		if a.Status.Job != nil {
			state = clean(a.Status.Job.State)
		}
		return []string{
			clean(a.Name), string(a.Status.Phase), clean(a.Status.JobID), state, outOf(len(a.Status.Nodes), wantedNodes(a)),
			outOf(len(a.Status.Servers), int(a.Spec.Service.Replicas)), clean(a.Status.Message),
		}
	})
}

// outOf says how many of those that are wanted are there.
func outOf(there, wanted int) string {
	if wanted < there {
		wanted = there
	}
	return fmt.Sprintf("%d/%d", there, wanted)
}

func wantedNodes(a *api.Allocation) int {
	wanted := 0
	for _, role := range []api.RoleSpec{a.Spec.Nodes.Servers, a.Spec.Nodes.Clients, a.Spec.Nodes.Monitors} {
		if role.Count != nil {
			wanted += int(*role.Count)
		}
	}
	return wanted
}

func (v *topView) runs() []topLine {
	columns := []column{
		{title: "#"},
		{title: "RUN", most: 36},
		{title: "PHASE", worth: 9},
		{title: "LOAD", worth: 4},
		{title: "DONE", worth: 8, right: true},
		{title: "REQ/S", worth: 5, right: true},
		{title: "TOK/S", worth: 7, right: true},
		{title: "TTFT", worth: 6, right: true},
		{title: "FAILED", worth: 2, right: true},
		{title: "TOK/S SO FAR", worth: 3, most: 24},
		{title: "TTFT SO FAR", worth: 1, most: 24},
		{title: "MESSAGE", worth: 1},
	}
	return section(v, columns, v.last.runs, func(i int, run *api.BenchmarkRun) []string {
		cells := make([]string, len(columns))
		cells[0], cells[1], cells[2] = fmt.Sprint(i+1), clean(run.Name), string(run.Status.Phase)
		p := run.Status.Progress
		if p == nil || run.Status.Phase != api.RunExecuting {
			cells[len(cells)-1] = clean(run.Status.Message)
			return cells
		}
		cells[3], cells[4] = barStyle.Render(bar(float64(p.Percent)/100, 12)), fmt.Sprintf("%d %%", p.Percent)
		cells[5], cells[6] = report.Digits(p.RequestRate, 4), report.Digits(p.TokenRate, 4)
		if p.TTFTP50 > 0 {
			cells[7] = millis(p.TTFTP50)
		}
		cells[8] = fmt.Sprint(p.Failed)
		if p.Failed > 0 {
			cells[8] = badStyle.Render(cells[8])
		}
		if h := v.rates[string(run.UID)]; h != nil {
			cells[9], cells[10] = barStyle.Render(sparkline(h.tokens, 24)), barStyle.Render(sparkline(h.ttft, 24))
		}
		return cells
	})
}

// byPhase puts what is on nodes first.
func byPhase(all []*api.Allocation) []*api.Allocation {
	order := []api.AllocationPhase{api.AllocationReady, api.AllocationPreparing, api.AllocationStarting, api.AllocationReleasing, api.AllocationQueued}
	rank := func(a *api.Allocation) int {
		if at := slices.Index(order, a.Status.Phase); at >= 0 {
			return at
		}
		return len(order)
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b *api.Allocation) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
	})
}
