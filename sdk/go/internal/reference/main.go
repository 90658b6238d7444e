// Command reference writes the API reference of the module, a page of HTML for each package: reference FOLDER. It is run in
// the root of the module. It fails if an exported symbol has no doc comment, or if a link in a doc comment has no target.
package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"log"
	"os"
	"path/filepath"
	"strings"
)

const module = "github.com/goconductor/goconductor/sdk/go"

// The folders of the packages, without the examples and the generated messages.
var folders = []string{".", "inbox", "inbox/pgxinbox", "outbox", "otelconductor", "gctest"}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: reference FOLDER")
	}
	problems, err := write(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// write writes the pages, and returns the problems of the doc comments.
func write(target string) ([]string, error) {
	var references []*reference
	targets := map[string]bool{}
	for _, folder := range folders {
		each, err := read(folder)
		if err != nil {
			return nil, err
		}
		references = append(references, each)
		for _, symbol := range symbols(each.pkg) {
			targets[each.pkg.ImportPath+"#"+symbol.name] = true
		}
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, err
	}
	var problems []string
	for _, each := range references {
		page := &page{reference: each, targets: targets}
		if err := os.WriteFile(filepath.Join(target, fileOf(each.pkg.ImportPath)), page.html(), 0o644); err != nil { //nolint:gosec
			return nil, err
		}
		problems = append(problems, page.problems...)
	}
	index := page{reference: &reference{}}
	return problems, os.WriteFile(filepath.Join(target, "index.html"), index.list(references), 0o644) //nolint:gosec
}

// reference is a package and the positions of its files.
type reference struct {
	files *token.FileSet
	pkg   *doc.Package
}

func read(folder string) (*reference, error) {
	// The files of this system, without those of the tests.
	sources, err := build.ImportDir(folder, 0)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range sources.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(folder, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	path := module
	if folder != "." {
		path += "/" + folder
	}
	pkg, err := doc.NewFromFiles(files, parsed, path)
	return &reference{files, pkg}, err
}

// symbol is an exported symbol of a package. A method has the name of its type before it. A group of constants or variables
// has several names, and one declaration.
type symbol struct {
	name string
	text string
	node ast.Node
}

// symbols returns the symbols of a package in the order of the page.
func symbols(pkg *doc.Package) []symbol {
	var found []symbol
	values := func(all []*doc.Value) {
		for _, group := range all {
			for index, name := range group.Names {
				each := symbol{name: name, text: group.Doc}
				if index == 0 {
					each.node = group.Decl
				}
				found = append(found, each)
			}
		}
	}
	functions := func(owner string, all []*doc.Func) {
		for _, each := range all {
			found = append(found, symbol{owner + each.Name, each.Doc, each.Decl})
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	functions("", pkg.Funcs)
	for _, each := range pkg.Types {
		found = append(found, symbol{each.Name, each.Doc, each.Decl})
		values(each.Consts)
		values(each.Vars)
		functions("", each.Funcs)
		functions(each.Name+".", each.Methods)
	}
	return found
}

// fileOf returns the name of the page of a package of the module.
func fileOf(path string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	if name == "" {
		name = "goconductor"
	}
	return strings.ReplaceAll(name, "/", ".") + ".html"
}

// inModule reports whether a package is one of this module.
func inModule(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// symbolOf returns the symbol of a link, which is empty if the link is one to a package.
func symbolOf(link *comment.DocLink) string { return strings.TrimPrefix(link.Recv+"."+link.Name, ".") }

// urlOf returns the address of the target of a link. Packages of other modules are at pkg.go.dev.
func urlOf(link *comment.DocLink, current string) string {
	path := link.ImportPath
	if path == "" {
		path = current
	}
	if !inModule(path) {
		return "https://pkg.go.dev/" + path + "#" + symbolOf(link)
	}
	return fileOf(path) + "#" + symbolOf(link)
}
