// Package config reads the server's configuration: one TOML file.
//
// # One table of keys
//
// The table in keys.go is the only place that knows a key: its section and
// name, its kind, its default, the values allowed, what it means, and the field
// of Config that takes it. Reading a file, the error messages and
// docs/configuration.md are made from it, so they cannot tell different stories.
//
// # Errors
//
// A mistake in the file is an *Error with the file's name and the line. Load
// reports all mistakes of a file at once, joined, in the order of their lines:
// an unknown key, a value of the wrong kind, a value out of its range, two keys
// that contradict each other. A file that does not parse as TOML has one error.
//
// Nothing of a file with a mistake is used.
package config
