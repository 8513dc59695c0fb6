package confirm_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/export/registry/registrytest"
	"airgap/import/confirm"
	"airgap/import/importtest"
	"airgap/import/inventory"
	"airgap/import/parallel"
	"airgap/import/placing"
	"airgap/import/tags"
)

// TestCompleteIsMadeHereOnly: no other package can put tags into a Complete, and in this one only Everything does.
func TestCompleteIsMadeHereOnly(t *testing.T) {
	for field := range reflect.TypeFor[confirm.Complete]().Fields() {
		if field.IsExported() {
			t.Errorf("anybody can set the field %s", field.Name)
		}
	}
	for _, forged := range []string{"confirm.Complete{tags: nil}", "confirm.Complete{[]*inventory.Tag{}}"} {
		if out := build(t, forged); !strings.Contains(out, "Complete") || !strings.Contains(out, "unexported field") && !strings.Contains(out, "unknown field") {
			t.Errorf("%s outside of the package: %s", forged, out)
		}
	}
	if out := build(t, "confirm.Complete{}"); out != "" { // which is good for nothing
		t.Errorf("what should compile does not, so that the above proves nothing: %s", out)
	}
	for _, function := range whatFillsTags(t) {
		if function != "Everything" {
			t.Errorf("%s makes a Complete that leads to tags", function)
		}
	}
}

// build compiles an expression in another package of this module, and returns what the compiler has to say.
func build(t *testing.T, expression string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "forged.go")
	text := "package forged\n\nimport (\n\t\"airgap/import/confirm\"\n\t\"airgap/import/inventory\"\n)\n\nvar (\n\t_ = " + expression + "\n\t_ inventory.Tag\n)\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "forged", "forged.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "airgap/import/confirm/forged").CombinedOutput()
	return string(out)
}

// whatFillsTags returns the functions that write to the field of a Complete.
func whatFillsTags(t *testing.T) (functions []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range parsed.Decls {
			ast.Inspect(declared, func(n ast.Node) bool {
				fills := false
				switch n := n.(type) {
				case *ast.CompositeLit:
					name, ok := n.Type.(*ast.Ident)
					fills = ok && name.Name == "Complete" && len(n.Elts) > 0
				case *ast.AssignStmt:
					for _, left := range n.Lhs {
						selector, ok := left.(*ast.SelectorExpr)
						fills = fills || ok && selector.Sel.Name == "tags"
					}
				}
				if function, ok := declared.(*ast.FuncDecl); ok && fills {
					functions = append(functions, function.Name.Name)
				} else if fills {
					functions = append(functions, "a declaration")
				}
				return true
			})
		}
	}
	if len(functions) == 0 {
		t.Error("nothing makes a Complete, as far as this test sees")
	}
	return functions
}

// TestEmptyCompleteMovesNothing: the zero Complete, which anybody can make, leads to no tag.
func TestEmptyCompleteMovesNothing(t *testing.T) {
	s := registrytest.New(t)
	to, err := placing.ParseDestination(s.Host() + "/mirror")
	if err != nil {
		t.Fatal(err)
	}
	b := importtest.Open(t, importtest.NewAcme(t).File())
	placed, err := placing.Place(b.Contents(), placing.Rules{Destination: to})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.New(b, placed)
	if err != nil {
		t.Fatal(err)
	}
	limits := parallel.Limits{Jobs: 1, PerLane: 1, Lanes: 1, Lane: make([]int32, len(inv.Repos))}
	mover := tags.New(inv, importtest.Client(), tags.Options{Limits: limits, Observer: bundle.Observe(nil)})
	if err := mover.Move(t.Context(), confirm.Complete{}); err != nil || len(s.Requests()) > 0 {
		t.Errorf("%v, %v", err, s.Requests())
	}
}
