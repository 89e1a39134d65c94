// Package certs keeps what a host knows about keys: its own, those of the servers it dials, those of the
// clients it lets in, and the invitations by which they get to know each other. All of it lies beneath one
// directory:
//
//	identity.key       the private key (PKCS #8, PEM)
//	identity.crt       the certificate made from it, 90 days, renewed when a third is left
//	known_hosts.toml   servers: address, key, our name there
//	clients.d/NAME.toml   a client each: key, roots and rights; made by enrolment, edited by hand, re-read on change
//	invites.d/ID.toml  one-time codes, until some days after their end
//	lock               held by whoever changes something; removing it is harmless when nobody does
//
// The directory is 0700 and each file 0600. What is looser is refused with the command that mends it (not on
// Windows, where permissions are not in the mode). Files are written atomically and durably (package
// durable), and read in full before a word of them counts: of at most 64 KiB (known_hosts.toml: 4 MiB), without unknown keys, with
// every value in range. What cannot be read authorises nobody, and a damaged private key is never replaced.
//
// Several processes may use one directory at once, so an invitation made beside a running daemon works at once.
//
// What a client may do is not decided here: rights are words, checked by [Options.CheckRights] and
// interpreted by the daemon. Package certstest has identities for tests, made in memory.
package certs
