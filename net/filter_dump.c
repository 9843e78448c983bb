/* SPDX-License-Identifier: GPL-2.0-or-later */
/* filter-dump: the packets of a link as a pcap file (libpcap's format 2.4, Ethernet), readable by
 * tcpdump and Wireshark. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/fdset.h"
#include "net/backend.h"
#include "util/log.h"

#define PCAP_MAGIC 0xa1b2c3d4u
#define PCAP_ETHERNET 1

typedef struct FilterDump {
    NetFilter filter;
    char *file;
    uint32_t maxlen;
    int fd;                 /* -1: not open, or given up after an error */
} FilterDump;

typedef struct PcapHeader {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t accuracy, snaplen, linktype;
} PcapHeader;

typedef struct PcapRecord {
    uint32_t sec, usec, captured, length;
} PcapRecord;

/* One write a packet, so the file has whole records whenever somebody reads it. */
static bool dump_receive(NetFilter *filter, NetPort *from, const NetPacket *packet, bool to_netdev)
{
    FilterDump *d = container_of(filter, FilterDump, filter);
    size_t skip = MIN(net_vnet_hdr_len(from), packet->size), length = packet->size - skip;
    int64_t now = clock_realtime_ns();
    PcapRecord record = {(uint32_t)(now / NSEC_PER_SEC),
                         (uint32_t)(now % NSEC_PER_SEC / NSEC_PER_USEC),
                         (uint32_t)MIN(length, d->maxlen), (uint32_t)length};
    size_t size = sizeof record + record.captured;

    if (d->fd < 0) {
        return false;
    }
    g_autofree uint8_t *data = g_malloc(size);
    memcpy(data, &record, sizeof record);
    net_packet_copy(packet, skip, data + sizeof record, record.captured);
    if (write(d->fd, data, size) != (ssize_t)size) {
        report_warning("filter-dump %s: %s: %s; nothing more is written", filter->obj.name, d->file,
                       g_strerror(errno));
        close(d->fd);
        d->fd = -1;
    }
    return false;
}

static bool dump_open(NetFilter *filter, GError **err)
{
    FilterDump *d = container_of(filter, FilterDump, filter);
    PcapHeader header = {PCAP_MAGIC, 2, 4, 0, 0, d->maxlen, PCAP_ETHERNET};

    d->fd = vm_open(filter->obj.vm, d->file, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (d->fd < 0 || write(d->fd, &header, sizeof header) != sizeof header) {
        error_set_errno(err, errno, "file=%s cannot be written", d->file);
        if (d->fd >= 0) {
            close(d->fd);
        }
        d->fd = -1;
        return false;
    }
    return true;
}

static void dump_close(NetFilter *filter)
{
    FilterDump *d = container_of(filter, FilterDump, filter);

    if (d->fd >= 0) {
        close(d->fd);
    }
    d->fd = -1;
}

static void dump_init(Object *obj) { container_of(obj, FilterDump, filter.obj)->fd = -1; }

static const NetFilterOps dump_ops = {
    .receive = dump_receive, .open = dump_open, .close = dump_close};

static const Property dump_props[] = {
    PROP_STRING("file", FilterDump, file, .required = true, .help = "the pcap file, made anew"),
    PROP_U32("maxlen", FilterDump, maxlen, .def = 65536, .min = 1, .max = 0x7fffffff,
             .help = "bytes kept of a packet"),
    {}};

KILN_TYPE(filter_dump) = {
    .name = "filter-dump",
    .parent = "netfilter",
    .desc = "writes the packets of a link to a pcap file",
    .size = sizeof(FilterDump),
    .props = dump_props,
    .ops = &dump_ops,
    .init = dump_init,
};
