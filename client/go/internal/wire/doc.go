// Package wire is the client's end of the protocol, sans-IO: bytes in, messages out, and the
// rules that a worker has to keep (SPEC §1 to §3). It never reads, writes, waits or looks at a
// clock; package mlxwire binds it to a process.
package wire
