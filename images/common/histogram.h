/*
 * Log-linear histogram of unsigned values (here: nanoseconds), three significant digits.
 *
 * Values below 2048 have a bucket each; above, every power of two is cut into 1024 equal buckets, so a
 * bucket is never wider than 1/1024 of its lower bound (the layout of HdrHistogram, reduced to what is
 * used here). Recording never allocates and never fails: the range is all of uint64_t.
 */
#ifndef TESTBED_HISTOGRAM_H
#define TESTBED_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "json.h"

#define HISTOGRAM_LINEAR_BITS 11 /* 2048 exact values */
#define HISTOGRAM_HALF (1u << (HISTOGRAM_LINEAR_BITS - 1))
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_LINEAR_BITS + 2) * HISTOGRAM_HALF)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t sum; /* wraps after 584 years of nanoseconds */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *histogram, uint64_t value);

/* Index of the bucket that holds a value, and the lowest value that a bucket holds. */
size_t histogram_index(uint64_t value);
uint64_t histogram_low(size_t index);

/* The middle of the bucket in which the quantile (0 … 1) falls, never above the maximum; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

/* {"count": n, "max": v, "sum": v, "buckets": [[lowest value, count], …]} with empty buckets left out. */
void histogram_write(struct json *json, const char *key, const struct histogram *histogram);

/* [[lowest value, count], …], each power of two cut into eight: short enough for one datagram, and differences of two
 * are a histogram of what came between. */
void histogram_write_coarse(struct json *json, const char *key, const struct histogram *histogram);

#endif
