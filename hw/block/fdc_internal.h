/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the floppy controller: fdc.c has the registers and the command and result phases,
 * fdc_transfer.c the execution phase of reads and writes, fdc_drive.c media and the "floppy"
 * device.
 *
 *     COMMAND --(last parameter)--> EXECUTION --(result)--> RESULT --(last byte read)--> COMMAND
 *        ^                              |                                                  |
 *        +----------(no result)---------+--------------------------------------------------+
 *
 * The one data register is a window on fifo[]. In the command and result phases data_len bytes of
 * it are valid and data_pos is the next. In the execution phase fifo[] is one sector, and data_pos
 * counts the bytes of the whole transfer of data_len. Nobody indexes fifo[] but fdc_put, fdc_get
 * and the sector copies, which check (CVE-2015-3456).
 *
 * Sectors are read and written asynchronously. A request has its own buffer and remembers the
 * transfer it belongs to, so a reset only forgets it.
 */
#ifndef HW_BLOCK_FDC_INTERNAL_H
#define HW_BLOCK_FDC_INTERNAL_H

#include "block/block.h"
#include "hw/block/fdc.h"
#include "hw/isa/isa.h"

#define FDC_DRIVES 2
#define FDC_SECTOR 512
#define FDC_RESET_SENSEI 4 /* SENSE INTERRUPTs after a reset */

/* Status registers 0 to 2. */
#define SR0_SEEK 0x20
#define SR0_ABNTERM 0x40
#define SR0_INVCMD 0x80
#define SR0_RDYCHG 0xc0
#define SR0_HEAD 0x04
#define SR1_MA 0x01  /* missing address mark */
#define SR1_NW 0x02  /* not writable */
#define SR1_DE 0x20  /* data error */
#define SR1_EC 0x80  /* end of cylinder */
#define SR2_SEH 0x08 /* scan hit */

#define MSR_CMDBUSY 0x10
#define MSR_NONDMA 0x20
#define MSR_DIO 0x40
#define MSR_RQM 0x80

#define DOR_SELMASK 0x01
#define DOR_NRESET 0x04
#define DOR_DMAEN 0x08
#define CONFIG_EIS 0x40
#define DSR_RATE 0x03
/* data_state */
#define STATE_MULTI 0x01 /* both sides are one cylinder */
#define STATE_FORMAT 0x02
#define SECTOR_SIZE_CODE 2 /* 512 bytes, in results */

typedef enum FdcPhase { PHASE_RECONSTRUCT, PHASE_COMMAND, PHASE_EXECUTION, PHASE_RESULT } FdcPhase;
typedef enum FdcDirection {
    DIR_WRITE,
    DIR_READ,
    DIR_SCAN_EQUAL,
    DIR_SCAN_LOW,
    DIR_SCAN_HIGH,
    DIR_VERIFY
} FdcDirection;

typedef struct Fdc Fdc;

typedef struct FdcDrive {
    Fdc *fdc;
    Device *dev;               /* the "floppy"; NULL: there is no drive */
    BlockBackend *blk;         /* NULL: no drive, or never a medium */
    FloppyType wanted;         /* what the user asked for, or AUTO */
    FloppyType type;           /* as found */
    uint8_t head, track, sect; /* where it stands; sect from 1 */
    uint8_t perpendicular;
    uint8_t last_sect; /* sectors a track; 0: no medium */
    uint8_t max_track; /* tracks */
    uint8_t sides;
    uint8_t media_rate;    /* data rate the medium wants, as in DSR */
    uint8_t media_changed; /* DIR bit 7 */
    bool read_only;        /* or without medium */
} FdcDrive;

/* A sector on its way. */
typedef struct FdcRequest {
    Fdc *fdc;
    uint32_t transfer; /* fdc->transfer when it was made */
    bool is_write;
    uint32_t chunk; /* writes: bytes of the transfer that it ends */
    struct iovec iov;
    uint8_t data[FDC_SECTOR];
} FdcRequest;

