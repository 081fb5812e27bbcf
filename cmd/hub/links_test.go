package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

var (
	fences  = regexp.MustCompile("(?ms)^```.*?^```$")
	links   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
)

func TestEveryLinkOfEveryPageLeadsSomewhere(t *testing.T) {
	anchors := headings{}
	for _, page := range pages(t) {
		for _, m := range links.FindAllStringSubmatch(prose(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if err := followLink(t, anchors, page, m[1]); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
			}
		}
	}
}

func TestEveryLongPageHasATableOfContents(t *testing.T) {
	for _, page := range pages(t) {
		text := prose(t, page)
		begin, _, _ := strings.Cut(text, "\n## ")
		for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(text, -1) {
			if len(text) > 6_000 && !strings.Contains(begin, "(#"+anchor(m[1])+")") {
				t.Errorf("%s: the table of contents lacks %q", page, m[1])
			}
		}
	}
}

func TestTheFirstPageIsShort(t *testing.T) {
	text := read(t, filepath.Join(root, "README.md"))
	if lines, words := strings.Count(text, "\n"), len(strings.Fields(text)); lines > 150 || words > 1500 {
		t.Errorf("README.md has %d lines and %d words, and may have 150 and 1,500", lines, words)
	}
}

// headings are the anchors of each page that a link led to so far.
type headings map[string]map[string]bool

// followLink says why a link of page leads nowhere.
func followLink(t *testing.T, anchors headings, page, link string) error {
	path, name, named := strings.Cut(link, "#")
	target := page
	if path != "" {
		target = filepath.Join(filepath.Dir(page), path)
	}
	if _, err := os.Stat(target); err != nil {
		return err
	}
	if !named {
		return nil
	}
	if anchors[target] == nil {
		anchors[target] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(prose(t, target), -1) {
			anchors[target][anchor(m[1])] = true
		}
	}
	if anchors[target][name] {
		return nil
	}
	return fmt.Errorf("%s has no such heading", target)
}

// pages are the paths of all pages of the repository.
func pages(t *testing.T) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			found = append(found, path)
		}
		return nil
	})
	if err != nil || len(found) < 5 {
		t.Fatal(found, err)
	}
	return found
}

// prose is a page without its blocks of code.
func prose(t *testing.T, page string) string {
	t.Helper()
	return fences.ReplaceAllString(read(t, page), "")
}

// anchor is the name that GitHub gives a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
