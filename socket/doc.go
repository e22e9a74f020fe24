// Package socket receives from and sends to connected stream sockets past the runtime's
// poller, for those who answer one another quickly: a client that waits for its answer,
// a server that waits for the next request.
//
// # Why not the poller
//
// A goroutine that waits in the poller is woken by way of another thread. And the poller
// watches each socket for room to send too: of a unix socket the kernel tells that each
// time the other end has received something, so every exchange wakes a thread that finds
// nothing to do. A thread that waits in recvmsg(2) is woken by it as well; one in poll(2)
// for POLLIN is not. To wake a thread of another processor costs more than to serve a small
// request: 20 to 100 us where processors are virtual.
//
// # How one waits
//
//	RecvSoon      asks again and again for 200 us at most, then waits in poll(2) for maxWaitMillis:
//	              a matter of one thread for a millisecond
//	AwaitInput    in the poller, for as long as it takes: no thread is held. The poller
//	              watches an epoll instance, which watches the socket for input alone, and
//	              only until it has come
//	Await         in poll(2), for as long as it takes: a thread is held
//
// # Asking again and again
//
// It saves two switches of threads if the other end runs meanwhile, on another processor,
// and is wasted if not. So it is not done with one processor, and by few sockets of a process at the
// same time; and a socket learns for how long (rhythm): twice as long as it took of late, from minSpin
// to maxSpin. If even that was in vain, it leaves it for twice as many waits as the time before, up to
// maxSkip. While a client and a server take turns it is done always, else almost never.
//
// # Concurrency
//
// One goroutine receives and one sends at a time. Interrupt and Shutdown may be called by
// any, Close when no other method runs.
package socket
