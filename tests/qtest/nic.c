/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE 120000 /* ms: for a machine under load, never reached by what works */

static bool use_taps;

/* ---- taps ---------------------------------------------------------------------------------------- */

bool cable_use_taps(void)
{
    static const char no_chatter[] = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    int fd;

    if (unshare(CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)) < 0 || (fd = open("/dev/net/tun", O_RDWR)) < 0) {
        return false;
    }
    close(fd);
    fd = open(no_chatter, O_WRONLY);
    if (fd >= 0) {
        g_assert_cmpint(write(fd, "1", 1), ==, 1);
        close(fd);
    }
    return use_taps = true;
}

static void open_tap(Cable *c)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "kilntest%d"};
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

    c->tap = open("/dev/net/tun", O_RDWR); /* for the emulator to inherit */
    g_assert_cmpint(ioctl(c->tap, TUNSETIFF, &ifr), ==, 0);
    c->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    ifr.ifr_mtu = 65521;
    g_assert_cmpint(ioctl(c->fd, SIOCSIFMTU, &ifr), ==, 0);
    ifr.ifr_flags = IFF_UP | IFF_RUNNING;
    g_assert_cmpint(ioctl(c->fd, SIOCSIFFLAGS, &ifr), ==, 0);
    ll.sll_ifindex = (int)if_nametoindex(ifr.ifr_name);
    g_assert_cmpint(bind(c->fd, (struct sockaddr *)&ll, sizeof ll), ==, 0);
}

/* ---- cables -------------------------------------------------------------------------------------- */

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    g_assert_cmpuint(strlen(path), <, sizeof un.sun_path);
    strcpy(un.sun_path, path);
    return un;
}

Cable *cable_new(void)
{
    Cable *c = g_new0(Cable, 1);

    if (use_taps) {
        open_tap(c);
        return c;
    }
    c->tap = -1;
    c->dir = g_dir_make_tmp("kiln-net-XXXXXX", NULL);
    c->mine = g_build_filename(c->dir, "test", NULL);
    c->theirs = g_build_filename(c->dir, "kiln", NULL);
    struct sockaddr_un un = address(c->mine);
    c->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(c->fd, (struct sockaddr *)&un, sizeof un), ==, 0);
    return c;
}

void cable_free(Cable *c)
{
    close(c->fd);
    if (c->tap >= 0) {
        close(c->tap);
    } else {
        unlink(c->mine);
        unlink(c->theirs);
        rmdir(c->dir);
    }
    g_free(c->mine);
    g_free(c->theirs);
    g_free(c->dir);
    g_free(c);
}

char *cable_netdev(const Cable *c, const char *id)
{
    if (c->tap >= 0) {
        return g_strdup_printf("-netdev tap,id=%s,fd=%d", id, c->tap);
    }
    return g_strdup_printf(
        "-netdev dgram,id=%s,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", id,
        c->theirs, c->mine);
}

void cable_send(const Cable *c, const void *data, size_t len)
{
    if (c->tap >= 0) {
        g_assert_cmpint(send(c->fd, data, len, 0), ==, (ssize_t)len);
        return;
    }
    struct sockaddr_un un = address(c->theirs);
    g_assert_cmpint(sendto(c->fd, data, len, 0, (struct sockaddr *)&un, sizeof un), ==,
                    (ssize_t)len);
}

void cable_use_headers(const Cable *c)
{
    const int on = 1;

    g_assert_cmpint(setsockopt(c->fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), ==, 0);
}

size_t cable_receive(const Cable *c, void *buf, size_t room)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    g_assert_cmpint(poll(&p, 1, PATIENCE), ==, 1);
    ssize_t n = recv(c->fd, buf, room, 0);
    g_assert_cmpint(n, >, 0);
    return (size_t)n;
}

void cable_expect_nothing(const Cable *c)
{
    char byte;

    g_assert_cmpint(recv(c->fd, &byte, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

void make_packet(uint8_t *out, size_t len, const uint8_t to[6], unsigned seed)
{
    static const uint8_t from[6] = {0x52, 0x54, 0, 0, 0, 1};

    memcpy(out, to, 6);
    memcpy(out + 6, from, 6);
    out[12] = 0x88;
    out[13] = 0xb5; /* for experiments */
    for (size_t i = 14; i < len; i++) {
        out[i] = (uint8_t)(i * 7 + seed * 31);
    }
}

void wait_until(QTest *qt, bool (*done)(QTest *qt, void *opaque), void *opaque)
{
    for (unsigned i = 0; !done(qt, opaque); i++) {
        g_assert_cmpuint(i, <, PATIENCE);
        g_usleep(1000);
    }
}

uint32_t inet_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

size_t check_tcp(const uint8_t *ip)
{
    size_t total = (size_t)ip[2] << 8 | ip[3], len = total - 20;
    uint32_t pseudo = inet_sum(0, ip + 12, 8) + 6 + (uint32_t)len;

    g_assert_cmphex(inet_sum(0, ip, 20), ==, 0xffff);
    g_assert_cmphex(inet_sum(pseudo, ip + 20, len), ==, 0xffff);
    return len - 20;
}
