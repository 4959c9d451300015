#include "kernels/comm/datagram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union any_address {
    struct sockaddr base;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} any_address;

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static void map_v4(const struct in_addr *v4, uint8_t address[CF_ADDRESS_BYTES])
{
    memcpy(address, mapped_prefix, sizeof mapped_prefix);
    memcpy(address + sizeof mapped_prefix, v4, 4);
}

static bool is_mapped(const uint8_t address[CF_ADDRESS_BYTES])
{
    return memcmp(address, mapped_prefix, sizeof mapped_prefix) == 0;
}

/* IPv6 that takes IPv4 as well; IPv4 alone where the kernel was started without the other. */
static int open_socket(bool *v4_only)
{
    int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, no = 0;
    int fd = socket(AF_INET6, type, 0);
    *v4_only = fd < 0;
    if (fd < 0) return socket(AF_INET, type, 0);
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) == 0) return fd;
    close(fd);
    *v4_only = true;
    return socket(AF_INET, type, 0);
}

static bool bind_any(cf_datagram *d)
{
    any_address own;
    memset(&own, 0, sizeof own);
    own.base.sa_family = d->v4_only ? AF_INET : AF_INET6;
    socklen_t n = d->v4_only ? sizeof own.v4 : sizeof own.v6;
    if (bind(d->fd, &own.base, n) != 0 || getsockname(d->fd, &own.base, &n) != 0) return false;
    d->port = ntohs(d->v4_only ? own.v4.sin_port : own.v6.sin6_port);
    return true;
}

cf_err cf_datagram_open(cf_datagram *d)
{
    *d = (cf_datagram){.fd = -1};
    d->fd = open_socket(&d->v4_only);
    if (d->fd < 0) return cf_fail_errno(CF_E_DEVICE, "UDP socket");
    if (bind_any(d)) return CF_OK;
    cf_err err = cf_fail_errno(CF_E_DEVICE, "port of a UDP socket");
    cf_datagram_close(d);
    return err;
}

void cf_datagram_close(cf_datagram *d)
{
    if (d->fd >= 0) close(d->fd);
    d->fd = -1;
}

static bool address_of(const struct ifaddrs *i, uint8_t address[CF_ADDRESS_BYTES])
{
    any_address a;
    if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0)
        return false;
    if (i->ifa_addr->sa_family == AF_INET) {
        memcpy(&a.v4, i->ifa_addr, sizeof a.v4);
        map_v4(&a.v4.sin_addr, address);
        return true;
    }
    if (i->ifa_addr->sa_family != AF_INET6) return false;
    memcpy(&a.v6, i->ifa_addr, sizeof a.v6);
    memcpy(address, &a.v6.sin6_addr, CF_ADDRESS_BYTES);
    return !IN6_IS_ADDR_LINKLOCAL(&a.v6.sin6_addr);
}

int cf_datagram_addresses(uint8_t addresses[CF_ADDRESSES_MAX][CF_ADDRESS_BYTES])
{
    const struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    struct ifaddrs *all = NULL;
    int n = 0;
    if (getifaddrs(&all) == 0) {
        for (const struct ifaddrs *i = all; i != NULL && n < CF_ADDRESSES_MAX - 1; i = i->ifa_next)
            if (address_of(i, addresses[n])) n++;
        freeifaddrs(all);
    }
    map_v4(&loopback, addresses[n++]);
    return n;
}

void cf_datagram_send(const cf_datagram *d, const cf_peer *to, const void *bytes, size_t n)
{
    any_address a;
    socklen_t length = sizeof a.v6;
    if (d->fd < 0 || (d->v4_only && !is_mapped(to->address))) return;
    memset(&a, 0, sizeof a);
    if (d->v4_only) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(to->port);
        memcpy(&a.v4.sin_addr, to->address + sizeof mapped_prefix, 4);
        length = sizeof a.v4;
    } else {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(to->port);
        memcpy(&a.v6.sin6_addr, to->address, CF_ADDRESS_BYTES);
    }
    (void)sendto(d->fd, bytes, n, MSG_NOSIGNAL, &a.base, length);
}

static bool take(const cf_datagram *d, void *bytes, size_t room, size_t *n, cf_peer *from)
{
    any_address a;
    struct iovec part = {.iov_base = bytes, .iov_len = room};
    struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &part, .msg_iovlen = 1};
    memset(&a, 0, sizeof a);
    ssize_t got = recvmsg(d->fd, &m, MSG_DONTWAIT);
    if (got < 0) return false;
    *n = (m.msg_flags & MSG_TRUNC) != 0 ? room + 1 : (size_t)got;
    if (d->v4_only)
        map_v4(&a.v4.sin_addr, from->address);
    else
        memcpy(from->address, &a.v6.sin6_addr, CF_ADDRESS_BYTES);
    from->port = ntohs(d->v4_only ? a.v4.sin_port : a.v6.sin6_port);
    return true;
}

bool cf_datagram_receive(const cf_datagram *d, int64_t timeout_ns, void *bytes, size_t room,
                         size_t *n, cf_peer *from)
{
    if (timeout_ns < 0) timeout_ns = 0;
    struct pollfd wait = {.fd = d->fd, .events = POLLIN};
    struct timespec limit = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    /* a descriptor below zero is passed over: then this is a sleep */
    if (ppoll(&wait, 1, &limit, NULL) <= 0) return false;
    return take(d, bytes, room, n, from);
}
