/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What SCSI units that tests make up answer SG_IO with. */
#ifndef TESTS_SG_UNIT_H
#define TESTS_SG_UNIT_H

#include <scsi/sg.h>
#include <string.h>
#include <sys/uio.h>

/* data, or as much of it as the command wants. */
static inline void sg_answer(sg_io_hdr_t *h, const void *data, size_t len)
{
    const struct iovec one = {h->dxferp, h->dxfer_len}, *iov = h->iovec_count ? h->dxferp : &one;
    const unsigned char *from = data;

    len = len < h->dxfer_len ? len : h->dxfer_len;
    h->resid = (int)(h->dxfer_len - len);
    for (unsigned i = 0; len; i++) {
        const size_t part = len < iov[i].iov_len ? len : iov[i].iov_len;

        memcpy(iov[i].iov_base, from, part);
        from += part;
        len -= part;
    }
}

/* Sense data of the fixed format, and nothing else. */
static inline void sg_check_condition(sg_io_hdr_t *h, unsigned char key, unsigned char asc)
{
    const unsigned char sense[18] = {0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc};

    h->status = 2;
    h->resid = (int)h->dxfer_len;
    h->sb_len_wr = h->mx_sb_len < sizeof sense ? h->mx_sb_len : sizeof sense;
    memcpy(h->sbp, sense, h->sb_len_wr);
}

#endif
