/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDE: a bus (channel) with two drives, as ATA/ATAPI-7 describes them.
 *
 * Commands write a task file, then a command code. Data moves by PIO, through a window of io_buffer
 * (the data phase: position and end, checked on each access), or by DMA, when the channel's
 * controller (bmdma.c) is started: the drive then asks the controller for guest memory and hands it
 * to the block layer as it is. One command, and so one request, at a time and drive.
 *
 *   core.c    registers, command table, data phase, resets      ata.c, smart.c   disk commands
 *   identify.c  IDENTIFY data, disk geometry                    atapi*.c         packet commands
 *   bmdma.c, piix.c  bus master, PIIX3 function                 device.c  ide-hd, ide-cd, the bus
 *   state.c   state tables
 */
#ifndef HW_IDE_IDE_H
#define HW_IDE_IDE_H

#include "block/block.h"
#include "core/device.h"
#include "core/state.h"
#include "core/vm.h"
#include "hw/block/disk_options.h"

#define IDE_SECTOR 512
#define IDE_MAX_MULT 16
#define IDE_BUFFER_SIZE (256 * 512 + 4) /* as in QEMU's stream */

/* Status register. */
enum {
    IDE_ERR = 0x01,
    IDE_DRQ = 0x08,
    IDE_DSC = 0x10,
    IDE_DF = 0x20,
    IDE_DRDY = 0x40,
    IDE_BSY = 0x80
};
/* Error register. */
enum { IDE_ABRT = 0x04 };
/* Device control register. */
enum { IDE_NIEN = 0x02, IDE_SRST = 0x04, IDE_HOB = 0x80 };

typedef struct IdeBus IdeBus;
typedef struct IdeDevice IdeDevice;
typedef struct IdeDrive IdeDrive;

typedef enum IdeKind { IDE_NONE, IDE_HD, IDE_CD } IdeKind;

/* What follows when the data window is used up; the numbers are the stream's. */
typedef enum IdeNext {
    IDE_NEXT_SECTOR_READ,
    IDE_NEXT_SECTOR_WRITE,
    IDE_NEXT_STOP,
    IDE_NEXT_PACKET_REPLY,
    IDE_NEXT_PACKET_COMMAND,
    IDE_NEXT_DUMMY_STOP,
    IDE_NEXT_KINDS,
} IdeNext;

/* Kinds of a request that stopped the VM (IdeBus.error_status); the stream's bits. */
enum {
    IDE_RETRY_DMA = 0x08,
    IDE_RETRY_PIO = 0x10,
    IDE_RETRY_READ = 0x20,
    IDE_RETRY_FLUSH = 0x40,
    IDE_RETRY_TRIM = 0x80,
};

typedef void IdeIoDone(IdeDrive *d, int result);

struct IdeDrive {
    IdeBus *bus;
    uint8_t unit; /* 0 or 1 */
    IdeKind kind;
    IdeDevice *device; /* NULL: nothing is plugged */
    BlockBackend *blk;
    uint64_t sectors; /* of 512 bytes */
    uint32_t cylinders, heads, secs;
    char serial[21], model[41], version[9];
    uint64_t wwn;
    uint16_t rotation_rate;
    uint8_t physical_exponent; /* log2 of logical sectors in a physical one */
    bool trim;

    /* Task file and what else the stream has. */
    int32_t mult_sectors; /* 0 (off) to 16 */
    int32_t identify_set;
    uint8_t identify_data[512];
    uint8_t feature, error;
    uint32_t nsector; /* the register; while a command runs, what is left: 0 to 65536 */
    uint8_t sector, lcyl, hcyl;
    uint8_t hob_feature, hob_nsector, hob_sector, hob_lcyl, hob_hcyl;
    uint8_t select, status;
    uint8_t lba48; /* the running command takes 48-bit addresses */
    uint8_t sense_key, asc;
    uint8_t cdrom_changed;  /* 0: no, 1: report no medium, then 2: report a change */
    int32_t req_nb_sectors; /* per data window */
    uint8_t *io_buffer;     /* IDE_BUFFER_SIZE bytes */
    int32_t cur_io_buffer_offset, cur_io_buffer_len; /* wire only: the data window */
    uint8_t end_transfer_fn_idx;                     /* IdeNext */
    int32_t elementary_transfer_size;                /* packet: left of the announced piece */
    int32_t packet_transfer_size;                    /* packet: left after that */
    bool new_media, eject_request;
    bool tray_open, tray_locked;

