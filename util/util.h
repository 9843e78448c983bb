/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every file uses: container_of, alignment, checked arithmetic and loads and stores of a fixed
 * byte order. Containers and strings are GLib's.
 */
#ifndef UTIL_UTIL_H
#define UTIL_UTIL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef container_of
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#endif

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NSEC_PER_SEC INT64_C(1000000000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_USEC INT64_C(1000)

/* align is a power of two. */
static inline uint64_t align_down(uint64_t value, uint64_t align) { return value & ~(align - 1); }
static inline uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}
static inline bool is_power_of_two(uint64_t value) { return value && !(value & (value - 1)); }

/* True when [offset, offset + length) lies in [0, limit). Never overflows. */
static inline bool range_fits(uint64_t offset, uint64_t length, uint64_t limit)
{
    return length <= limit && offset <= limit - length;
}

/* a * b / c in 128 bits: for clock conversions. c must not be 0. */
static inline uint64_t mul_div_u64(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

static inline uint64_t extract_bits(uint64_t value, unsigned start, unsigned length)
{
    return (value >> start) & (~UINT64_C(0) >> (64 - length));
}
/* The value of size bytes with all bits set: what an absent device reads as. */
static inline uint64_t all_ones(unsigned size) { return ~UINT64_C(0) >> (64 - 8 * size); }

/* Unaligned loads and stores; the names say the width in bits and the byte order. */
#define DEFINE_LOAD_STORE(bits, order, from, to)                                                   \
    static inline uint##bits##_t load##bits##_##order(const void *p)                               \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return from(v);                                                                            \
    }                                                                                              \
    static inline void store##bits##_##order(void *p, uint##bits##_t value)                        \
    {                                                                                              \
        uint##bits##_t v = to(value);                                                              \
        memcpy(p, &v, sizeof v);                                                                   \
    }
DEFINE_LOAD_STORE(16, le, GUINT16_FROM_LE, GUINT16_TO_LE)
DEFINE_LOAD_STORE(32, le, GUINT32_FROM_LE, GUINT32_TO_LE)
DEFINE_LOAD_STORE(64, le, GUINT64_FROM_LE, GUINT64_TO_LE)
DEFINE_LOAD_STORE(16, be, GUINT16_FROM_BE, GUINT16_TO_BE)
DEFINE_LOAD_STORE(32, be, GUINT32_FROM_BE, GUINT32_TO_BE)
DEFINE_LOAD_STORE(64, be, GUINT64_FROM_BE, GUINT64_TO_BE)
#undef DEFINE_LOAD_STORE

/* Little-endian load and store of 1, 2, 4 or 8 bytes (or any size up to 8). */
static inline uint64_t load_le(const void *p, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    return GUINT64_FROM_LE(v);
}
static inline void store_le(void *p, uint64_t value, unsigned size)
{
    uint64_t v = GUINT64_TO_LE(value);
    memcpy(p, &v, size);
}

/*
 * Appends n bytes at *len of a buffer of cap bytes. False, and nothing written, when they do not
 * fit. Trailers (CRC, padding) go through here too, so they count in cap.
 */
static inline bool buf_append(void *dst, size_t cap, size_t *len, const void *src, size_t n)
{
    if (*len > cap || n > cap - *len) {
        return false;
    }
    memcpy((char *)dst + *len, src, n);
    *len += n;
    return true;
}

#endif
