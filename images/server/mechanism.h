/*
 * The contract between the server and an event mechanism.
 *
 * A mechanism is one file in mech/ (or in EXTRA_MECH) that fills one `struct mechanism` and registers it with
 * MECHANISM_REGISTER; everything else in the file is static, and no other file is edited. There is one open
 * mechanism a process, so its state may be file-static.
 *
 * Identity. The kernel reuses descriptor numbers at once, so a number alone does not name a connection: every
 * registration carries a generation, different for each connection that ever had that number. A mechanism hands
 * back the generation under which the event *arose*; the server drops events of any generation but the current one.
 * A mechanism whose kernel interface cannot carry it must itself make sure that an event of a deleted registration
 * is not reported under a later one.
 */
#ifndef USERVER_MECHANISM_H
#define USERVER_MECHANISM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct identity {
    int descriptor;
    uint32_t generation;
};

enum {
    EVENT_READ = 1,      /* interest and event: reading would not block */
    EVENT_WRITE = 2,     /* interest and event: writing would not block */
    EVENT_HANGUP = 4,    /* event: the peer has closed its side, or the connection failed; set READ and WRITE too if it failed */
    EVENT_LISTENER = 8,  /* interest: given with READ at the add of a listening socket */
    EVENT_ACCEPTED = 16, /* completion: `result` is a new descriptor or a negative errno; `who` is the listener */
    EVENT_RECEIVED = 32, /* completion: `result` bytes stand at `data` until the next wait; 0 at the end, or a negative errno */
    EVENT_SENT = 64,     /* completion: `result` bytes of the last send() went out, or a negative errno */
    EVENT_FAILED = 128,  /* event: an add() or mod() that had been accepted failed later; the server closes the connection */
};

struct event {
    struct identity who;
    unsigned ready; /* EVENT_… bits */
    int result;     /* completions only */
    const char *data;
};

struct mechanism {
    const char *name;
    const char *summary; /* one line for --help and the documentation */

    /* What the server must know to drive it. */
    bool fixed_interest;          /* READ|WRITE is added once and never changed; mod may be NULL */
    bool edge_triggered;          /* connections: only transitions are reported; the server keeps the state */
    bool edge_triggered_listener; /* the same for listeners */

    /* NULL if it works on this kernel, in this sandbox, for that many connections; else the reason in a few words (static or
     * thread-local text). */
    const char *(*probe)(unsigned connections);

    /* Prepares for descriptors below `descriptors`. 0, or -1 with errno. */
    int (*open)(unsigned descriptors);

    /* Starts, changes and ends the interest in a descriptor (interest: READ, WRITE or both). 0, or -1 with errno.
     * del() comes before the descriptor is closed. What was fetched before it may be reported after it, under its own
     * generation, as the server will drop it. */
    int (*add)(struct identity who, unsigned interest);
    int (*mod)(struct identity who, unsigned interest);
    int (*del)(struct identity who);

    /* Waits for events: forever with -1, not at all with 0, else that many milliseconds. Writes at most `room` events
     * and returns their number, 0 after the time, or -1 with errno (EINTR included: a signal must end the wait). */
    int (*wait)(struct event *events, int room, int timeout_ms);

    /* Frees everything that open() took. */
    void (*close)(void);

    /* Completion hooks: accept, recv and send, or none. Connections then stay blocking and are never add()ed; add() is
     * used for listeners that are to be watched for readiness only.
     * accept(): from now on accepts connections by itself, each reported as ACCEPTED, until del().
     * recv(): from now on receives by itself; each piece is reported as RECEIVED, until 0, an error, hold() or del().
     * hold(), optional: stops receiving until the next recv(); what is on its way is still reported.
     * send(): sends all the parts; array and contents stay valid until SENT is reported, and contents for ever. `last`:
     * the connection ends with them, so a mechanism with finish() may close the descriptor by itself once all are out.
     * finish(), optional: del() and close() of the descriptor in one, without a system call of its own. */
    int (*accept)(struct identity listener);
    int (*recv)(struct identity who);
    int (*hold)(struct identity who);
    int (*send)(struct identity who, const struct iovec *parts, int count, bool last);
    int (*finish)(struct identity who);
};

#define MECHANISM_REGISTER(ops)                                             \
    __attribute__((constructor)) static void mechanism_register_##ops(void) \
    {                                                                       \
        mechanism_register(&(ops));                                         \
    }

void mechanism_register(const struct mechanism *mechanism);

/* Both in the order of their names. */
const struct mechanism *mechanism_find(const char *name);
const struct mechanism *mechanism_next(const struct mechanism *previous); /* NULL: the first */

/* NULL, or which required operation is missing. */
const char *mechanism_check(const struct mechanism *mechanism);

/* An identity as the 64 bits that kernel interfaces carry, and back. */
static inline uint64_t identity_pack(struct identity who)
{
    return (uint64_t)who.generation << 32 | (uint32_t)who.descriptor;
}

static inline struct identity identity_unpack(uint64_t packed)
{
    return (struct identity){.descriptor = (int)(uint32_t)packed, .generation = (uint32_t)(packed >> 32)};
}

#endif
