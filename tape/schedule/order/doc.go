// Package order puts stops on one tape in the order in which they cost least. It is pure, and
// for the same batch always finds the same order.
//
// # The problem
//
// The head is somewhere; each stop is read from its begin to its end, where the head stands then. The way from
// one stop to the next costs something else than the way back, as a wrap is read in one direction only. So an
// order is a path of an asymmetric travelling salesman (LeastTime), or of an asymmetric
// travelling repairman (LeastWait: the minimum latency problem). Both are NP-hard in general, and no
// polynomial method is known for a tape of many wraps.
//
// If others wait for the drive, they do so until the tape is rewound (Batch.After). The path then ends at the begin of
// the tape: SCAN owes it what it is better than greedy orders in a library with more volumes than drives.
//
// # What is done, and where it is from
//
// Up to 12 stops are solved exactly, by dynamic programming over subsets (Held and Karp 1962; with everyone who
// still waits paying for each step, Picard and Queyranne 1978). More are solved by local search from the best of
// these orders, so that it is never worse than any of them:
//
//   - as they came, and by block;
//   - SCAN, like a lift; and in several sweeps, each of which leaves out what would need a step back: the
//     idea of MPScan (Sandstå and Midtstraum, Improving the access time performance of serpentine tape
//     drives, ICDE 1999);
//   - the nearest first (SLTF: Hillyer and Silberschatz, Random I/O scheduling in online tertiary storage
//     systems, SIGMOD 1996, who also treat the problem as an asymmetric travelling salesman's).
//
// The search exchanges pieces of the path that follow one another and never turns one round: Or-opt (Or 1976)
// with pieces of any length, which is the 3-opt move that keeps all directions (Kanellakis and Papadimitriou
// 1980). For the least wait too a move is valued in constant time, since all of a piece wait the same
// time longer or shorter. What local search cannot do is tried by random double bridges,
// taken back if they do not help (iterated local search: Martin, Otto and Felten 1991). Near stops are found by band,
// direction and place on the tape.
//
// Not taken: LOSS of Hillyer and Silberschatz and MPScan* itself, which build one path and do not
// improve it; and what is known of the linear tape scheduling problem, the least mean wait on a tape with a single track,
// where the way costs the distance: approximations (Cardonha and Villa Real, Online algorithms for the linear tape
// scheduling problem, ICAPS 2016) and an exact method in polynomial time (Honoré, Simon and Suter, An exact algorithm for
// the linear tape scheduling problem, ICAPS 2022). On a serpentine tape neighbours in time are not neighbours in place.
package order
