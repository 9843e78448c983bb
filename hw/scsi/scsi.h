/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI: a bus of a host adapter, and the logical units on it (SAM-5, SPC-4, SBC-3, MMC-6), as QEMU 7.2's.
 *
 *   guest --- host adapter (hw/virtio/virtio_scsi.c) --- ScsiBus --- ScsiDevice (channel, id, lun): disk*.c, cd.c
 *
 * A request is a command descriptor block (CDB) and guest memory for its data. The adapter finds the unit, describes the
 * request (scsi_request_init), compares direction and length with what the guest gave, and starts it; the end comes once,
 * through ScsiBusOps.complete, from inside the start or later. Between the two it is in its unit's list and in one of
 * three states: block requests of it run; it waits for the VM to run again (werror=stop); or it is being aborted.
 *
 * What a unit has to tell (reset, media changed, capacity changed) waits as a unit attention and fails the next command
 * that does not merely ask who is there.
 *
 * Threads: requests, sense data and unit attentions belong to the adapter's loop (ScsiBus.loop), or to who holds the VM
 * lock while the adapter is stopped. An adapter may do simple commands in other threads, which it then knows alone
 * (scsi_request_direct): they look at atomic fields only. Plugging, media and properties: VM lock; what of media commands look at (trays, what
 * lies in them) changes in the loop while the main thread waits (block/media.c), so it needs no lock.
 */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H

#include "block/block.h"
#include "core/device.h"
#include "core/vm.h"

#define SCSI_CDB_SIZE 32
#define SCSI_SENSE_SIZE 96          /* as in QEMU's state */
#define SCSI_REPLY_MAX 65536        /* of commands that only inform */

enum { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2, SCSI_RESERVATION_CONFLICT = 0x18, SCSI_TASK_ABORTED = 0x40 };
enum { SCSI_TYPE_DISK = 0, SCSI_TYPE_ROM = 5 };

typedef struct ScsiBus ScsiBus;
typedef struct ScsiDevice ScsiDevice;
typedef struct ScsiRequest ScsiRequest;

typedef struct ScsiSense {
    uint8_t key, asc, ascq;
} ScsiSense;

#define SENSE_NO_MEDIUM ((ScsiSense){2, 0x3a, 0x00})
#define SENSE_REMOVAL_PREVENTED_EMPTY ((ScsiSense){2, 0x53, 0x02})
#define SENSE_TARGET_FAILURE ((ScsiSense){4, 0x44, 0x00})
#define SENSE_PARAMETER_LENGTH ((ScsiSense){5, 0x1a, 0x00})
#define SENSE_INVALID_COMMAND ((ScsiSense){5, 0x20, 0x00})
#define SENSE_LBA_OUT_OF_RANGE ((ScsiSense){5, 0x21, 0x00})
#define SENSE_INVALID_FIELD ((ScsiSense){5, 0x24, 0x00})
#define SENSE_NO_SUCH_LUN ((ScsiSense){5, 0x25, 0x00})
#define SENSE_INVALID_PARAMETER ((ScsiSense){5, 0x26, 0x00})
#define SENSE_INCOMPATIBLE_FORMAT ((ScsiSense){5, 0x30, 0x00})
#define SENSE_SAVING_NOT_SUPPORTED ((ScsiSense){5, 0x39, 0x00})
#define SENSE_REMOVAL_PREVENTED ((ScsiSense){5, 0x53, 0x02})
#define SENSE_MEDIUM_GONE ((ScsiSense){6, 0x3a, 0x00})
#define SENSE_MEDIUM_CHANGED ((ScsiSense){6, 0x28, 0x00})
#define SENSE_RESET ((ScsiSense){6, 0x29, 0x00})
#define SENSE_CAPACITY_CHANGED ((ScsiSense){6, 0x2a, 0x09})
#define SENSE_UNITS_CHANGED ((ScsiSense){6, 0x3f, 0x0e})
#define SENSE_WRITE_PROTECTED ((ScsiSense){7, 0x27, 0x00})
#define SENSE_SPACE_ALLOCATION ((ScsiSense){7, 0x27, 0x07})
#define SENSE_IO_ERROR ((ScsiSense){0xb, 0x00, 0x06})

typedef enum ScsiDirection { SCSI_NO_DATA, SCSI_FROM_DEVICE, SCSI_TO_DEVICE } ScsiDirection;

/* The one block request that a simple command is. */
typedef enum ScsiDirect { SCSI_NOT_DIRECT, SCSI_DIRECT_READ, SCSI_DIRECT_WRITE, SCSI_DIRECT_FLUSH } ScsiDirect;

