/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When has a burst of output ended? A vCPU makes its bytes one exit at a time while the main thread
 * sleeps, so nobody says so. The main thread looks after a while whether more came, and if so, again
 * after twice that while, and so on: the longer a burst has lasted, the longer a pause in it may be,
 * and a long one costs a few looks. Bytes that wait are counted, so that a byte costs no reading of
 * a clock.
 *
 * Real lines say how long that may take. A byte that stays alone, an echo, reaches the program at
 * the other end after five characters' time: one to be sent, and four until a 16550 with a FIFO
 * gives up waiting for more. Many bytes need the time of as many characters; a guest that is faster
 * than its line has its output here before that, in one piece. People who read along see at least
 * four pictures a second of a guest that never pauses, and twenty of one that is slower than its line.
 */
#include "chardev/backend.h"

#define LONE_CHARACTERS 5
#define LONE_LIMIT (1 * NSEC_PER_MSEC)   /* of slow lines; and for what has no line, as a debug console */
#define BURST_STEP (4 * NSEC_PER_MSEC)   /* between two looks, at most */
#define BURST_LIMIT (50 * NSEC_PER_MSEC) /* all bytes may wait for this long */
#define LINE_LIMIT (250 * NSEC_PER_MSEC) /* and this is the longest, if the line would take so long */

void char_burst_set_line(CharBurst *burst, const CharLine *line)
{
    int bits = 1 + line->data_bits + (line->parity != 'N') + line->stop_bits;

    burst->char_time = line->speed > 0 ? NSEC_PER_SEC / line->speed * bits : 0;
}

int64_t char_burst_begin(CharBurst *burst, int64_t now, size_t waiting)
{
    burst->begin = now;
    burst->seen = waiting;
    burst->step = burst->char_time ? MIN(LONE_CHARACTERS * burst->char_time, LONE_LIMIT) : LONE_LIMIT;
    return now + burst->step;
}

int64_t char_burst_look(CharBurst *burst, int64_t now, size_t waiting)
{
    int64_t limit = CLAMP((int64_t)waiting * burst->char_time, BURST_LIMIT, LINE_LIMIT);

    if (!burst->step || waiting == burst->seen || waiting >= CHAR_QUEUE_SIZE / 2 || now - burst->begin >= limit) {
        return 0;
    }
    burst->seen = waiting;
    burst->step = MIN(2 * burst->step, BURST_STEP);
    return now + burst->step;
}
