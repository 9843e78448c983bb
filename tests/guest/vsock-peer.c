/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vsock CID PORT: connects, sends stdin to its end, and prints what comes back until the other side closes.
 * vsock - PORT: takes one connection, prints what comes to its end, then sends stdin back.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

/* Everything from one descriptor to the other. */
static int copy(int from, int to)
{
    static char buf[65536];
    ssize_t n;

    while ((n = read(from, buf, sizeof buf)) > 0) {
        for (ssize_t done = 0, part; done < n; done += part) {
            part = write(to, buf + done, (size_t)(n - done));
            if (part <= 0) {
                return fail("write");
            }
        }
    }
    return n < 0 ? fail("read") : 0;
}

static int connect_to(const struct sockaddr_vm *addr)
{
    const int s = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (s < 0 || connect(s, (const struct sockaddr *)addr, sizeof *addr) < 0) {
        return fail("connect");
    }
    return copy(0, s) || shutdown(s, SHUT_WR) || copy(s, 1);
}

static int take(const struct sockaddr_vm *addr)
{
    const int server = socket(AF_VSOCK, SOCK_STREAM, 0);
    int s;

    if (server < 0 || bind(server, (const struct sockaddr *)addr, sizeof *addr) < 0 || listen(server, 1) < 0) {
        return fail("listen");
    }
    s = accept(server, NULL, NULL);
    return s < 0 ? fail("accept") : copy(s, 1) || copy(0, s) || shutdown(s, SHUT_WR);
}

int main(int argc, char **argv)
{
    struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};

    if (argc != 3) {
        fprintf(stderr, "usage: vsock CID|- PORT\n");
        return 2;
    }
    addr.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
    if (!strcmp(argv[1], "-")) {
        return take(&addr);
    }
    addr.svm_cid = (unsigned)strtoul(argv[1], NULL, 10);
    return connect_to(&addr);
}