typedef struct ScsiBusOps {
    unsigned max_channel, max_target, max_lun;
    bool tcq;                       /* several commands at once */
    /* The request is over: status, sense and moved are set (aborted: and mean nothing). It is the adapter's again. Loop. */
    void (*complete)(ScsiRequest *req);
    /* A unit wants to live on this bus: moves its back end into a loop that suits all. Main thread, VM lock. */
    bool (*place)(ScsiBus *bus, ScsiDevice *dev, GError **err);
    /* A unit's new medium has to stay in this loop: all goes there. Main thread, VM lock. */
    bool (*follow)(ScsiBus *bus, Loop *loop, GError **err);
    /* For adapters with further threads; NULL: has none. A unit takes commands now / no new ones from now on; main thread, VM
     * lock. What these threads have handed over is taken now; loop. */
    void (*arrived)(ScsiBus *bus, ScsiDevice *dev);
    void (*leaving)(ScsiBus *bus, ScsiDevice *dev);
    void (*take_over)(ScsiBus *bus);
    /* A unit has gone: the guest may be told. VM lock. NULL: nothing to do. */
    void (*unplugged)(ScsiBus *bus, ScsiDevice *dev);
    /* The unit has something new to tell (capacity). Loop. NULL: nothing to do. */
    void (*changed)(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense);
    /* May requests be started? Loop. */
    bool (*is_running)(ScsiBus *bus);
    /* The adapter's part of a request in the state. */
    void (*save_request)(StateBuf *buf, const ScsiRequest *req);
    /* Reads what save_request wrote, NULL with *err; take_loaded makes a request of it and frees it, but for what the CDB
     * says (NULL: it cannot, and the adapter is broken). free_loaded frees what was not taken. */
    void *(*load_request)(ScsiBus *bus, StateBuf *buf, GError **err);
    ScsiRequest *(*take_loaded)(ScsiBus *bus, void *loaded);
    void (*free_loaded)(void *loaded);
} ScsiBusOps;

/* Type "SCSI"; named "scsi.0" or "ID.0". */
struct ScsiBus {
    Bus bus;
    const ScsiBusOps *ops;
    void *opaque;                   /* the adapter's */
    Loop *loop;
    GPtrArray *units;               /* ScsiDevice * that take commands; changed in the loop while the main thread waits */
    ScsiSense unit_attention;       /* of all units; key (atomic) 0: none */
};

struct ScsiRequest {
    /* ---- set by the adapter, all else zero */
    ScsiDevice *dev;                /* the unit, or another one of its target */
    uint32_t lun;                   /* that was asked for */
    uint64_t tag;
    uint8_t cdb[SCSI_CDB_SIZE];
    const struct iovec *iov;        /* guest memory for data: valid until the end */
    unsigned iov_count;
    /* ---- set by scsi_request_init */
    ScsiDirection direction;
    uint64_t xfer;                  /* bytes, as the CDB says */
    /* ---- at the end */
    uint8_t status, sense_len, sense[SCSI_SENSE_SIZE];
    bool aborted;
    uint64_t moved;                 /* bytes of data */
    /* ---- the unit's */
    bool is_retry;                  /* waits until the VM runs */
    bool aborting;
    bool fua;
    bool anew;                      /* of a stream: offset and len are not checked yet, the CDB says it again */
    uint64_t offset, len;           /* of the medium, bytes: what is left to do */
    uint64_t part;                  /* of the block request that runs */
    bool from_guest;                /* iov may be read only: the adapter says so with it */
    BlkRequest *blk_request;        /* NULL: none */
    uint8_t *buf;                   /* own memory: parameters, a pattern; NULL: none */
    size_t buf_len, buf_pos;
    struct iovec own_iov;
    struct iovec *cut;              /* pieces of iov, when it is longer than the data; NULL: none */
    ScsiRequest **link, *next;      /* in the unit's list */
};

/* What a kind of unit does. Loop. */
typedef struct ScsiDeviceOps {
    /* Runs a command for this unit. */
    void (*run)(ScsiRequest *req);
    /* Again, what waited. */
    void (*retry)(ScsiRequest *req);
    void (*reset)(ScsiDevice *dev);
    /* Its unit attention was told: there may be a next one. NULL: never. */
    void (*attention_told)(ScsiDevice *dev);
    /* What scsi_request_direct and scsi_request_failed do for units that are direct; any thread, and the loop. */
    ScsiDirect (*direct)(ScsiRequest *req);
    void (*failed)(ScsiRequest *req, int result);
    /* Of a block of the medium, for lengths in CDBs. */
    uint32_t (*block_size)(const ScsiDevice *dev);
    uint8_t type;                   /* SCSI_TYPE_* */
    bool guest_lengths;             /* direction and length are those of the guest's memory, not the CDB's */
} ScsiDeviceOps;

