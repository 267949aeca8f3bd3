#define _GNU_SOURCE /* accept4 */
#include "accounting.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "histogram.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct accounting accounting;

static struct call_counter *listed; /* newest first */
static struct histogram events_per_wait, accepts_per_phase;
static uint64_t profile_began_ticks, profile_began_ns;
static uint64_t cpu_clock_ns; /* what reading the thread's CPU clock twice adds to the difference */

static struct call_counter call_read = CALL_COUNTER("read");
static struct call_counter call_write = CALL_COUNTER("write");
static struct call_counter call_sendfile = CALL_COUNTER("sendfile");
static struct call_counter call_accept = CALL_COUNTER("accept");
static struct call_counter call_accept4 = CALL_COUNTER("accept4");
static struct call_counter call_fcntl = CALL_COUNTER("fcntl");
static struct call_counter call_setsockopt = CALL_COUNTER("setsockopt");
static struct call_counter call_shutdown = CALL_COUNTER("shutdown");
static struct call_counter call_close = CALL_COUNTER("close");

void accounting_list(struct call_counter *counter)
{
    counter->listed = true;
    counter->next = listed;
    listed = counter;
}

/* The least of many: what comes on top is an interrupt. */
static uint64_t cost_of_cpu_clock(void)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t began = clock_thread_cpu_ns(), cost = clock_thread_cpu_ns() - began;
        least = cost < least ? cost : least;
    }
    return least;
}

static uint64_t cpu_time_of(const struct call_counter *counter)
{
    uint64_t clock_ns = counter->calls * cpu_clock_ns;
    return counter->cpu_ns > clock_ns ? counter->cpu_ns - clock_ns : 0;
}

const char *accounting_profile_start(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(d & (1u << 27)))
        return "this processor has no rdtscp";
    if (!__get_cpuid(0x80000007, &a, &b, &c, &d) || !(d & (1u << 8)))
        return "this processor's TSC does not run at a constant rate";
    accounting.profile = true;
    cpu_clock_ns = cost_of_cpu_clock();
    profile_began_ns = clock_now_ns();
    profile_began_ticks = accounting_ticks();
    return NULL;
#else
    return "only the x86-64 TSC is supported";
#endif
}

/* The whole run is the calibration: the longer it took, the better the rate is known. */
static double ns_per_tick(void)
{
    uint64_t ticks = accounting_ticks() - profile_began_ticks;
    uint64_t elapsed_ns = clock_now_ns() - profile_began_ns;
    return ticks ? (double)elapsed_ns / (double)ticks : 0;
}

void accounting_write_calls(struct json *json)
{
    double scale = accounting.profile ? ns_per_tick() : 0;
    json_object_open(json, "syscalls");
    for (const struct call_counter *counter = listed; counter; counter = counter->next) {
        json_object_open(json, counter->name);
        json_uint(json, "calls", counter->calls);
        json_uint(json, "bytes", counter->bytes);
        json_uint(json, "again", counter->again);
        json_uint(json, "errors", counter->errors);
        json_bool(json, "waits", counter->waits);
        if (accounting.profile)
            json_uint(json, "time_ns", (uint64_t)((double)counter->ticks * scale));
        if (accounting.profile && counter->waits)
            json_uint(json, "cpu_ns", cpu_time_of(counter));
        json_object_close(json);
    }
    json_object_close(json);
}

void accounting_record_wait(int events)
{
#ifndef ACCOUNTING_OFF
    accounting.waits++;
    accounting.events += (uint64_t)events;
    histogram_record(&events_per_wait, (uint64_t)events);
#else
    (void)events;
#endif
}

void accounting_record_accept_phase(uint64_t accepted)
{
#ifndef ACCOUNTING_OFF
    histogram_record(&accepts_per_phase, accepted);
#else
    (void)accepted;
#endif
}

void accounting_write_histograms(struct json *json)
{
    histogram_write(json, "events_per_wait", &events_per_wait);
    histogram_write(json, "accepts_per_phase", &accepts_per_phase);
}

ssize_t counted_read(int descriptor, void *buffer, size_t room)
{
    return COUNTED_BYTES(&call_read, read(descriptor, buffer, room));
}

ssize_t counted_write(int descriptor, const void *data, size_t length)
{
    return COUNTED_BYTES(&call_write, write(descriptor, data, length));
}

ssize_t counted_sendfile(int out, int in, off_t *offset, size_t length)
{
    return COUNTED_BYTES(&call_sendfile, sendfile(out, in, offset, length));
}

int counted_accept(int listener, bool one_call)
{
    if (one_call)
        return (int)COUNTED(&call_accept4, accept4(listener, NULL, NULL, SOCK_NONBLOCK));
    return (int)COUNTED(&call_accept, accept(listener, NULL, NULL));
}

int counted_fcntl(int descriptor, int command, int argument)
{
    return (int)COUNTED(&call_fcntl, fcntl(descriptor, command, argument));
}

int counted_set_nonblocking(int descriptor)
{
    int flags = counted_fcntl(descriptor, F_GETFL, 0);
    return flags < 0 ? -1 : counted_fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

int counted_cork(int descriptor, bool on)
{
    int value = on;
    return (int)COUNTED(&call_setsockopt, setsockopt(descriptor, IPPROTO_TCP, TCP_CORK, &value, sizeof value));
}

int counted_shutdown_write(int descriptor)
{
    return (int)COUNTED(&call_shutdown, shutdown(descriptor, SHUT_WR));
}

int counted_close(int descriptor)
{
    return (int)COUNTED(&call_close, close(descriptor));
}