    /* Data phase: [data_pos, data_end) of io_buffer. */
    uint32_t data_pos, data_end;
    bool data_to_device;

    bool atapi_dma;
    uint64_t atapi_sector;       /* next to be read, in 2048 bytes */
    uint32_t atapi_sectors_left; /* not yet in the buffer */
    uint32_t atapi_block;        /* bytes a sector as asked: 2048, 2352; 0: not a medium read */
    uint32_t buf_pos,
        buf_end; /* bytes in io_buffer that are not used yet: of a reply, of TRIM's ranges */
    bool fua;    /* the write goes to stable storage */

    /* The request in flight. */
    BlkRequest *request;
    bool cancelling;
    IdeIoDone *io_done;
    struct iovec iov; /* of PIO transfers */
    IoVec dma_vec;    /* guest memory of DMA transfers; empty otherwise */
    bool dma_to_guest;
    uint32_t io_sectors; /* of the request */
    bool smart_enabled, smart_autosave;
    uint8_t smart_errors, smart_selftests;
};

/* How a command's transfer ends. Only the last is an error of the bus master (its status register's bit 1): a driver takes
 * it for one of the host's bus, not of the medium. */
typedef enum IdeDmaEnd { IDE_DMA_DONE, IDE_DMA_DRIVE_ERROR, IDE_DMA_BUS_ERROR } IdeDmaEnd;

/* What a channel's bus master does. bus->dma_opaque is its own. */
typedef struct IdeDmaOps {
    /* The command wants DMA: call ide_dma_ready now, or when the guest starts the engine. */
    void (*start)(IdeBus *bus);
    /* Adds up to limit bytes of the guest's buffer to vec. Returns how many; -1 when the guest's
     * table is bad. *more: the table describes more than that. */
    int64_t (*map)(IdeBus *bus, uint64_t limit, bool to_guest, IoVec *vec, bool *more);
    void (*unmap)(IdeBus *bus, IoVec *vec, bool to_guest, uint64_t written);
    /* The transfer is over. stay_active: the table was longer than the command. */
    void (*finish)(IdeBus *bus, bool stay_active, bool bus_error);
    /* The drive interrupts. */
    void (*interrupt)(IdeBus *bus);
    void (*reset)(IdeBus *bus);
} IdeDmaOps;

/* Type "IDE"; named "ide.0", "ide.1". */
struct IdeBus {
    Bus bus;
    uint8_t index; /* of the controller's channels; its drives' serials count on */
    IdeDrive ifs[2];
    Irq *irq;                 /* NULL: not connected */
    Device *dma_device;       /* whose DMA it is */
    const IdeDmaOps *dma_ops; /* NULL: PIO only */
    void *dma_opaque;
    IdeDrive *dma_drive; /* waits for or does DMA; NULL: none */
    void (*dma_fn)(IdeDrive *d);
    bool dma_more;        /* the last map left some of the table */
    uint8_t unit;         /* selected */
    uint8_t cmd;          /* device control */
    int32_t error_status; /* IDE_RETRY_*: a request waits for the VM to run again */
    int64_t retry_sector_num;
    uint32_t retry_nsector;
    uint8_t retry_unit;
    Region command_ports, control_port;
};

/* Type "ide-device", parent of ide-hd and ide-cd. */
struct IdeDevice {
    Device dev;
    uint32_t unit; /* UINT32_MAX: the first free one */
    BlockBackend *blk;
    bool owns_blk; /* an empty CD-ROM drive's own back end */
    char *serial, *model, *version;
    uint64_t wwn;
    DiskOptions options;
    int chs_trans; /* IdeTranslation */
    uint16_t rotation_rate_prop;
    int32_t bootindex;
};

typedef enum IdeTranslation {
    IDE_TRANS_AUTO,
    IDE_TRANS_NONE,
    IDE_TRANS_LBA,
    IDE_TRANS_LARGE,
    IDE_TRANS_RECHS
} IdeTranslation;

/* ---- for controllers and boards ------------------------------------------------------------- */

