/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/udp_bundle.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#define BUNDLE_PACKETS 64       /* what every kernel takes */
#define BUNDLE_BYTES 65000      /* an IP packet's 65535, less headers with options */

bool udp_takes_bundles(int fd)
{
    int size;
    socklen_t len = sizeof size;

    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &len) == 0;
}

bool udp_gives_bundles(int fd)
{
    const int on = 1;

    return setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
}

/* How many of the packets, one at least, make a message. */
static unsigned bundle_length(const NetPacket *packets, unsigned n, size_t below, unsigned room)
{
    const size_t size = packets[0].size;
    unsigned i = 1, pieces = packets[0].count;
    size_t bytes = size;

    if (!size || size >= below) {
        return 1;
    }
    while (i < n && i < BUNDLE_PACKETS && packets[i - 1].size == size && packets[i].size && packets[i].size <= size &&
           bytes + packets[i].size <= BUNDLE_BYTES && pieces + packets[i].count <= room) {
        bytes += packets[i].size;
        pieces += packets[i].count;
        i++;
    }
    return i;
}

static void say_size(struct msghdr *msg, UdpControl *control, size_t size)
{
    const uint16_t segment = (uint16_t)size;
    struct cmsghdr *c;

    memset(control, 0, sizeof *control);
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(sizeof segment);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

static void add_message(UdpMessages *m, const NetPacket *packets, unsigned n)
{
    struct msghdr *msg = &m->msgs[m->count].msg_hdr;

    *msg = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)packets[0].iov, .msg_iovlen = packets[0].count};
    m->packets[m->count] = (uint8_t)n;
    if (n > 1) {
        struct iovec *iov = &m->iov[m->iov_used];

        *msg = (struct msghdr){.msg_iov = iov};
        for (unsigned i = 0; i < n; i++) {
            memcpy(iov + msg->msg_iovlen, packets[i].iov, packets[i].count * sizeof *iov);
            msg->msg_iovlen += packets[i].count;
        }
        m->iov_used += (unsigned)msg->msg_iovlen;
        say_size(msg, &m->control[m->count], packets[0].size);
    }
    m->count++;
}

void udp_make_messages(UdpMessages *m, const NetPacket *packets, unsigned n, size_t below)
{
    m->count = m->iov_used = 0;
    for (unsigned i = 0, taken; i < n; i += taken) {
        taken = bundle_length(packets + i, n - i, below, (unsigned)G_N_ELEMENTS(m->iov) - m->iov_used);
        add_message(m, packets + i, taken);
    }
}

size_t udp_bundle_size(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int size;

        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && c->cmsg_len >= CMSG_LEN(sizeof size)) {
            memcpy(&size, CMSG_DATA(c), sizeof size);
            return size > 0 ? (size_t)size : 0;
        }
    }
    return 0;
}
