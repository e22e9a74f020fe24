package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sliod/cert"
)

func (a *app) newCert() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "cert", Short: "Make TLS certificates for a lab",
		Long: `Make a small certification authority (CA) in a directory, and certificates for servers,
users and machines that it signs. Whoever has the file ca.key can be any user: keep the
directory away from the server and from clients, and give each only its own files and
ca.crt. docs/network.md shows the whole way.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return &usageError{"say what to make: init, server, user or host"}
		},
	}
	c.PersistentFlags().BoolVar(&force, "force", false, "replace files that are there")
	add := func(use, short string, args cobra.PositionalArgs, make func(ca *cert.CA, args []string) (cert.Pair, error)) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, Args: args, RunE: func(_ *cobra.Command, args []string) error {
			p, err := make(&cert.CA{Dir: args[0], Force: force}, args[1:])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n%s\n", p.Cert, p.Key)
			return err
		}})
	}
	add("init DIR", "Make a CA in DIR: ca.crt and ca.key", cobra.ExactArgs(1),
		func(ca *cert.CA, _ []string) (cert.Pair, error) { return ca.Init() })
	add("server DIR HOST...", "Make a certificate for a server with these names and IP addresses", cobra.MinimumNArgs(2),
		func(ca *cert.CA, args []string) (cert.Pair, error) { return ca.Server(args...) })
	add("user DIR NAME", "Make a certificate for the user NAME of the server", cobra.ExactArgs(2),
		func(ca *cert.CA, args []string) (cert.Pair, error) { return ca.Client(cert.Name{Name: args[0]}) })
	add("host DIR NAME", "Make a certificate for a machine, which says itself for which user it asks", cobra.ExactArgs(2),
		func(ca *cert.CA, args []string) (cert.Pair, error) {
			return ca.Client(cert.Name{Host: true, Name: args[0]})
		})
	return c
}
