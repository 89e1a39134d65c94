// Package durable is the file system seam of xfer: changes beneath one directory that survive a crash and
// never leave that directory.
//
// [FS] and [File] are the seam. [OpenOS] gives the operating system's file system beneath an [os.Root];
// package crashfs gives one in memory that loses what was not synced, for tests. [WriteFile], [Replace],
// [MkdirAll] and [OpenRegular] are made of the methods of FS and work over both.
//
// What it promises: nothing outside the root is read or written, whatever symbolic links lie in it and
// whoever swaps them meanwhile; an error of the disk is reported and never taken for success; opening a
// name never waits for another process (a FIFO). What it does not promise: that a change is durable before
// the Sync, SyncData or SyncDir that covers it has returned nil. After a failed Sync the data written
// before it may be gone although a second Sync succeeds (fsync(2), "errors"): write it again elsewhere.
//
// Names of one component are given to the system with a descriptor of the directory, one system call each; they cannot lead
// out of it. All others go through the Root.
//
// On Linux all of it is had, SyncFS on its own file systems only. On macOS fdatasync is F_FULLFSYNC and there is no dropping of cached
// pages and no SyncFS; extended attributes have no namespaces there and show as "user.NAME", parts of files are not cloned, and
// no holes are made in them later. On Windows directories cannot be synced (SyncDir checks that the directory
// is there; NTFS keeps the order of its metadata in its log), times are set through the link, IDOf knows no
// inode, and there are no owners, extended attributes or holes.
package durable
