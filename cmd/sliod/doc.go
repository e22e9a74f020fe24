// Sliod is a file server for tape: the one binary, with the server and the
// commands that administer it.
//
// This package is wiring and command line, no logic: serve puts the parts
// together, the other commands talk 9P to a server through package client9p, most of
// them to its control tree (package server/ctl).
//
// # Exit status
//
// 0 done, 1 failed, 2 the command line is wrong. Results go to standard output;
// progress, errors and the log to standard error.
package main
