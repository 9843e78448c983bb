/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's counters of the VM and of each vCPU, from the kernel's binary statistics (KVM_CAP_BINARY_STATS_FD): a header,
 * descriptors with names, and one block of 64-bit values. A descriptor file is opened at the first question and kept.
 */
#include <string.h>
#include <unistd.h>

#include "accel/kvm/kvm_int.h"
#include "accel/x86/cpu.h"

#define STATS_MAX_NAME 4096u   /* more is no name; the kernel says 48 */
#define STATS_MAX_COUNT 65536u

/* vCPUs are kept out of KVM_RUN meanwhile: until they leave it the kernel answers nobody else. */
static int open_stats(KvmAccel *kvm, KvmVcpu *vcpu)
{
    int fd;

    if (!vcpu) {
        return kvm_ioctl(kvm->vm_fd, KVM_GET_STATS_FD, NULL);
    }
    kvm_pause(kvm);
    fd = kvm_ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
    kvm_resume(kvm);
    return fd;
}

/* -1: there are none. */
static int stats_fd(KvmAccel *kvm, const Cpu *cpu)
{
    KvmVcpu *vcpu = cpu ? cpu->accel_data : NULL;
    int *slot = vcpu ? &vcpu->stats_fd : &kvm->stats_fd;

    if ((cpu && !vcpu) || kvm->vm_fd < 0 || kvm_check(kvm, KVM_CAP_BINARY_STATS_FD) <= 0) {
        return -1;
    }
    if (*slot <= 0) {
        *slot = open_stats(kvm, vcpu);
    }
    return *slot > 0 ? *slot : -1;
}

static bool read_at(int fd, void *data, size_t size, uint64_t offset, GError **err)
{
    ssize_t n = pread(fd, data, size, (off_t)offset);

    if (n < 0) {
        return error_set_errno(err, errno, "KVM's statistics cannot be read");
    }
    return (size_t)n == size || error_set(err, "KVM's statistics end early");
}

static bool describe(const struct kvm_stats_desc *desc, AccelStat *stat)
{
    static const AccelStatUnit units[] = {ACCEL_STAT_UNIT_NONE, ACCEL_STAT_UNIT_BYTES, ACCEL_STAT_UNIT_SECONDS,
                                          ACCEL_STAT_UNIT_CYCLES, ACCEL_STAT_UNIT_BOOLEAN};
    unsigned type = desc->flags >> KVM_STATS_TYPE_SHIFT & 0xf, unit = desc->flags >> KVM_STATS_UNIT_SHIFT & 0xf;
    unsigned base = desc->flags >> KVM_STATS_BASE_SHIFT & 0xf;

    if (type > ACCEL_STAT_LOG2_HISTOGRAM || unit >= G_N_ELEMENTS(units) || base > 1 || !desc->size) {
        return false; /* of a newer kernel */
    }
    stat->name = desc->name;
    stat->type = (AccelStatType)type; /* in the kernel's order */
    stat->unit = units[unit];
    stat->base = base ? 2 : 10;
    stat->exponent = desc->exponent;
    stat->bucket_size = desc->bucket_size;
    stat->count = desc->size;
    return true;
}

static bool tell(int fd, const struct kvm_stats_header *header, AccelStatFn *fn, void *opaque, GError **err)
{
    size_t step = sizeof(struct kvm_stats_desc) + header->name_size;
    g_autofree char *descs = g_malloc0(step * header->num_desc);
    g_autoptr(GArray) values = g_array_new(false, true, sizeof(uint64_t));

    if (!read_at(fd, descs, step * header->num_desc, header->desc_offset, err)) {
        return false;
    }
    for (unsigned i = 0; i < header->num_desc; i++) {
        struct kvm_stats_desc *desc = (void *)(descs + i * step);
        AccelStat stat;

        desc->name[header->name_size - 1] = 0;
        if (!describe(desc, &stat)) {
            continue;
        }
        g_array_set_size(values, stat.count);
        if (!read_at(fd, values->data, stat.count * sizeof(uint64_t), (uint64_t)header->data_offset + desc->offset, err)) {
            return false;
        }
        stat.values = (const uint64_t *)(const void *)values->data;
        fn(&stat, opaque);
    }
    return true;
}

bool kvm_stats(Accel *accel, Cpu *cpu, AccelStatFn *fn, void *opaque, GError **err)
{
    int fd = stats_fd(kvm_accel(accel), cpu);
    struct kvm_stats_header header;

    if (fd < 0) {
        return true;
    }
    if (!read_at(fd, &header, sizeof header, 0, err)) {
        return false;
    }
    if (!header.name_size || header.name_size > STATS_MAX_NAME || header.name_size % 8 || header.num_desc > STATS_MAX_COUNT) {
        return error_set(err, "KVM's statistics have an unknown layout");
    }
    return tell(fd, &header, fn, opaque, err);
}