/* A channel embedded in its controller; index gives its name "ide.INDEX". */
void ide_bus_init(IdeBus *bus, Vm *vm, Device *owner, unsigned index);
/* Command block at base, control port; ISA resources. */
void ide_bus_map_ports(IdeBus *bus, Region *io, Device *owner, uint16_t command, uint16_t control);
/* Power-on state; requests in flight are cancelled and waited for. */
void ide_bus_reset(IdeBus *bus);
void ide_bus_cleanup(IdeBus *bus);
/* Channel n (0, 1) of a "piix3-ide". */
IdeBus *ide_pci_bus(Device *piix, unsigned n);
/* Makes ide-hd and ide-cd for all -drive if=ide. False when one has no place on this machine. */
bool ide_connect_drives(Device *piix, GError **err);
/* What the BIOS is told (CMOS): false when there is no disk. */
bool ide_get_geometry(IdeBus *bus, unsigned unit, uint32_t *cylinders, uint32_t *heads,
                      uint32_t *sectors, IdeTranslation *translation);

/* ---- between the files of this folder ------------------------------------------------------- */

static inline IdeDrive *ide_active(IdeBus *bus)
{
    return &bus->ifs[bus->unit];
}
void ide_raise_irq(IdeBus *bus);
/* ABRT, ERR and no more data. No interrupt. */
void ide_abort(IdeDrive *d);
void ide_stop_transfer(IdeDrive *d);
/* Opens the data window [pos, pos + len) of io_buffer. Sets DRQ. */
void ide_start_transfer(IdeDrive *d, uint32_t pos, uint32_t len, IdeNext next, bool to_device);
/* Cancels the request in flight and waits for it. */
void ide_cancel(IdeDrive *d);
void ide_drive_reset(IdeDrive *d);
void ide_set_signature(IdeDrive *d);
/* Sends the prepared request; done runs unless it is cancelled. */
void ide_submit_read(IdeDrive *d, uint64_t offset, const struct iovec *iov, unsigned count,
                     IdeIoDone *done);
void ide_submit_write(IdeDrive *d, uint64_t offset, const struct iovec *iov, unsigned count,
                      bool fua, IdeIoDone *done);
void ide_submit_flush(IdeDrive *d, IdeIoDone *done);
void ide_submit_discard(IdeDrive *d, uint64_t offset, uint64_t len, IdeIoDone *done);
/* After a request failed: false, go on as if it had not; true: it was reported to the guest or kept
 * for a retry. kind: IDE_RETRY_* bits. */
bool ide_handle_error(IdeDrive *d, int error, int kind);
void ide_retry(void *opaque);

/* DMA of a command: fn(d) runs when the engine is ready. */
void ide_dma_begin(IdeDrive *d, void (*fn)(IdeDrive *d));
void ide_dma_ready(IdeBus *bus);
/* dma_vec gets up to limit bytes; see IdeDmaOps.map. */
int64_t ide_dma_map(IdeDrive *d, uint64_t limit, bool to_guest);
void ide_dma_unmap(IdeDrive *d, bool ok);
void ide_dma_finish(IdeDrive *d, IdeDmaEnd end);

typedef bool IdeCommandFn(IdeDrive *d, uint8_t cmd); /* true: completed now */
typedef struct IdeCommand {
    IdeCommandFn *fn;
    uint8_t kinds; /* bit IdeKind */
    bool sets_dsc;
} IdeCommand;
extern const IdeCommand ide_commands[256];

void ide_sector_read(IdeDrive *d);
void ide_sector_write(IdeDrive *d);
void ide_ata_retry(IdeDrive *d, int kind);
IdeCommandFn ide_cmd_smart, ide_cmd_identify, ide_cmd_packet, ide_cmd_identify_packet;
void ide_atapi_command(IdeDrive *d);
void ide_atapi_reply_next(IdeDrive *d);
void ide_atapi_dma(IdeDrive *d);
/* Of the state: which sectors come after the reply that is in the buffer. */
void ide_atapi_save_note(IdeDrive *d);
void ide_atapi_load_note(IdeDrive *d);
void ide_atapi_media_changed(IdeDrive *d, bool loaded);

void ide_identify_hd(IdeDrive *d);
void ide_identify_cd(IdeDrive *d);
void ide_guess_geometry(IdeDrive *d, uint32_t *cylinders, uint32_t *heads, uint32_t *sectors,
                        int *translation);

extern const StateDesc ide_bus_state, ide_drive_state;

#endif
