package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The house plan, as DESIGN.md draws it: what each room may import of this module, and what belongs to cmd alone.
// A prefix that ends in "/" stands for all packages below it:
// export takes the signers and policies below verify, and not the check itself.
var (
	mayImport = map[string][]string{
		"cmd":    {"airgap/"},
		"import": {"airgap/import", "airgap/import/", "airgap/verify", "airgap/verify/", "airgap/bundle", "airgap/bundle/", "airgap/export/registry", "airgap/export/registry/"},
		"export": {"airgap/export", "airgap/export/", "airgap/verify/", "airgap/bundle", "airgap/bundle/"},
		"verify": {"airgap/verify/", "airgap/bundle", "airgap/bundle/"},
		"bundle": {"airgap/bundle", "airgap/bundle/"},
	}
	// For tests that need both sides of the gap there is cmd and testdata/interop; what tests may import besides. Export is
	// there because it makes the bundles that verify's tests look at.
	testsMayImport = []string{"airgap/testdata/", "airgap/verify", "airgap/verify/", "airgap/bundle", "airgap/bundle/", "airgap/export", "airgap/export/registry", "airgap/export/registry/"}

	cmdAlone = []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/schollz/progressbar/v3"}
	// Global state in the standard library, which tests may use.
	cmdAndTestsAlone = []string{"flag", "log", "os/signal"}
	// Registries are the business of both sides, which share one client, and not of the format or of trust.
	noRegistries     = []string{"bundle", "verify"}
	registryPackages = []string{"net/http", "github.com/google/go-containerregistry/"}

	topLevel = []string{"bundle", "cmd", "export", "import", "testdata", "verify", "go.mod", "go.sum", "Makefile", "README.md"}
)

// globals of the process that only cmd may touch: a library gets what it needs as arguments.
var globals = map[string][]string{
	"os": {
		"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Exit", "Stdin", "Stdout", "Stderr", "Args",
		"Chdir", "UserHomeDir", "UserConfigDir", "UserCacheDir",
	},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log"},
	"http": {"DefaultClient", "DefaultTransport", "DefaultServeMux", "Get", "Head", "Post", "PostForm"},
}

func TestArrows(t *testing.T) {
	files := goFiles(t)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := forbidden(file, imported); why != "" {
				t.Errorf("%s imports %s: %s", file, imported, why)
			}
		}
		if roomOf(file) != "cmd" && !isTest(file) {
			for _, used := range globalsIn(parsed) {
				t.Errorf("%s uses %s, which is for cmd alone", file, used)
			}
		}
	}
}

// top leads from this package to the top of the tree.
const top = "../.."

// goFiles returns the Go files of this module, relative to its top.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for room := range mayImport {
		err := fs.WalkDir(os.DirFS(top), room, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "testdata":
				return fs.SkipDir
			case strings.HasSuffix(file, ".go"):
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	return files
}

func roomOf(file string) string {
	room, _, _ := strings.Cut(file, "/")
	return room
}

// isTest tells whether a file is a test or is in a package that helps tests, such as bundletest.
func isTest(file string) bool {
	return strings.HasSuffix(file, "_test.go") || isTestPackage(path.Dir(file))
}

func isTestPackage(importPath string) bool { return strings.HasSuffix(path.Base(importPath), "test") }

// forbidden says why a file may not import a package, or "".
func forbidden(file, imported string) string {
	room := roomOf(file)
	ours := imported == "airgap" || strings.HasPrefix(imported, "airgap/")
	switch {
	case ours && isTestPackage(imported) && !isTest(file):
		return "it is for tests"
	case room == "cmd":
		return ""
	case ours:
		return forbiddenRoom(file, imported)
	case matches(imported, cmdAlone) || !isTest(file) && matches(imported, cmdAndTestsAlone):
		return "it belongs to cmd alone"
	case slices.Contains(noRegistries, room) && !isTest(file) && matches(imported, registryPackages):
		return room + " knows no registry"
	}
	return ""
}

func forbiddenRoom(file, imported string) string {
	allowed := mayImport[roomOf(file)]
	if isTest(file) {
		allowed = append(slices.Clip(allowed), testsMayImport...)
	}
	// A package's external test imports the package itself.
	if own := "airgap/" + path.Dir(file); imported != own && !matches(imported, allowed) {
		return "the arrows of DESIGN.md point another way"
	}
	return ""
}

