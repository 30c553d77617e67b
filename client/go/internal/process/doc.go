// Package process runs one child: in its own group, its pipes always read, its death noticed.
//
// Death is the process's end, not the end of its pipes, which a grandchild may hold
// (golang#23019). Whatever is left of the group is killed before the child is reaped, so that
// no signal ever goes to a pid that is not ours (go-plugin#320).
package process
