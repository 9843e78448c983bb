/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the image tools (kiln-img, kiln-io) share: options as tables, opening images as the user names
 * them, sizes, progress. Everything runs in the main thread with the VM lock held; the Vm has no
 * machine and is only the block layer's context.
 *
 * Texts, exit statuses and JSON are those that qemu-img 7.2 was seen to give: scripts parse them.
 */
#ifndef IMG_IMG_H
#define IMG_IMG_H

#include <inttypes.h>
#include <stdio.h>

#include "block/block_int.h"
#include "util/error.h"
#include "util/log.h"
#include "util/util.h"

/* ---- commands and their options (img/options.c) ----------------------------------------------- */

typedef struct ImgCommand {
    const char *name;
    const char *usage; /* options and arguments, for --help */
    /* argv[0] is the command's name. Returns the exit status. */
    int (*run)(Vm *vm, int argc, char **argv);
} ImgCommand;

extern const ImgCommand img_amend, img_bench, img_bitmap, img_check, img_commit, img_compare,
    img_convert, img_create, img_dd, img_info, img_map, img_measure, img_rebase, img_resize,
    img_snapshot;

typedef enum ImgOptionKind {
    IMG_FLAG,   /* bool * */
    IMG_TEXT,   /* const char **; the last one counts */
    IMG_LIST,   /* GPtrArray **, made when first needed: each value, borrowed */
    IMG_ACTION, /* GPtrArray **: "name" or "name=VALUE" in order, to be freed (img_actions_free) */
    IMG_ACTION_VALUE,
} ImgOptionKind;

/* One option of a command; a table ends with letter 0 and name NULL. */
typedef struct ImgOption {
    char letter;      /* 0: none */
    const char *name; /* long; NULL: none */
    ImgOptionKind kind;
    void *to;
} ImgOption;

/* A VM that is a tool's: without a guest, and with nobody who waits for its lock, so holding that long is no fault. The caller
 * frees. */
Vm *img_vm_new(GError **err);
/* Reads the options; --help, -h and --object are every command's. *first becomes the index of the
 * first argument that is none. False: the message is out, the command ends with status 1. Without a VM no
 * objects are made. */