func matches(imported string, list []string) bool {
	return slices.ContainsFunc(list, func(one string) bool {
		return imported == one || strings.HasSuffix(one, "/") && strings.HasPrefix(imported, one)
	})
}

// globalsIn returns the globals that a file uses, as far as it imports their packages under their own names.
func globalsIn(file *ast.File) []string {
	var used []string
	ast.Inspect(file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if name, ok := selector.X.(*ast.Ident); ok && slices.Contains(globals[name.Name], selector.Sel.Name) {
			used = append(used, name.Name+"."+selector.Sel.Name)
		}
		return true
	})
	return used
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && name != "bin" && name != "dist" {
			t.Errorf("%s has no place at the top level (DESIGN.md, The rooms)", name)
		}
	}
}

// What a package may hold before it can no longer be seen at a glance.
const (
	maxFiles   = 25 // without tests
	maxMethods = 30 // of one type
)

func TestRooms(t *testing.T) {
	files, methods := map[string]int{}, map[string]int{}
	for _, file := range goFiles(t) {
		if isTest(file) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Dir(file)]++
		for _, receiver := range receiversIn(parsed) {
			methods[path.Dir(file)+"."+receiver]++
		}
	}
	for room, n := range files {
		if n > maxFiles {
			t.Errorf("%s has %d files, more than %d: it is more than one room", room, n, maxFiles)
		}
	}
	for of, n := range methods {
		if n > maxMethods {
			t.Errorf("%s has %d methods, more than %d: it does more than one thing", of, n, maxMethods)
		}
	}
}

// receiversIn returns the type of each method in a file.
func receiversIn(file *ast.File) (types []string) {
	for _, decl := range file.Decls {
		if function, ok := decl.(*ast.FuncDecl); ok && function.Recv != nil {
			types = append(types, receiver(function.Recv.List[0].Type))
		}
	}
	return types
}

func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.IndexListExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return ""
}

// A test of the test: it must find what it is there for.
func TestArrowsAreFound(t *testing.T) {
	for _, test := range []struct {
		file, imported string
		forbidden      bool
	}{
		{"export/walk.go", "airgap/verify", true},
		{"verify/signature/sign.go", "airgap/export", true},
		{"export/walk.go", "airgap/import", true},
		{"export/walk.go", "airgap/verify/signature", false},
		{"bundle/reader.go", "airgap/verify/signature", true},
		{"export/walk_test.go", "airgap/verify", false},
		{"export/walk_test.go", "airgap/import", true},
		{"import/run.go", "airgap/verify", false},
		{"import/run.go", "airgap/export/registry", false},
		{"import/run.go", "airgap/export/registry/harbor", false},
		{"import/run.go", "airgap/export", true},
		{"verify/verify.go", "airgap/export/registry", true},
		{"bundle/reader.go", "airgap/verify", true},
		{"verify/signature/sign.go", "airgap/bundle", false},
		{"bundle/reader.go", "airgap/cmd/airgap/terminal", true},
		{"bundle/reader.go", "net/http", true},
		{"export/walk.go", "github.com/spf13/cobra", true},
		{"import/run.go", "github.com/schollz/progressbar/v3", true},
		{"import/run.go", "net/http", false},
		{"cmd/airgap/demo.go", "airgap/import", false},
		{"cmd/airgap/demo.go", "airgap/bundle/bundletest", true},
		{"export/walk_test.go", "airgap/bundle/bundletest", false},
		{"bundle/bundletest/push.go", "net/http", false},
		{"bundle/bundletest/push.go", "airgap/cmd/airgap/terminal", true},
	} {
		if why := forbidden(test.file, test.imported); (why != "") != test.forbidden {
			t.Errorf("%s imports %s: %q", test.file, test.imported, why)
		}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nvar _ = os.Getenv\nfunc f() { fmt.Println() }", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(globalsIn(parsed), " "); got != "os.Getenv fmt.Println" {
		t.Errorf("got %q", got)
	}
	parsed, err = parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc (a *A) f() {}\nfunc (b B[T]) g() {}\nfunc h() {}", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(receiversIn(parsed), " "); got != "A B" {
		t.Errorf("got %q", got)
	}
}
