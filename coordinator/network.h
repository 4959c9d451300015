/* What a sum over ranks costs on a stated network: nodes with fast links inside and slower ones
 * between them. Numbers only; nothing is sent.
 *
 * The model is Hockney's (Parallel Computing 20, 1994): a message of m bytes takes
 * latency + m / bandwidth. Costs of whole sums follow Thakur, Rabenseifner and Gropp, "Optimization
 * of collective communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1),
 * 2005; the pipelined pair of trees is Sanders, Speck and Träff's, Parallel Computing 35(12), 2009.
 * Threads: any, plain data. Read first: cf_network_sum_seconds. */
#ifndef CF_COORDINATOR_NETWORK_H
#define CF_COORDINATOR_NETWORK_H

#include "kernels/base/err.h"

typedef struct cf_link {
    double latency_seconds;  /* of one message, 0 or more */
    double bytes_per_second; /* in one direction; above 0, may be infinite */
} cf_link;

typedef struct cf_net {
    int ranks_per_node; /* consecutive ranks share a node */
    cf_link inside;     /* of every rank, to others of its node */
    cf_link between;    /* of every node as a whole: its ranks share it */
    /* Processor time that a rank spends on moving and adding what it receives, which no network
     * hides (the overhead of LogGP, Alexandrov et al. 1995); infinite: none, as with NCCL on a GPU.
     */
    double host_bytes_per_second;
} cf_net;

typedef enum cf_reduction {
    CF_REDUCTION_RING,     /* reduce-scatter and allgather round a ring */
    CF_REDUCTION_TREE,     /* two binary trees in a pipeline, up and down */
    CF_REDUCTION_DOUBLING, /* recursive doubling: all bytes in every step */
    CF_REDUCTION_HALVING,  /* recursive halving, then doubling (Rabenseifner) */
    CF_REDUCTION_SHARES, /* kernels/comm/comm_mpi.c: shares to their owners and back, all at once */
    CF_REDUCTION_BEST    /* the faster of ring and tree, as NCCL chooses */
} cf_reduction;

enum { CF_REDUCTIONS = 6 };
extern const char *const cf_reduction_names[CF_REDUCTIONS]; /* "ring", "tree", ... "best" */

/* Where the ranks of a sum sit. */
typedef struct cf_placement {
    int ranks;  /* n */
    int first;  /* number of the first worker: its node is first / ranks_per_node */
    int shared; /* groups whose sums leave a node of this one at the same time, itself included */
} cf_placement;

/* CF_E_USAGE naming the value that is out of range. */
CF_CHECKED cf_err cf_network_check(const cf_net *net);
/* Seconds for one sum of m bytes over n ranks, without processor time; 0 for one rank. With a =
 * latency and b = 1 / bandwidth of the slowest link on the way:
 *   ring      2 (n-1) (a + m b / n)
 *   tree      2 (sqrt(A) + sqrt(m b))^2, A the latencies from leaf to root: the best number of
 * pieces; never above one piece's 2 (A + h m b), h the tree's height doubling  the sum of a + m b
 * over ceil(log2 n) steps halving   twice the sum of a + m b / 2^i over steps i = 1..log2 n, step i
 * between ranks 2^(i-1) apart, so that few bytes leave a node shares    2 (a + (n-1)/n m b): all
 * messages of a round are posted at once Where n is no power of two, doubling and halving take 2 (a
 * + m b) more. A node's link is shared by all of its ranks that use it at once: one in a ring or
 * tree, all of them in the others. *taken (may be NULL) receives the method that BEST stands for,
 * else the one asked for. */
double cf_network_sum_seconds(const cf_net *net, const cf_placement *at, cf_reduction method,
                              double bytes, cf_reduction *taken);
/* Processor seconds of a rank for that sum: it receives 2 (n-1)/n of the bytes. */
double cf_network_host_seconds(const cf_net *net, int ranks, double bytes);

#endif
