package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sliod/backend"
)

// xattrRule is the attribute that tells how a file is archived.
const xattrRule = "user.sliod.rule"

func (a *app) newPolicy() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "policy PATH...", Short: "Show how files are archived: which rule, where, how often, and when", Args: cobra.MinimumNArgs(1),
		Long: `Show how files and directories are archived: the rule of the configuration that
fits, or the directory whose attribute user.sliod.policy has changed it; the pools of
the copies, the volumes that have one, and when what is not on tape yet is due. What
is due may still wait for archive.run_bytes.`,
		RunE: func(c *cobra.Command, args []string) error { return a.policy(c.Context(), args, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// pathPolicy is how one path is archived.
type pathPolicy struct {
	Path string `json:"path"`
	backend.PolicyInfo
}

func (a *app) policy(ctx context.Context, paths []string, asJSON bool) error {
	c, root, err := a.attach(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	list := []pathPolicy{}
	for _, p := range paths {
		given := p
		p = path.Clean("/" + p)
		var names []string
		if p != "/" {
			names = strings.Split(p[1:], "/")
		}
		f, err := root.Walk(ctx, names...)
		if err != nil {
			return fmt.Errorf("policy %s: %w", printable(p), plainly(err, given))
		}
		text, err := f.Xattr(ctx, xattrRule)
		if err != nil {
			return fmt.Errorf("policy %s: %w", printable(p), err)
		}
		it := pathPolicy{Path: p}
		if err := json.Unmarshal(text, &it.PolicyInfo); err != nil {
			return fmt.Errorf("policy %s: the server's answer makes no sense: %w", printable(p), err)
		}
		list = append(list, it)
		_ = f.Clunk(context.WithoutCancel(ctx)) // a failure shows at the next request
	}
	if asJSON {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"policies": list})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for i := range list {
		if i > 0 {
			_, _ = fmt.Fprintln(w) // Flush tells the error
		}
		for _, l := range list[i].lines(time.Now()) {
			_, _ = fmt.Fprintf(w, "%s\t%s\n", l[0], l[1])
		}
	}
	return w.Flush()
}

// lines are what there is to say of a path, as names and texts.
func (p *pathPolicy) lines(now time.Time) [][2]string {
	rule := "none fits: the defaults"
	if p.Rule != "" {
		rule = "[rule." + p.Rule + "]"
	}
	if p.From != "" {
		rule += ", changed by the attribute user.sliod.policy of " + printable(p.From)
	}
	l := [][2]string{{"path", printable(p.Path)}, {"rule", rule}}
	if p.Problem != "" {
		l = append(l, [2]string{"problem", printable(p.Problem)})
	}
	if p.Never {
		return append(l, [2]string{"archived", "never"})
	}
	l = append(l, [2]string{"copies", fmt.Sprintf("%d: %s", len(p.Pools), strings.Join(p.Pools, ", "))})
	there := "none yet"
	if len(p.Volumes) > 0 {
		there = strings.Join(p.Volumes, " ")
	}
	if p.Missing > 0 {
		there += " (" + countOf(int64(p.Missing), "sliver lacks a copy", "slivers lack a copy") + ")"
	}
	when := fmt.Sprintf("after %s without a change", time.Duration(p.IdleSeconds*float64(time.Second)))
	if p.Hours != "" {
		when += ", from " + p.Hours
	}
	when += fmt.Sprintf("; at once if %.0f%% of the cache are not on tape", p.Dirty*100)
	l = append(l, [2]string{"volumes", there}, [2]string{"together by", p.Collocate}, [2]string{"when", when})
	state := "all is on tape"
	switch {
	case p.Pending && p.Due.IsZero():
		state = "not on tape; due by command, or when the cache is short"
	case p.Pending && !p.Due.After(now):
		state = "not on tape as it should be; due now"
	case p.Pending:
		state = "not on tape as it should be; due " + p.Due.Format("2006-01-02 15:04:05")
	}
	return append(l, [2]string{"state", state})
}
