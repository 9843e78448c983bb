/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor/readline.h"

#include <string.h>

enum { STATE_PLAIN, STATE_ESCAPE, STATE_CSI, STATE_SS3 };

#define TERMINAL_COLUMNS 80

struct Readline {
    const char *prompt;
    const ReadlineOps *ops;
    void *opaque;
    GString *text;
    size_t cursor;           /* byte in text */
    int state;
    unsigned parameter, modifier; /* of a CSI sequence: ESC [ parameter ; modifier letter */
    bool in_modifier;
    GPtrArray *history;      /* char *, the oldest first */
    unsigned history_at;     /* the entry that is shown; history->len: the line being typed */
    char *typed;             /* what was typed before history was looked at */
};

/* ---- the screen -------------------------------------------------------------------------- */

static void put(Readline *rl, const char *data, size_t len) { rl->ops->write(rl->opaque, data, len); }
static void say(Readline *rl, const char *text) { put(rl, text, strlen(text)); }

static bool is_continuation(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

/* Columns that bytes [from, to) of the text take. */
static size_t columns(const Readline *rl, size_t from, size_t to)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++) {
        n += !is_continuation(rl->text->str[i]);
    }
    return n;
}

static void move_screen(Readline *rl, size_t from, size_t to)
{
    char sequence[32];
    size_t n = from < to ? columns(rl, from, to) : columns(rl, to, from);

    if (n) {
        g_snprintf(sequence, sizeof sequence, "\033[%zu%c", n, from < to ? 'C' : 'D');
        say(rl, sequence);
    }
}

static void move_to(Readline *rl, size_t cursor)
{
    move_screen(rl, rl->cursor, cursor);
    rl->cursor = cursor;
}

/* The text from the cursor on is new on the screen; the terminal's cursor stays where ours is. */
static void redraw_tail(Readline *rl)
{
    put(rl, rl->text->str + rl->cursor, rl->text->len - rl->cursor);
    say(rl, "\033[K");
    move_screen(rl, rl->text->len, rl->cursor);
}

void readline_show_prompt(Readline *rl)
{
    say(rl, rl->prompt);
    put(rl, rl->text->str, rl->text->len);
    move_screen(rl, rl->text->len, rl->cursor);
}

/* ---- editing ------------------------------------------------------------------------------ */

static void insert(Readline *rl, const char *data, size_t len)
{
    if (rl->text->len + len > READLINE_LENGTH) {
        return;
    }
    g_string_insert_len(rl->text, (gssize)rl->cursor, data, (gssize)len);
    rl->cursor += len;
    put(rl, data, len);
    if (rl->cursor < rl->text->len) {
        redraw_tail(rl);
    }
}

/* Bytes [from, to) go, and the cursor stands there. */
static void erase(Readline *rl, size_t from, size_t to)
{
    if (from < to) {
        move_to(rl, from);
        g_string_erase(rl->text, (gssize)from, (gssize)(to - from));
        redraw_tail(rl);
    }
}

static void replace(Readline *rl, const char *text)
{
    erase(rl, 0, rl->text->len);
    insert(rl, text, strlen(text));
}

static size_t left_of(const Readline *rl, size_t at)
{
    do {
        at -= at > 0;
    } while (at > 0 && is_continuation(rl->text->str[at]));
    return at;
}

static size_t right_of(const Readline *rl, size_t at)
{
    do {
        at += at < rl->text->len;
    } while (at < rl->text->len && is_continuation(rl->text->str[at]));
    return at;
}

static bool is_space(const Readline *rl, size_t at) { return g_ascii_isspace(rl->text->str[at]); }

static size_t word_left(const Readline *rl)
{
    size_t at = rl->cursor;

    while (at > 0 && is_space(rl, at - 1)) {
        at--;
    }
    while (at > 0 && !is_space(rl, at - 1)) {
        at--;
    }
    return at;
}

static size_t word_right(const Readline *rl)
{
    size_t at = rl->cursor;

    while (at < rl->text->len && is_space(rl, at)) {
        at++;
    }
    while (at < rl->text->len && !is_space(rl, at)) {
        at++;
    }
    return at;
}

