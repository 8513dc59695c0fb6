package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"airgap/cmd/airgap/app"
	"airgap/cmd/airgap/option"
	"airgap/export/access"
	"airgap/export/registry"
)

func newLogin(a *app.App) *cobra.Command {
	var flags option.Registry
	var skipCheck bool
	cmd := &cobra.Command{
		Use:   "login HOST",
		Short: "Log in to a registry",
		Long: `Check credentials at a registry and save them where Docker, Podman, crane and others find them, too: in
the credential helper that the Docker configuration names for the registry, or else in that
configuration itself, unencrypted and readable by you alone. DOCKER_CONFIG says where it is.

Where the registry has access tokens, use one of these and not the password of a person.`,
		Example: `  # Asks for the password
  airgap login harbor.example.com -u 'robot$mirror'

  # In a script
  airgap login docker.io -u acme --password-stdin < token.txt

  # The attestations of Docker Hardened Images are in a registry of their own
  airgap login registry.scout.docker.com -u acme --password-stdin < token.txt`,
		Args: app.ExactArgs("HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			reg, err := option.ParseRegistry(args[0])
			if err != nil {
				return err
			}
			return login(cmd.Context(), a, reg, &flags, skipCheck)
		},
	}
	flags.AddUsername(cmd.Flags(), "u")
	flags.AddConnection(cmd.Flags())
	cmd.Flags().StringVarP(&flags.Password, "password", "p", "", "`SECRET`: the password; better use --password-stdin, as others can see the list of processes")
	cmd.Flags().BoolVar(&skipCheck, "skip-check", false, "save the credentials without asking the registry whether they are right")
	cmd.MarkFlagsMutuallyExclusive("password", "password-stdin")
	return cmd
}

func login(ctx context.Context, a *app.App, reg name.Registry, flags *option.Registry, skipCheck bool) error {
	host := reg.RegistryStr()
	if len(flags.Usernames) == 0 {
		if err := askUsername(a, flags, host); err != nil {
			return err
		}
	}
	if flags.Password != "" {
		a.Warn("a password on the command line can be seen by others on this machine and stays in the shell's history: use --password-stdin")
	}
	settings, err := flags.Settings(ctx, a, []string{host})
	if err != nil {
		return err
	}
	if !skipCheck {
		reached, err := access.New(settings, []string{host})
		if err != nil {
			return err
		}
		if err := registry.New(option.ClientConfig(a, reached)).Ping(ctx, reg); err != nil {
			return fmt.Errorf("not logged in to %s: %w", registry.DisplayName(host), withLoginHint(err))
		}
	}
	return saveLogin(a, host, *settings.Hosts[host].Login)
}

// withLoginHint says something else than to log in, which is what was tried.
func withLoginHint(err error) error {
	refused := &registry.Error{}
	if errors.Is(err, registry.ErrUnauthorized) && errors.As(err, &refused) {
		refused.Hint = "check the user's name, and the password or token, which may have expired; nothing was saved"
	}
	return err
}

func askUsername(a *app.App, flags *option.Registry, host string) error {
	if a.ReadPassword == nil || flags.PasswordStdin {
		return app.Usagef("--username is missing")
	}
	user, err := a.AskLine("User at " + registry.DisplayName(host))
	flags.Usernames = []string{host + "=" + user}
	return err
}

func saveLogin(a *app.App, host string, credentials authn.AuthConfig) error {
	store, err := access.OpenStore(host, access.Environment{Getenv: a.Getenv, Home: os.UserHomeDir})
	if err != nil {
		return err
	}
	if err := store.Save(credentials); err != nil {
		return err
	}
	a.Say("logged in to %s as %s; credentials saved %s", registry.DisplayName(host), credentials.Username, store.Where())
	return nil
}

func newLogout(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:     "logout HOST",
		Short:   "Forget the credentials for a registry",
		Long:    `Remove the credentials for a registry from where "airgap login" or "docker login" put them.`,
		Example: `  airgap logout harbor.example.com`,
		Args:    app.ExactArgs("HOST"),
		RunE: func(_ *cobra.Command, args []string) error {
			reg, err := option.ParseRegistry(args[0])
			if err != nil {
				return err
			}
			return logout(a, reg.RegistryStr())
		},
	}
}

func logout(a *app.App, host string) error {
	store, err := access.OpenStore(host, access.Environment{Getenv: a.Getenv, Home: os.UserHomeDir})
	if err != nil {
		return err
	}
	found, err := store.Erase()
	if err != nil {
		return err
	}
	if found {
		a.Say("logged out from %s; credentials removed %s", registry.DisplayName(host), store.Where())
	} else {
		a.Say("not logged in to %s: there are no credentials for it %s", registry.DisplayName(host), store.Where())
	}
	return nil
}
