/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD: a kernel whose /dev/vhost-* can be opened and take all calls, but serve nothing. With it states of
 * devices behind vhost can be made on any machine, by QEMU too.
 */
#include <dlfcn.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VRINGS 16
/* Event index, indirect, no notification when empty, version 1; a log; socket of messages or merged buffers. */
#define FEATURES (1ull << 24 | 1ull << 26 | 1ull << 28 | 1ull << 29 | 1ull << 32 | 1ull << 1 | 1ull << 15)

typedef int OpenFn(const char *path, int flags, ...);

static unsigned positions[VRINGS];

static int serve(unsigned long request, void *arg)
{
    struct vhost_vring_state *state = arg;

    switch (request) {
    case VHOST_GET_FEATURES:
        *(unsigned long long *)arg = FEATURES;
        break;
    case VHOST_GET_BACKEND_FEATURES:
        *(unsigned long long *)arg = 0;
        break;
    case VHOST_SET_VRING_BASE:
        positions[state->index % VRINGS] = state->num;
        break;
    case VHOST_GET_VRING_BASE:
        state->num = positions[state->index % VRINGS];
        break;
    default:
        break;
    }
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    return _IOC_TYPE(request) == VHOST_VIRTIO ? serve(request, arg) : (int)syscall(SYS_ioctl, fd, request, arg);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        OpenFn *real = (OpenFn *)dlsym(RTLD_NEXT, #name);                                          \
        va_list ap;                                                                                \
        int mode;                                                                                  \
                                                                                                   \
        va_start(ap, flags);                                                                       \
        mode = va_arg(ap, int);                                                                    \
        va_end(ap);                                                                                \
        return strncmp(path, "/dev/vhost-", 11) ? real(path, flags, mode) : eventfd(0, EFD_CLOEXEC);  \
    }
OpenFn open, open64;
OPEN(open)
OPEN(open64)
