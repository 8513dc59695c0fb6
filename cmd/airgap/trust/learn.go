package trust

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/spf13/cobra"

	"airgap/bundle"
	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/export"
	"airgap/verify/policy/learn"
)

// learnFlags are the flags of policy learn.
type learnFlags struct {
	option.Source

	selection option.Selection
	roots     []string
}

func newPolicyLearn(a *app.App) *cobra.Command {
	var flags learnFlags
	cmd := &cobra.Command{
		Use:   "learn FILE|-|VOLUMES...|-c FILE|REF... --key FILE...",
		Short: "Write the strictest policy that images fulfil, in a bundle or at their registries",
		Long: `Look at the images of a bundle, or at those that an export with the same arguments would carry, and print the
strictest policy that all of them fulfil: whose signatures and which attestations each has, by the keys and trusted
roots that are given. It says what is, and not what should be, and is for a person to cut down. What verifies by
nobody who was given is in its comments.

Of a bundle, one of the keys has to be its own; it becomes the one that signs bundles. The policy names files as
they are given here, and finds them from the directory in which it lies.`,
		Example: `  airgap policy learn monday.tar --key airgap.pub --key dhi.pub > trust.yaml
  airgap policy learn -c regsync.yaml --key dhi.pub > trust.yaml
  airgap policy learn docker.io/acme/dhi-python:3.13 --key dhi.pub > trust.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case flags.selection.Chooses():
				return learnFromRegistries(cmd.Context(), a, &flags, args)
			case len(args) == 0:
				return app.Usagef("FILE or REF is missing: a bundle, or images to look at where they are")
			case args[0] == "-" || option.Exists(args[0]):
				return learnFromBundle(cmd.Context(), a, &flags, args)
			case !strings.ContainsAny(args[0], "/:@"):
				return app.Usagef("there is no file %s; if it is an image, name its registry as well, as in docker.io/library/%s", args[0], args[0])
			}
			return learnFromRegistries(cmd.Context(), a, &flags, args)
		},
	}
	flags.AddKey(cmd.Flags())
	flags.AddVolumes(cmd.Flags())
	flags.selection.AddChoice(cmd.Flags())
	cmd.Flags().StringArrayVar(&flags.roots, "trusted-root", nil, "`FILE` of a trusted root (trusted_root.json): identities that it vouches for get into the policy")
	return cmd
}

// learnFromRegistries looks at what an export would carry.
func learnFromRegistries(ctx context.Context, a *app.App, flags *learnFlags, args []string) (err error) {
	candidates, err := flags.candidates(a)
	if err != nil {
		return err
	}
	asked, err := flags.selection.Read(ctx, a, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asked.Close()) }()
	asked.Options.Mirror, asked.Options.Policy = nil, nil // all that is there now, and before anybody judges it
	var text []byte
	err = a.WithProgress(func(o bundle.Observer) (err error) {
		asked.Options.Observer = o
		plan, err := export.MakePlan(ctx, asked.Source, asked.Choice, asked.Options)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, plan.Close()) }()
		if err := plan.Err(); err != nil {
			return err
		}
		evidence, err := plan.Evidence(asked.Source)
		if err == nil {
			text, err = learn.Policy(ctx, evidence, candidates, nil)
		}
		return err
	})
	asked.Prune(a)
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(text)
	return err
}

func learnFromBundle(ctx context.Context, a *app.App, flags *learnFlags, files []string) (err error) {
	candidates, err := flags.candidates(a)
	if err != nil {
		return err
	}
	whom, err := flags.Trust(a)
	if err != nil {
		return err
	}
	from, err := flags.Open(ctx, a, files, nil, whom)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	text, err := learn.Policy(ctx, from.Checked, candidates, from.Checked.Signers())
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(text)
	return err
}

// candidates reads who may have made what there is.
func (f *learnFlags) candidates(a *app.App) (all []learn.Candidate, err error) {
	for _, file := range f.Keys {
		keys, err := option.LoadPublicKeys(a, "--key", []string{file})
		if err != nil {
			return nil, err
		}
		all = append(all, learn.Candidate{File: filepath.ToSlash(file), Keys: keys})
	}
	for _, file := range f.roots {
		content, err := app.ReadSmallFile(file)
		if err != nil {
			return nil, app.Usagef("--trusted-root: %w", err)
		}
		trusted, err := root.NewTrustedRootFromJSON(content)
		if err != nil {
			return nil, app.Usagef("--trusted-root: %s is not a trusted_root.json: %w", file, err)
		}
		all = append(all, learn.Candidate{File: filepath.ToSlash(file), Root: trusted})
	}
	return all, nil
}
