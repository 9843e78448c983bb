/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line editor for terminals: cursor keys and Emacs' keys, history, completion. It knows nothing of where bytes
 * come from and go to. Escape sequences are ECMA-48's; a terminal as plain as a VT102 will do.
 *
 *   C-a Home  C-e End  C-b Left  C-f Right  M-b M-f C-Left C-Right words   C-p Up  C-n Down history
 *   C-h DEL backspace  C-d Delete  C-k to the end  C-u whole line  C-w word before   C-c drop line  C-l redraw  Tab
 */
#ifndef MONITOR_READLINE_H
#define MONITOR_READLINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define READLINE_LENGTH 4095  /* bytes of a line; more are not taken */
#define READLINE_HISTORY 64   /* lines kept */

typedef struct Readline Readline;

typedef struct ReadlineOps {
    void (*write)(void *opaque, const char *data, size_t len);
    /* A line is complete; the next prompt comes with readline_show_prompt. */
    void (*line)(void *opaque, const char *line);
    /* Adds to words (char *, freed by the editor) what the last word of start could become. */
    void (*complete)(void *opaque, const char *start, GPtrArray *words);
} ReadlineOps;

/* prompt and ops are kept. */
Readline *readline_new(const char *prompt, const ReadlineOps *ops, void *opaque);
/* NULL is fine. */
void readline_free(Readline *rl);
/* A new session: no text, no history of the last one's text half typed. */
void readline_reset(Readline *rl);
void readline_byte(Readline *rl, uint8_t byte);
/* The prompt and what is typed so far, on a line of their own. */
void readline_show_prompt(Readline *rl);
/* Calls fn with each line of the history, the oldest first. */
void readline_foreach_history(const Readline *rl, void (*fn)(const char *line, void *opaque), void *opaque);

#endif
