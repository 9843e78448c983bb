/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD: a kernel in which /dev/null is the generic device (/dev/sgN), and /dev/zero the block device, of a SCSI
 * disk. It knows little more than its name and its size; a PERSISTENT RESERVE command that gets here, past the helper that
 * it is meant for, is refused with "COMMUNICATION FAILURE", which nobody else says.
 */
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/sg_unit.h"

#define BLOCKS 2048u

static int run(sg_io_hdr_t *h)
{
    static const unsigned char inquiry[36] = {0, 0, 6, 2, 31, 0, 0, 0, 'K', 'I', 'L', 'N', ' ', ' ', ' ', ' ', 'F', 'A', 'K', 'E'};
    static const unsigned char pages[5] = {0, 0, 0, 1, 0};
    static const unsigned char capacity[8] = {0, 0, (BLOCKS - 1) >> 8, (BLOCKS - 1) & 255, 0, 0, 2, 0};

    h->status = h->masked_status = h->sb_len_wr = 0;
    h->host_status = h->driver_status = 0;
    h->resid = 0;
    h->info = 0;
    switch (h->cmdp[0]) {
    case 0x00:
        break;
    case 0x12:
        sg_answer(h, h->cmdp[1] & 1 ? pages : inquiry, h->cmdp[1] & 1 ? sizeof pages : sizeof inquiry);
        break;
    case 0x25:
        sg_answer(h, capacity, sizeof capacity);
        break;
    case 0x5e:
    case 0x5f:
        sg_check_condition(h, 4, 0x08);
        break;
    default:
        sg_check_condition(h, 5, 0x20);
    }
    return 0;
}

static int is_block(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case SG_GET_VERSION_NUM:
        *(int *)arg = 30536;
        return 0;
    case SG_GET_SG_TABLESIZE:
        *(int *)arg = 256;
        return 0;
    case SG_GET_SCSI_ID:
        memset(arg, 0, sizeof(struct sg_scsi_id));
        return 0;
    case SG_SET_TIMEOUT:
        return 0;
    case BLKSECTGET: /* bytes; sectors of a block device */
        if (is_block(fd)) {
            *(unsigned short *)arg = 1024;
        } else {
            *(int *)arg = 1024 * 512;
        }
        return 0;
    case BLKGETSIZE64:
        *(unsigned long long *)arg = BLOCKS * 512ull;
        return 0;
    case SG_IO:
        return run(arg);
    default:
        return (int)syscall(SYS_ioctl, fd, request, arg);
    }
}

int fstat(int fd, struct stat *st)
{
    const int ret = (int)syscall(SYS_fstat, fd, st);

    if (ret == 0 && S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 5)) {
        st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFBLK;
    }
    return ret;
}