/* ---- history ------------------------------------------------------------------------------- */

static void remember(Readline *rl)
{
    if (!rl->text->len) {
        return;
    }
    for (unsigned i = 0; i < rl->history->len; i++) { /* typed again: it becomes the newest */
        if (!strcmp(rl->history->pdata[i], rl->text->str)) {
            g_ptr_array_remove_index(rl->history, i);
            break;
        }
    }
    if (rl->history->len == READLINE_HISTORY) {
        g_ptr_array_remove_index(rl->history, 0);
    }
    g_ptr_array_add(rl->history, g_strdup(rl->text->str));
}

static void show_history(Readline *rl, unsigned at)
{
    if (at > rl->history->len) {
        return;
    }
    if (rl->history_at == rl->history->len) {
        g_free(rl->typed);
        rl->typed = g_strdup(rl->text->str);
    }
    rl->history_at = at;
    replace(rl, at == rl->history->len ? rl->typed : rl->history->pdata[at]);
}

void readline_foreach_history(const Readline *rl, void (*fn)(const char *line, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < rl->history->len; i++) {
        fn(rl->history->pdata[i], opaque);
    }
}

/* ---- completion ---------------------------------------------------------------------------- */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t common_prefix(const GPtrArray *words)
{
    const char *first = words->pdata[0], *last = words->pdata[words->len - 1]; /* sorted: these differ most */
    size_t n = 0;

    while (first[n] && first[n] == last[n]) {
        n++;
    }
    return n;
}

static void list_words(Readline *rl, const GPtrArray *words)
{
    size_t width = 0;

    for (unsigned i = 0; i < words->len; i++) {
        width = MAX(width, strlen(words->pdata[i]) + 2);
    }
    unsigned per_line = (unsigned)MAX(TERMINAL_COLUMNS / width, 1);
    say(rl, "\r\n");
    for (unsigned i = 0; i < words->len; i++) {
        g_autofree char *cell = g_strdup_printf("%-*s", (int)width, (char *)words->pdata[i]);

        say(rl, cell);
        if (i % per_line == per_line - 1 || i + 1 == words->len) {
            say(rl, "\r\n");
        }
    }
    readline_show_prompt(rl);
}

