package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRootCmd(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "outwarden",
		Short: "See, decide and sign what leaves this host",
		Long: `Outwarden takes the outbound connections of unmodified programs, knows which
process made each, decides per request, adds the credentials that the program
never holds, and keeps a trail that can be verified.

Exit codes: 0 done, 1 failed or something found to be wrong, 2 a command line that is
not understood; run ends as its command does.`,
		Example: `  outwarden run -- curl https://api.partner.example/v1/accounts
  outwarden flows -f --exe '/opt/billing/**'
  outwarden audit verify`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return cmp.Or(noneBlank(cmd.Flags()), e.checkOutput())
		},
	}
	root.SetVersionTemplate("outwarden {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, cmp.Or(nearFlag(cmd, err), fmt.Sprintf("see: %s --help", cmd.CommandPath()))}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&e.config, "config", "", "configuration file (default /etc/outwarden/config.yaml)")
	flags.StringVarP(&e.output, "output", "o", "", "output: compact, wide or json")
	root.AddCommand(
		newRunCmd(e), newDaemonCmd(e), newStatusCmd(e), newReloadCmd(e), newUpgradeCmd(e), newCheckCmd(e), newDetachCmd(e), newDoctorCmd(e),
		newExplainCmd(e), newSecretCmd(e), newEnterCmd(),
		newFlowsCmd(e), newFlowCmd(e), newTrailCmd(e), newAuditCmd(e), newCACmd(e), newVerifyCmd(e), newCompletionCmd(e), newVersionCmd(e),
	)
	helpKnowsCommands(root)
	return root
}

// noneBlank refuses a flag that is given and says nothing, as --user "$UNSET": without it
// another thing is done than was meant.
func noneBlank(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && err == nil {
			err = usageError{fmt.Errorf("--%s is empty", f.Name), "leave it out, or say what it is"}
		}
	})
	return err
}

func (e *env) checkOutput() error {
	switch e.output {
	case "", "compact", "wide", "json":
		return nil
	}
	return usageError{fmt.Errorf("unknown output %q", e.output), "use -o compact, wide or json"}
}

// noArgs refuses words behind a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{errors.New("unexpected argument " + fmt.Sprintf("%q", args[0])), "see: " + cmd.CommandPath() + " --help"}
}

// usage makes a wrong number of words what it is: a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err, "see: " + cmd.CommandPath() + " --help"}
		}
		return nil
	}
}

// helpKnowsCommands makes `help WORD` an error where WORD is no command.
func helpKnowsCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	help.Example = "  outwarden help flows\n  outwarden help audit verify"
	help.Args = func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err != nil {
			return usageError{err, "see: outwarden --help"}
		}
		return knownCommand(cmd, rest)
	}
}

// knownCommand refuses a word that is no command, and guesses what was meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see: " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %q", args[0]), hint}
}
