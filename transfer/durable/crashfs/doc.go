// Package crashfs is a file system in memory, for tests, that does to a program what a power cut, a killed
// process and a failing disk do.
//
// It holds two images. The volatile one is what the program sees. The durable one is what is certain to be
// there after a crash: what Sync, SyncData and SyncDir covered and reported as done. [FS.Crash] returns a file
// system that a power cut might leave, chosen at random by the seed between the two:
//
//   - Data written and not synced is there, or is not, page by page or sector by sector (4096 and 512 bytes);
//     what is not there is the old content, or zeros where there was none or it had been truncated away.
//     The size is the old one, the new one, or between.
//   - Mode, times, owner and each extended attribute are the old or the new ones until Sync (not SyncData) of the file.
//   - A name made, removed, renamed or linked is as before or as after until SyncDir of its directory; Sync
//     of the file does not do it. What happens to the names of one directory is independent of another's.
//     A rename within a directory is atomic. A rename between two may leave both names, never none: no
//     file loses its last name through an operation that took none away. Directories move atomically.
//   - A Sync that fails loses what was dirty: reads go on showing it (until DropCache), a later Sync
//     succeeds, and it is not on the disk (as Linux does, fsync(2) "errors").
//
// That is somewhat worse than ext4 and XFS, which keep the order of all metadata, and about what POSIX allows.
//
// [FS.Kill] returns what a process finds that was killed and started again: the volatile image, no locks.
// [FS.FailAt] and its kin make the k-th operation fail. Nothing here blocks, so it works in a synctest bubble.
// Permission bits and owners are kept and not enforced; ACLs are attributes as any other, and do nothing to the mode.
// A page that was never written, or was punched, is a hole. Package durable's tests run over both this and the real one.
package crashfs
