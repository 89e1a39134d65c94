// Package tree tells what a source directory holds: it walks it, and puts what it finds into a manifest, whose bytes
// MANIFEST.md specifies.
//
// A Walker shows the entries in the order of a manifest, those that a Filter keeps. An Encoder makes records of them, a
// Decoder at the other end reads those, whoever wrote them.
//
// The walk goes by directory handles of a durable.FS, never by joined paths and never through symbolic links that it is not
// asked to follow, so that it takes names of any bytes and trees whose paths are longer than the system's limit, and
// ends in no directory that somebody swapped in. It reads no file, but for the .gitignore files of a filter.
package tree
