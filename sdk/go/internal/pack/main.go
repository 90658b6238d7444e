// Command pack writes the module as a module proxy would serve it: pack FOLDER VERSION. It is run in the root of the
// module.
package main

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const module = "github.com/goconductor/goconductor/sdk/go"

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: pack FOLDER VERSION")
	}
	if err := pack(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func pack(folder, version string) error {
	target := filepath.Join(folder, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	description, err := os.ReadFile("go.mod")
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]string{"Version": version, "Time": time.Unix(0, 0).UTC().Format(time.RFC3339)})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		version + ".mod": description, version + ".info": info, "list": []byte(version + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(target, name), text, 0o644); err != nil {
			return err
		}
	}
	return archive(filepath.Join(target, version+".zip"), version)
}

func archive(file, version string) error {
	output, err := os.Create(file)
	if err != nil {
		return err
	}
	writer := zip.NewWriter(output)
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		member, err := writer.Create(fmt.Sprintf("%s@%s/%s", module, version, filepath.ToSlash(path)))
		if err != nil {
			return err
		}
		_, err = member.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return output.Close()
}
