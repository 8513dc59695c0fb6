// Package bundle is the file that crosses the gap: its format, its plan, its writer and its reader. FORMAT.md beside
// this file says what every byte is. The package knows OCI layouts, tar and digests, and no registry.
//
// To write one: [Plan] makes the tables from what a walk found, [NewLayout] signs them and fixes every offset, [Create]
// begins the bundle on a [Target], [Writer.Blob] takes the content, [Writer.Commit] completes it.
//
// To read one: [Open] takes a [Medium] and looks at nothing but the signed object and its signature; check that signature
// (package verify does, and is what most callers want); [Sealed.Reader] then reads the tables and compares the head with
// them, [Reader.Walk] checks how the manifests hang together, [Reader.Open] and [Reader.Next] give blobs, each through a
// check of its digest.
//
// What hangs from an image is worked out in one place: [Graph.Closure] says it of a root, [Traverse] goes through it, and
// [Graph.Tree] shows it.
package bundle