static void complete(Readline *rl)
{
    g_autofree char *start = g_strndup(rl->text->str, rl->cursor);
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    const char *blank = strrchr(start, ' ');
    size_t typed = blank ? strlen(blank + 1) : strlen(start);

    rl->ops->complete(rl->opaque, start, words);
    if (!words->len) {
        return;
    }
    g_ptr_array_sort(words, by_name);
    size_t common = common_prefix(words);
    if (common > typed) {
        insert(rl, (const char *)words->pdata[0] + typed, common - typed);
    }
    if (words->len > 1) {
        list_words(rl, words);
    } else if (common && ((char *)words->pdata[0])[common - 1] != '/') {
        insert(rl, " ", 1);
    }
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void finish_line(Readline *rl)
{
    say(rl, "\r\n");
    remember(rl);
    rl->history_at = rl->history->len;
    g_autofree char *line = g_strdup(rl->text->str);
    g_string_truncate(rl->text, 0);
    rl->cursor = 0;
    rl->ops->line(rl->opaque, line);
}

static void drop_line(Readline *rl)
{
    say(rl, "^C\r\n");
    g_string_truncate(rl->text, 0);
    rl->cursor = 0;
    rl->history_at = rl->history->len;
    readline_show_prompt(rl);
}

static void redraw_screen(Readline *rl)
{
    say(rl, "\033[H\033[2J");
    readline_show_prompt(rl);
}

#define CTRL(c) ((c) - '@')

static void plain_byte(Readline *rl, uint8_t byte)
{
    char c = (char)byte;

    switch (byte) {
    case CTRL('A'): move_to(rl, 0); break;
    case CTRL('B'): move_to(rl, left_of(rl, rl->cursor)); break;
    case CTRL('C'): drop_line(rl); break;
    case CTRL('D'): erase(rl, rl->cursor, right_of(rl, rl->cursor)); break;
    case CTRL('E'): move_to(rl, rl->text->len); break;
    case CTRL('F'): move_to(rl, right_of(rl, rl->cursor)); break;
    case CTRL('H'):
    case 0x7f: erase(rl, left_of(rl, rl->cursor), rl->cursor); break;
    case '\t': complete(rl); break;
    case '\n':
    case '\r': finish_line(rl); break;
    case CTRL('K'): erase(rl, rl->cursor, rl->text->len); break;
    case CTRL('L'): redraw_screen(rl); break;
    case CTRL('N'): show_history(rl, rl->history_at + 1); break;
    case CTRL('P'): show_history(rl, rl->history_at - 1); break; /* before the first: beyond all */
    case CTRL('U'): erase(rl, 0, rl->text->len); break;
    case CTRL('W'): erase(rl, word_left(rl), rl->cursor); break;
    case 0x1b: rl->state = STATE_ESCAPE; break;
    default:
        if (byte >= 0x20) {
            insert(rl, &c, 1);
        }
        break;
    }
}

static void escape_byte(Readline *rl, uint8_t byte)
{
    rl->state = STATE_PLAIN;
    rl->parameter = rl->modifier = 0;
    rl->in_modifier = false;
    switch (byte) {
    case '[': rl->state = STATE_CSI; break;
    case 'O': rl->state = STATE_SS3; break;
    case 'b': move_to(rl, word_left(rl)); break;
    case 'f': move_to(rl, word_right(rl)); break;
    default: break;
    }
}

/* ESC [ n ~ */
static void numbered_key(Readline *rl)
{
    switch (rl->parameter) {
    case 1:
    case 7: move_to(rl, 0); break;
    case 3: erase(rl, rl->cursor, right_of(rl, rl->cursor)); break;
    case 4:
    case 8: move_to(rl, rl->text->len); break;
    default: break;
    }
}

static void final_byte(Readline *rl, uint8_t byte)
{
    bool words = rl->modifier > 1;

    switch (byte) {
    case 'A': show_history(rl, rl->history_at - 1); break;
    case 'B': show_history(rl, rl->history_at + 1); break;
    case 'C': move_to(rl, words ? word_right(rl) : right_of(rl, rl->cursor)); break;
    case 'D': move_to(rl, words ? word_left(rl) : left_of(rl, rl->cursor)); break;
    case 'F': move_to(rl, rl->text->len); break;
    case 'H': move_to(rl, 0); break;
    case '~': numbered_key(rl); break;
    default: break;
    }
}

static void sequence_byte(Readline *rl, uint8_t byte)
{
    unsigned *number = rl->in_modifier ? &rl->modifier : &rl->parameter;

    if (rl->state == STATE_CSI && g_ascii_isdigit((char)byte)) {
        *number = MIN(*number * 10 + (byte - '0'), 1000);
    } else if (rl->state == STATE_CSI && byte == ';') {
        rl->in_modifier = true;
    } else {
        rl->state = STATE_PLAIN;
        final_byte(rl, byte);
    }
}

void readline_byte(Readline *rl, uint8_t byte)
{
    if (rl->state == STATE_PLAIN) {
        plain_byte(rl, byte);
    } else if (rl->state == STATE_ESCAPE) {
        escape_byte(rl, byte);
    } else {
        sequence_byte(rl, byte);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

Readline *readline_new(const char *prompt, const ReadlineOps *ops, void *opaque)
{
    Readline *rl = g_new0(Readline, 1);

    rl->prompt = prompt;
    rl->ops = ops;
    rl->opaque = opaque;
    rl->text = g_string_new(NULL);
    rl->history = g_ptr_array_new_with_free_func(g_free);
    return rl;
}

void readline_free(Readline *rl)
{
    if (rl) {
        g_string_free(rl->text, true);
        g_ptr_array_unref(rl->history);
        g_free(rl->typed);
        g_free(rl);
    }
}

void readline_reset(Readline *rl)
{
    g_string_truncate(rl->text, 0);
    rl->cursor = 0;
    rl->state = STATE_PLAIN;
    rl->history_at = rl->history->len;
}
