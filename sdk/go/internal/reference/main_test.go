package main

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, source string) *page {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "a.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := doc.NewFromFiles(files, []*ast.File{file}, module)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{reference: &reference{files, pkg}, targets: map[string]bool{}}
	for _, each := range symbols(pkg) {
		p.targets[module+"#"+each.name] = true
	}
	return p
}

func TestAPageHasTheSymbolsAndTheirLinks(t *testing.T) {
	t.Parallel()
	p := parse(t, `// Package a is an example of [Box.Open].
package a

import "context"

// Box is a box.
type Box struct{}

// Open opens a box of [Box] until [context.Context] ends.
func (Box) Open(ctx context.Context) {}

const (
	// One is one.
	One = 1
)
`)
	html := string(p.html())
	if len(p.problems) > 0 {
		t.Errorf("problems: %v", p.problems)
	}
	for _, part := range []string{
		`href="goconductor.html#Box.Open"`, `href="goconductor.html#Box"`, `href="https://pkg.go.dev/context#Context"`,
		`id="One"`, `id="Box.Open"`,
	} {
		if !strings.Contains(html, part) {
			t.Errorf("the page does not contain %s", part)
		}
	}
}

func TestMissingCommentsAndTargetsAreProblems(t *testing.T) {
	t.Parallel()
	p := parse(t, `// Package a refers to [Missing] and to [Box.Close].
package a

type Box struct{}
`)
	_ = p.html()
	expected := []string{
		module + ": package links to Missing, which does not exist",
		module + ": package links to Box.Close, which does not exist",
		module + ": Box has no doc comment",
	}
	if !slices.Equal(p.problems, expected) {
		t.Errorf("problems: %q", p.problems)
	}
}
