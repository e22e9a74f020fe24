// Prepare downloads the kernels for guests into the cache, so that tests need no
// network. It says what it has, or what is missing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"sliod/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	kernels, err := guest.Kernels(ctx)
	for _, userMode := range []bool{false, true} {
		if err == nil {
			err = guest.Missing(ctx, userMode)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, k := range kernels {
		fmt.Printf("guest kernel %s: %s\n", k.Version, k.Image)
	}
}
