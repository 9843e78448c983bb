/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the files that options name. */
#include "hw/nvram/option_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

bool option_read_file(const char *option, const char *path, gsize max, char **data, gsize *len, GError **err)
{
    struct stat st;
    gsize have = 0;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_set_errno(err, errno, "%s: cannot open '%s'", option, path);
    }
    if (fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "%s: cannot read '%s'", option, path);
    } else if (!S_ISREG(st.st_mode)) {
        error_set(err, "%s: '%s' is not a regular file", option, path);
    } else if ((guint64)st.st_size > max) {
        error_set(err, "%s: '%s' is too large (%" G_GINT64_FORMAT " bytes, at most %" G_GSIZE_FORMAT ")", option,
                  path, (gint64)st.st_size, max);
    } else {
        *data = g_malloc((gsize)st.st_size + 1);
        while (have < (gsize)st.st_size) {
            ssize_t n = read(fd, *data + have, (gsize)st.st_size - have);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                break;
            }
            have += (gsize)n;
        }
        ok = have == (gsize)st.st_size;
        if (ok) {
            (*data)[have] = 0;
            *len = have;
        } else {
            g_free(*data);
            *data = NULL;
            error_set(err, "%s: cannot read all of '%s'", option, path);
        }
    }
    close(fd);
    return ok;
}
