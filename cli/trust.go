package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/certs"
)

func (a *app) trustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "trust", Short: "the keys that we know: servers and clients",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("want ls or rm, got %s", quote(args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return usagef("want ls or rm") },
	}
	cmd.AddCommand(a.trustLsCommand(), a.trustRmCommand())
	return cmd
}

type jsonTrust struct {
	Event   string              `json:"event"`
	Time    string              `json:"time"`
	Kind    string              `json:"kind"` // server, client, invitation
	Address string              `json:"address,omitempty"`
	Name    string              `json:"name"`
	ID      string              `json:"id,omitempty"`
	Added   string              `json:"added,omitempty"`
	Expires string              `json:"expires,omitempty"`
	Roots   map[string][]string `json:"roots,omitempty"`
}

func rightsOf(grants []certs.Grant) map[string][]string {
	all := map[string][]string{}
	for _, g := range grants {
		all[g.Root] = g.Rights
	}
	return all
}

func rightsText(grants []certs.Grant) string {
	var parts []string
	for _, g := range grants {
		parts = append(parts, g.Root+"="+strings.Join(g.Rights, ","))
	}
	return strings.Join(parts, " ")
}

func (a *app) trustLsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "list servers, clients and open invitations", Args: noOperands}
	f := localFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			p, err := findPlaces(&a.env)
			if err != nil {
				return err
			}
			s, err := openStore(p)
			if err != nil {
				return err
			}
			defer s.Close()
			peers, err := s.Peers()
			if err != nil {
				return storeError(err)
			}
			clients, bad := s.Clients()
			invites, err := s.Invites()
			if err != nil {
				return storeError(err)
			}
			var list []jsonTrust
			var text strings.Builder
			for _, peer := range peers {
				list = append(list, jsonTrust{Event: "trust", Kind: "server", Address: peer.Addr, Name: peer.Name, ID: peer.ID.String(), Added: stamp(peer.Added)})
				fmt.Fprintf(&text, "server  %s  %s  (there we are %s)\n", quote(peer.Addr), peer.ID.Grouped(), quote(peer.Name))
			}
			for _, c := range clients {
				list = append(list, jsonTrust{Event: "trust", Kind: "client", Name: c.Name, ID: c.ID.String(), Added: stamp(c.Added), Expires: stampOrNone(c.Expires), Roots: rightsOf(c.Roots)})
				end := ""
				if c.Expired(time.Now()) {
					end = "  EXPIRED"
				}
				fmt.Fprintf(&text, "client  %s  %s  %s%s\n", quote(c.Name), c.ID.Grouped(), clean(rightsText(c.Roots)), end)
			}
			for _, i := range invites {
				list = append(list, jsonTrust{Event: "trust", Kind: "invitation", Name: i.Name, Expires: stamp(i.Expires), Roots: rightsOf(i.Roots)})
				fmt.Fprintf(&text, "invited %s  until %s  %s\n", quote(i.Name), i.Expires.Local().Format("15:04"), clean(rightsText(i.Roots)))
			}
			for _, err := range bad {
				o.say("xfer: %s", causeText(err))
			}
			if !f.json {
				return o.print(text.String())
			}
			for _, e := range list {
				e.Time = stamp(time.Now())
				o.emit(e)
			}
			return nil
		})
	}
	return cmd
}

func stampOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

func (a *app) trustRmCommand() *cobra.Command {
	var client, server bool
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "forget a server (HOST or HOST:PORT), or end a client's access",
		Long: "rm forgets the key of a server, so that it has to be enrolled again, or ends the access of a client: its sessions end within seconds.",
		Args: operands(1, 1, "the name of a server or client"),
	}
	f := localFlags(cmd)
	cmd.Flags().BoolVar(&client, "client", false, "only a client")
	cmd.Flags().BoolVar(&server, "server", false, "only a server")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if client && server {
			return usagef("--client and --server exclude each other")
		}
		name := args[0]
		if name == "" {
			return usagef("want the name of a server or client")
		}
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			p, err := findPlaces(&a.env)
			if err != nil {
				return err
			}
			configs, err := f.configs(p)
			if err != nil {
				return err
			}
			s, err := openStore(p)
			if err != nil {
				return err
			}
			defer s.Close()
			return forget(o, s, configs, name, client, server)
		})
	}
	return cmd
}

func forget(o *output, s *certs.Store, configs []*config, name string, onlyClient, onlyServer bool) error {
	asServer := name
	for _, c := range configs {
		if b, ok := c.Host[name]; ok && b.Addr != "" {
			host, port, err := splitAddr(b.Addr)
			if err == nil && port != 0 {
				asServer = target{host: host, port: port}.hostPort()
			} else if err == nil {
				asServer = host
			}
			break
		}
	}
	peers, err := s.Peers()
	if err != nil && !onlyClient {
		return storeError(err)
	}
	isServer := !onlyClient && slices.ContainsFunc(peers, func(p certs.Peer) bool { return isPeer(p, asServer) })
	isClient := false
	if !onlyServer && certs.CheckName(name) == nil {
		_, found, err := s.ClientByName(name)
		isClient = found || err != nil // what cannot be read or has expired is there too
	}
	if isServer && isClient {
		return usagef("%s is a server and a client: say --server or --client", quote(name))
	}
	removed := false
	if isServer {
		if removed, err = s.Unpin(asServer); err != nil {
			return storeError(err)
		}
		if removed {
			o.say("xfer: the server %s is forgotten", quote(asServer))
		}
	}
	if isClient {
		if removed, err = s.RemoveClient(name); err != nil {
			return storeError(err)
		}
		if removed {
			o.say("xfer: the client %s has no access any more", quote(name))
		}
	}
	if !removed {
		return failf(exitNotFound, "see xfer trust ls", "nobody is known as %s", quote(name))
	}
	return nil
}

// isPeer tells whether Unpin would take name for that server.
func isPeer(p certs.Peer, name string) bool {
	if p.Name == name || p.Addr == name {
		return true
	}
	if hp, err := certs.HostPort(name); err == nil && hp == p.Addr {
		return true
	}
	host := strings.TrimSuffix(p.Addr[:max(0, strings.LastIndexByte(p.Addr, ':'))], "]")
	return strings.EqualFold(strings.TrimPrefix(host, "["), strings.Trim(name, "[]"))
}

func (a *app) idCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "id", Short: "who we are: the fingerprint of our key", Args: noOperands}
	f := localFlags(cmd)
	cmd.Flags().StringVarP(&f.identity, "identity", "i", "", "of this key file instead of our own")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			p, err := findPlaces(&a.env)
			if err != nil {
				return err
			}
			s, err := openStore(p)
			if err != nil {
				return err
			}
			defer s.Close()
			id, err := a.identityOf(f, s)
			if err != nil {
				return err
			}
			if f.json {
				return o.result(map[string]any{"id": id.ID().String(), "id_grouped": id.ID().Grouped(), "certificate_end": stamp(id.NotAfter()), "keys": s.Dir()})
			}
			if f.verbose {
				o.say("xfer: in groups %s, certificate until %s, keys in %s", id.ID().Grouped(), id.NotAfter().Local().Format("2006-01-02"), quote(s.Dir()))
			}
			return o.print(id.ID().String() + "\n")
		})
	}
	return cmd
}

// clientExists tells whether err says that the name is taken.
func clientExists(err error) bool { return errors.Is(err, certs.ErrClientExists) }
