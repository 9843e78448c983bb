/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC's 8254 interval timer: types "isa-pit" (user space) and "kvm-pit" (the kernel's).
 *
 * Unnamed output 0 is channel 0's OUT (ISA line 0). Unnamed input 0 enables that output: a HPET in
 * legacy mode lowers it, and raises it when it leaves that mode. It starts enabled.
 */
#ifndef HW_TIMER_I8254_H
#define HW_TIMER_I8254_H

#include "hw/isa/isa.h"

#define PIT_FREQ 1193182 /* Hz */
#define PIT_CHANNELS 3

typedef struct PitChannel {
    /* state, as on the wire */
    int32_t count;               /* what is counted down from, 1 to 65536 */
    uint16_t latched_count;
    uint8_t count_latched;       /* bytes of it that are to be read: PIT_LSB, ...; 0: not latched */
    uint8_t status_latched;      /* the next read gives status */
    uint8_t status;
    uint8_t read_state, write_state; /* PIT_LSB, PIT_MSB, PIT_WORD0, PIT_WORD1 */
    uint8_t write_latch;         /* low byte of a word that is being written */
    uint8_t rw_mode;             /* 1 low byte, 2 high byte, 3 both */
    uint8_t mode;                /* 0 to 7, as written: 6 is 2, 7 is 3 */
    uint8_t bcd;
    uint8_t gate;
    int64_t count_load_time;     /* when counting began, virtual ns */
    int64_t next_transition_time; /* of OUT; -1: none to come */

    /* not on the wire */
    bool null_count; /* programmed, and no count written yet: OUT keeps its first level */
    bool frozen;                 /* the gate holds counting (modes 0 and 4) ... */
    int64_t frozen_ticks;        /* ... at so many clocks */
} PitChannel;

enum { PIT_LSB = 1, PIT_MSB, PIT_WORD0, PIT_WORD1 };

typedef struct Pit Pit;
struct Pit {
    IsaDevice isa;
    uint32_t iobase;
    int lost_tick_policy;        /* kvm-pit */
    Region regs;
    PitChannel channels[PIT_CHANNELS];
    uint32_t irq_disabled;       /* the HPET has taken channel 0's place */
    Irq *irq;                    /* channel 0's OUT */
    Timer timer;                 /* of channel 0's next transition */
    int out_level;               /* what irq was told last */
    int64_t checked; /* virtual ns up to which transitions of channel 0 were acted upon */
    int64_t clock_offset;        /* kvm-pit: virtual clock minus the kernel's */
    bool speaker_data;           /* kvm-pit: bit 1 of port 61h, which the kernel answers as well */
    bool held;                   /* kvm-pit: the VM is stopped and channels[] is its state */
};

/* What port 61h shows and sets. */
typedef struct PitChannelInfo {
    int gate, mode, initial_count, out;
} PitChannelInfo;

/* dev is an isa-pit or kvm-pit. VM lock. */
void pit_channel_info(Device *dev, unsigned channel, PitChannelInfo *info);
void pit_set_gate(Device *dev, unsigned channel, int level);
/* The chip answers port 61h itself (kvm-pit): its bit 1 is there, not in isa-pcspk. False: it does not. */
bool pit_get_speaker_data(Device *dev, bool *on);
void pit_set_speaker_data(Device *dev, bool on);

/* ---- between the two implementations ---------------------------------------------------- */

/* Type.ops of both. */
typedef struct PitOps {
    void (*get_info)(Pit *pit, unsigned channel, PitChannelInfo *info);
    void (*set_gate)(Pit *pit, unsigned channel, int level);
    bool (*get_speaker_data)(Pit *pit); /* NULL, both: not its business */
    void (*set_speaker_data)(Pit *pit, bool on);
} PitOps;

extern const StateField pit_fields[];
void pit_reset_channels(Pit *pit);
/* The effective mode, 0 to 5. */
unsigned pit_mode(const PitChannel *ch);
/* Clocks counted until now (virtual ns). */
int64_t pit_ticks(const PitChannel *ch, int64_t now);
/* The time that so many clocks take, ns, rounded up: pit_ticks gives them back. */
int64_t pit_ticks_to_ns(int64_t ticks);
/* OUT at so many clocks. */
int pit_out_at(const PitChannel *ch, int64_t ticks);
/* The first time after now at which OUT changes, virtual ns; -1: never. */
int64_t pit_next_transition(const PitChannel *ch, int64_t now);

#endif
