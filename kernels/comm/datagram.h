/* Datagrams over UDP: one socket that hears every address of its host, IPv4 and IPv6 alike.
 *
 * Sending never blocks and promises nothing: what is lost, refused or unreachable is lost in
 * silence, and who sends says so again. Neither MPI nor memory beyond the caller's. Threads: one a
 * socket. Read first: cf_datagram_open. */
#ifndef CF_KERNELS_COMM_DATAGRAM_H
#define CF_KERNELS_COMM_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_ADDRESS_BYTES = 16, CF_ADDRESSES_MAX = 16 };

typedef struct cf_datagram {
    int fd;        /* -1: closed */
    bool v4_only;  /* this host's kernel knows no IPv6 */
    uint16_t port; /* own */
} cf_datagram;

/* Where a datagram goes to or came from. */
typedef struct cf_peer {
    uint8_t address[CF_ADDRESS_BYTES]; /* IPv6, or IPv4 as ::ffff:a.b.c.d */
    uint16_t port;
} cf_peer;

/* Local. A socket on any free port. CF_E_DEVICE where there is none to be had; d->fd is then -1. */
CF_CHECKED cf_err cf_datagram_open(cf_datagram *d);
void cf_datagram_close(cf_datagram *d);
/* This host's addresses under which others may reach it, at most CF_ADDRESSES_MAX; loopback is the
 * last, for ranks of the same host. IPv6 addresses of one link alone are left out, since they mean
 * nothing elsewhere. */
int cf_datagram_addresses(uint8_t addresses[CF_ADDRESSES_MAX][CF_ADDRESS_BYTES]);
void cf_datagram_send(const cf_datagram *d, const cf_peer *to, const void *bytes, size_t n);
/* Waits up to timeout_ns for one; false when none came. More than `room` bytes: *n is room + 1 and
 * the bytes are cut. A closed socket hears nothing and waits the same. */
bool cf_datagram_receive(const cf_datagram *d, int64_t timeout_ns, void *bytes, size_t room,
                         size_t *n, cf_peer *from);

#endif
