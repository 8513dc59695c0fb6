package bundle

// Observer is told how long work goes on. A nil Observer is valid wherever one is taken (see Observe). Methods may
// be called from several goroutines at once and must return quickly.
type Observer interface {
	// Phase begins a phase of work, such as "fetch", of total bytes; total is 0 where it is not known.
	Phase(name string, total int64)
	// Count begins a phase of work that is counted in things, such as "manifest", and not in bytes.
	Count(name, thing string, total int64)
	// Item names what is worked on now, such as an image or a blob.
	Item(name string)
	// Add counts n more bytes, or things, of the phase as done; n is negative where work must be done again.
	Add(n int64)
	// Warn passes on what a person should know and that is no error.
	Warn(message string)
}

// Observe returns o, or an Observer that does nothing where o is nil.
func Observe(o Observer) Observer {
	if o == nil {
		return silent{}
	}
	return o
}

type silent struct{}

func (silent) Phase(string, int64)         {}
func (silent) Count(string, string, int64) {}
func (silent) Item(string)                 {}
func (silent) Add(int64)                   {}
func (silent) Warn(string)                 {}
