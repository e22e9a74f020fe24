// Prepare downloads the kernel for guests into the cache, so that tests need no
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
	if err := guest.Missing(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	k, err := guest.Kernel(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("guest kernel %s: %s\n", k.Version, k.Image)
}
