package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/format"
	"html"
	"regexp"
)

// brackets matches the links in a doc comment, such as [Inbox.Migrate] and [context.Context], but not the indexes of code.
var brackets = regexp.MustCompile(`(?m)(?:^|[\s(])\[([A-Za-z][\w./]*)\]`)

// page is the page of a package.
type page struct {
	*reference
	// The symbols of all packages, as path#name.
	targets  map[string]bool
	problems []string
	out      bytes.Buffer
}

const head = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>%[1]s</title><style>
body { font-family: system-ui, sans-serif; line-height: 1.5; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
pre { background: #8881; overflow-x: auto; padding: 0.75rem; }
:root { color-scheme: light dark; }
</style></head><body><h1>%[1]s</h1>
`

func (p *page) html() []byte {
	fmt.Fprintf(&p.out, head, "package "+html.EscapeString(p.pkg.Name))
	fmt.Fprintf(&p.out, "<pre>import %q</pre>\n", p.pkg.ImportPath)
	p.documented("package", p.pkg.Doc != "")
	p.comment("package", p.pkg.Doc)
	for _, each := range symbols(p.pkg) {
		// A constant of a group is documented with the group, whose declaration the first has.
		fmt.Fprintf(&p.out, "<span id=%q></span>\n", each.name)
		if each.node == nil {
			continue
		}
		fmt.Fprintf(&p.out, "<h2>%s</h2>\n<pre>", html.EscapeString(each.name))
		var source bytes.Buffer
		if err := format.Node(&source, p.files, each.node); err != nil {
			p.problems = append(p.problems, fmt.Sprintf("%s: %s: %v", p.pkg.ImportPath, each.name, err))
		}
		p.out.WriteString(html.EscapeString(source.String()) + "</pre>\n")
		p.documented(each.name, each.text != "" || isDocumented(each.node))
		p.comment(each.name, each.text)
	}
	p.out.WriteString("</body></html>\n")
	return p.out.Bytes()
}

// documented records a problem if a symbol has no doc comment.
func (p *page) documented(of string, is bool) {
	if !is {
		p.problems = append(p.problems, p.pkg.ImportPath+": "+of+" has no doc comment")
	}
}

// isDocumented reports whether each element of a group of constants or variables has a comment of its own.
func isDocumented(node ast.Node) bool {
	group, ok := node.(*ast.GenDecl)
	if !ok {
		return false
	}
	for _, spec := range group.Specs {
		if value, ok := spec.(*ast.ValueSpec); !ok || value.Doc == nil && value.Comment == nil {
			return false
		}
	}
	return true
}

// comment writes the doc comment of a symbol.
func (p *page) comment(of, text string) {
	place := p.pkg.ImportPath + ": " + of
	// The parser leaves a link to an unknown symbol as text.
	for _, link := range brackets.FindAllStringSubmatch(text, -1) {
		if !p.resolves(link[1]) {
			p.problems = append(p.problems, place+" links to "+link[1]+", which does not exist")
		}
	}
	printer := p.pkg.Printer()
	printer.DocLinkURL = func(link *comment.DocLink) string { return urlOf(link, p.pkg.ImportPath) }
	p.out.Write(printer.HTML(p.pkg.Parser().Parse(text)))
}

// resolves reports whether the text of a link is a symbol or a package. Packages outside the module are not read.
func (p *page) resolves(link string) bool {
	parsed := p.pkg.Parser().Parse("[" + link + "]")
	paragraph, ok := parsed.Content[0].(*comment.Paragraph)
	if !ok {
		return false
	}
	found, ok := paragraph.Text[0].(*comment.DocLink)
	if !ok {
		return false
	}
	path := found.ImportPath
	if path == "" {
		path = p.pkg.ImportPath
	}
	return !inModule(path) || found.Name == "" || p.targets[path+"#"+symbolOf(found)]
}

// list returns the page that lists the packages.
func (p *page) list(references []*reference) []byte {
	fmt.Fprintf(&p.out, head, "GoConductor for Go")
	p.out.WriteString("<ul>\n")
	for _, each := range references {
		fmt.Fprintf(&p.out, "<li><a href=%q>%s</a>: %s</li>\n", fileOf(each.pkg.ImportPath),
			html.EscapeString(each.pkg.ImportPath), html.EscapeString(each.pkg.Synopsis(each.pkg.Doc)))
	}
	p.out.WriteString("</ul></body></html>\n")
	return p.out.Bytes()
}
