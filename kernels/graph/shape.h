/* Output shapes and padding of windows; the arithmetic behind the builder in graph.c.
 * Threads: any. Read first: cf_shape_window. */
#ifndef CF_KERNELS_GRAPH_SHAPE_H
#define CF_KERNELS_GRAPH_SHAPE_H

#include "kernels/graph/graph.h"

/* All sides positive, and few enough elements that byte counts cannot overflow. CF_E_USAGE, naming
 * `node`. */
CF_CHECKED cf_err cf_shape_check(const char *node, cf_shape shape);
CF_CHECKED cf_err cf_shape_check_product(const char *node, int64_t a, int64_t b);

/* Sets out_shape (with k channels) and the four paddings of a node from its in_shape and the window
 * in conv. CF_E_USAGE when the window does not fit. */
CF_CHECKED cf_err cf_shape_window(cf_node *node, int64_t k);

#endif
