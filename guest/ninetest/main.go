// Ninetest runs inside a guest, on a mount, and tries a file system the way
// users do. Everything follows from the seed: the same command makes the same
// tree and the same writes everywhere.
//
//	ninetest make-tree [-total BYTES] [-no-xattrs] [-seconds] DIR SEED N
//	ninetest sum [-no-times] [-no-xattrs] DIR
//	ninetest random-writes [-ops N] [-files N] [-max-file BYTES] [-parallel N] [-truncate] [-ref DIR] DIR SEED
//	ninetest interrupt [-settle D] [-max D] FILE
//
// It prints what it did; the exit status is 0, or 1 with the reason on standard
// error, or 2 for a wrong command line.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/pkg/errors"
)

func main() {
	if len(os.Args) < 2 {
		usage("no command")
	}
	if err := command(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "ninetest %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func usage(why string) {
	fmt.Fprintf(os.Stderr, "ninetest: %s\nusage: ninetest make-tree|sum|random-writes|interrupt [flags] DIR|FILE ...\n", why)
	os.Exit(2)
}

func command(name string, args []string) error {
	flags := flag.NewFlagSet("ninetest "+name, flag.ExitOnError)
	switch name {
	case "make-tree":
		var o treeOptions
		flags.Int64Var(&o.total, "total", 400<<20, "most bytes of file data in the tree")
		flags.BoolVar(&o.noXattrs, "no-xattrs", false, "set no xattrs (tmpfs has no user.*)")
		flags.BoolVar(&o.seconds, "seconds", false, "times in whole seconds: Linux' 9p client cuts the times that it sets")
		flags.Parse(args)
		if flags.NArg() != 3 {
			usage("make-tree needs DIR SEED N")
		}
		o.seed, o.files = number(flags.Arg(1)), int(number(flags.Arg(2)))
		return makeTree(flags.Arg(0), o)
	case "sum":
		var o sumOptions
		flags.BoolVar(&o.noTimes, "no-times", false, "leave the times out")
		flags.BoolVar(&o.noXattrs, "no-xattrs", false, "leave the xattrs out")
		flags.Parse(args)
		if flags.NArg() != 1 {
			usage("sum needs DIR")
		}
		w := bufio.NewWriterSize(os.Stdout, 64<<10)
		if err := sumTree(w, flags.Arg(0), o); err != nil {
			return err
		}
		return errors.Wrap(w.Flush(), "print the sums")
	case "random-writes":
		o := writesOptions{}
		flags.IntVar(&o.ops, "ops", 500, "operations in all")
		flags.IntVar(&o.files, "files", 40, "files that are written")
		flags.Int64Var(&o.maxFile, "max-file", 8<<20, "leave larger files alone, in bytes")
		flags.IntVar(&o.parallel, "parallel", 4, "files written at the same time")
		flags.BoolVar(&o.truncate, "truncate", false, "truncate and extend as well")
		flags.StringVar(&o.ref, "ref", "", "tree of the same seed that gets the same writes (default: copies in a temporary directory)")
		flags.Parse(args)
		if flags.NArg() != 2 {
			usage("random-writes needs DIR SEED")
		}
		o.seed = number(flags.Arg(1))
		return randomWrites(flags.Arg(0), o)
	case "interrupt":
		settle := flags.Duration("settle", 300*time.Millisecond, "blocked means: no progress for so long")
		limit := flags.Duration("max", 2*time.Second, "the longest time from the signal to the end")
		flags.Parse(args)
		if flags.NArg() != 1 {
			usage("interrupt needs FILE")
		}
		took, err := interrupt(flags.Arg(0), *settle, *limit)
		if err != nil {
			return err
		}
		fmt.Printf("interrupted: ended after %d ms\n", took.Milliseconds())
		return nil
	}
	usage("unknown command " + strconv.Quote(name))
	return nil
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		usage(strconv.Quote(s) + " is no number")
	}
	return n
}