/* Type "scsi-device"; ops of the leaf type: ScsiDeviceOps. */
struct ScsiDevice {
    Device dev;
    ScsiBus *sbus;
    const ScsiDeviceOps *ops;
    BlockBackend *blk;              /* property "drive" */
    uint32_t channel, id, lun;      /* id, lun: UINT32_MAX: chosen when it is plugged */
    bool direct;                    /* has commands that other threads may do through gates of blk */
    ScsiSense unit_attention;       /* key (atomic) 0: none */
    bool sense_is_ua;
    uint8_t sense[SCSI_SENSE_SIZE];
    uint32_t sense_len;             /* atomic */
    ScsiRequest *requests;          /* in the order in which they came */
    bool holding;                   /* somebody waits for block requests: commands that take several go on later. Loop */
    GPtrArray *loaded;              /* of a stream, until it is taken: LoadedRequest */
};

/* ---- for adapters ----------------------------------------------------------------------------- */

/* First in the adapter's unrealize: nothing is plugged any more. */
void scsi_bus_cleanup(ScsiBus *bus);
/* fn(opaque) in the bus's loop. Main thread, VM lock. */
void scsi_bus_call(ScsiBus *bus, LoopFn *fn, void *opaque);
/* id: of the adapter as the user knows it, for the bus's name; NULL: none. In the main loop, until bus->loop is set. */
void scsi_bus_init(ScsiBus *bus, Vm *vm, Device *owner, const char *id, const ScsiBusOps *ops, void *opaque);
/* The unit, or one of the same target when there is no such unit; NULL: no target. */
ScsiDevice *scsi_find(ScsiBus *bus, unsigned channel, unsigned id, unsigned lun);
/* n-th unit; NULL: no more. */
ScsiDevice *scsi_nth(const ScsiBus *bus, unsigned n);
/* Direction and length, from cdb and dev. */
void scsi_request_init(ScsiRequest *req);
void scsi_request_start(ScsiRequest *req);
/* It ends soon (or now), aborted or, when that comes too late, as ever. */
void scsi_request_abort(ScsiRequest *req);
/* Frees what the request holds; after its end. */
void scsi_request_clear(ScsiRequest *req);
/* Aborts the unit's requests; those that wait end now, others soon. Forgets its sense data, tells of the reset. */
void scsi_device_reset(ScsiDevice *dev);
/* The more important one of what waits and this stays (SAM-5, 5.14). */
void scsi_set_unit_attention(ScsiDevice *dev, ScsiSense sense);
/* Sets or (no key) clears what a unit or a bus has to tell. Loop. */
void scsi_put_attention(ScsiSense *slot, ScsiSense sense);
/* Waits for all block requests of all units; what takes several waits for scsi_bus_retry then. Main thread, VM lock. */
void scsi_bus_drain(ScsiBus *bus);
/* Starts what waits for the VM. */
void scsi_bus_retry(ScsiBus *bus);
/* Behind scsi_request_init, for a unit that is direct: what a thread other than the bus's may do of it by itself, through
 * scsi_request_data, offset and len, instead of starting it. Any thread. */
ScsiDirect scsi_request_direct(ScsiRequest *req);
/* That failed: the request goes on as if it had been started here. */
void scsi_request_failed(ScsiRequest *req, int result);
/* xfer bytes of the guest's memory, which are there. */
const struct iovec *scsi_request_data(ScsiRequest *req, unsigned *count);

/* ---- for units ---------------------------------------------------------------------------------- */

/* Last in realize, first in unrealize: commands reach it. Main thread, VM lock. */
void scsi_device_go(ScsiDevice *dev);
void scsi_device_leave(ScsiDevice *dev);
void scsi_complete(ScsiRequest *req, uint8_t status);
/* Between two block requests of a command that takes many. False: not now; scsi_bus_retry will go on with it. */
bool scsi_request_goes_on(ScsiRequest *req);
void scsi_fail(ScsiRequest *req, ScsiSense sense);
/* Copies len bytes to the guest, at most xfer, and ends it well. */
void scsi_reply(ScsiRequest *req, const void *data, size_t len);
/* Bytes from the guest: [pos, pos + len). Returns what there was. */
size_t scsi_request_read(const ScsiRequest *req, uint64_t pos, void *data, size_t len);
/* The block address and count of blocks of READ, WRITE and their like. */
uint64_t scsi_cdb_lba(const uint8_t *cdb);
uint64_t scsi_cdb_blocks(const uint8_t *cdb);
/* Bytes of a CDB with this operation code; 0: not known. */
unsigned scsi_cdb_size(uint8_t op);
/* Fixed format, 18 bytes. */
size_t scsi_put_sense(uint8_t *buf, ScsiSense sense);
static inline ScsiBus *scsi_bus_of(Bus *bus) { return container_of(bus, ScsiBus, bus); }
static inline ScsiDevice *scsi_device(Device *dev) { return container_of(dev, ScsiDevice, dev); }

/* state.c: the field "qdev" of a unit's section. */
extern const StateDesc scsi_device_state;
/* The same as a section of its own, of a unit that goes on with no request. */
extern const StateDesc scsi_generic_state;
void scsi_loaded_free(ScsiDevice *dev);

#endif
