/*
 * select(2), with bitmaps of any size: the kernel takes as many words as nfds needs, only the C library's fd_set
 * stops at 1024. The wanted sets are copied before each call, because the call overwrites them; nfds is the highest
 * registered descriptor + 1. One call per loop and none per interest change.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accounting.h"
#include "mechanism.h"

typedef unsigned long word;
#define WORD_BITS (8 * (int)sizeof(word))

static struct {
    word *want_read, *want_write, *got_read, *got_write; /* one block of memory, at want_read */
    uint32_t *generations;
    size_t words;
    int highest; /* registered descriptor, or -1 */
} set;

static struct call_counter call_select = WAIT_COUNTER("select");

static int select_open(unsigned descriptors)
{
    set.words = (descriptors + WORD_BITS - 1) / WORD_BITS;
    set.want_read = calloc(4 * set.words, sizeof(word));
    set.generations = calloc(descriptors, sizeof *set.generations);
    set.highest = -1;
    if (!set.want_read || !set.generations)
        return -1;
    set.want_write = set.want_read + set.words;
    set.got_read = set.want_write + set.words;
    set.got_write = set.got_read + set.words;
    return 0;
}

static void put(word *bits, int descriptor, bool on)
{
    word bit = (word)1 << (descriptor % WORD_BITS);
    if (on)
        bits[descriptor / WORD_BITS] |= bit;
    else
        bits[descriptor / WORD_BITS] &= ~bit;
}

static int select_mod(struct identity who, unsigned interest)
{
    put(set.want_read, who.descriptor, interest & EVENT_READ);
    put(set.want_write, who.descriptor, interest & EVENT_WRITE);
    return 0;
}

static int select_add(struct identity who, unsigned interest)
{
    set.generations[who.descriptor] = who.generation;
    if (who.descriptor > set.highest)
        set.highest = who.descriptor;
    return select_mod(who, interest);
}

static int select_del(struct identity who)
{
    select_mod(who, 0);
    if (who.descriptor != set.highest)
        return 0;
    int word_at = set.highest / WORD_BITS;
    while (word_at >= 0 && !(set.want_read[word_at] | set.want_write[word_at]))
        word_at--;
    set.highest = -1;
    if (word_at >= 0)
        set.highest = word_at * WORD_BITS + WORD_BITS - 1 - __builtin_clzl(set.want_read[word_at] | set.want_write[word_at]);
    return 0;
}

static int collect(struct event *events, int room, int words)
{
    int count = 0;
    for (int at = 0; at < words; at++) {
        word both = set.got_read[at] | set.got_write[at];
        while (both && count < room) {
            int bit = __builtin_ctzl(both);
            both &= both - 1;
            int descriptor = at * WORD_BITS + bit;
            unsigned ready = (set.got_read[at] >> bit & 1 ? EVENT_READ : 0) | (set.got_write[at] >> bit & 1 ? EVENT_WRITE : 0);
            events[count++] = (struct event){.who = {descriptor, set.generations[descriptor]}, .ready = ready};
        }
    }
    return count;
}

static int select_wait(struct event *events, int room, int timeout_ms)
{
    int words = set.highest < 0 ? 0 : set.highest / WORD_BITS + 1;
    memcpy(set.got_read, set.want_read, (size_t)words * sizeof(word));
    memcpy(set.got_write, set.want_write, (size_t)words * sizeof(word));
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    long ready = COUNTED(&call_select, syscall(SYS_select, set.highest + 1, set.got_read, set.got_write, NULL,
                                               timeout_ms < 0 ? NULL : &limit));
    return ready <= 0 ? (int)ready : collect(events, room, words);
}

static void select_close(void)
{
    free(set.want_read);
    free(set.generations);
}

static const struct mechanism select_mechanism = {
    .name = "select",
    .summary = "select(2) with bitmaps of any size",
    .open = select_open,
    .add = select_add,
    .mod = select_mod,
    .del = select_del,
    .wait = select_wait,
    .close = select_close,
};
MECHANISM_REGISTER(select_mechanism)
