package policy

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// comparison tells what globs match in common, as long as its budget lasts: the number of instructions that it may look at.
type comparison struct{ budget int }

// maxProgram bounds the instructions of an automaton.
const maxProgram = 5000

// maxUnion bounds how many globs are looked at together.
const maxUnion = 20

// contains tells whether every text that one expression matches is matched by the other. False may mean that it is not known.
//
// Both sides are simulated together, as sets of instructions (the subset construction), over one rune out of each class of runes that
// no instruction tells apart.
func (c *comparison) contains(outer, inner *automaton) bool {
	runes := representatives(inner, outer)
	type pair struct{ inner, outer []uint32 }
	start := pair{inner.closure(uint32(inner.Start)), outer.closure(uint32(outer.Start))}
	seen := map[string]bool{}
	for queue := []pair{start}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if c.budget -= len(runes) * (len(at.inner) + len(at.outer)); c.budget < 0 {
			return false
		}
		if inner.accepts(at.inner) && !outer.accepts(at.outer) {
			return false
		}
		for _, r := range runes {
			next := pair{inner.step(at.inner, r), outer.step(at.outer, r)}
			if len(next.inner) == 0 {
				continue
			}
			if key := setKey(next.inner) + "|" + setKey(next.outer); !seen[key] {
				seen[key] = true
				queue = append(queue, next)
			}
		}
	}
	return true
}

func setKey(set []uint32) string {
	runes := make([]rune, len(set))
	for i, pc := range set {
		runes[i] = rune(pc)
	}
	return string(runes)
}

// automaton is a compiled expression of globs. Its anchors are passed over: they stand where they hold.
type automaton struct{ *syntax.Prog }

// newAutomaton returns nil where globs are too large to be compared.
func newAutomaton(globs ...sourceGlob) *automaton {
	var texts []string
	for _, glob := range globs {
		texts = append(texts, glob.String())
	}
	parsed, err := syntax.Parse(strings.Join(texts, "|"), syntax.Perl)
	if err != nil {
		return nil
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil
	}
	return &automaton{program}
}

// closure returns what can be reached from instructions without reading, sorted.
func (a *automaton) closure(from ...uint32) []uint32 {
	var set []uint32
	for len(from) > 0 {
		pc := from[0]
		from = from[1:]
		if slices.Contains(set, pc) {
			continue
		}
		set = append(set, pc)
		switch inst := &a.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			from = append(from, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			from = append(from, inst.Out)
		default:
		}
	}
	slices.Sort(set)
	return set
}

func (a *automaton) step(set []uint32, r rune) []uint32 {
	var out []uint32
	for _, pc := range set {
		switch inst := &a.Inst[pc]; inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if inst.MatchRune(r) {
				out = append(out, inst.Out)
			}
		default:
		}
	}
	return a.closure(out...)
}

func (a *automaton) accepts(set []uint32) bool {
	return slices.ContainsFunc(set, func(pc uint32) bool { return a.Inst[pc].Op == syntax.InstMatch })
}

// representatives returns runes, so that each rune is treated by all automata as one of them is.
func representatives(all ...*automaton) []rune {
	runes := []rune{'a'}
	for _, a := range all {
		for i := range a.Inst {
			for _, border := range a.Inst[i].Rune {
				runes = append(runes, border-1, border, border+1)
			}
		}
	}
	slices.Sort(runes)
	return slices.DeleteFunc(slices.Compact(runes), func(r rune) bool { return r < 0 || r > unicode.MaxRune })
}
