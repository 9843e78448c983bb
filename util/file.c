/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

#define FIRST_ROOM 4096

typedef struct Buffer {
    char *data;
    gsize room, len;
} Buffer;

static void buffer_free(Buffer *b)
{
    explicit_bzero(b->data, b->room);
    g_free(b->data);
}

static void buffer_grow(Buffer *b, gsize room)
{
    Buffer larger = {g_malloc(room), room, b->len};

    memcpy(larger.data, b->data, b->len);
    buffer_free(b);
    *b = larger;
}

/* One byte more than may be is read, to see that it is too much; and one is for the NUL. */
static gsize first_room(int fd, gsize max)
{
    struct stat st;
    gsize size = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (gsize)st.st_size : 0;

    return MIN(MAX(size, FIRST_ROOM), max) + 2;
}

static bool read_all(int fd, const char *path, gsize max, Buffer *b, GError **err)
{
    for (;;) {
        ssize_t n = read(fd, b->data + b->len, b->room - 1 - b->len);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "Failed to read file '%s'", path);
        }
        if (n == 0) {
            b->data[b->len] = 0;
            return true;
        }
        b->len += (gsize)MAX(n, 0);
        if (b->len > max) {
            return error_set(err, "file '%s' has more than %" G_GSIZE_FORMAT " bytes, which is too much; is it the right one?",
                             path, max);
        }
        if (b->len == b->room - 1) {
            buffer_grow(b, MIN(2 * b->len, max) + 2);
        }
    }
}

bool file_read(const char *path, gsize max, char **data, gsize *len, GError **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_set_errno(err, errno, "Failed to open file '%s'", path);
    }
    Buffer b = {.room = first_room(fd, max)};
    b.data = g_malloc(b.room);
    bool ok = read_all(fd, path, max, &b, err);
    close(fd);
    if (!ok) {
        buffer_free(&b);
        return false;
    }
    *data = b.data;
    if (len) {
        *len = b.len;
    }
    return true;
}
