package main

import (
	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
)

func newVersion(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of airgap",
		Args:  app.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := app.ThisBuild()
			if asJSON {
				return a.PrintJSON(b)
			}
			a.Print("airgap %s (%s, %s)", b.Version, b.Platform, b.Go)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