struct Fdc {
    IsaDevice isa;
    Bus bus;
    Region ports, ports2;
    Irq *irq;
    Timer result_timer; /* READ ID finds a sector */
    FdcDrive drives[FDC_DRIVES];
    uint8_t num_floppies; /* FDC_DRIVES; in the state */
    /* Registers. */
    uint8_t sra, srb, dor, tdr, dsr, msr;
    uint8_t cur_drv; /* selected, 0 or 1 */
    uint8_t status0, status1, status2;
    int32_t reset_sensei; /* SENSE INTERRUPTs that answer for the reset, 0 to 4 */
    uint8_t phase;        /* FdcPhase */
    uint8_t fifo[FDC_SECTOR];
    uint32_t data_pos, data_len;
    uint8_t data_state; /* STATE_ bits */
    uint8_t data_dir;   /* FdcDirection */
    uint8_t eot;        /* last sector of the transfer */
    uint8_t timer0, timer1, precomp_trk, config, lock, pwrd;
    /* Execution. */
    uint32_t transfer; /* number of the transfer that runs: older requests are forgotten */
    bool io_busy;      /* a request of this transfer is under way */
    bool sector_ready; /* DMA: fifo is the sector; PIO reads: next_sector is */
    bool track_end;    /* the last sector of the cylinder is done */
    uint8_t next_sector[FDC_SECTOR];
    uint8_t dor_vmstate; /* wire only */
    /* Properties. */
    uint32_t iobase, irq_number, dma;
    int fdtype[FDC_DRIVES];
    int fallback;
    int32_t bootindex[FDC_DRIVES];
};

extern const char *const floppy_type_names[];
extern const StateDesc fdc_state;

/* ---- fdc_drive.c ------------------------------------------------------------------- */

/* The drive behind a number: TDR's boot select bit exchanges the two. */
FdcDrive *fdc_drive(Fdc *s, unsigned number);
static inline FdcDrive *fdc_current(Fdc *s)
{
    return fdc_drive(s, s->cur_drv);
}
/* Looks at the medium (again). */
void fdc_drive_revalidate(FdcDrive *drive);
bool fdc_drive_inserted(const FdcDrive *drive);

typedef enum FdcSeek {
    SEEK_SAME,
    SEEK_MOVED,
    SEEK_NO_TRACK,
    SEEK_NO_SECTOR,
    SEEK_FORBIDDEN
} FdcSeek;
FdcSeek fdc_drive_seek(FdcDrive *drive, uint8_t head, uint8_t track, uint8_t sect, bool may_move);
void fdc_drive_recalibrate(FdcDrive *drive);
/* Byte offset on the medium of a position; UINT64_MAX for one that does not exist. */
uint64_t fdc_drive_offset(const FdcDrive *drive, uint8_t head, uint8_t track, uint8_t sect);

/* ---- fdc.c ------------------------------------------------------------------------- */

void fdc_raise_irq(Fdc *s);
void fdc_to_command_phase(Fdc *s);
void fdc_to_result_phase(Fdc *s, unsigned len);
/* Ends the execution phase with the seven result bytes of a read or write. */
void fdc_stop_transfer(Fdc *s, uint8_t status0, uint8_t status1, uint8_t status2);

/* ---- fdc_transfer.c ---------------------------------------------------------------- */

/* The command in fifo[] has its nine bytes. */
void fdc_start_transfer(Fdc *s, FdcDirection dir);
/* FORMAT TRACK with its six bytes. */
void fdc_start_format(Fdc *s);
/* Bytes through the data register while msr says NONDMA and RQM. */
uint8_t fdc_pio_read(Fdc *s);
void fdc_pio_write(Fdc *s, uint8_t value);
/* Forgets what is under way. */
void fdc_abort_transfer(Fdc *s);
/* Its part that concerns others: what is in flight no longer counts, the DMA channel is let go. */
void fdc_forget_transfer(Fdc *s);
/* The VM runs again, perhaps with a loaded state: what waited for a sector asks for it. */
void fdc_resume_transfer(Fdc *s);
bool fdc_transfer_init(Fdc *s, GError **err);
void fdc_transfer_finish(Fdc *s);

#endif
