package option

import (
	"io"

	"airgap/cmd/airgap/app"
	"airgap/export/config"
)

// ReadConfig reads a file like regsync.yaml, or standard input for "-".
func ReadConfig(a *app.App, file string) (*config.File, error) {
	in, closeInput, err := app.OpenInput(a, file, "the configuration")
	if err != nil {
		return nil, err
	}
	defer closeInput()
	content, err := io.ReadAll(io.LimitReader(in, config.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "standard input"
	}
	return config.Parse(file, content, configEnvironment(a))
}

// configEnvironment is what the templates of a configuration can ask for. Files are found as regsync finds them, from
// the directory in which the command runs.
func configEnvironment(a *app.App) config.Environment {
	return config.Environment{LookupEnv: a.LookupEnv, ReadFile: app.ReadSmallFile, Now: a.Now}
}

// ShowNotes prints what there is to say about a configuration.
func ShowNotes(a *app.App, f *config.File) {
	for _, note := range f.Notes {
		if note.Unknown {
			a.Warn("%s: %s", note.Position, note.Message)
		} else {
			a.Say("note: %s: %s", note.Position, note.Message)
		}
	}
}