bool img_parse(Vm *vm, int argc, char **argv, const ImgOption *options, int *first);
/* The tool's, for "Try ... --help". */
extern const char *img_program_name;
/* "kiln-img: TEXT" and where to find help; returns 1. */
int img_usage_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The tools' --trace: -1: go on; else the exit status (help was printed, or what is wrong reported). NULL text is fine. */
int img_trace(const char *text);
/* The whole --help; to stdout. */
void img_help(void);
/* Reports err with "kiln-img: ", frees it; returns 1. */
int img_fail(GError *err);
int img_fail_errno(int ret, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* --output: NULL and "human" give false, "json" true. */
bool img_output_is_json(const char *text, bool *json);
/* A non-negative size or number with suffix; what names it in the message. */
bool img_parse_number(const char *what, const char *text, uint64_t max, uint64_t *value);
/* Prints a JSON value as qemu-img does (indented by four), and puts it. */
void img_print_json(json_object *value);

/* ---- images (img/open.c) ----------------------------------------------------------------------- */

typedef struct ImgOpen {
    const char *format;  /* NULL: probed */
    const char *cache;   /* NULL: writeback */
    const char *aio;     /* engine of the file; NULL: what the options say, else threads */
    const char *discard; /* "ignore", "off", "unmap" or "on"; NULL: on when writable */
    bool copy_on_read;   /* with such a filter on top */
    bool snapshot;       /* writes go to a temporary overlay */
    bool image_opts;     /* the name is "driver=...,..." */
    bool writable, resize;
    bool force_share, quiet;
    bool no_backing;     /* leave the backing file alone */
    bool check;          /* repairs come later: do not refuse what is damaged */
    bool no_perm;        /* only facts are asked: no read permission */
    bool no_io;          /* ... and no passphrase either */
    const BlockOpts *more; /* added to what the name says; NULL: nothing */
    const char *backing_node; /* node name of a node to be its backing file; NULL: what it says */
    const char *node_name;    /* NULL: generated */
} ImgOpen;

typedef struct ImgImage {
    BlockNode *node;
    BlockBackend *blk;
    const char *name;   /* as the user wrote it; borrowed */
    bool write_through; /* flush after each write */
} ImgImage;

/* "Could not open 'NAME': ..." otherwise. */
bool img_open(Vm *vm, const char *name, const ImgOpen *how, ImgImage *image, GError **err);
/* The same without that before other messages. */
bool img_open_as_is(Vm *vm, const char *name, const ImgOpen *how, ImgImage *image, GError **err);
/* What a command does with one image: opens it, runs fn, closes it. fn's status, or 1 after a message. */
int img_with_image(Vm *vm, const char *name, const ImgOpen *how, int (*fn)(BlockNode *node, const void *opaque),
                   const void *opaque);
/* Flushes, closes. Nothing for one that is not open. */
void img_close(ImgImage *image);
/* Is the file at this path the image, or something below it? Then it must not be made anew. */
bool img_is_part_of(const char *path, BlockNode *node);
/* Do both paths name one file that exists? */
bool img_same_file(const char *a, const char *b);
/* Sets cache.direct and cache.no-flush for -t and -T; NULL: the defaults. */
bool img_cache_options(BlockOpts *opts, const char *cache, bool *write_through, GError **err);
/* -o name=value lists as options, in order; values of the same name: the last. NULL: error. */
BlockOpts *img_merge_options(GPtrArray *lists, GError **err);
/* Does any of the lists say "help" or "?"? */
bool img_wants_help(GPtrArray *lists);
/* The driver and its options for "create" (amend: those that amend takes). */
void img_print_create_options(const BlockDriver *drv, bool amend, bool with_protocol);
/* Of drv->create_opts; NULL: there is none. */
const BlockCreateOpt *img_find_create_option(const BlockDriver *drv, const char *name);
/* The name is in create_opts, or the message with the nearest ones. */
bool img_check_create_options(const BlockDriver *drv, GPtrArray *lists, GError **err);
/* -l ID, NAME or "snapshot.id=ID,snapshot.name=NAME"; the BlockSnapshot, or NULL. */
BlockSnapshot *img_find_snapshot(GPtrArray *list, const char *text);
/* A read-only image shows that snapshot from now on: its content, and its size. */
bool img_load_snapshot(BlockNode *node, const char *text, GError **err);
void img_print_snapshots(GPtrArray *list);
void img_actions_free(GPtrArray *actions);

/* ---- copying (img/copy.c) ----------------------------------------------------------------------- */

/* What the caller says of the piece at this offset of the whole; also how long that is so. */
typedef enum ImgPiece { IMG_PIECE_SKIP, IMG_PIECE_ZERO, IMG_PIECE_DATA } ImgPiece;

typedef struct ImgCopy {
    BlockNode *target;
    uint64_t size;          /* bytes to copy */
    uint64_t piece_size;    /* bytes that are read at once: img_piece_size() of the source (or more) */
    unsigned parallel;      /* requests at once, 1 to 16 */
    bool ahead;             /* parallel: a thread of its own writes, for speed at the price of some CPU time */
    bool in_order;          /* writes start in the order of their offsets */
    bool compressed;        /* cluster by cluster */
    bool target_is_zero;    /* zeros need not be written */
    bool offload;           /* the kernel copies where it can (copy_file_range) */
    bool salvage;           /* what cannot be read is zeros */
    bool quiet;
    uint64_t sparse;        /* zeros of this length in data become holes; 0: none */
    uint64_t rate;          /* bytes a second; 0: no limit */
    /* The piece at offset (*len at most): its kind, its length, and where DATA is read. 0 or -errno. */
    int (*piece)(void *opaque, uint64_t offset, uint64_t *len, ImgPiece *kind, BlockNode **source,
                 uint64_t *source_offset);
    void *opaque;
} ImgCopy;

/* What to read from a node, or write, at once: a power of two, 64 KiB to 1 MiB. */
uint64_t img_piece_size(BlockNode *node);

/* 0 or -errno; *failed_at (may be NULL) is then where, *failed_reading whether the source's fault. */
int img_copy(const ImgCopy *copy, uint64_t *failed_at, bool *failed_reading);

/* ---- convert --bitmaps (img/convert_bitmaps.c) --------------------------------------------------- */

/* Can source's persistent bitmaps be copied? */
bool img_bitmaps_check(BlockNode *source, bool skip_broken, GError **err);
/* Can an image that will be made so have any? */
bool img_bitmaps_check_options(const BlockDriver *drv, const BlockOpts *opts, GError **err);
/* Can target? */
bool img_bitmaps_check_target(const BlockNode *target, GError **err);
/* Those that are broken are left out with a warning. */
bool img_bitmaps_copy(BlockNode *target, BlockNode *source, GError **err);

/* ---- progress (img/progress.c) ------------------------------------------------------------------ */

/* Shown when enabled (-p), or to stderr at each SIGUSR1. */
void img_progress_start(bool enabled);
void img_progress(uint64_t done, uint64_t total);
void img_progress_end(void);

#endif
